"""One pass over a table, as of one instant where the database can."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from sluice.errors import SourceError
from sluice.model import LandedAcl, Window
from sluice.sources import sql_acl
from sluice.sources.reading import PROBLEMS, Row, landed, row_key, storable
from sluice.sources.sql_connection import SNAPSHOT, connect, declared_unique, reflect

if TYPE_CHECKING:
    from sluice.sources.sql_table import SqlTable

_BATCH = 500  # keys in one IN (…)
_MAX_SHARED = 1000  # keys that several rows have; more, and the column is no key


def incremental() -> Any:
    """Return dlt's cursor. It holds the newest value that a committed load has seen."""
    import dlt

    return dlt.sources.incremental("cursor", primary_key=())


class SqlReading:
    """Rows first, then every key, then the ACLs, in one transaction."""

    def __init__(self, source: SqlTable, window: Window | None):
        self._source = source
        self._window = window
        self._keys: dict[str, str | None] = {}  # ACL key by row key
        self._marks: dict[str, tuple[Any, str | None]] = {}  # the database's key, and the cursor
        self._acls: Mapping[str, LandedAcl] = {}
        self._spelled: dict[str, LandedAcl] = {}  # ACLs that rows spell out
        self.observed_at = datetime.now(UTC)

    def rows(self, cursor: Any) -> Iterator[Row]:
        """Yield changed rows; then list, since both must come from one transaction."""
        self.begin()
        with connect(self._source) as connection:
            table = reflect(connection, self._source)
            shared = self._shared(connection, table)
            seen: set[str] = set()
            for row in self._changed(connection, table, cursor):
                if self._key(row) not in shared:
                    seen.add(self._key(row))
                    yield Row(self._key(row), self._record(row))
            for found in self._odd(connection, table, shared):
                if found.key not in seen:
                    seen.add(found.key)
                    yield found
            if connection.dialect.name not in SNAPSHOT | {"sqlite"}:
                self.observed_at = datetime.now(UTC)
            self._list(connection, table, shared)
            if self._window is None:
                yield from self._late(connection, table, seen)
            self._acls = self._read_acls(connection)

    def begin(self) -> None:
        """What is read from now on is as of one instant, where the database can; this one."""
        self.observed_at = datetime.now(UTC)

    def listing(self) -> Mapping[str, str | None]:
        return self._keys

    def acls(self) -> Iterable[LandedAcl]:
        return self._acls.values()

    def _changed(
        self, connection: sa.Connection, table: sa.Table, cursor: Any
    ) -> Iterator[sa.RowMapping]:
        """Rows that may have changed: since the cursor, or inside the window."""
        query = sa.select(table).where(table.c[self._source.key].is_not(None))
        if self._window is not None:
            query = query.where(*self._inside(table, self._window))
        elif cursor is not None and self._source.cursor:
            column = table.c[self._source.cursor]
            top = _top(connection, column)
            if top is not None:
                start = _start(cursor.last_value, top, self._source)
                if start is not None:
                    query = query.where(sa.or_(column >= start, column.is_(None)))
                cursor.advance(top)
        yield from connection.execute(query.execution_options(yield_per=_BATCH)).mappings()

    def _inside(self, table: sa.Table, window: Window) -> list[sa.ColumnElement[bool]]:
        """The window as conditions; none where the cursor is no time: the whole table then."""
        if self._source.cursor is None:
            return []
        column = table.c[self._source.cursor]
        match column.type:
            case sa.DateTime(timezone=zoned):
                bounds = [window.start.astimezone(UTC), window.end.astimezone(UTC)]
                start, end = bounds if zoned else [b.replace(tzinfo=None) for b in bounds]
                return [column >= start, column < end]
            case sa.Date():
                return [column >= window.start.date(), column <= window.end.date()]
        return []

    def _shared(self, connection: sa.Connection, table: sa.Table) -> dict[str, Any]:
        """Keys that several rows have, by row key. A table that declares its key has none."""
        if declared_unique(connection, self._source):
            return {}
        key = table.c[self._source.key]
        query = sa.select(key).where(key.is_not(None)).group_by(key).having(sa.func.count() > 1)
        found = connection.execute(query.limit(_MAX_SHARED + 1)).scalars().all()
        if len(found) > _MAX_SHARED:
            raise SourceError(
                f"column {key.name} is no key: many rows have the same value",
                subject=f"{self._source.name}: {table.fullname}",
                cure="Name a column whose values are unique",
            )
        return {_row_key(value)[0]: value for value in found}

    def _odd(
        self, connection: sa.Connection, table: sa.Table, shared: Mapping[str, Any]
    ) -> Iterator[Row]:
        """Rows without a key of their own: one for each shared key, and all that have none."""
        column = table.c[self._source.key]
        counts: Counter[str] = Counter()
        firsts: dict[str, sa.RowMapping] = {}
        for batch in _batches(list(shared.values())):
            for row in connection.execute(sa.select(table).where(column.in_(batch))).mappings():
                counts[self._key(row)] += 1
                firsts.setdefault(self._key(row), row)
        for key, row in firsts.items():
            yield Row(key, self._record(row, f"its id belongs to {counts[key]} rows"))
        for row in connection.execute(sa.select(table).where(column.is_(None))).mappings():
            record = self._record(row)
            identity = json.dumps(record, sort_keys=True).encode()
            key = row_key(None, identity)[0]
            self._keys[key] = self._acl_key(row)
            yield Row(key, record)

    def _list(self, connection: sa.Connection, table: sa.Table, shared: Mapping[str, Any]) -> None:
        """Name every key with its ACL; a key that several rows have gets none."""
        source, key = self._source, table.c[self._source.key]
        names = {source.key, source.acl_column, source.cursor} - {None}
        query = sa.select(*(column for column in table.c if column.name in names))
        query = query.where(key.is_not(None)).execution_options(yield_per=5000)
        for row in connection.execute(query).mappings():
            name = self._key(row)
            self._keys[name] = None if name in shared else self._acl_key(row)
            self._marks[name] = row[key.name], _mark(row[source.cursor] if source.cursor else None)

    def _late(self, connection: sa.Connection, table: sa.Table, seen: set[str]) -> Iterator[Row]:
        """Rows that the cursor missed: their own cursor value is not the one that landed.

        They were inserted with an old time, restored from a backup, or committed very late.
        """
        known = landed(self._source.cursor or self._source.key)
        missed = [
            native
            for key, (native, mark) in self._marks.items()
            if key not in seen
            and (key not in known or (self._source.cursor and known[key] != mark))
        ]
        column = table.c[self._source.key]
        for batch in _batches(missed):
            for row in connection.execute(sa.select(table).where(column.in_(batch))).mappings():
                self._keys[self._key(row)] = self._acl_key(row)
                yield Row(self._key(row), self._record(row))

    def _read_acls(
        self, connection: sa.Connection, others: Collection[str] = ()
    ) -> Mapping[str, LandedAcl]:
        """The ACLs that the listed rows name; with a query, also those of ``others``."""
        if self._source.acl_query is None:
            return {key: self._spelled[key] for key in self._keys.values() if key is not None}
        wanted = sorted({key for key in self._keys.values() if key is not None} | set(others))
        # Colons are escaped, or account:helpdesk:1 would be read as a parameter.
        query = sa.text(self._source.acl_query.replace(":", r"\:"))
        lines = connection.execute(query)
        return {acl.key: acl for acl in sql_acl.acls_of_query(lines, wanted)}

    def _acl_key(self, row: sa.RowMapping) -> str | None:
        column = self._source.acl_column
        if column is None:
            return sql_acl.object_key(self._source.table)
        if self._source.acl_query is not None:
            return sql_acl.object_key(row[column])
        acl = sql_acl.acl_of_principals(row[column])
        if acl is None:
            return None
        self._spelled[acl.key] = acl
        return acl.key

    def _key(self, row: sa.RowMapping) -> str:
        return _row_key(row[self._source.key])[0]

    def _record(self, row: sa.RowMapping, problem: str | None = None) -> dict[str, Any]:
        """The row as JSON, with what is wrong with it."""
        problems = [problem] if problem else []
        value = row[self._source.key]
        if value is not None and (odd := _row_key(value)[1]):
            problems.append(odd)
        problems += [f"{c} holds NUL characters" for c, v in row.items() if "\0" in str(v or "")]
        return {**storable(dict(row)), PROBLEMS: problems}


