"""``sluice costs`` and ``sluice budget``: what they say, and what they refuse."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from shell import Run, failed
from sluice.budget import Purse
from sluice.catalog import runs
from sluice.model import Account, Spend
from world import World


def spend(world: World, dollars: str, account: Account, tier: str = "standard") -> None:
    """Let somebody have paid."""
    price = Spend(
        endpoint="openai",
        model="small",
        tier=tier,  # type: ignore[arg-type]  # one of the two
        tokens=100,
        dollars=Decimal(dollars),
    )
    purse = Purse(world.catalog)
    purse.settle(purse.reserve(price, account), 100, price.dollars)


def test_costs_are_told_by_source_and_tier_to_the_last_digit(run: Run, world: World) -> None:
    """The dearest first, and their sum; questions are a line of their own."""
    assert "Nothing was paid" in run("costs").stdout
    spend(world, "0.00000002", Account(source="wiki", run_id="wiki:1"), "batch")
    spend(world, "1.5", Account(agent="bot", request="t1"))
    said = run("costs").stdout
    assert said.index("(questions)") < said.index("wiki")
    assert "1.500000" in said and "batch" in said
    found = json.loads(run("costs", "--by", "agent", "--json").stdout)
    assert {each["group"]: Decimal(each["dollars"]) for each in found} == {
        "bot": Decimal("1.5"),
        "–": Decimal("0.00000002"),
    }
    assert json.loads(run("costs", "--until", "2020-01-01", "--json").stdout) == []


def test_a_run_is_shown_beside_what_it_was_to_cost(run: Run, world: World) -> None:
    """What was foreseen first: when a run goes on after a batch, little is left to foresee."""
    with world.catalog.begin() as connection:
        for dollars in ("0.75", "0.01"):
            runs.foresee(connection, "run-1", Decimal(dollars))
    spend(world, "0.5", Account(source="wiki", run_id="run-1"))
    spend(world, "0.1", Account(agent="bot", request="t1"))
    assert "forecast" in run("costs", "--by", "run").stdout
    found = json.loads(run("costs", "--by", "run", "--json").stdout)
    assert [(each["group"], each["dollars"], each["forecast"]) for each in found] == [
        ("run-1", "0.5", "0.75"),
        ("(questions)", "0.1", None),
    ]


def test_a_budget_is_set_shown_and_removed(run: Run, world: World) -> None:
    """With what is gone of it now."""
    assert "anything may be spent" in run("budget", "list").stdout
    said = run("budget", "set", "tenant", "*", "--per", "day", "--dollars", "2.50").stdout
    assert said == "Allowed: $2.50 a day for the tenant.\n"
    assert "each agent" in run("budget", "set", "agent", "*", "--dollars", "1").stdout
    spend(world, "0.75", Account(source="wiki", run_id="wiki:1"))
    assert "0.75" in run("budget", "list").stdout
    assert len(json.loads(run("budget", "list", "--json").stdout)) == 2
    assert run("budget", "remove", "tenant", "*").stdout == "Removed: tenant * per day.\n"
    assert "no such budget" in failed(run("budget", "remove", "tenant", "*"), 3)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("costs", "--by", "colour"), "no such group"),
        (("costs", "--since", "yesterday"), "is no day"),
        (("budget", "set", "planet", "*", "--dollars", "1"), "no such level"),
        (("budget", "set", "tenant", "acme", "--dollars", "1"), "a tenant's name is *"),
        (("budget", "set", "source", "wiki", "--per", "week", "--dollars", "1"), "no such period"),
        (("budget", "set", "source", "wiki", "--dollars", "-1"), "is no amount"),
        (("budget", "set", "source", "wiki", "--dollars", "NaN"), "is no amount"),
        (("budget", "set", "source", "wiki", "--dollars", "lots"), "is no amount"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run: Run, words: tuple[str, ...], why: str) -> None:
    """And nothing is set."""
    assert why in failed(run(*words), 2)
    assert json.loads(run("budget", "list", "--json").stdout) == []
