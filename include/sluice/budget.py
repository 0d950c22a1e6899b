"""Money is set aside before it is spent, and never more of it than somebody allowed.

``Purse.reserve`` holds the price of a request in every budget that counts for it, or raises and
holds nothing. ``settle`` notes what was billed instead, ``release`` that nothing was. What a dead
worker held comes free when its lease is over, and somebody needs it.

Budgets are of a tenant, a source, a model, a team, a user or an agent, per day, month, run or
request. Days and months are UTC, and money belongs to the day on which it was set aside.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Literal

import sqlalchemy as sa

from sluice.catalog import Catalog, costs
from sluice.catalog.costs import EACH, Budget, Hold, Per, Use, Used
from sluice.errors import BudgetExhausted
from sluice.model import Account, Spend
from sluice.ports import Charge

LEASE = 300.0  # seconds that a request may take before its money is thought to be nobody's


def uses(account: Account, model: str, day: date) -> list[Use]:
    """Everything that may have a budget for such a request, in the order in which rows are locked.

    A pure function: what reserves and what settles must name the same rows.
    """
    periods: dict[Per, str | None] = {
        "day": day.isoformat(),
        "month": f"{day:%Y-%m}",
        "run": account.run_id,
        "request": account.request,
    }
    return sorted(
        Use(level=level, name=name, per=per, period=period)
        for level, name in costs.levels(account, model).items()
        for per, period in periods.items()
        if period is not None
    )


def most(budgets: Sequence[Budget], use: Use) -> Decimal | None:
    """How much may be gone of ``use``, by a budget of its name or else for each; None: any."""
    known = {
        each.name: each.dollars
        for each in budgets
        if (each.level, each.per) == (use.level, use.per)
    }
    return known.get(use.name, known.get(EACH))


class Purse:
    """The ledger of one tenant. Safe to share between threads."""

    def __init__(self, catalog: Catalog):
        """``catalog`` keeps the ledger."""
        self._catalog = catalog

    def reserve(self, spend: Spend, account: Account, *, lease: float | None = LEASE) -> Hold:
        """Set the price aside.

        Args:
            spend: the request.
            account: who pays.
            lease: seconds after which it comes free if nobody settles it; None: never.

        Raises:
            BudgetExhausted: it would be more than somebody allowed. Nothing is set aside.
        """
        while True:
            try:
                held, missing = self._try(spend, account, lease)
            except BudgetExhausted:
                if not self.free():
                    raise
                continue
            if held is not None:
                return held
            for use in missing:
                with self._catalog.begin() as connection:
                    costs.begin_use(connection, use)

    def left(self, model: str, account: Account) -> Decimal | None:
        """How much may still be spent: of the tightest budget. None: nobody said."""
        return min((left for _, _, left in self._limited(model, account)), default=None)

    def require(self, spend: Spend, account: Account) -> None:
        """Return if so much may be spent; nothing is set aside.

        Raises:
            BudgetExhausted: it may not.
        """
        for use, limit, left in self._limited(spend.model, account):
            if spend.dollars > max(left, Decimal(0)):
                raise _exhausted(use, limit, left, spend)

    def _limited(self, model: str, account: Account) -> list[tuple[Use, Decimal, Decimal]]:
        """Every budget that counts, how much it allows, and how much is left of it."""
        self.free()
        with self._catalog.begin() as connection:
            _, limited = _limits(connection, model, account)
        found = []
        for use, limit in limited:
            with self._catalog.begin() as connection:
                if costs.used(connection, use) is None:
                    costs.begin_use(connection, use)
                gone = costs.used(connection, use)
            found.append((use, limit, limit - (gone.held + gone.spent if gone else 0)))
        return found

    def _try(
        self, spend: Spend, account: Account, lease: float | None
    ) -> tuple[Hold | None, list[Use]]:
        """The hold; or else the uses that have to begin first."""
        with self._catalog.begin() as connection:
            day, limited = _limits(connection, spend.model, account)
            missing = [use for use, _ in limited if costs.used(connection, use) is None]
            if missing:
                return None, missing
            for use, limit in limited:
                if not costs.take(connection, use, spend.dollars, limit):
                    gone = costs.used(connection, use) or Used(held=Decimal(0), spent=Decimal(0))
                    raise _exhausted(use, limit, limit - gone.held - gone.spent, spend)
            held = Hold(hold_id=uuid.uuid4(), day=day, spend=spend, account=account)
            costs.hold(connection, held, lease)
        return held, []

    def settle(self, held: Hold, tokens: int, dollars: Decimal) -> None:
        """Note what was billed. Doing it again changes nothing."""
        self._end(held, "settle", tokens, dollars)

    def release(self, held: Hold) -> None:
        """Give back what was set aside: nothing was billed. Doing it again changes nothing."""
        self._end(held, "release", 0, Decimal(0))

    def free(self) -> int:
        """Give back what dead workers held; return of how many requests."""
        freed = 0
        while True:
            with self._catalog.begin() as connection:
                costs.share(connection)
                found = costs.expired(connection)
                if found is None:
                    return freed
                _close(connection, found, "expire", 0, Decimal(0))
            freed += 1

    def _end(
        self, held: Hold, kind: Literal["settle", "release"], tokens: int, dollars: Decimal
    ) -> None:
        with self._catalog.begin() as connection:
            costs.share(connection)
            _close(connection, held, kind, tokens, dollars)

    @contextmanager
    def paying(self, spend: Spend, account: Account) -> Iterator[Charge]:
        """Hold the price while the body works; it says what was billed, or else nothing was.

        Raises:
            BudgetExhausted: it would be more than somebody allowed. The body does not run.
        """
        held = self.reserve(spend, account)
        price = spend.dollars / spend.tokens if spend.tokens else Decimal(0)
        billed: list[int] = []
        try:
            yield billed.append
        finally:
            if billed:
                self.settle(held, billed[0], price * billed[0])
            else:
                self.release(held)


def _limits(
    connection: sa.Connection, model: str, account: Account
) -> tuple[date, list[tuple[Use, Decimal]]]:
    """The day it is, and every budget that counts with how much it allows."""
    day = costs.share(connection)
    budgets = costs.budgets(connection)
    return day, [
        (use, limit)
        for use in uses(account, model, day)
        if (limit := most(budgets, use)) is not None
    ]


def _close(connection: sa.Connection, held: Hold, kind: str, tokens: int, dollars: Decimal) -> None:
    """End a hold. One that was ended is only settled, once, if it came free too early."""
    freed = costs.end_hold(connection, held.hold_id)
    if not freed and kind != "settle":
        return
    if costs.event(connection, kind, held, tokens, dollars):
        known = uses(held.account, held.spend.model, held.day)
        costs.give(connection, known, held.spend.dollars if freed else Decimal(0), dollars)


def _exhausted(use: Use, limit: Decimal, left: Decimal, spend: Spend) -> BudgetExhausted:
    whose = "the tenant" if use.level == "tenant" else f"{use.level} {use.name}"
    return BudgetExhausted(
        f"{spend.tokens:,} tokens would cost ${spend.dollars:f}, and ${max(left, Decimal(0)):f} is "
        f"left of ${limit:f} a {use.per}",
        subject=whose,
        cure=f"Wait for the next {use.per}, or allow more: "
        f"`sluice budget set {use.level} {use.name} --per {use.per} --dollars …`",
    )
