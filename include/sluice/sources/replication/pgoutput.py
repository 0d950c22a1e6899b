"""What the plug-in ``pgoutput`` sends, protocol version 1, as far as keys are concerned.

Source: PostgreSQL's documentation, "Logical Replication Message Formats". All integers are big
endian. Values are text, as the server writes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from sluice.errors import SchemaDrift

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
Op = Literal["upsert", "delete", "all", "acl"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Begin:
    """The beginning of a transaction, which has committed by now."""

    xid: int  # its number, without the epoch: 32 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """The end of a transaction: everything up to ``lsn`` has been sent."""

    lsn: int
    at: datetime


@dataclass(slots=True)
class Decoder:
    """Turns messages into changed keys of one table; knows its columns from the stream itself."""

    table: str
    schema: str
    key: str
    acl_tables: frozenset[str] = frozenset()
    _columns: dict[int, int] = field(default_factory=dict)  # by relation: the key's position
    _permissions: set[int] = field(default_factory=set)  # relations that hold permissions

    def decode(self, message: bytes) -> list[tuple[str | None, Op]] | Begin | Commit:
        """Return the keys that a message tells of, or which end of a transaction it is.

        Raises:
            SchemaDrift: the table has lost its key column.
        """
        match message[:1]:
            case b"B":
                return Begin(xid=struct.unpack_from("!I", message, 17)[0])
            case b"C":
                lsn, micros = struct.unpack_from("!Qq", message, 10)
                return Commit(lsn=lsn, at=_EPOCH + timedelta(microseconds=micros))
            case b"R":
                self._relation(message)
            case b"I" | b"U" | b"D":
                return self._row(message)
            case b"T":
                count = struct.unpack_from("!I", message, 1)[0]
                relations = set(struct.unpack_from(f"!{count}I", message, 6))
                changes: list[tuple[str | None, Op]] = []
                changes += [(None, "acl")] if self._permissions & relations else []
                return changes + ([(None, "all")] if self._columns.keys() & relations else [])
        return []

    def _relation(self, message: bytes) -> None:
        (relation,) = struct.unpack_from("!I", message, 1)
        schema, table, rest = message[5:].split(b"\0", 2)
        name = table.decode()
        if schema.decode() == self.schema and name in self.acl_tables:
            self._permissions.add(relation)
        if (schema.decode(), name) != (self.schema, self.table):
            return
        (count,) = struct.unpack_from("!H", rest, 1)
        place, names = 3, []
        for _ in range(count):
            end = rest.index(b"\0", place + 1)
            names.append(rest[place + 1 : end].decode())
            place = end + 9
        if self.key not in names:
            raise SchemaDrift(
                f"column {self.key} is gone, and the table cannot be followed without it",
                subject=f"{self.schema}.{self.table}",
                cure="Restore it, or name another column in the DAG file",
            )
        self._columns[relation] = names.index(self.key)

    def _row(self, message: bytes) -> list[tuple[str | None, Op]]:
        """The new key, and the old one where it differs: the row is gone, or has moved."""
        (relation,) = struct.unpack_from("!I", message, 1)
        changes: list[tuple[str | None, Op]] = []
        if relation in self._permissions:
            changes.append((None, "acl"))
        found = dict(self._keys(message, 5))
        new, old = found.get("N"), found.get("K", found.get("O"))
        if old is not None and old != new:
            changes.append((old, "delete"))
        if new is not None:
            changes.append((new, "upsert"))
        return changes

    def _keys(self, message: bytes, place: int) -> list[tuple[str, str]]:
        """The key in each tuple of a message, by what the tuple is: N new, K old key, O old row."""
        (relation,) = struct.unpack_from("!I", message, 1)
        position = self._columns.get(relation)
        found: list[tuple[str, str]] = []
        while position is not None and place < len(message):
            kind = chr(message[place])
            (count,) = struct.unpack_from("!H", message, place + 1)
            place += 3
            for column in range(count):
                state = message[place : place + 1]
                place += 1
                if state not in b"tb":
                    continue  # null, or not sent because it did not change
                (length,) = struct.unpack_from("!I", message, place)
                if column == position:
                    found.append((kind, message[place + 4 : place + 4 + length].decode()))
                place += 4 + length
        return found
