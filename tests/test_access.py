"""Who may read what: every rule once, through the real catalog."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sluice.access import Access, Freshness
from sluice.catalog import Catalog, permissions
from sluice.errors import (
    BadInput,
    ConfigurationError,
    InvalidPrincipal,
    NotFound,
    NotPermitted,
    ScopeTooLarge,
    TooStale,
)
from sluice.model import Caller, Grant, Identity, Principal, acl_hash
from world import ADA, ANYONE, BEN, DIRECTORY, SOURCE, World, allow, deny

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(hours=1)


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A tenant with a source and a directory, both empty."""
    return World(catalog)


@pytest.fixture
def access(catalog: Catalog) -> Access:
    """The choke point, with room for ten objects."""
    return Access(catalog, cap=10)


def may(world: World, access: Access, person: Principal, key: str) -> bool:
    """Whether the person's scope has the permission object."""
    return world.acl_id(key) in access.scope(ANYONE, person).acl_ids


def test_nobody_may_read_what_nothing_allows(world: World, access: Access) -> None:
    """A permission object without grants is closed to everybody."""
    world.grant({"a": []})
    assert not may(world, access, ADA, "a")


@pytest.mark.parametrize(
    "principal", ["user:ada@x.org", "domain:x.org", "public", "group:co:staff", "account:wiki:7"]
)
def test_an_allow_reaches_whom_it_names(world: World, access: Access, principal: str) -> None:
    """A user, a domain, everyone, a group and a native account each stand for the person."""
    world.people({"group:co:staff": ["user:ada@x.org"]}, {"account:wiki:7": "user:ada@x.org"})
    world.grant({"a": [allow(principal)]})
    assert may(world, access, ADA, "a")


@pytest.mark.parametrize(
    "principal",
    ["user:ada@x.org.evil", "domain:org", "group:co:Staff", "account:wiki:70", "user:ada"],
)
def test_an_allow_reaches_nobody_else(world: World, access: Access, principal: str) -> None:
    """A name that only looks like one of the person's is not the person's."""
    world.people({"group:co:staff": ["user:ada@x.org"]}, {"account:wiki:7": "user:ada@x.org"})
    world.grant({"a": [allow(principal)]})
    assert not may(world, access, ADA, "a")


@pytest.mark.parametrize("principal", ["user:ada@x.org", "domain:x.org", "public", "group:co:all"])
def test_deny_beats_allow(world: World, access: Access, principal: str) -> None:
    """A deny on anything the person comes under closes the object, however directly allowed."""
    world.people({"group:co:all": ["group:co:staff"], "group:co:staff": ["user:ada@x.org"]})
    world.grant({"a": [allow("user:ada@x.org"), deny(principal)]})
    assert not may(world, access, ADA, "a")


def test_an_expired_allow_is_void_and_an_expired_deny_too(world: World, access: Access) -> None:
    """From its expiry on a grant is as good as gone, whether it allows or denies."""
    world.grant(
        {
            "lapsed": [allow("public", PAST)],
            "running": [allow("public", FUTURE)],
            "pardoned": [allow("public"), deny("public", PAST)],
            "shut": [allow("public"), deny("public", FUTURE)],
        }
    )
    readable = {
        key for key in ("lapsed", "running", "pardoned", "shut") if may(world, access, ADA, key)
    }
    assert readable == {"running", "pardoned"}


def test_of_two_grants_alike_the_longer_counts(world: World, access: Access) -> None:
    """The same principal allowed twice keeps the later expiry, and none means for ever."""
    world.grant(
        {
            "a": [allow("public", PAST), allow("public", FUTURE)],
            "b": [allow("public"), allow("public", PAST)],
            "c": [allow("public"), deny("public", PAST), deny("public")],
        }
    )
    assert may(world, access, ADA, "a") and may(world, access, ADA, "b")
    assert not may(world, access, ADA, "c")


def test_groups_nest_and_cycles_end(world: World, access: Access) -> None:
    """A member of a member is a member, also where groups contain each other."""
    world.people(
        {
            "group:co:1": ["user:ada@x.org", "group:co:3"],
            "group:co:2": ["group:co:1"],
            "group:co:3": ["group:co:2", "group:co:3"],
        }
    )
    world.grant({"a": [allow("group:co:3")]})
    assert may(world, access, ADA, "a")
    assert not may(world, access, BEN, "a")


