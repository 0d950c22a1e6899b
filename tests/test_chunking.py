"""Chunks: nothing lost, nothing too long, divided where a reader would."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluice.chunking import chunk
from sluice.embedding import open_embedder
from sluice.model import Chunk
from sluice.ports import Vectors

EMBEDDER = open_embedder("local-static")


class Narrow:
    """The tokens of the real model, with a window of our choice."""

    model, dimensions = EMBEDDER.model, EMBEDDER.dimensions

    def __init__(self, window: int):
        self.window = window

    def count_tokens(self, text: str) -> int:
        """How many tokens ``text`` has."""
        return EMBEDDER.count_tokens(text)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors."""
        return EMBEDDER.embed(texts)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text)


def _assert_whole(text: str, chunks: Sequence[Chunk]) -> None:
    """Assert that every word of ``text`` is in the chunks, in reading order."""
    found = iter(_words("\n".join(each.searched for each in chunks)))
    for position, word in enumerate(words := _words(text)):
        assert word in found, f"lost: {' '.join(words[max(0, position - 5) : position + 5])}"


def _assert_sound(title: str, text: str, chunks: Sequence[Chunk], window: int) -> None:
    _assert_whole(text, chunks)
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))
    for each in chunks:
        assert EMBEDDER.count_tokens(each.searched) <= window
        assert each.text.strip()


words = st.text("abcdefghij", min_size=1, max_size=9)
lines = st.lists(words, min_size=1, max_size=40).map(" ".join)
sentences = st.lists(lines.map("{}. ".format), min_size=1, max_size=4).map("".join)
headings = st.tuples(st.integers(1, 6), lines).map(lambda h: f"{'#' * h[0]} {h[1]}\n\n")
setext = st.tuples(lines, st.sampled_from("=-")).map(lambda h: f"{h[0]}\n{h[1] * 3}\n\n")
lists = st.lists(st.tuples(st.integers(0, 3), lines), min_size=1, max_size=12).map(
    lambda items: "".join(f"{'  ' * depth}- {item}\n" for depth, item in items) + "\n"
)
tables = st.lists(st.tuples(lines, words), min_size=2, max_size=15).map(
    lambda rows: (
        "| left | right |\n|---|---|\n"
        + "".join(f"| {left} | {right} |\n" for left, right in rows)
        + "\n"
    )
)
fences = st.tuples(st.sampled_from(["```", "~~~~"]), words, st.lists(lines, max_size=20)).map(
    lambda f: f"{f[0]}{f[1]}\n" + "\n".join(f[2]) + f"\n{f[0]}\n\n"
)
quotes = sentences.map("> {}\n\n".format)
definitions = st.tuples(words, words).map(lambda d: f"[{d[0]}]: http://{d[1]}.org\n\n")
noise = st.text("#`~|-*> \n\t1.[](a", max_size=60)
blocks = st.one_of(
    sentences.map("{}\n\n".format),
    headings,
    setext,
    lists,
    tables,
    fences,
    quotes,
    definitions,
    noise,
)
documents = st.lists(blocks, min_size=1, max_size=14).map("".join)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    title=st.one_of(lines, st.just("")), text=documents, window=st.sampled_from([40, 60, 254, 512])
)
def test_any_document_is_divided_without_loss(title: str, text: str, window: int) -> None:
    """Every word is kept in order, no chunk exceeds the window, the same text gives the same."""
    chunks = chunk(title, text, Narrow(window))
    _assert_sound(title, text, chunks, window)
    assert chunks == chunk(title, text, Narrow(window))
    assert bool(chunks) == bool(text.strip())


@given(st.text(max_size=400), st.text(max_size=40))
def test_any_text_at_all_is_divided(text: str, title: str) -> None:
    """Controls, surrogates, marks and emoji: no error, no chunk too long, ids in order."""
    chunks = chunk(title, text, Narrow(40))
    assert all(EMBEDDER.count_tokens(each.searched) <= 40 for each in chunks)
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))
    assert not any("\0" in each.text for each in chunks)
    "".join(each.searched for each in chunks).encode()


