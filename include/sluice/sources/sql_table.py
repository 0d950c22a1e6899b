"""A table of any SQLAlchemy database.

New and edited rows are found by a cursor column. Every run also lists key, cursor and ACL column of
all rows: that finds deletions, moves between permission objects, and rows that came with an old
time. Without a cursor the whole table is read. PostgreSQL, MySQL and SQLite are read as of one
instant.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sluice.errors import ConfigurationError
from sluice.model import Column, Draft, LandedRow, Policy, Window
from sluice.sources.reading import PROBLEMS, check_name, four

if TYPE_CHECKING:
    from sluice.ports import Kit  # which imports numpy

_TITLE_LENGTH = 80  # characters, of a title taken from the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Replication:
    """Follow a PostgreSQL table as it changes, by logical replication.

    ``sluice connect <source>`` makes the publication and the slot; both are called
    ``sluice_<source>`` unless they are named here. ``acl_tables`` are those that ``acl_query``
    reads: when one of them changes, permissions are read again, and no content.
    """

    acl_tables: tuple[str, ...] = ()  # in the table's own schema
    slot: str | None = None
    publication: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlTable:
    """A table to keep indexed; every name below is a column of it unless it says otherwise.

    * ``url`` is a SQLAlchemy URL, or ``url_env`` names the environment variable that holds one
      (``AIRFLOW_CONN_HELPDESK`` works), or the secret: ``/run/secrets/`` and that name in lower
      case.
    * ``text`` becomes the document: the first column bare, each further one under its name.
    * ``cursor`` grows with every change: a time or a counter. Rows up to ``lag`` older than the
      newest seen are read again, for transactions that commit late.
    * ``acl_column`` holds the principals of the row (an array, JSON, or text with commas). With
      ``acl_query`` it names the row's permission object instead, and the query returns rows
      (object, principal, effect, until); without it, the object is the whole table, by its name.
    * ``changes`` says how the table tells of its changes; without it, runs look for them. Every id
      is compared all the same, as often as ``policy.reconcile`` says.
    * ``uri_template`` is filled with the row: ``https://desk.example/tickets/{id}``.

    Times without a zone are UTC.
    """

    name: str
    table: str
    key: str
    text: tuple[str, ...]
    title: str
    url: str | None = field(default=None, repr=False)
    url_env: str | None = None
    schema: str | None = None
    cursor: str | None = None
    lag: timedelta = timedelta(minutes=5)
    created: str | None = None
    updated: str | None = None
    acl_column: str | None = None
    acl_query: str | None = None
    uri_template: str | None = None
    changes: Replication | None = None
    policy: Policy = field(default_factory=Policy)
    kind: str = field(default="sql_table", init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        if not (self.text and isinstance(self.text, tuple)):
            raise ConfigurationError(
                "text: name at least one column, in a tuple", subject=self.name
            )
        if (self.url is None) == (self.url_env is None):
            raise ConfigurationError("give either url or url_env", subject=self.name)
        if self.changes and self.url_env is None:
            raise ConfigurationError(
                "changes: who follows them needs url_env",
                subject=self.name,
                cure="Put the URL into the environment: a DAG is stored for all to read",
            )
        if self.acl_column is None and self.acl_query is None:
            raise ConfigurationError(
                "nothing says who may read it",
                subject=self.name,
                cure="Give acl_column, acl_query or both",
            )

    @property
    def address(self) -> str:
        """The SQLAlchemy URL, wherever it is kept."""
        if self.url is not None:
            return self.url
        return address_of(str(self.url_env), self.name)

    @property
    def required(self) -> frozenset[str]:
        """The columns without which the table cannot be read."""
        return frozenset(c for c in (self.key, self.cursor, self.acl_column) if c)

    def columns(self) -> Sequence[Column] | None:
        """Return the columns of the live table.

        Raises:
            SourceUnavailable: the database does not answer.
            SchemaDrift: the table is gone.
        """
        from sluice.sources.sql_connection import columns

        return columns(self)

    def resources(self, window: Window | None, kit: Kit, *, whole: bool) -> Sequence[Any]:
        """Return the dlt resources of one reading: see ``sluice.sources.reading``."""
        from sluice.sources.sql_changes import ChangedRows
        from sluice.sources.sql_reading import SqlReading, incremental

        if self.changes and window is None:  # a window leaves what was noted to the next run
            noted = kit.changes()
            if not whole and all(each.op != "all" for each in noted):
                changed = ChangedRows(self, noted)
                return four(changed, gone=changed.gone, current=True)
            return four(SqlReading(self, None))  # every row: no cursor knows what the stream lost
        cursor = incremental() if window is None and self.cursor else None
        return four(SqlReading(self, window), cursor=cursor)

    def draft(self, row: LandedRow) -> Draft:
        """Map a landed row; what is wrong with it goes into ``problems``."""
        record = row.record
        problems = list(record.get(PROBLEMS, ()))
        has_id = not row.key.startswith("missing:") or str(record.get(self.key)) == row.key
        text = self._markdown(record)
        title = _text(record.get(self.title))
        return Draft(
            key=row.key,
            native_id=row.key if has_id else None,
            title=title or _first_words(text),
            text=text,
            uri=self._uri(row.key, record, problems) if has_id else None,
            created_at=_time(record, self.created, problems),
            updated_at=_time(record, self.updated or self._cursor_time(record), problems),
            problems=tuple(problems),
        )

    def _markdown(self, record: Mapping[str, Any]) -> str:
        first, *rest = self.text
        sections = [(name, _text(record.get(name))) for name in rest]
        parts = [_text(record.get(first))]
        parts += [f"## {_words(name)}\n\n{body}" for name, body in sections if body]
        return "\n\n".join(part for part in parts if part)

    def _uri(self, key: str, record: Mapping[str, Any], problems: list[str]) -> str:
        if self.uri_template is None:
            return f"sql://{self.name}/{self.table}/{quote(key, safe='')}"
        values = {name: quote(str(value), safe="") for name, value in record.items()}
        try:
            return string.Formatter().vformat(self.uri_template, (), values)
        except (LookupError, ValueError) as error:
            problems.append(f"uri_template cannot be filled: {error}")
            return ""

    def _cursor_time(self, record: Mapping[str, Any]) -> str | None:
        """The cursor stands in for ``updated`` where it is a time."""
        value = record.get(self.cursor) if self.cursor else None
        return self.cursor if isinstance(value, str) and _parse(value) else None


def address_of(url_env: str, name: str) -> str:
    """Return the SQLAlchemy URL that the environment, or a secret, holds for the source ``name``.

    Raises:
        ConfigurationError: neither holds one.
    """
    from sluice.settings import secret  # pydantic, which reading a DAG file need not pay for

    found = secret(url_env)
    if found is None:
        raise ConfigurationError(
            f"the environment has no {url_env}",
            subject=name,
            cure="Set it to the SQLAlchemy URL of the database",
        )
    return found


def _time(record: Mapping[str, Any], column: str | None, problems: list[str]) -> datetime | None:
    value = record.get(column) if column else None
    if value is None:
        return None
    moment = _parse(value) if isinstance(value, str) else None
    if moment is None:
        problems.append(f"{column} is not a time: {str(value)[:40]!r}")
    return moment


def _parse(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _words(column: str) -> str:
    return " ".join(column.split("_")).strip().capitalize() or column


def _first_words(text: str) -> str | None:
    line = text.strip().partition("\n")[0].lstrip("# ").strip()
    if len(line) > _TITLE_LENGTH:
        line = line[:_TITLE_LENGTH].rpartition(" ")[0] + " …"
    return line or None


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return json.dumps(value, ensure_ascii=False, indent=2)