def test_a_revoked_member_sees_nothing(world: World, access: Access) -> None:
    """A membership that is gone does not count on the very next question."""
    world.grant({"a": [allow("group:co:staff")]})
    world.people({"group:co:staff": ["user:ada@x.org"]})
    assert may(world, access, ADA, "a")
    world.people({"group:co:staff": []})
    assert not may(world, access, ADA, "a")


def test_an_account_counts_only_while_it_is_mapped(world: World, access: Access) -> None:
    """An account in a group brings the group to its person; unmapped, it is nobody."""
    world.grant({"a": [allow("group:co:staff")], "b": [allow("public"), deny("account:wiki:7")]})
    world.people({"group:co:staff": ["account:wiki:7"]}, {"account:wiki:7": "user:ada@x.org"})
    assert may(world, access, ADA, "a") and not may(world, access, ADA, "b")
    world.people({"group:co:staff": ["account:wiki:7"]})
    assert not may(world, access, ADA, "a") and may(world, access, ADA, "b")


def test_e_mail_addresses_are_one_whatever_their_case(world: World, access: Access) -> None:
    """``user:ADA@X.ORG`` is Ada; a group's name keeps its case."""
    world.grant({"a": [allow("user:Ada@X.Org")], "b": [allow("domain:X.ORG")]})
    assert may(world, access, Principal.parse("user:ADA@x.ORG"), "a")
    assert may(world, access, ADA, "b")


@pytest.mark.parametrize(
    "hostile",
    [
        "user:ada@x.org' OR '1'='1",
        "user:%@x.org",
        "user:_da@x.org",
        'user:"ada"@x.org',
        "user:ada@x.org; DROP TABLE sluice.acl_grant",
        "user:{ada@x.org}",
        "user:ada\\@x.org",
    ],
)
def test_a_hostile_person_is_just_a_stranger(world: World, access: Access, hostile: str) -> None:
    """What would mean something to SQL means nothing here."""
    world.grant({"a": [allow("user:ada@x.org")], "b": [allow("public")]})
    stranger = Principal.parse(hostile)
    assert not may(world, access, stranger, "a")
    assert may(world, access, stranger, "b")


@pytest.mark.parametrize(
    "impostor",
    [
        "",
        "user:",
        "ada@x.org",
        "user:ada@x.org\0",
        "user:\u202egro.x@ada",
        "user:a\u200bda@x.org",
        "user:\ud800@x.org",
        "user:" + "a" * 400,
    ],
)
def test_what_names_nobody_is_refused(impostor: str) -> None:
    """Empty, endless, invisible and broken names never become a principal."""
    with pytest.raises(InvalidPrincipal):
        Principal.parse(impostor)


@pytest.mark.parametrize("text", ["public", "group:co:staff", "domain:x.org", "account:wiki:7"])
def test_only_a_person_has_a_scope(access: Access, text: str) -> None:
    """Nobody asks as a group, a domain, an account or everyone."""
    with pytest.raises(InvalidPrincipal, match="not a person"):
        access.scope(ANYONE, Principal.parse(text))


def test_a_caller_acts_only_for_those_it_was_made_for(world: World, access: Access) -> None:
    """Users, members of groups however deep, and domains; for anybody else it is refused."""
    world.people({"group:co:all": ["group:co:staff"], "group:co:staff": ["user:ada@x.org"]})
    carl = Principal.parse("user:carl@y.org")
    for names, welcome in (
        ("user:ada@x.org", {ADA}),
        ("group:co:all", {ADA}),
        ("domain:x.org", {ADA, BEN}),
        ("public", {ADA, BEN, carl}),
    ):
        caller = Caller(agent="a", key_id="k", acts_for=frozenset({Principal.parse(names)}))
        for person in (ADA, BEN, carl):
            if person in welcome:
                access.scope(caller, person)
                access.gate(caller, person, [])
            else:
                with pytest.raises(NotPermitted):
                    access.scope(caller, person)
                with pytest.raises(NotPermitted):
                    access.gate(caller, person, [])
                with pytest.raises(NotPermitted):
                    access.document(caller, person, "wiki:a")


def test_a_scope_over_the_cap_is_refused(world: World, access: Access) -> None:
    """Ten objects fit; with the eleventh nothing is answered, rather than a part."""
    world.grant({str(n): [allow("public")] for n in range(10)})
    assert len(access.scope(ANYONE, ADA).acl_ids) == 10
    world.grant({str(n): [allow("public")] for n in range(11)})
    with pytest.raises(ScopeTooLarge, match="SLUICE_SCOPE_CAP"):
        access.scope(ANYONE, ADA)


