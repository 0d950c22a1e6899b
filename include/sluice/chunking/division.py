"""What is too long for one chunk is divided where a reader would."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from sluice.chunking.markdown import Block, Count, Kind

# After the mark and the space that end a sentence, or the mark alone where no space follows.
_SENTENCE = re.compile(r"""(?<=[.!?…؟।]\s)|(?<=[.!?…]["')\]”’]\s)|(?<=[。！？])""")
_UP_TO_A_MARK = re.compile(r".+\W", re.DOTALL)
_LINE = re.compile(r"[^\n]*\n|[^\n]+")


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that stays together, and its tokens."""

    text: str
    size: int


@dataclass(frozen=True, slots=True)
class Room:
    """What a chunk's text may hold, in tokens: about ``aim``, at most ``limit``."""

    aim: int
    limit: int

    def less(self, size: int) -> Room:
        """What is left beside ``size`` tokens that every chunk repeats."""
        return Room(max(1, self.aim - size), max(1, self.limit - size))


def divide(block: Block, room: Room, count: Count) -> list[Piece]:
    """Return ``block`` in pieces that fit ``room``, in order."""
    if block.size <= room.limit:
        return [Piece(block.text, block.size)]
    if block.children:
        return [piece for child in block.children for piece in divide(child, room, count)]
    match block.kind:
        case Kind.FENCE:
            return _divide_fence(block, room, count)
        case Kind.TABLE:
            return _divide_table(block, room, count)
        case Kind.LINES:
            return _pieces(_LINE.findall(block.text), room, count)
        case _:
            return _pieces(_SENTENCE.split(block.text), room, count)


def pack(pieces: Sequence[Piece], room: Room) -> Iterator[list[Piece]]:
    """Group neighbours into groups that fit ``room``, about equally full."""
    total = sum(piece.size for piece in pieces)
    fair = total / max(1, round(total / room.aim), math.ceil(total / room.limit))
    group: list[Piece] = []
    size = 0
    for piece in pieces:
        if group and (size + piece.size > room.limit or size + piece.size / 2 > fair):
            yield group
            group, size = [], 0
        group.append(piece)
        size += piece.size
    if group:
        yield group


def cut(text: str, room: int, count: Count) -> Iterator[str]:
    """Cut ``text`` into strings of at most ``room`` tokens, between words if they allow it.

    One character is never cut, whatever it costs.
    """
    size = count(text)
    if size <= room or len(text) < 2:
        yield text
        return
    step = min(math.ceil(len(text) / math.ceil(size / room)), len(text) - 1)
    start = 0
    while start < len(text):
        stop = _word_end(text, start, start + step)
        yield from cut(text[start:stop], room, count)
        start = stop


def _word_end(text: str, start: int, stop: int) -> int:
    """Where to cut between ``start`` and ``stop``: the later the better, but not within a word."""
    if stop >= len(text):
        return len(text)
    half = (start + stop) // 2
    space = max(text.rfind("\n", half, stop), text.rfind(" ", half, stop))
    if space > start:
        return space + 1
    mark = _UP_TO_A_MARK.match(text, start, stop)
    return mark.end() if mark else stop


def _pieces(fragments: Iterable[str], room: Room, count: Count) -> list[Piece]:
    return [
        Piece(part, count(part))
        for fragment in fragments
        if fragment
        for part in cut(fragment, room.limit, count)
    ]


def _divide_fence(block: Block, room: Room, count: Count) -> list[Piece]:
    first, *inside = block.text.rstrip("\n").split("\n")
    marks = block.fence[: len(block.fence) - len(block.fence.lstrip("`~"))]
    indent = re.sub(r"[^>\s]", " ", first[: max(0, first.find(marks))])  # a list's marker is not
    if inside and inside[-1].lstrip("> \t").startswith(marks):
        inside.pop()  # an unclosed fence has no such line
    again, close = f"{indent}{block.fence}\n", f"{indent}{marks}\n"
    around = max(count(first), count(again)) + count(close)
    if around > room.aim // 2:
        return _pieces(_LINE.findall(block.text), room, count)
    room = room.less(around)
    lines = _pieces((line + "\n" for line in inside), room, count)
    opened = [first + "\n", *[again] * len(lines)]
    return [
        Piece(f"{head}{_joined(group)}{close}", around + sum(line.size for line in group))
        for head, group in zip(opened, pack(lines, room), strict=False)
    ]


def _divide_table(block: Block, room: Room, count: Count) -> list[Piece]:
    lines = _LINE.findall(block.text)
    header, rows = "".join(lines[:2]), lines[2:]
    above = count(header)
    if above > room.aim // 2:
        return _pieces(lines, room, count)
    room = room.less(above)
    return [
        Piece(header + _joined(group), above + sum(row.size for row in group))
        for group in pack(_pieces(rows, room, count), room)
    ]


def _joined(pieces: Iterable[Piece]) -> str:
    return "".join(piece.text for piece in pieces)
