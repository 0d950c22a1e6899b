"""Terms: what a question and a chunk must share to meet."""

from __future__ import annotations

import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice.index.analysis import _stem, analyse


def _meets(question: str, text: str) -> bool:
    """Whether every term of the question is one of the text's."""
    asked = set(analyse(question).split())
    return bool(asked) and asked <= set(analyse(text).split())


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("running", "She runs every day"),
        ("policies", "The policy on leave"),
        ("company", "the company's rules"),
        ("company’s", "a company"),
        ("RÉSUMÉ", "Send your resume"),
        ("resume", "Send your re\u0301sume\u0301"),
        ("strasse", "Hauptstraße"[5:]),
        ("ﬁle", "the file"),
        ("soft", "so\u00adft and ze\u200bro"),
        ("Ｆｕｌｌ", "full width"),
    ],
)
def test_spellings_of_one_word_meet(question: str, text: str) -> None:
    """Case, accents, ligatures, width, invisible characters and endings do not part words."""
    assert _meets(question, text)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("MGP-2", "see MGP-2 for details"),
        ("mgp-2", "MGP_2"),
        ("MGP 2", "MGP-2"),
        ("mgp2", "MGP-2"),
        ("config.yaml", "edit /etc/app/config.yaml first"),
        ("config", "edit config.yaml"),
        ("E4521", "error E4521: disk"),
        ("snake_case_name", "call snake_case_name()"),
        ("10.1.2.3", "host 10.1.2.3."),
        ("v1.2.3", "since v1.2.3,"),
        ("2024-05-01", "on 2024-05-01"),
        ("1000", "1,000 people"),
        ("user@example.com", "write to <user@example.com>"),
        ("email", "by e-mail"),
        ("reopen", "re-open the ticket"),
        ("4-PBA", "4-PBA treatment"),
    ],
)
def test_identifiers_are_found_whole_and_in_parts(question: str, text: str) -> None:
    """What people paste from a screen or a log finds where it stands."""
    assert _meets(question, text)


@pytest.mark.parametrize(
    ("question", "text"),
    [("1.5", "15 people"), ("mgp2", "MGP and 2"), ("universe", "a cat"), ("E4521", "E4522")],
)
def test_what_is_different_stays_different(question: str, text: str) -> None:
    """No folding goes so far that other things are found."""
    assert not _meets(question, text)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("文章", "これは日本語の文章です"),
        ("한국어", "한국어를 배웁니다"),
        ("ภาษา", "ภาษาไทย"),
        ("हिन्दी", "यह हिन्दी में है"),
        ("москва", "Москва, столица"),
        ("schön", "ein schöner Tag, schön"),
        ("مرحبا", "مرحبا بالعالم"),
    ],
)
def test_other_languages_are_findable(question: str, text: str) -> None:
    """Words of other scripts meet, also where no spaces part them."""
    assert _meets(question, text)


def test_stop_words_are_dropped_and_a_question_of_them_has_no_terms() -> None:
    """They would match everything; identifiers that contain one keep it."""
    assert analyse("What is the policy that you have?") == "polici"
    assert analyse("don’t who isn't") == ""
    assert "a1" in analyse("A-1 steak").split()


@given(st.text(max_size=300))
def test_any_text_gives_plain_terms(text: str) -> None:
    """Terms are folded, bounded, and parted by single spaces; the same text gives the same ones."""
    terms = analyse(text)
    assert terms == analyse(text) == " ".join(terms.split())
    for term in terms.split():
        assert 0 < len(term) <= 64
        assert not any("A" <= c <= "Z" for c in term)
        assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zs", "Zl"} for c in term)


@given(st.lists(st.sampled_from("a-1._/@:'+& é日\u200bx"), max_size=60).map("".join))
def test_a_text_always_meets_itself_in_a_longer_one(text: str) -> None:
    """A paragraph pasted as the question has no term that its own chunk lacks."""
    assert set(analyse(text).split()) <= set(analyse(f"Before that. {text} And after.").split())


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        "a-" * 500_000,
        "a.1" * 300_000,
        "'" * 1_000_000,
        "日本" * 300_000,
        "é " * 500_000,
    ],
    ids=["word", "hyphens", "digits", "quotes", "han", "accents"],
)
def test_a_megabyte_of_anything_takes_a_moment(text: str) -> None:
    """No input makes it quadratic."""
    began = time.monotonic()
    analyse(text)
    assert time.monotonic() - began < 10


def test_threads_do_not_disturb_each_other() -> None:
    """The stemmer keeps state; questions are analysed in many threads at once."""
    stems, ends = ("relat", "nation", "organ", "hope"), ("ionally", "izing", "fulness", "ization")
    texts = [
        " ".join(
            f"{chr(97 + i % 26)}{chr(97 + i // 26)}{stem}{end}" for stem in stems for end in ends
        )
        for i in range(400)
    ]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(analyse, texts))
    finally:
        sys.setswitchinterval(interval)
    _stem.cache_clear()
    assert together == [analyse(text) for text in texts]