def test_a_source_with_old_permissions_is_hidden(world: World, access: Access) -> None:
    """Past its policy's age a source's objects are closed; within it they are open."""
    found = world.publish("a.md", "a")
    world.grant({"a": [allow("public")]})
    world.age(SOURCE, timedelta(hours=1), timedelta(minutes=59))
    assert may(world, access, ADA, "a")
    world.age(SOURCE, timedelta(hours=1), timedelta(minutes=61))
    assert not may(world, access, ADA, "a")
    assert access.gate(ANYONE, ADA, [found]).denied == 1
    with pytest.raises(NotFound):
        access.document(ANYONE, ADA, found.document_id)


def test_a_source_whose_permissions_were_never_seen_is_hidden(catalog: Catalog) -> None:
    """With a policy but no observation there is nothing to trust."""
    world, access = World(catalog), Access(catalog, cap=10)
    world.grant({"a": [allow("public")]})
    with catalog.begin() as connection:
        connection.execute(
            sa.text("UPDATE sluice.source SET max_acl_age = '1 h', acl_observed_at = NULL")
        )
    with pytest.raises(TooStale):  # the directory's policy is the same, and refuses everything
        access.scope(ANYONE, ADA)
    world.people({})
    assert not may(world, access, ADA, "a")


def test_a_stale_directory_refuses_everything(world: World, access: Access) -> None:
    """A membership that went missing could hide a deny, so nobody is answered."""
    world.grant({"a": [allow("public")]})
    world.age(DIRECTORY, timedelta(hours=1), timedelta(hours=2))
    for ask in (
        lambda: access.scope(ANYONE, ADA),
        lambda: access.gate(ANYONE, ADA, []),
        lambda: access.document(ANYONE, ADA, "wiki:a"),
    ):
        with pytest.raises(TooStale, match=DIRECTORY):
            ask()


def test_a_caller_may_demand_fresher_permissions(world: World, access: Access) -> None:
    """A version not reached yet, or permissions older than demanded, refuse the answer."""
    world.grant({"a": [allow("public")]})
    world.people({})
    version = access.scope(ANYONE, ADA).acl_version
    access.scope(ANYONE, ADA, Freshness(min_acl_version=version))
    with pytest.raises(TooStale, match="version"):
        access.scope(ANYONE, ADA, Freshness(min_acl_version=version + 1))
    world.age(SOURCE, None, timedelta(seconds=90))
    access.scope(ANYONE, ADA, Freshness(max_staleness=timedelta(seconds=100)))
    with pytest.raises(TooStale, match="older than demanded"):
        access.scope(ANYONE, ADA, Freshness(max_staleness=timedelta(seconds=80)))


def test_a_demand_looks_only_at_what_the_person_can_read(world: World, access: Access) -> None:
    """Old permissions of a source that is closed to the person are no business of theirs."""
    world.grant({"a": [allow("user:ben@x.org")]})
    world.people({})
    world.age(SOURCE, None, timedelta(hours=9))
    access.scope(ANYONE, ADA, Freshness(max_staleness=timedelta(seconds=60)))
    with pytest.raises(TooStale):
        access.scope(ANYONE, BEN, Freshness(max_staleness=timedelta(seconds=60)))


def test_the_gate_drops_what_is_no_longer_so(world: World, access: Access) -> None:
    """Replaced, deleted, unguarded, moved and never published: each goes, for its own reason."""
    world.grant({"open": [allow("public")], "shut": []})
    kept, old, gone, moved = (
        world.publish(each, "open") for each in ("kept", "old", "gone", "moved")
    )
    new = world.publish("old", "open")
    world.delete(gone.document_id)
    world.publish("moved", "shut")
    unborn = dataclasses.replace(kept, generation=kept.generation + 1000)
    strange = dataclasses.replace(kept, document_id="wiki:never")
    gated = access.gate(ANYONE, ADA, [kept, old, new, gone, moved, unborn, strange])
    assert [each.candidate for each in gated.permitted] == [kept, new]
    assert gated.denied == 1
    assert gated.replaced == {old.document_id: new.generation}


def test_the_gate_believes_the_catalog_not_the_index(world: World, access: Access) -> None:
    """A candidate that claims a readable object, of a document that has another, is denied."""
    world.grant({"open": [allow("public")], "shut": []})
    secret = world.publish("secret", "shut")
    liar = dataclasses.replace(secret, acl_id=world.acl_id("open"))
    assert access.gate(ANYONE, ADA, [liar]).denied == 1


