"""What embedding costs, and who pays."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Tier = Literal["standard", "batch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """On whose behalf money is spent: a run of a source, or a caller's request."""

    source: str | None = None
    run_id: str | None = None
    team: str | None = None
    user: str | None = None  # the person asked for, as a principal
    agent: str | None = None
    request: str | None = None  # its trace id


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """One request to a provider, before or after it is made."""

    endpoint: str
    model: str  # names the vector space
    tier: Tier
    tokens: int
    dollars: Decimal
