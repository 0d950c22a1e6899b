"""One reading of one source, as the four dlt resources that ``sluice.landing`` loads.

=========  ==========================================================================
rows       row_key, record (JSON), content_hash                merged by row_key
listing    row_key, acl_key (null: the source gave none), gone
acls       acl_key, grants (JSON), error
marks      rows, listing, acls, observed_at, whole, current    appended, one row a load
=========  ==========================================================================

A whole reading names every row, and replaces ``listing`` and ``acls``. One of what changed merges
into them: the rows that it saw, those that are ``gone``, and the ACLs of the former.

They are extracted strictly in this order, so that an ACL is never read before the content it
guards. The mark is written last and counts the others: it is the proof that a listing is complete.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from sluice.errors import ConfigurationError, SourceError
from sluice.model import LandedAcl

if TYPE_CHECKING:
    import pyarrow as pa

PROBLEMS = "_problems"  # the record's own field for what was seen to be wrong while reading
_MAX_KEY = 1024  # bytes; an entry of a PostgreSQL index holds 2,704
_PAGE_ROWS = 1000
_PAGE_BYTES = 8 * 2**20
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")  # dlt would rewrite any other
_MAX_NAME = 40
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL's text and JSON hold neither
_JOINERS = "\u200c\u200d"  # they shape Persian, Indic scripts and emoji, and reorder nothing


class Row(NamedTuple):
    """A row as a reading yields it."""

    key: str
    record: Mapping[str, Any]  # storable: see :func:`storable`


class Reading(Protocol):
    """One pass over a source. The methods are called once each, in this order."""

    @property
    def observed_at(self) -> datetime:
        """When the reading of the ACLs began; known once the listing is."""

    def rows(self, cursor: Any) -> Iterator[Row]:
        """Yield what is new or changed; ``cursor`` is dlt's incremental, or None."""

    def listing(self) -> Mapping[str, str | None]:
        """Return every row key with its ACL key. Incomplete is an error, never a short answer.

        In a reading of what changed: every row key that it saw.
        """

    def acls(self) -> Iterable[LandedAcl]:
        """Yield every ACL that the listing names, read no earlier than the content."""


@dataclass(slots=True)
class _Tally:
    """What the mark will say."""

    rows: int | None = None
    listing: int | None = None
    acls: int | None = None


def four(
    reading: Reading,
    *,
    cursor: Any = None,
    gone: Callable[[], Collection[str]] | None = None,
    current: bool = False,
) -> list[Any]:
    """Return the four dlt resources of ``reading``.

    Args:
        reading: what is read.
        cursor: a ``dlt.sources.incremental``, where the source has a cursor.
        gone: names the rows that left, once the listing is known: this is a reading of what
            changed. None: it is whole, and what it does not list is gone.
        current: with ``gone``: no permission object that is not read here has changed either.
    """
    import pyarrow as pa

    tally = _Tally()

    def rows(cursor: Any = cursor) -> Iterator[pa.Table]:
        count = 0
        for page in _pages(reading.rows(cursor)):
            count += page.num_rows
            yield page
        tally.rows = count

    def listing() -> Iterator[pa.Table]:
        _expect(tally.rows)
        keys = reading.listing()
        left = set(gone() if gone else ()) - keys.keys()
        tally.listing = len(keys) + len(left)
        yield _listed(keys, sorted(left))

    def acls() -> Iterator[pa.Table]:
        _expect(tally.listing)
        lines = [(acl.key, _grants_json(acl), acl.error) for acl in reading.acls()]
        tally.acls = len(lines)
        yield _table(_ACLS, lines)

    def marks() -> Iterator[pa.Table]:
        _expect(tally.acls)
        yield pa.table(
            {
                "rows": [tally.rows],
                "listing": [tally.listing],
                "acls": [tally.acls],
                "observed_at": [reading.observed_at],
                "whole": [gone is None],
                "current": [gone is None or current],
            }
        )

    how: Any = "replace" if gone is None else {"disposition": "merge", "strategy": "upsert"}
    return [
        _resource(rows, "rows", _hints(_ROWS), primary_key="row_key", write_disposition=_MERGE),
        _resource(
            listing,
            "listing",
            _hints(_LISTING, "acl_key"),
            primary_key="row_key",
            write_disposition=how,
        ),
        _resource(
            acls, "acls", _hints(_ACLS, "error"), primary_key="acl_key", write_disposition=how
        ),
        _resource(marks, "marks", None, write_disposition="append"),
    ]


def landed(part: str) -> dict[str, str | None]:
    """Return ``record[part]`` of every landed row by row key. Only inside an extraction."""
    import dlt

    with (
        dlt.current.pipeline().sql_client() as client,
        client.execute_query("SELECT row_key, record ->> %s FROM rows", part) as found,
    ):
        return dict(found.fetchall())


def known_objects() -> set[str]:
    """The key of every permission object of the last listing. Only inside an extraction."""
    import dlt

    query = "SELECT DISTINCT acl_key FROM listing WHERE gone IS NOT TRUE AND acl_key IS NOT NULL"
    with (
        dlt.current.pipeline().sql_client() as client,
        client.execute_query(query) as found,
    ):
        return {key for (key,) in found.fetchall()}