def test_absent_deleted_and_forbidden_are_one_answer(world: World, access: Access) -> None:
    """Whoever may not read a document cannot tell whether there is one."""
    world.grant({"shut": [allow("user:ben@x.org")], "open": [allow("public")]})
    world.publish("secret", "shut")
    world.delete(world.publish("gone", "open").document_id)
    answers = set()
    for document_id in ("wiki:secret", "wiki:gone", "wiki:never", "", "wiki:\0", "wiki:\ud800"):
        with pytest.raises(NotFound) as refused:
            access.document(ANYONE, ADA, document_id)
        answers.add(str(refused.value))
    assert len(answers) == 1


def test_a_document_is_read_whole_as_it_is_now(world: World, access: Access) -> None:
    """The text is that of the live version, with the reason it may be read."""
    world.grant({"open": [allow("public")]})
    world.publish("a", "open", "first")
    world.publish("a", "open", "second")
    found = access.document(ANYONE, ADA, "wiki:a")
    assert found.text == "second"
    assert str(found.reason) == "open allows public (user:ada@x.org → public)"


def test_the_reason_is_the_shortest_way(world: World, access: Access) -> None:
    """Of several allows the one nearest to the person is told, with each step to it."""
    world.people(
        {
            "group:co:all": ["group:co:staff"],
            "group:co:staff": ["account:wiki:7", "group:co:all"],
            "group:co:far": ["group:co:all"],
        },
        {"account:wiki:7": "user:ada@x.org"},
    )
    found = world.publish("a", "folder")
    world.grant({"folder": [allow("group:co:far"), allow("group:co:staff", FUTURE)]})
    (reason,) = access.gate(ANYONE, ADA, [found], explain=True).reasons.values()
    assert [str(each) for each in reason.via] == [
        "user:ada@x.org",
        "account:wiki:7",
        "group:co:staff",
    ]
    assert reason.expires_at == FUTURE
    world.grant({"folder": [allow("group:co:far"), allow("group:co:staff", PAST)]})
    (reason,) = access.gate(ANYONE, ADA, [found], explain=True).reasons.values()
    assert str(reason.principal) == "group:co:far"


def test_narrow_takes_and_never_gives(world: World, access: Access) -> None:
    """Removed or shortened allows and new or longer denies count at once, nothing else does.

    An object that is not listed keeps what it grants: a vanished source must not blank itself.
    """
    world.grant(
        {
            "removed": [allow("public")],
            "shortened": [allow("public")],
            "denied": [allow("public")],
            "deny kept": [allow("public"), deny("user:ada@x.org", PAST)],
            "unlisted": [allow("public")],
            "still shut": [allow("public"), deny("public")],
            "not given": [],
            "not lengthened": [allow("public", PAST)],
            "deny not shortened": [allow("public"), deny("public")],
        }
    )
    wanted = {
        "removed": [],
        "shortened": [allow("public", PAST)],
        "denied": [allow("public"), deny("domain:x.org")],
        "deny kept": [allow("public"), deny("user:ada@x.org", FUTURE)],
        "still shut": [allow("public")],
        "not given": [allow("public")],
        "not lengthened": [allow("public")],
        "deny not shortened": [allow("public"), deny("public", PAST)],
    }
    with world.catalog.begin() as connection:
        permissions.narrow(
            connection, SOURCE, {k: frozenset(v) for k, v in wanted.items()}, datetime.now(UTC)
        )
    assert access.scope(ANYONE, ADA).acl_ids == {world.acl_id("unlisted")}
    world.grant(wanted)
    open_now = {"still shut", "not given", "not lengthened", "deny not shortened"}
    assert access.scope(ANYONE, ADA).acl_ids == {world.acl_id(key) for key in open_now}


def test_an_object_that_is_no_longer_listed_grants_nothing(world: World, access: Access) -> None:
    """``apply`` makes the source's grants exactly what it shows."""
    world.grant({"a": [allow("public")], "b": [allow("public")]})
    world.grant({"b": [allow("public")]})
    assert access.scope(ANYONE, ADA).acl_ids == {world.acl_id("b")}


