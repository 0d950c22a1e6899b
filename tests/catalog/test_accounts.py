"""Accounts and addresses as the catalog keeps them: what was once seen is not forgotten."""

from __future__ import annotations

import pytest
from permitted import account, column
from sluice import identities
from sluice.catalog import Catalog, accounts, people
from sluice.errors import BadInput, Incomplete, NotFound
from sluice.model import NativeAccount
from world import SOURCE, World


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A tenant with a source and a directory of people."""
    return World(catalog)


def observe(catalog: Catalog, *listed: NativeAccount) -> dict[str, str]:
    """Let the source list these; return whose each mapped account is."""
    with catalog.begin() as connection:
        register = accounts.observe(connection, SOURCE, listed)
        mapped = identities.mapped(SOURCE, register)
        people.replace(connection, SOURCE, [], mapped)
    return {str(each.account).rpartition(":")[2]: str(each.person) for each in mapped}


def why(catalog: Catalog) -> dict[str, str | None]:
    """Why each account is held."""
    with catalog.begin() as connection:
        return {each.native_id: each.held for each in accounts.every(connection)}


def confirm(catalog: Catalog, native_id: str) -> str:
    """Say that the account's address is its own."""
    with catalog.begin() as connection:
        return accounts.confirm(connection, SOURCE, native_id)


def test_a_verified_address_says_whose_an_account_is(world: World, catalog: Catalog) -> None:
    """In one spelling; everything else is nobody's, and it is said why."""
    listed = [
        account("1", " Ada@X.ORG "),
        account("2", "ben@x.org", verified=False),
        account("3"),
        account("4", "carl@x.org", active=False),
        account("5", "dora"),
    ]
    assert observe(catalog, *listed) == {"1": "user:ada@x.org"}
    assert why(catalog) == {
        "1": None,
        "2": identities.UNVERIFIED,
        "3": identities.NO_ADDRESS,
        "4": identities.DEACTIVATED,
        "5": identities.UNREADABLE,
    }


def test_an_address_that_nobody_vouches_for_is_not_kept(world: World, catalog: Catalog) -> None:
    """It says nothing, and it may be somebody else's; nor does it keep theirs from counting."""
    observe(catalog, account("9", "ada@x.org", verified=False))
    assert column(catalog, "SELECT email FROM sluice.account") == [None]
    assert observe(
        catalog, account("9", "ada@x.org", verified=False), account("1", "ada@x.org")
    ) == {"1": "user:ada@x.org"}


def test_two_active_accounts_with_one_address_are_nobody(world: World, catalog: Catalog) -> None:
    """Nor is the one that is left, until somebody says so."""
    both = account("1", "ada@x.org"), account("2", "ADA@x.org")
    assert observe(catalog, *both) == {}
    assert set(why(catalog).values()) == {identities.SHARED}
    with pytest.raises(BadInput, match="another active account"):
        confirm(catalog, "1")
    assert observe(catalog, both[1]) == {}
    assert why(catalog) == {"1": identities.GONE, "2": identities.REUSED}
    assert confirm(catalog, "2") == "ada@x.org"
    assert observe(catalog, both[1]) == {"2": "user:ada@x.org"}


@pytest.mark.parametrize(
    "first",
    [
        (),
        (account("1", "ada@x.org", active=False),),
        (account("1", "lovelace@x.org"),),
        (account("1"),),
    ],
    ids=["gone", "deactivated", "renamed", "without"],
)
def test_a_reused_address_inherits_nothing(
    world: World, catalog: Catalog, first: tuple[NativeAccount, ...]
) -> None:
    """Whatever became of the first: who comes with its address is nobody until confirmed."""
    observe(catalog, account("1", "ada@x.org"))
    observe(catalog, *first)
    second = account("2", "ada@x.org")
    assert "2" not in observe(catalog, *first, second)
    assert "user:ada@x.org" not in observe(catalog, *first, second).values()
    assert why(catalog)["2"] == identities.REUSED
    confirm(catalog, "2")
    assert observe(catalog, *first, second)["2"] == "user:ada@x.org"


