"""A process that lands a scripted source, and can be stopped anywhere.

Run as ``python landing_child.py URL NAME CONTENT``; CONTENT is JSON: row keys and texts. It says on
stdout where it is, and goes on when it reads a line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sluice import landing
from sluice.model import PUBLIC, Column, Draft, Grant, LandedAcl, LandedRow, Policy, Window
from sluice.ports import Kit
from sluice.sources.reading import Row, four, landed


@dataclass
class Scripted:
    """A source that holds ``content`` and tells ``reached`` where its reading is."""

    name: str
    content: Mapping[str, str]
    reached: Callable[[str], object] = lambda _: None
    kind: str = "scripted"
    policy: Policy = field(default_factory=Policy)

    def columns(self) -> Sequence[Column] | None:
        return None

    def resources(self, window: Window | None, kit: Kit, *, whole: bool) -> Sequence[Any]:
        return four(_Reading(self))

    def draft(self, row: LandedRow) -> Draft:
        return Draft(key=row.key, native_id=row.key, title="t", text=row.record["text"], uri="u")


class _Reading:
    """Like a folder: what is known with the same text is not read again."""

    def __init__(self, source: Scripted):
        self._source = source
        self.observed_at = datetime.now(UTC)

    def rows(self, cursor: Any) -> Iterator[Row]:
        known = landed("text")
        self._source.reached("rows")
        for key, text in self._source.content.items():
            if known.get(key) != text:
                yield Row(key, {"text": text})

    def listing(self) -> Mapping[str, str | None]:
        self._source.reached("listing")
        self.observed_at = datetime.now(UTC)
        return dict.fromkeys(self._source.content, "all")

    def acls(self) -> Iterable[LandedAcl]:
        self._source.reached("acls")
        return [LandedAcl(key="all", grants=frozenset({Grant(PUBLIC)}))]


def _wait_for_the_parent(place: str) -> None:
    print(place, flush=True)  # noqa: T201  # the parent reads it
    sys.stdin.readline()


if __name__ == "__main__":
    url, name, content = sys.argv[1:]
    landing.land(
        Scripted(name, json.loads(content), _wait_for_the_parent), landing.Zone(url, "main")
    )
    _wait_for_the_parent("done")
