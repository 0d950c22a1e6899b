"""Markdown becomes a tree of sections and blocks; no line of it is lost.

Only the block structure is parsed. Every block holds its own source lines and all that follow up to
the next block, so the blocks of a document, one after the other, are the document.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from markdown_it import MarkdownIt
from markdown_it.token import Token

Count = Callable[[str], int]  # tokens of a text
_LONGEST_TITLE = 300  # characters of a heading that are looked at for markup
_MARK = re.compile(r"[^\w\s.,:;()/'\"?-]")  # what may be markup
_MARKUP = {"text", "code_inline", "em_open", "em_close", "strong_open", "strong_close", "softbreak"}

_BLOCKS = MarkdownIt("commonmark").enable("table").disable("inline")
_INLINE = MarkdownIt("commonmark")


class Kind(enum.Enum):
    """How a block is divided where it is too long."""

    PROSE = enum.auto()  # at sentences
    LINES = enum.auto()  # at lines
    FENCE = enum.auto()  # at lines, the fence closed and opened again
    TABLE = enum.auto()  # at rows, the header repeated


_KINDS = {
    "fence": Kind.FENCE,
    "table_open": Kind.TABLE,
    "code_block": Kind.LINES,
    "html_block": Kind.LINES,
}


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive source lines, in ``size`` tokens; ``children``, where there are any, are all of
    it."""

    kind: Kind
    text: str
    size: int
    fence: str = ""  # what opens a code fence again: its marks and its language
    children: tuple[Block, ...] = ()


@dataclass(slots=True)
class Section:
    """A heading, what stands under it, and the sections below."""

    title: str  # as it reads: without marks
    level: int  # 0 is the document
    heading: Block
    blocks: list[Block] = field(default_factory=list)
    children: list[Section] = field(default_factory=list)

    @property
    def source(self) -> str:
        """All of it, as it was written."""
        return self.heading.text + self.body

    @property
    def body(self) -> str:
        """All of it but the heading."""
        own = "".join(block.text for block in self.blocks)
        return own + "".join(child.source for child in self.children)

    @property
    def size(self) -> int:
        own = self.heading.size + sum(block.size for block in self.blocks)
        return own + sum(child.size for child in self.children)


@dataclass(slots=True)
class _Node:
    token: Token
    start: int  # first line
    end: int  # the line after the last
    children: list[_Node] = field(default_factory=list)
    title: str = ""


def parse(title: str, text: str, count: Count) -> Section:
    """Return the document as one section, whose heading is ``title``."""
    text = _clean(text)
    lines = text.split("\n")
    title = " ".join(_clean(title).split())
    root = Section(title, 0, _leaf(Kind.PROSE, [title], count) if title else _NOTHING)
    open_sections = [root]
    nodes = _tree(_BLOCKS.parse(text))
    first = nodes[0].start if nodes else len(lines)
    root.blocks += _rest(lines, 0, first, count)
    stops = [*(node.start for node in nodes[1:]), len(lines)]
    for node, stop in zip(nodes, stops, strict=False):  # no nodes, no stops
        if node.token.type == "heading_open":
            rest = _rest(lines, node.end, stop, count)
            heading = lines[node.start : node.end if rest else stop]
            section = Section(
                node.title, int(node.token.tag[1:]), _leaf(Kind.PROSE, heading, count), rest
            )
            while open_sections[-1].level >= section.level:
                open_sections.pop()
            open_sections[-1].children.append(section)
            open_sections.append(section)
        else:
            open_sections[-1].blocks.append(_block(node, node.start, stop, lines, count))
    return _without_repeated_title(root)


def _clean(text: str) -> str:
    """Line ends as ``\\n``; what no store takes (NUL, lone surrogates) as the replacement mark."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _without_repeated_title(root: Section) -> Section:
    """A page that opens with its own title as a heading has one title, not two."""
    if root.blocks or not root.children or root.children[0].title != root.title:
        return root
    first, *others = root.children
    return Section(root.title, 0, root.heading, first.blocks, [*first.children, *others])


def _tree(tokens: Sequence[Token]) -> list[_Node]:
    """The blocks that have lines, each with those directly inside it."""
    roots: list[_Node] = []
    path: list[_Node | None] = []  # open tokens; None: one without lines
    for token in tokens:
        if token.type == "inline" and path and path[-1] and path[-1].token.type == "heading_open":
            path[-1].title = _plain(token.content)
        elif token.nesting < 0:
            path.pop()
        elif token.type != "inline":
            node = _Node(token, token.map[0], token.map[1]) if token.map else None
            if node:
                parent = next((open_ for open_ in reversed(path) if open_), None)
                (parent.children if parent else roots).append(node)
            if token.nesting > 0:
                path.append(node)
    return roots


def _plain(heading: str) -> str:
    """A heading as it reads; one with links or images stays as written, to lose no address."""
    if len(heading) <= _LONGEST_TITLE and _MARK.search(heading):
        parts = _INLINE.parseInline(heading)[0].children or []
        if all(part.type in _MARKUP for part in parts):
            heading = "".join(" " if p.type == "softbreak" else p.content for p in parts)
    return " ".join(heading.split())


def _block(node: _Node, start: int, stop: int, lines: Sequence[str], count: Count) -> Block:
    """The block from ``start`` up to ``stop``, which may lie beyond the end of ``node``."""
    rest = _rest(lines, node.end, stop, count)
    if rest:  # link definitions, which are no block of their own
        return _container([_block(node, start, node.end, lines, count), *rest])
    kind = _KINDS.get(node.token.type, Kind.PROSE)
    if kind is Kind.PROSE and node.children:
        starts = [start, *(child.start for child in node.children[1:])]
        stops = [*starts[1:], stop]
        return _container(
            [
                _block(child, begin, end, lines, count)
                for child, begin, end in zip(node.children, starts, stops, strict=True)
            ]
        )
    fence = node.token.markup + node.token.info if kind is Kind.FENCE else ""
    return _leaf(kind, lines[start:stop], count, fence)


def _rest(lines: Sequence[str], start: int, stop: int, count: Count) -> list[Block]:
    between = lines[start:stop]
    return [_leaf(Kind.PROSE, between, count)] if any(map(str.strip, between)) else []


def _leaf(kind: Kind, lines: Sequence[str], count: Count, fence: str = "") -> Block:
    text = "\n".join(lines) + "\n"
    return Block(kind, text, count(text), fence)


def _container(children: list[Block]) -> Block:
    text = "".join(child.text for child in children)
    return Block(Kind.PROSE, text, sum(child.size for child in children), "", tuple(children))


_NOTHING = Block(Kind.PROSE, "", 0)