def test_a_short_document_is_one_chunk() -> None:
    """What fits stays together, headings and all."""
    text = "Intro.\n\n## One\n\nFirst.\n\n## Two\n\nSecond."
    assert chunk("Guide", text, EMBEDDER) == [Chunk(ordinal=0, path=("Guide",), text=text)]


def test_a_long_section_carries_the_titles_above_it() -> None:
    """A chunk is understood alone."""
    body = "A sentence about parental leave and its many conditions. " * 40
    text = f"# Leave\n\n## Parental **leave**\n\n### In `Norway`\n\n{body}\n\n## Sick leave\n{body}"
    chunks = chunk("Handbook", text, EMBEDDER)
    paths = list(dict.fromkeys(each.path for each in chunks))
    assert paths == [
        ("Handbook", "Leave", "Parental leave", "In Norway"),
        ("Handbook", "Leave", "Sick leave"),
    ]
    assert all(not each.text.startswith("#") for each in chunks)


def test_a_page_that_repeats_its_title_says_it_once() -> None:
    """The first heading is the title: the path has it, once."""
    (only,) = chunk("Leave policy", "# Leave policy\n\nTwenty days.", EMBEDDER)
    assert (only.path, only.text) == (("Leave policy",), "Twenty days.")


def test_small_neighbours_are_joined_under_their_parent() -> None:
    """Ten tiny sections are not ten chunks; their headings stand in the text."""
    text = "".join(f"## Step {i}\n\nDo thing number {i} with care.\n\n" for i in range(60))
    chunks = chunk("Guide", text, EMBEDDER)
    assert 1 < len(chunks) < 8
    assert all(each.path == ("Guide",) and "## Step" in each.text for each in chunks)


def test_a_long_table_repeats_its_header_and_divides_no_row() -> None:
    """Each part of a table is a table."""
    rows = [f"| Country {i} | {i} days, pro rata, after probation |" for i in range(120)]
    header = ["| Country | Leave |", "|---|---:|"]
    chunks = chunk("Leave", "\n".join([*header, *rows]), EMBEDDER)
    assert len(chunks) > 2
    parts = [each.text.split("\n") for each in chunks]
    assert all(part[:2] == header for part in parts)
    assert [line for part in parts for line in part[2:]] == rows


@pytest.mark.parametrize(("before", "inside"), [("", ""), ("1. Run this:\n\n", "   ")])
def test_a_long_fence_is_closed_and_opened_again_between_lines(before: str, inside: str) -> None:
    """Each part of a listing is a listing in its language, also inside a list."""
    code = [f"{inside}print('line number {i}', file=sys.stderr)" for i in range(150)]
    text = "\n".join([before, f"{inside}```python", *code, f"{inside}```"])
    chunks = chunk("Code", text, EMBEDDER)
    assert len(chunks) > 2
    for each in chunks[1:]:
        lines_ = [line.strip() for line in each.text.split("\n")]
        assert lines_[0] == "```python"
        assert lines_[-1] == "```"
    listed = [line.strip() for each in chunks for line in each.text.split("\n") if "print(" in line]
    assert listed == [line.strip() for line in code]


def test_a_fence_that_is_never_closed_is_code_to_the_end() -> None:
    """What looks like a heading in it is no heading."""
    text = "```\n" + "\n".join(f"# comment {i} about something" for i in range(120))
    chunks = chunk("Code", text, EMBEDDER)
    assert all(each.path == ("Code",) for each in chunks)
    _assert_whole(text, chunks)


def test_prose_is_divided_between_sentences() -> None:
    """No sentence that fits is cut, and the parts are about equally long."""
    sentence = "The quick brown fox, number {}, jumps over the lazy dog near the old river bank. "
    text = "".join(sentence.format(i) for i in range(60)).strip()
    chunks = chunk("Story", text, EMBEDDER)
    assert len(chunks) > 2
    assert all(each.text.startswith("The quick") for each in chunks)
    assert all(each.text.endswith("bank.") for each in chunks)
    sizes = [EMBEDDER.count_tokens(each.text) for each in chunks]
    assert min(sizes) > 0.6 * max(sizes)


