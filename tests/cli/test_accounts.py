"""``sluice accounts``: who is whose, and the one word that an operator has to say."""

from __future__ import annotations

import json

from permitted import account
from shell import Run, failed
from sluice import identities
from sluice.catalog import accounts, people
from sluice.model import NativeAccount
from world import SOURCE, World


def observe(world: World, *listed: NativeAccount) -> None:
    """Let the source list these accounts."""
    with world.catalog.begin() as connection:
        register = accounts.observe(connection, SOURCE, listed)
        people.replace(connection, SOURCE, [], identities.mapped(SOURCE, register))


def test_accounts_are_listed_with_the_reason(run: Run, world: World) -> None:
    """Whose each is and by what; nobody's alone with --held; nothing moves the cursor."""
    assert "no such account" in run("accounts", "list").stdout
    observe(
        world,
        account("1", "ada@x.org"),
        account("2\x9b", "ben@x.org", verified=False),
        account("3", "carl@x.org"),
        account("[b]", "dora@x.org"),
    )
    world.people({}, {"account:wiki:3": "user:ben@x.org"})
    said = run("accounts", "list").stdout
    for words in (
        "user:ada@x.org",
        "its address",
        "the table people, although its address is another's",
        "[b]",
    ):
        assert words in said
    assert "\x9b" not in said
    held = json.loads(run("accounts", "list", "--held", "--json").stdout)
    assert held == []  # an id with a control character is no account
    observe(world, account("1", "ada@x.org"), account("2", "ben@x.org", verified=False))
    said = run("accounts", "list", "--held", "--source", SOURCE).stdout
    assert identities.UNVERIFIED in said and identities.GONE in said and "ada@x.org" not in said
    assert "no such account" in run("accounts", "list", "--source", "other").stdout


def test_a_reused_address_waits_for_an_operator(run: Run, world: World) -> None:
    """Once confirmed it counts at once; what cannot be confirmed is refused in a line."""
    observe(world, account("1", "ada@x.org"))
    observe(world, account("2", "ada@x.org"))
    (first, second) = json.loads(run("accounts", "list", "--json").stdout)
    assert (first["held"], second["held"]) == (identities.GONE, identities.REUSED)
    assert second["person"] is None
    assert "gone from the source" in failed(run("accounts", "confirm", SOURCE, "1"), 2)
    assert "no such account" in failed(run("accounts", "confirm", SOURCE, "7"), 3)
    done = run("accounts", "confirm", SOURCE, "2")
    assert done.stdout == "Confirmed: 2 of wiki has ada@x.org.\n"
    (_, second) = json.loads(run("accounts", "list", "--json").stdout)
    assert (second["person"], second["held"]) == ("user:ada@x.org", None)
    assert "mapped already" in failed(run("accounts", "confirm", SOURCE, "2"), 2)