def test_the_version_moves_once_for_each_real_change(world: World, access: Access) -> None:
    """A change counts one however large; the same again counts nothing."""

    def version() -> int:
        return access.scope(ANYONE, ADA).acl_version

    before = version()
    world.grant({"a": [allow("public")], "b": [allow("public", FUTURE)]})
    assert version() == before + 1
    world.grant({"b": [allow("public", FUTURE)], "a": [allow("public"), allow("public", PAST)]})
    world.people({})
    assert version() == before + 1
    world.people({"group:co:x": ["user:a"], "group:co:y": ["user:b"]}, {"account:w:1": "user:a"})
    assert version() == before + 2
    with world.catalog.begin() as connection:
        permissions.narrow(connection, SOURCE, {"a": frozenset()}, datetime.now(UTC))
        permissions.apply(
            connection, SOURCE, {"a": frozenset({allow("user:z")})}, datetime.now(UTC)
        )
    assert version() == before + 3


def test_apply_tells_what_means_something_else_than_before(world: World) -> None:
    """Objects that ``narrow`` already changed are told too; those that mean the same are not."""
    world.grant({"a": [allow("public")], "b": [allow("public")], "c": [allow("public")]})
    wanted: dict[str, frozenset[Grant]] = {"a": frozenset(), "b": frozenset({allow("public")})}
    with world.catalog.begin() as connection:
        permissions.narrow(connection, SOURCE, wanted, datetime.now(UTC))
        changed = permissions.apply(connection, SOURCE, wanted, datetime.now(UTC))
    assert changed == {world.acl_id("a"), world.acl_id("c")}


def test_an_older_observation_changes_nothing(world: World, access: Access) -> None:
    """What was read before something already applied never overwrites it."""
    world.grant({"a": []}, at=NOW)
    world.grant({"a": [allow("public")]}, at=NOW - timedelta(seconds=1))
    assert not may(world, access, ADA, "a")


def test_another_sources_grants_are_left_alone(world: World, access: Access) -> None:
    """Two sources may use the same key; each has its own."""
    with world.catalog.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO sluice.source (source, kind) VALUES ('o', 'files')")
        )
        permissions.apply(connection, "o", {"a": frozenset({allow("public")})}, NOW)
    world.grant({"a": []})
    with world.catalog.begin() as connection:
        permissions.narrow(connection, SOURCE, {}, datetime.now(UTC))
    assert len(access.scope(ANYONE, ADA).acl_ids) == 1


def test_grants_of_a_source_nobody_registered_are_refused(catalog: Catalog) -> None:
    """Their age could never be known, so they are not written."""
    with pytest.raises(ConfigurationError, match="registered"), catalog.begin() as connection:
        permissions.apply(connection, "nowhere", {}, NOW)


def test_an_account_of_two_people_is_refused(world: World, access: Access) -> None:
    """Within a directory or between two, whose deny it is must never be guessed."""
    account = Principal.parse("account:wiki:7")
    both = [Identity(account, ADA), Identity(account, BEN)]
    with pytest.raises(BadInput, match="two people"), world.catalog.begin() as connection:
        permissions.replace_directory(connection, DIRECTORY, [], both, NOW)
    world.people({}, {"account:wiki:7": "user:ada@x.org"})
    with world.catalog.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO sluice.source (source, kind) VALUES ('hr', 'directory')")
        )
        permissions.replace_directory(connection, "hr", [], [Identity(account, ADA)], NOW)
    with pytest.raises(BadInput, match="two people"), world.catalog.begin() as connection:
        permissions.replace_directory(connection, "hr", [], [Identity(account, BEN)], NOW)
    world.grant({"a": [allow("account:wiki:7")]})
    world.people({}, {})
    assert may(world, access, ADA, "a"), "the other directory still maps it"


def test_only_a_group_has_members(world: World) -> None:
    """A membership of a person would let its member act as that person."""
    with pytest.raises(BadInput, match="only a group"):
        world.people({"user:ben@x.org": ["user:ada@x.org"]})


def test_an_acl_means_the_same_in_every_time_zone() -> None:
    """The hash is of the instant, and of the longest of several grants alike."""
    there = FUTURE.astimezone(tz=None)
    twice = frozenset({allow("public", FUTURE), allow("public", PAST)})
    assert acl_hash({allow("public", there)}) == acl_hash({allow("public", FUTURE)})
    assert acl_hash(twice) == acl_hash({allow("public", FUTURE)})


def test_another_tenants_grants_do_not_count(world: World, new_catalog) -> None:
    """The same person in another tenant reads nothing of this one."""
    world.grant({"a": [allow("public")]})
    other = Access(new_catalog(), cap=10)
    assert other.scope(ANYONE, ADA).acl_ids == frozenset()
    assert other.scope(ANYONE, ADA).acl_version == 0
