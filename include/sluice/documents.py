"""A good draft becomes a Document: clean text, in one spelling, with nothing invisible in it."""

from __future__ import annotations

import re
import unicodedata

from sluice.errors import BadInput
from sluice.model import Document, Draft, require_aware

# Prints as nothing or reorders what is read: a way to say one thing to people, another to models.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f"  # controls, except tab, line ends and form feed
    "\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"  # tags and spare variation selectors: whole hidden alphabets
)
_LINE_END = re.compile("\r\n|[\r\x0c\x85\u2028\u2029]")
# Joiners shape Persian, Indic scripts and emoji: they stay between two visible characters of those.
_JOINER = re.compile(
    "(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])"
)


def to_document(draft: Draft, source: str, acl_key: str) -> Document:
    """Return the document of a good draft.

    Args:
        draft: one that validation let pass.
        source: the name of its source.
        acl_key: the permission object that guards it.

    Raises:
        BadInput: the draft lacks what every document has; validation would have said so.
    """
    title = " ".join(clean(draft.title or "").split())
    text = clean(draft.text or "").strip()
    if draft.native_id is None or not title or not text:
        raise BadInput("a document has an id, a title and a text", subject=f"{source}: {draft.key}")
    times = (draft.created_at, draft.updated_at)
    created, updated = (require_aware(t, draft.key) if t else None for t in times)
    return Document(
        source=source,
        native_id=draft.native_id,
        title=title,
        text=text,
        uri=draft.uri or "",
        acl_key=acl_key,
        created_at=created,
        updated_at=updated,
    )


def clean(text: str) -> str:
    """Return ``text`` in NFC with ``\\n`` line ends, without characters that nobody can see."""
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text  # most of what there is
    text = _INVISIBLE.sub("", _LINE_END.sub("\n", text))
    if "\u200c" in text or "\u200d" in text:
        text = _JOINER.sub("", text)
    return unicodedata.normalize("NFC", text)
