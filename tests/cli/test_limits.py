"""``sluice limit``: what it says, and what it refuses."""

from __future__ import annotations

import json

import pytest
from shell import Run, failed
from world import World


def test_a_limit_is_set_shown_and_removed(run: Run, world: World) -> None:
    """For one by name, or for each of a level."""
    assert "no limit but those of the endpoints" in run("limit", "list").stdout
    said = run("limit", "set", "agent", "*", "--requests", "60").stdout
    assert said == "Allowed: 60 requests and any tokens a minute for each agent.\n"
    said = run("limit", "set", "team", "support", "--tokens", "20000").stdout
    assert said == "Allowed: any requests and 20,000 tokens a minute for the team support.\n"
    assert "20,000" in run("limit", "list").stdout
    assert json.loads(run("limit", "list", "--json").stdout) == [
        {"level": "agent", "name": "*", "requests": 60, "tokens": None},
        {"level": "team", "name": "support", "requests": None, "tokens": 20000},
    ]
    assert run("limit", "remove", "agent", "*").stdout == "Removed: agent *.\n"
    assert "no such limit" in failed(run("limit", "remove", "agent", "*"), 3)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("planet", "*", "--tokens", "1"), "no such level"),
        (("tenant", "acme", "--tokens", "1"), "a tenant's name is *"),
        (("agent", "*"), "it would limit nothing"),
        (("agent", "*", "--tokens", "0"), "is no number a minute"),
        (("agent", "*", "--requests", "2000000001"), "is no number a minute"),
    ],
)
def test_what_is_wrong_is_said(run: Run, world: World, words: tuple[str, ...], why: str) -> None:
    """And nothing is set."""
    assert why in failed(run("limit", "set", *words), 2)
    assert json.loads(run("limit", "list", "--json").stdout) == []


def test_a_key_shows_its_team(run: Run, world: World) -> None:
    """By which budgets and limits count its questions."""
    run("keys", "create", "--agent", "bot", "--for", "anyone", "--team", "support")
    assert "support" in run("keys", "list").stdout
    assert json.loads(run("keys", "list", "--json").stdout)[0]["team"] == "support"
    wrong = run("keys", "create", "--agent", "bot", "--for", "anyone", "--team", "a b")
    assert "a team's name" in failed(wrong, 2)
