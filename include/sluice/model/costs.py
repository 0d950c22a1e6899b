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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """The most that may be asked of somebody, or by somebody, in a minute; None: any."""

    name: str
    requests: int | None = None
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What an endpoint says that it still takes."""

    requests: int | None = None  # a minute; None: it does not say
    tokens: int | None = None
    requests_full: float = 0.0  # seconds until it takes all of them again
    tokens_full: float = 0.0
    pause: float = 0.0  # seconds in which it takes nothing
