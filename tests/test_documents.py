"""From a good draft to a document: nothing invisible, one spelling."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sluice.documents import clean, to_document
from sluice.errors import BadInput
from sluice.model import Draft


def draft(**changes: object) -> Draft:
    """A good draft, changed."""
    good = {"key": "k", "native_id": "k", "title": "T", "text": "x", "uri": "u"}
    return Draft(**(good | changes))  # type: ignore[arg-type]


def test_document_takes_over_what_the_draft_says() -> None:
    """Identity, address and times pass through; the title is one line, the text has no edges."""
    now = datetime.now(UTC)
    document = to_document(
        draft(title=" a\n\tb ", text="\r\n x\r\ny \n", updated_at=now), "desk", "queue"
    )
    assert (document.id, document.acl_key, document.uri) == ("desk:k", "queue", "u")
    assert (document.title, document.text, document.updated_at) == ("a b", "x\ny", now)


@pytest.mark.parametrize("lacking", ["native_id", "title", "text"])
def test_draft_that_lacks_something_is_refused(lacking: str) -> None:
    """Whoever skipped validation is told so."""
    with pytest.raises(BadInput):
        to_document(draft(**{lacking: None}), "s", "a")


@pytest.mark.parametrize(
    ("raw", "read"),
    [
        ("pass\u200bword \u2060\ufeffx\u00ad", "password x"),
        ("safe\u202egnp.exe\u202c \u2066x\u2069", "safegnp.exe x"),
        ("hi\U000e0049\U000e0067\U000e006e there", "hi there"),
        ("x\ufe0f\U000e0101", "x\ufe0f"),
        ("a\u200db\u200c c\u200d\u200c", "ab c"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("👩\u200d🚀", "👩\u200d🚀"),
        ("é", "é"),
        ("a\rb\x0cc\u2028d\x85e\x07", "a\nb\nc\nd\ne"),
    ],
)
def test_what_nobody_sees_is_gone(raw: str, read: str) -> None:
    """Zero-width, reordering, tag and control characters go; joiners that shape scripts stay."""
    assert clean(raw) == read


@given(st.text())
@example("\u200c\u200d" * 50)
@example("é\u200d\u200c\u200dé")
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    """Text is stable, in NFC, and hides no alphabet of joiners."""
    once = clean(text)
    assert clean(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert "\u200c\u200d" not in once and "\r" not in once and "\0" not in once
