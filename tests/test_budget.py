"""Money: set aside before it is spent, never above a budget, accounted for to the last digit."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from sluice.budget import Purse, most, uses
from sluice.catalog import Catalog, costs
from sluice.catalog.costs import EACH, Budget
from sluice.errors import BudgetExhausted
from sluice.model import Account, Spend

RUN = Account(source="handbook", run_id="handbook:1")
BOT = Account(agent="bot", user="user:ada@example.com", team="support", request="trace-1")


@pytest.fixture
def purse(catalog: Catalog) -> Purse:
    """The ledger of a tenant that has spent nothing."""
    return Purse(catalog)


def allow(purse: Purse, level: Any, name: str, per: Any, dollars: str) -> None:
    """Set a budget."""
    with purse._catalog.begin() as connection:
        costs.set_budget(
            connection, Budget(level=level, name=name, per=per, dollars=Decimal(dollars))
        )


def spend(dollars: str, tokens: int = 100, model: str = "small") -> Spend:
    """A request at a price."""
    return Spend(
        endpoint="openai", model=model, tier="standard", tokens=tokens, dollars=Decimal(dollars)
    )


def spent(purse: Purse, by: str = "source") -> dict[str, Decimal]:
    """What the ledger says."""
    with purse._catalog.begin() as connection:
        today = datetime.now(UTC).date()
        found = costs.report(connection, by, today - timedelta(1), today + timedelta(2))
    return {each.group: each.dollars for each in found}


def held(purse: Purse) -> int:
    """How many requests money is set aside for."""
    with purse._catalog.begin() as connection:
        return int(
            connection.execute(sa.text("SELECT count(*) FROM sluice.cost_hold")).scalar_one()
        )


def test_without_a_budget_everything_is_allowed_and_written_down(purse: Purse) -> None:
    """The ledger is kept whether or not anybody limits anything."""
    with purse.paying(spend("0.5"), RUN) as charge:
        assert held(purse) == 1
        charge(100)
    assert spent(purse) == {"handbook": Decimal("0.5")}
    assert held(purse) == 0


@pytest.mark.parametrize(
    ("level", "name", "per", "account"),
    [
        ("tenant", EACH, "day", RUN),
        ("tenant", EACH, "month", BOT),
        ("source", "handbook", "day", RUN),
        ("source", EACH, "run", RUN),
        ("model", "small", "month", BOT),
        ("team", "support", "day", BOT),
        ("user", EACH, "day", BOT),
        ("agent", "bot", "request", BOT),
    ],
)
def test_a_budget_of_any_level_and_period_stops_what_is_above_it(
    purse: Purse, level: str, name: str, per: str, account: Account
) -> None:
    """The error says what it would cost, what is left, and how to go on; nothing is held."""
    allow(purse, level, name, per, "1.00")
    purse.settle(purse.reserve(spend("0.75"), account), 75, Decimal("0.75"))
    with pytest.raises(BudgetExhausted, match=r"would cost \$0\.26.*\$0\.25 is left of \$1\.00"):
        purse.reserve(spend("0.26"), account)
    assert held(purse) == 0
    purse.reserve(spend("0.25"), account)


def test_what_others_spend_is_not_mine(purse: Purse) -> None:
    """Budgets of a source, a run or a person count for that one alone."""
    allow(purse, "source", EACH, "run", "1")
    purse.reserve(spend("1"), RUN)
    purse.reserve(spend("1"), Account(source="handbook", run_id="handbook:2"))
    purse.reserve(spend("1"), Account(source="helpdesk", run_id="helpdesk:1"))
    with pytest.raises(BudgetExhausted):
        purse.reserve(spend("0.01"), RUN)


def test_a_budget_by_name_goes_before_the_one_for_each() -> None:
    """And where neither is, there is no limit."""
    known = [
        Budget(level="agent", name=EACH, per="day", dollars=Decimal(1)),
        Budget(level="agent", name="bot", per="day", dollars=Decimal(5)),
    ]
    found = {
        use.name: most(known, use)
        for account in (BOT, Account(agent="other"))
        for use in uses(account, "small", date(2026, 1, 1))
        if (use.level, use.per) == ("agent", "day")
    }
    assert found == {"bot": Decimal(5), "other": Decimal(1)}
    assert most([], uses(BOT, "small", date(2026, 1, 1))[0]) is None


def test_what_was_spent_before_the_budget_was_set_counts(purse: Purse) -> None:
    """Also what was only set aside then, and is settled for less afterwards."""
    purse.settle(purse.reserve(spend("0.4"), RUN), 100, Decimal("0.4"))
    early = purse.reserve(spend("0.5"), RUN)
    allow(purse, "tenant", EACH, "day", "1")
    with pytest.raises(BudgetExhausted):
        purse.reserve(spend("0.2"), RUN)
    purse.settle(early, 10, Decimal("0.1"))
    purse.reserve(spend("0.5"), RUN)
    with pytest.raises(BudgetExhausted):
        purse.reserve(spend("0.01"), RUN)


def test_less_than_was_held_frees_the_rest_and_nothing_billed_all_of_it(purse: Purse) -> None:
    """A request that failed before it was sent costs nothing."""
    allow(purse, "tenant", EACH, "day", "1")
    with purse.paying(spend("1", tokens=100), RUN) as charge:
        charge(25)
    assert spent(purse) == {"handbook": Decimal("0.25")}
    with pytest.raises(ZeroDivisionError), purse.paying(spend("0.75"), RUN):
        _ = 1 / 0
    assert spent(purse) == {"handbook": Decimal("0.25")}
    purse.reserve(spend("0.75"), RUN)


def test_a_dead_workers_money_comes_free(purse: Purse) -> None:
    """When its lease is over, the next one may have it; a batch has no lease."""
    allow(purse, "tenant", EACH, "day", "1")
    dead = purse.reserve(spend("0.5"), RUN, lease=0.0)
    purse.reserve(spend("0.5"), RUN, lease=None)
    purse.reserve(spend("0.5"), RUN)
    with pytest.raises(BudgetExhausted):
        purse.reserve(spend("0.01"), RUN)
    purse.settle(dead, 100, Decimal("0.5"))  # it was only slow
    assert spent(purse) == {"handbook": Decimal("0.5")}


def test_settling_twice_is_settling_once(purse: Purse) -> None:
    """Whoever is killed after it settled does so again."""
    allow(purse, "tenant", EACH, "day", "1")
    once = purse.reserve(spend("0.5"), RUN)
    for _ in range(3):
        purse.settle(once, 100, Decimal("0.5"))
        purse.release(once)
    assert spent(purse) == {"handbook": Decimal("0.5")}
    purse.reserve(spend("0.5"), RUN)


def test_two_hundred_racing_workers_never_pass_a_dollar(purse: Purse) -> None:
    """Whatever is billed, and whoever fails: never above it, and to the last cent up to it."""
    allow(purse, "tenant", EACH, "day", "1.00")
    allow(purse, "source", EACH, "run", "0.60")
    billed, lock = Counter[str](), threading.Lock()

    def work(number: int) -> None:
        chance = random.Random(number)
        account = Account(source=f"s{number % 3}", run_id=f"s{number % 3}:1")
        for _ in range(3):
            price = Decimal(chance.randrange(1, 40)) / 1000
            try:
                with purse.paying(spend(str(price), tokens=10), account) as charge:
                    tokens = chance.choice([0, 5, 10])
                    charge(tokens)
            except BudgetExhausted:
                continue
            with lock:
                billed[str(account.source)] += price / 10 * tokens  # type: ignore[assignment]

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(work, range(200)))
    found = spent(purse)
    assert {name: dollars for name, dollars in found.items() if dollars} == billed
    assert Decimal("0.9") < sum(found.values()) <= 1
    assert max(found.values()) <= Decimal("0.6")
    assert held(purse) == 0


def test_tenants_do_not_pay_for_each_other(database: str, purse: Purse) -> None:
    """Each has its own ledger and its own budgets."""
    other = Catalog(purse._catalog._engine.url.render_as_string(False), "another")
    allow(purse, "tenant", EACH, "day", "0")
    with pytest.raises(BudgetExhausted):
        purse.reserve(spend("0.01"), RUN)
    Purse(other).reserve(spend("0.01"), RUN)
    other.close()
