"""What a permission object allows and denies."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sluice.model.principals import Principal
from sluice.model.text import digest


class Effect(enum.StrEnum):
    """What a grant does. Deny beats allow."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One line of an ACL: ``principal`` is allowed or denied, until ``expires_at`` where given."""

    principal: Principal
    effect: Effect = Effect.ALLOW
    expires_at: datetime | None = None  # aware; the grant is void from this instant on


def settle(grants: Iterable[Grant]) -> frozenset[Grant]:
    """One grant for each principal and effect: of several, the one that lasts longest."""
    longest: dict[tuple[Principal, Effect], Grant] = {}
    for grant in grants:
        rival = longest.setdefault((grant.principal, grant.effect), grant)
        if rival.expires_at and (not grant.expires_at or grant.expires_at > rival.expires_at):
            longest[grant.principal, grant.effect] = grant
    return frozenset(longest.values())


def acl_hash(grants: Iterable[Grant]) -> str:
    """SHA-256 of what an ACL means, whatever the order and the time zone it is written in."""
    lines = sorted(
        (
            str(g.principal),
            g.effect.value,
            g.expires_at.astimezone(UTC).isoformat() if g.expires_at else "",
        )
        for g in settle(grants)
    )
    return digest(json.dumps(lines))