def test_who_comes_back_finds_a_reused_address_taken(world: World, catalog: Catalog) -> None:
    """The first account is active again with an address that is another's by now: neither's."""
    observe(catalog, account("1", "ada@x.org"))
    observe(catalog, account("2", "ada@x.org"))
    assert observe(catalog, account("1", "ada@x.org")) == {}, "nor does the old one keep it"
    observe(catalog, account("2", "ada@x.org"))
    confirm(catalog, "2")
    assert observe(catalog, account("1", "ada@x.org"), account("2", "ada@x.org")) == {}
    assert observe(catalog, account("2", "ada@x.org")) == {}


def test_who_was_away_and_shared_with_nobody_comes_back(world: World, catalog: Catalog) -> None:
    """Gone or deactivated for a while, with an address that nobody else had: as before."""
    observe(catalog, account("1", "ada@x.org"))
    assert observe(catalog) == {}
    assert observe(catalog, account("1", "ada@x.org", active=False)) == {}
    assert observe(catalog, account("1", "ada@x.org")) == {"1": "user:ada@x.org"}


def test_two_that_swap_addresses_are_nobody(world: World, catalog: Catalog) -> None:
    """Between two readings each took the other's."""
    observe(catalog, account("1", "a@x.org"), account("2", "b@x.org"))
    assert observe(catalog, account("1", "b@x.org"), account("2", "a@x.org")) == {}


def test_only_what_waits_can_be_confirmed(world: World, catalog: Catalog) -> None:
    """One that is mapped, inactive, unverified or unknown is refused, and nothing changes."""
    observe(
        catalog,
        account("1", "a@x.org"),
        account("2", "b@x.org", active=False),
        account("3", "c@x.org", verified=False),
    )
    for native_id, said in (
        ("1", "mapped already"),
        ("2", "deactivated"),
        ("3", "does not vouch"),
    ):
        with pytest.raises(BadInput, match=said):
            confirm(catalog, native_id)
    with pytest.raises(NotFound):
        confirm(catalog, "4")


def test_an_account_listed_twice_must_be_the_same(world: World, catalog: Catalog) -> None:
    """Pages that move while they are read repeat it; one that changed meanwhile is no reading."""
    one = account("1", "ada@x.org")
    assert observe(catalog, one, one) == {"1": "user:ada@x.org"}
    with pytest.raises(Incomplete, match="account 1 changed"):
        observe(catalog, one, account("1", "ada@x.org", active=False))


def test_an_id_that_no_grant_could_name_is_left_out(world: World, catalog: Catalog) -> None:
    """Invisible characters, spaces beside the colon: such an account has no rights to give."""
    assert observe(catalog, account("a\u200bb", "a@x.org"), account(" 7", "b@x.org")) == {}
    assert why(catalog) == {}


def test_tables_win_and_two_tables_that_disagree_are_refused(
    world: World, catalog: Catalog
) -> None:
    """One that agrees with the address is listed as the reason; the address counts when it goes."""
    observe(catalog, account("1", "ada@x.org"))
    world.people({}, {"account:wiki:1": "user:ben@x.org"})
    with catalog.begin() as connection:
        (found,) = accounts.every(connection)
        assert (found.person, found.directory) == ("user:ben@x.org", "people")
        assert accounts.contradicted(connection, SOURCE) == ["1"]
    world.people({}, {"account:wiki:1": "user:ada@x.org"})
    with catalog.begin() as connection:
        assert accounts.contradicted(connection, SOURCE) == []
    world.people({}, {})
    with catalog.begin() as connection:
        (found,) = accounts.every(connection)
    assert (found.person, found.directory) == ("user:ada@x.org", None)


def test_what_counts_moves_the_version_once(world: World, catalog: Catalog) -> None:
    """Also where a mapping only begins or ends to count."""

    def version() -> object:
        return column(catalog, "SELECT coalesce(max(version), 0) FROM sluice.acl_version")[0]

    world.people({}, {"account:wiki:1": "user:ben@x.org"})
    before = version()
    observe(catalog, account("1", "ben@x.org", active=False))
    assert version() == before + 1  # type: ignore[operator]
    observe(catalog, account("1", "ben@x.org", active=False))
    assert version() == before + 1  # type: ignore[operator]


def test_another_tenants_addresses_do_not_count(
    world: World, catalog: Catalog, new_catalog
) -> None:
    """The same source in two tenants: each has its own first owner."""
    observe(catalog, account("1", "ada@x.org"))
    other = new_catalog()
    World(other)
    assert observe(other, account("2", "ada@x.org")) == {"2": "user:ada@x.org"}
