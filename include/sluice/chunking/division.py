"""What is too long for one chunk is divided where a reader would."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sluice.chunking.markdown import Block, Count, Kind

# After the mark and the space that end a sentence, or the mark alone where no space follows.
_SENTENCE = re.compile(r"""(?<=[.!?…؟।]\s)|(?<=[.!?…]["')\]”’]\s)|(?<=[。！？])""")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stays together, and its tokens."""

    text: str
    size: int


def divide(block: Block, room: int, count: Count) -> list[Piece]:
    """Return ``block`` in pieces of at most ``room`` tokens each, in order."""
    if block.size <= room:
        return [Piece(block.text, block.size)]
    if block.children:
        return [piece for child in block.children for piece in divide(child, room, count)]
    match block.kind:
        case Kind.FENCE:
            return _divide_fence(block, room, count)
        case Kind.TABLE:
            return _divide_table(block, room, count)
        case Kind.LINES:
            return _pieces(block.text.splitlines(keepends=True), room, count)
        case _:
            return _pieces(_SENTENCE.split(block.text), room, count)


def pack(pieces: Sequence[Piece], room: int) -> Iterator[list[Piece]]:
    """Group neighbours into as few groups of at most ``room`` tokens, about equally full."""
    total = sum(piece.size for piece in pieces)
    fair = total / max(1, math.ceil(total / room))
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and (size + piece.size > room or size >= fair):
            yield group
            group, size = [], 0
        group.append(piece)
        size += piece.size
    if group:
        yield group


def cut(text: str, room: int, count: Count) -> Iterator[str]:
    """Cut ``text`` into strings of at most ``room`` tokens, at line ends or spaces if any is near.

    One character is never cut, whatever it costs.
    """
    size = count(text)
    if size <= room or len(text) < 2:
        yield text
        return
    step = math.ceil(len(text) / math.ceil(size / room))
    step = min(step, len(text) - 1)
    start = 0
    while start < len(text):
        stop = start + step
        if stop < len(text):
            near = start + step // 2
            stop = text.rfind("\n", near, stop) + 1 or text.rfind(" ", near, stop) + 1 or stop
        yield from cut(text[start:stop], room, count)
        start = stop


def _pieces(fragments: Iterable[str], room: int, count: Count) -> list[Piece]:
    return [
        Piece(part, count(part))
        for fragment in fragments
        if fragment
        for part in cut(fragment, room, count)
    ]


def _divide_fence(block: Block, room: int, count: Count) -> list[Piece]:
    first, *inside = block.text.rstrip("\n").split("\n")
    marks = block.fence[: len(block.fence) - len(block.fence.lstrip("`~"))]
    if inside and inside[-1].lstrip("> \t").startswith(marks):
        inside.pop()  # an unclosed fence has no such line
    around = count(f"{block.fence}\n{marks}\n")
    if around > room // 2 or count(first) > room // 2:
        return _pieces(block.text.splitlines(keepends=True), room, count)
    lines = _pieces((line + "\n" for line in inside), room - around, count)
    opened = [first, *[block.fence] * len(lines)]
    return [
        Piece(f"{head}\n{_joined(group)}{marks}\n", around + sum(line.size for line in group))
        for head, group in zip(opened, pack(lines, room - around), strict=False)
    ]


def _divide_table(block: Block, room: int, count: Count) -> list[Piece]:
    lines = block.text.splitlines(keepends=True)
    header, rows = "".join(lines[:2]), lines[2:]
    above = count(header)
    if above > room // 2:
        return _pieces(lines, room, count)
    groups = pack(_pieces(rows, room - above, count), room - above)
    return [Piece(header + _joined(g), above + sum(row.size for row in g)) for g in groups]


def _joined(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
