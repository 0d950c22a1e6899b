"""A pass over a service that can say what changed: the shape of every source behind an API.

A crawl without a cursor sees everything there is; what it does not see is gone. With a cursor it
sees what changed since, deletions where the service tells of them. The cursor is any JSON; dlt
keeps it beside the rows, and it moves only when they are committed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

from sluice.model import LandedAcl, Window
from sluice.sources.reading import PROBLEMS, Row, four, row_key, storable

_CURSOR = "cursor"


class Item(NamedTuple):
    """One thing that a crawl sees."""

    key: str  # the service's own id
    acl_key: str | None  # the permission object that guards it; None: nothing says which
    record: Mapping[str, Any] | None  # None: it is gone


class Crawl(Protocol):
    """One pass over a service. The methods are called in this order, ``cursor`` last."""

    def items(self, since: Any) -> Iterator[Item]:
        """Yield what changed after the cursor ``since``; None: everything.

        Raises:
            Incomplete: a page of it could not be had.
        """

    def acls(self, keys: Collection[str]) -> Iterable[LandedAcl]:
        """Return the permission objects called ``keys``, read now."""

    def cursor(self) -> Any:
        """Where the next crawl goes on; JSON."""

    def at(self, moment: datetime) -> Any:
        """A cursor after which everything lies that changed at ``moment`` or later."""


def crawled(crawl: Crawl, window: Window | None, *, whole: bool) -> Sequence[Any]:
    """Return the four dlt resources of a crawl: see ``sluice.sources.reading``."""
    reading = _Crawling(crawl, window, whole=whole)
    return four(reading, gone=None if reading.whole else reading.gone)


class _Crawling:
    """One crawl as a reading."""

    def __init__(self, crawl: Crawl, window: Window | None, *, whole: bool):
        self._crawl = crawl
        self._window = window
        self._keys: dict[str, str | None] = {}
        self._gone: set[str] = set()
        self.whole = whole and window is None
        self.observed_at = datetime.now(UTC)

    def rows(self, cursor: Any) -> Iterator[Row]:  # noqa: ARG002  # ours is kept beside the rows
        import dlt

        state = dlt.current.resource_state()
        seen: set[str] = set()
        for item in self._crawl.items(self._since(state)):
            identity = item.key or json.dumps(storable(item.record), sort_keys=True)
            key, problem = row_key(item.key, identity.encode(errors="replace"))
            if item.record is None:
                self._gone.add(key)
                self._keys.pop(key, None)
                continue
            self._gone.discard(key)
            self._keys[key] = item.acl_key
            if key in seen:
                continue  # pages moved while they were read; the next crawl sees the newer version
            seen.add(key)
            problems = [*item.record.get(PROBLEMS, ()), *filter(None, [problem])]
            yield Row(key, {**storable(dict(item.record)), PROBLEMS: problems})
        if self._window is None:
            state[_CURSOR] = self._crawl.cursor()

    def listing(self) -> Mapping[str, str | None]:
        return self._keys

    def gone(self) -> Collection[str]:
        """What left, as far as the service told."""
        return self._gone

    def acls(self) -> Iterable[LandedAcl]:
        self.observed_at = datetime.now(UTC)
        return self._crawl.acls({key for key in self._keys.values() if key is not None})

    def _since(self, state: Mapping[str, Any]) -> Any:
        if self._window is not None:
            return self._crawl.at(self._window.start)
        return None if self.whole else state.get(_CURSOR)
