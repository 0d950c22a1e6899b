"""What text can be stored, hashed and told apart."""

from __future__ import annotations

import hashlib
from datetime import datetime

from sluice.errors import BadInput

SEPARATOR = "\x1f"  # between the named fields of an id: it may occur in none of them


def storable(text: str) -> bool:
    """Whether PostgreSQL can hold ``text`` at all: it has no NUL and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def require_aware(moment: datetime, subject: str) -> datetime:
    """Return ``moment``; a time without a zone is refused, since it names no instant."""
    if moment.tzinfo is None:
        raise BadInput("a time without a zone names no instant", subject=subject)
    return moment


def digest(*parts: str) -> str:
    """SHA-256 over length-prefixed parts, so that no two different tuples collide."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()
