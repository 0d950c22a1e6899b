"""A document becomes chunks: what is embedded, searched and shown as one.

A section that fits is one chunk; a longer one gives its own text and its sub-sections, neighbours
joined while they fit. Lists, tables and code are divided between items, rows and lines, prose
between sentences. Each chunk carries the titles above it, so it is understood, and found, alone.

Every word of the document is in some chunk, in reading order; a title that had to be shortened in
the path stands in the text as well. The same document gives the same chunks.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sluice.chunking.division import Room, cut, divide, pack
from sluice.chunking.markdown import Section, parse
from sluice.model import Chunk
from sluice.ports import Embedder

CHUNKER = "structure-1"  # names the recipe: raise it when the same text would give other chunks
TARGET = 300  # tokens of a chunk, path included: about a screen of text, one subject
_STRETCH = 1.5  # times the target: what fits is not divided, so no chunk is a mere remainder
_LONGEST_TITLE = 200  # characters of one title in a path

Path = tuple[str, ...]
Trail = tuple[Section, ...]  # a section and those around it, the outermost first


def chunk(title: str, text: str, embedder: Embedder, target: int = TARGET) -> list[Chunk]:
    """Divide a document.

    Args:
        title: of the document; the first element of every path.
        text: Markdown.
        embedder: whose tokens are counted and whose window is kept.
        target: tokens to aim at, path included; a chunk has at most half as many again, and never
            more than the embedder's window.

    Returns:
        Chunks with ordinals 0, 1, 2, …; none if ``text`` is blank.
    """
    if not text.strip():
        return []
    layout = _Layout(embedder, min(target, embedder.window))
    found = (
        (path, part)
        for path, source in layout.lay(parse(title, text, embedder.count_tokens), ())
        for part in layout.fit(path, source)
        if part.strip()
    )
    return [Chunk(ordinal=i, path=path, text=part) for i, (path, part) in enumerate(found)]


class _Layout:
    """Lays one document out; it remembers which headings the reader has seen."""

    def __init__(self, embedder: Embedder, target: int):
        self._count = embedder.count_tokens
        self._window = embedder.window
        self._room = Room(target, min(int(target * _STRETCH), embedder.window))
        self._told: set[int] = set()  # ids of sections
        self._paths: dict[tuple[int, ...], tuple[Path, set[int]]] = {}  # by the ids of a trail

    def lay(self, section: Section, above: Trail) -> Iterator[tuple[Path, str]]:
        """Yield the path and the source of each chunk of ``section``."""
        trail = (*above, section)
        path, _ = self._path(trail)
        room = self._room.less(self._count(" > ".join(path) + "\n"))
        body = section.body
        if section.size <= room.limit and body.strip():
            yield self._chunk(trail, body)
            return
        blocks = section.blocks if body.strip() else [section.heading]
        own = [piece for block in blocks for piece in divide(block, room, self._count)]
        *full, last = list(pack(own, room)) or [[]]
        yield from (self._chunk(trail, "".join(piece.text for piece in group)) for group in full)

        text, size = "".join(piece.text for piece in last), sum(piece.size for piece in last)
        joined: list[Section] = []
        for child in section.children:
            if (text or joined) and size + child.size > room.aim:
                yield from self._joined(trail, text, joined)
                text, size, joined = "", 0, []
            joined.append(child)
            size += child.size
        yield from self._joined(trail, text, joined)

    def _joined(
        self, trail: Trail, text: str, sections: list[Section]
    ) -> Iterator[tuple[Path, str]]:
        if not text and len(sections) == 1:
            yield from self.lay(sections[0], trail)
        elif text or sections:
            yield self._chunk(trail, text + "".join(section.source for section in sections))

    def _chunk(self, trail: Trail, text: str) -> tuple[Path, str]:
        """The text under its path, after the headings that no path has shown in full so far."""
        path, shown = self._path(trail)
        untold = [each for each in trail if id(each) not in self._told]
        self._told.update(map(id, trail))
        while untold and id(untold[0]) in shown:
            del untold[0]  # what follows a heading that the text must say is said after it
        return path, "".join(each.heading.text for each in untold) + text

    def fit(self, path: Path, source: str) -> Iterator[str]:
        """Yield ``source``, in as many parts as the window demands: sizes add up only roughly."""
        text = textwrap.dedent(source.strip("\n")).rstrip()
        whole = Chunk(ordinal=0, path=path, text=text).searched
        if self._count(whole) <= self._window or len(text) < 2:
            yield text
            return
        room = self._window - self._count(" > ".join(path) + "\n")
        room = max(1, min(room, self._count(text) // 2))  # each part is smaller, so this ends
        for part in cut(text, room, self._count):
            yield from self.fit(path, part)

    def _path(self, trail: Trail) -> tuple[Path, set[int]]:
        """As :meth:`_shortened`, which costs more than to remember it."""
        ids = tuple(map(id, trail))
        if ids not in self._paths:
            self._paths[ids] = self._shortened(trail)
        return self._paths[ids]

    def _shortened(self, trail: Trail) -> tuple[Path, set[int]]:
        """The titles, in a quarter of the room, and the ids of the sections shown in full by it.

        Middle titles go first, then letters.
        """
        titled = [section for section in trail if section.title]
        kept = [(_abridged(section.title, _LONGEST_TITLE), section) for section in titled]
        while self._count(" > ".join(title for title, _ in kept)) > self._room.aim // 4:
            if len(kept) > 2:
                del kept[1]
                continue
            longest = max(len(title) for title, _ in kept)
            if longest < 4:
                break
            kept = [(_abridged(title, max(3, longest // 2)), each) for title, each in kept]
        shown = {id(section) for section in trail if not section.title}
        shown |= {id(section) for title, section in kept if title == section.title}
        return tuple(title for title, _ in kept), shown


def _abridged(title: str, longest: int) -> str:
    return title if len(title) <= longest else title[: longest - 1].rstrip() + "…"