def test_a_list_is_divided_between_its_items() -> None:
    """An item that fits is never cut."""
    items = [f"- Item {i} has some words about what to do next, and why." for i in range(80)]
    chunks = chunk("List", "\n".join(items), EMBEDDER)
    assert len(chunks) > 2
    assert [line for each in chunks for line in each.text.split("\n")] == items


def test_headings_alone_are_kept() -> None:
    """A table of contents is a document too."""
    text = "\n".join(f"{'#' * (1 + i % 3)} Heading {i}" for i in range(300))
    _assert_sound("Contents", text, chunk("Contents", text, EMBEDDER), EMBEDDER.window)


@pytest.mark.parametrize("text", ["", " \n\t\n ", "\r\n"])
def test_a_blank_document_has_no_chunks(text: str) -> None:
    """There is nothing to find."""
    assert chunk("Title", text, EMBEDDER) == []


def test_endless_titles_are_shortened_in_the_path_and_kept_in_the_text() -> None:
    """A paragraph above a rule is a heading by the letter: it may not fill every chunk."""
    long = "word " * 3_000 + "end"
    text = f"{long}\n---\n\nThe body of the section.\n\n" + "".join(
        f"{'#' * level} {'deep ' * 40}{level}\n\nText {level}. {'filler ' * 300}\n\n"
        for level in range(2, 7)
    )
    chunks = chunk(long, text, EMBEDDER)
    _assert_sound(long, text, chunks, EMBEDDER.window)
    _assert_whole(long, chunks)
    assert all(EMBEDDER.count_tokens(" > ".join(each.path)) <= 75 for each in chunks)


def test_a_path_that_is_too_long_loses_its_middle_first() -> None:
    """The document's title and the nearest heading say most."""
    text = "".join(f"{'#' * level} {'many ' * 20}{level}\n\n" for level in range(1, 5))
    (*_, last) = chunk("Guide", text + "##### Nearest\n\n" + "Body text. " * 200, EMBEDDER)
    assert last.path == ("Guide", *(f"{'many ' * 20}{level}" for level in (2, 3, 4)), "Nearest")


class Crowded(Narrow):
    """An embedder for which two texts together are more than the sum of both."""

    def count_tokens(self, text: str) -> int:
        """More than proportional to the length."""
        return int(len(text) ** 1.3 / 4)


@given(documents)
def test_the_window_holds_though_sizes_do_not_add_up(text: str) -> None:
    """The last word has the count of the whole chunk."""
    crowded = Crowded(120)
    chunks = chunk("Title", text, crowded)
    assert all(crowded.count_tokens(each.searched) <= 120 for each in chunks)


def test_what_no_store_takes_is_replaced() -> None:
    """NUL and lone surrogates become the replacement mark, in text and title."""
    (only,) = chunk("a\0b\ud800", "c\0d\udfff\r\ne", EMBEDDER)
    assert (only.path, only.text) == (("a\ufffdb\ufffd",), "c\ufffdd\ufffd\ne")


HOSTILE = {
    "one line without spaces": "x" * 1_000_000,
    "one line of words": "word " * 200_000,
    "quotes in quotes": "> " * 50_000 + "a",
    "lists in lists": "- " * 50_000 + "a",
    "indented items": "\n".join(" " * i + "- a" for i in range(1_000)),
    "unclosed fence": "```py\n" + "x = 1\n" * 50_000,
    "headings": "\n".join("#" * (i % 6 + 1) + f" h{i}" for i in range(20_000)),
    "zero width": "\u200b" * 200_000,
    "brackets": "[" * 100_000,
    "stars": "*a " * 100_000,
    "wide table": "|" + "a|" * 20_000 + "\n|" + "-|" * 20_000 + "\n" + "|b" * 20_000,
    "link definitions": "\n".join(f"[a{i}]: http://x/{i}" for i in range(10_000)),
    "tags": "<div>" * 50_000,
    "heading of marks": "# " + "*a_" * 50_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_take_seconds_and_no_chunk_is_too_long(name: str) -> None:
    """Nothing recurses too deep, nothing is quadratic."""
    began = time.monotonic()
    chunks = chunk("T", HOSTILE[name], EMBEDDER)
    assert time.monotonic() - began < 20
    assert chunks
    assert max(EMBEDDER.count_tokens(each.searched) for each in chunks) <= EMBEDDER.window
