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
    def __init__(self, embedder: Embedder, target: int):
        self._count = embedder.count_tokens
        self._window = embedder.window
        self._room = Room(target, min(int(target * _STRETCH), embedder.window))

    def lay(self, section: Section, above: Path) -> Iterator[tuple[Path, str]]:
        """Yield the path and the source of each chunk of ``section``."""
        titles = (*above, section.title) if section.title else above
        path = self._shortened(titles)
        room = self._room.less(self._count(" > ".join(path) + "\n"))
        legible = path[-1:] == titles[-1:]  # else the text must say the title
        if section.size <= room.limit and section.body.strip():
            yield path, section.body if legible else section.source
            return
        own = [] if legible and section.body.strip() else divide(section.heading, room, self._count)
        own += [piece for block in section.blocks for piece in divide(block, room, self._count)]
        *full, last = list(pack(own, room)) or [[]]
        yield from ((path, "".join(piece.text for piece in group)) for group in full)

        text, size = "".join(piece.text for piece in last), sum(piece.size for piece in last)
        joined: list[Section] = []
        for child in section.children:
            if (text or joined) and size + child.size > room.aim:
                yield from self._joined(path, titles, text, joined)
                text, size, joined = "", 0, []
            joined.append(child)
            size += child.size
        yield from self._joined(path, titles, text, joined)

    def _joined(
        self, path: Path, titles: Path, text: str, sections: list[Section]
    ) -> Iterator[tuple[Path, str]]:
        if not text and len(sections) == 1:
            yield from self.lay(sections[0], titles)
        elif text or sections:
            yield path, text + "".join(section.source for section in sections)

    def fit(self, path: Path, source: str) -> Iterator[str]:
        """Yield ``source``, in as many parts as the window demands: sizes add up only roughly."""
        text = textwrap.dedent(source.strip("\n")).rstrip()
        whole = Chunk(ordinal=0, path=path, text=text).searched
        if self._count(whole) <= self._window or len(text) < 2:
            yield text
            return
        for part in cut(text, max(1, self._count(text) // 2), self._count):
            yield from self.fit(path, part)

    def _shortened(self, titles: Path) -> Path:
        """The path in at most a quarter of the target: middle titles go first, then letters."""
        path = tuple(_abridged(title, _LONGEST_TITLE) for title in titles)
        while self._count(" > ".join(path)) > self._room.aim // 4:
            if len(path) > 2:
                path = path[:1] + path[2:]
                continue
            longest = max(path, key=len)
            if len(longest) < 4:
                break
            path = tuple(_abridged(t, len(longest) // 2) if t == longest else t for t in path)
        return path


def _abridged(title: str, longest: int) -> str:
    return title if len(title) <= longest else title[: longest - 1].rstrip() + "…"
