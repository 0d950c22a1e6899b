"""One pass over the rows of a table that are known to have changed, as of one instant.

What a change was does not matter: the row is read as it is now, whole. So a column that the stream
left out because it did not change, a schema that changed in between, and a row that changed three
times are all the same here. A key that is not found has left.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from sluice.model import SourceChange
from sluice.sources.reading import Row, known_objects
from sluice.sources.sql_connection import connect, reflect
from sluice.sources.sql_reading import SqlReading

if TYPE_CHECKING:
    from sluice.sources.sql_table import SqlTable

_BATCH = 1000  # keys in one query


class ChangedRows(SqlReading):
    """Reads the rows that ``changes`` name, and says which of them are gone."""

    def __init__(self, source: SqlTable, changes: Sequence[SourceChange]):
        super().__init__(source, None)
        self._wanted = sorted({each.key for each in changes if each.key is not None})

    def rows(self, cursor: Any) -> Iterator[Row]:  # noqa: ARG002  # the stream is the cursor
        """Yield the rows that are there; the ACLs come from the same instant."""
        self.begin()
        with connect(self._source) as connection:
            table = reflect(connection, self._source)
            for row in self._found(connection, table):
                self._keys[self._key(row)] = self._acl_key(row)
                yield Row(self._key(row), self._record(row))
            # The query says all there is, so its age is that of every object; principals that rows
            # spell out are as old as the rows.
            self._acls = self._read_acls(connection, known_objects())

    def gone(self) -> Collection[str]:
        """The keys that were not found."""
        return set(self._wanted) - self._keys.keys()

    def _found(self, connection: sa.Connection, table: sa.Table) -> Iterator[sa.RowMapping]:
        key = table.c[self._source.key]
        kind = sa.BigInteger() if isinstance(key.type, sa.Integer) else key.type
        speakable = [each for each in self._wanted if _speaks(key.type, each)]
        for start in range(0, len(speakable), _BATCH):
            some = speakable[start : start + _BATCH]
            # The server reads the keys: it wrote them, too.
            keys = sa.cast(sa.cast(some, ARRAY(sa.Text)), ARRAY(kind))
            query = sa.select(table).where(key == sa.any_(keys))
            yield from connection.execute(query).mappings()


def _speaks(kind: Any, key: str) -> bool:
    """Whether a key can be one of this type: it may have had another when the row was noted."""
    try:
        if isinstance(kind, sa.Integer):
            return abs(int(key)) < 2**63
        if isinstance(kind, sa.Uuid):
            return bool(uuid.UUID(key))
    except ValueError:
        return False
    return True