def row_key(native: str | None, otherwise: bytes) -> tuple[str, str | None]:
    """Return the key of a row, and what is wrong with its own id, if anything is.

    Args:
        native: the source's own id.
        otherwise: what tells the row from others if its id cannot be kept.
    """
    problem = _unspeakable(native)
    if problem is None and native is not None:
        return native, None
    return f"missing:{hashlib.sha256(otherwise).hexdigest()}", problem


def storable(value: Any) -> Any:
    """Return ``value`` as JSON that PostgreSQL can hold; NUL and half characters become U+FFFD.

    Decimals keep their digits as text, times are ISO 8601, bytes are text where they are UTF-8 and
    base64 where not.
    """
    match value:
        case None | bool() | int():
            return value
        case str():
            return _UNSTORABLE.sub("\ufffd", value)
        case float():
            return value if math.isfinite(value) else str(value)
        case datetime() | date() | time():
            return value.isoformat()
        case bytes() | bytearray() | memoryview():
            return _from_bytes(bytes(value))
        case Mapping():
            return {str(storable(str(k))): storable(v) for k, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return [storable(v) for v in value]
    return storable(str(value))


def check_name(name: str) -> None:
    """Refuse a source name that could not name a schema.

    Raises:
        ConfigurationError: it could not.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise ConfigurationError(
            "not a name for a source",
            subject=repr(name),
            cure=f"Use up to {_MAX_NAME} lower-case letters, digits and single _, a letter first",
        )


_ROWS = ("row_key", "record", "content_hash")
_LISTING = ("row_key", "acl_key", "gone")
_ACLS = ("acl_key", "grants", "error")
_MERGE = {
    "disposition": "merge",
    "strategy": "upsert",
    "skip_unchanged_rows": True,
    "row_version_column_name": "content_hash",
}
_KINDS = {"record": "json", "grants": "json", "gone": "bool"}  # all others are text


def _resource(read: Any, name: str, columns: Any, **hints: Any) -> Any:
    import dlt

    return dlt.resource(read, name=name, columns=columns, **hints)


def _hints(columns: Sequence[str], *nullable: str) -> Any:
    return {c: {"data_type": _KINDS.get(c, "text"), "nullable": c in nullable} for c in columns}


def _table(columns: Sequence[str], lines: Sequence[tuple[str | None, ...]]) -> pa.Table:
    import pyarrow as pa

    values = list(zip(*lines, strict=True)) or [()] * len(columns)
    arrays = [pa.array(column, pa.string()) for column in values]
    return pa.Table.from_arrays(arrays, names=columns)


def _listed(keys: Mapping[str, str | None], gone: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    return pa.table(
        {
            "row_key": pa.array([*keys, *gone], pa.string()),
            "acl_key": pa.array([*keys.values(), *[None] * len(gone)], pa.string()),
            "gone": pa.array([False] * len(keys) + [True] * len(gone), pa.bool_()),
        }
    )


def _pages(rows: Iterable[Row]) -> Iterator[pa.Table]:
    """Rows as Arrow tables of bounded size."""
    seen: set[str] = set()
    page: list[tuple[str, str, str]] = []
    size = 0
    for key, record in rows:
        if key in seen:
            raise SourceError("two rows have one key", subject=repr(key))
        seen.add(key)
        text = json.dumps(record, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        page.append((key, text, hashlib.sha256(text.encode()).hexdigest()))
        size += len(text)
        if len(page) >= _PAGE_ROWS or size >= _PAGE_BYTES:
            yield _table(_ROWS, page)
            page, size = [], 0
    if page:
        yield _table(_ROWS, page)


def _expect(previous: int | None) -> None:
    if previous is None:
        raise AssertionError("resources must be extracted in order: EXTRACT__NEXT_ITEM_MODE=fifo")


def _grants_json(acl: LandedAcl) -> str:
    lines = [
        {
            "principal": str(grant.principal),
            "effect": grant.effect.value,
            "expires_at": grant.expires_at.isoformat() if grant.expires_at else None,
        }
        for grant in acl.grants
    ]
    return json.dumps(sorted(lines, key=lambda g: (g["principal"], g["effect"])))


def _unspeakable(native: str | None) -> str | None:
    """Why ``native`` cannot serve as an id, in words for the quarantine list."""
    if native is None or not native.strip():
        return "has no id"
    if any(0xD800 <= ord(c) <= 0xDFFF for c in native):
        return "its id is not valid text"
    if any(_invisible(c) for c in native):
        return "its id has an invisible or text-reordering character"
    if len(native.encode()) > _MAX_KEY:
        return f"its id is longer than {_MAX_KEY} bytes"
    return None


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp"} and character not in _JOINERS


def _from_bytes(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return base64.b64encode(raw).decode()
    return text if "\0" not in text else base64.b64encode(raw).decode()
