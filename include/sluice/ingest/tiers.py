"""At which price chunks are embedded: a pure decision.

=========  =====================================================  ==============================
tier       when                                                   what it costs, and when
=========  =====================================================  ==============================
batch      the provider has one, nobody is in a hurry, and        half, within 24 hours, mostly
           either it is much or the standard price is too high    much sooner
standard   else                                                   the list price, at once
=========  =====================================================  ==============================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from sluice.model import Policy, Tier

WINDOW = timedelta(hours=24)  # within which a batch is done


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be embedded, before it is."""

    embedder: str
    documents: int
    chunks: int
    cached: int  # of the chunks: their vectors are there already
    tokens: int  # of the others
    dollars: Mapping[Tier, Decimal]
    hours: Mapping[Tier, float]  # at most, if nothing else is asked of the provider
    left: Decimal | None  # of the tightest budget; None: there is none
    tier: Tier
    why: str

    def __str__(self) -> str:
        """One line for a log."""
        prices = ", ".join(f"{tier} ${price:.4f}" for tier, price in self.dollars.items())
        return (
            f"to embed with {self.embedder}: {self.documents:,} documents, {self.chunks:,} chunks, "
            f"{self.cached:,} of them cached, {self.tokens:,} tokens: {prices}; {self.tier} tier: "
            f"{self.why}"
        )


def choose(
    tokens: int,
    dollars: Mapping[Tier, Decimal],
    left: Decimal | None,
    policy: Policy,
) -> tuple[Tier, str]:
    """The tier for so many tokens, and why.

    Args:
        tokens: to be embedded.
        dollars: what they cost; a tier that there is not is not among them.
        left: how much may be spent; None: any.
        policy: of the source.
    """
    if "batch" not in dollars:
        return "standard", "the endpoint has no batch tier"
    if policy.patience < WINDOW:
        return "standard", "the source has no patience for a batch"
    if policy.batch_from is not None and tokens >= policy.batch_from:
        return "batch", f"{policy.batch_from:,} tokens or more"
    if left is not None and dollars["batch"] <= left < dollars["standard"]:
        return "batch", "the budget does not allow the standard tier"
    return "standard", "few tokens"