def _row_key(value: Any) -> tuple[str, str | None]:
    name = str(storable(value))
    return row_key(name, f"{type(value).__name__}:{name}".encode())


def _mark(value: Any) -> str | None:
    """A cursor value as ``landed`` gives it back."""
    return None if value is None else str(storable(value))


def _top(connection: sa.Connection, column: sa.Column[Any]) -> Any:
    """The newest cursor value that is not in the future, where it is a time.

    One row dated 2099 must not make every later edit look old.
    """
    top = connection.execute(sa.select(sa.func.max(column))).scalar_one()
    now = _now_like(top)
    if now is None or top <= now:
        return top
    return connection.execute(sa.select(sa.func.max(column)).where(column <= now)).scalar_one()


def _now_like(sample: Any) -> Any:
    """This moment in the spelling of ``sample``; None where that is no time."""
    now = datetime.now(UTC)
    match sample:
        case datetime():
            return now if sample.tzinfo else now.replace(tzinfo=None)
        case date():
            return now.date()
        case str():
            try:
                datetime.fromisoformat(sample)
            except ValueError:
                return None
            return now.isoformat(sample[10:11] or " ")[: max(len(sample), 10)]
    return None


def _start(last: Any, top: Any, source: SqlTable) -> Any:
    """Where to read on from; None: from the beginning, also when the column changed its type."""
    if last is None or _sort(last) != _sort(top):
        return None
    return last - source.lag if isinstance(last, date) else last


def _sort(value: Any) -> Any:
    """What a cursor value can be compared with. dlt hands times back as a subclass of datetime."""
    if isinstance(value, datetime):
        return datetime, value.tzinfo is None
    return type(value)


def _batches(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _BATCH):
        yield values[start : start + _BATCH]
