"""What is found, and why a person may read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sluice.model.principals import Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the index found: perhaps stale, perhaps doubled. Only the gate makes it a hit."""

    document_id: str
    generation: int
    acl_id: int
    ordinal: int
    path: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a person may read: the grant that allowed it and how the person comes under it."""

    principal: Principal  # the principal that the grant names
    via: tuple[Principal, ...]  # from the person up to ``principal``, both included
    acl_key: str
    expires_at: datetime | None = None

    def __str__(self) -> str:
        chain = " → ".join(str(p) for p in self.via)
        until = f" until {self.expires_at:%Y-%m-%d %H:%M}" if self.expires_at else ""
        return f"{self.acl_key} allows {self.principal}{until} ({chain})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that one person may read, with all that leads back to where it came from."""

    rank: int  # 1 is best
    document_id: str
    title: str
    uri: str
    path: tuple[str, ...]
    text: str
    ordinal: int
    source: str
    generation: int
    run_id: str  # the run that indexed it
    updated_at: datetime | None
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFreshness:
    """How fresh what a person may read of one source is."""

    source: str
    in_step_at: datetime | None  # what the source showed then is what is searched
    permissions_at: datetime | None  # when its permissions were last read
    needs_sign_in: bool  # nothing of it can be read until somebody consents again
    changed_at: datetime | None = None  # the newest change among what was returned
