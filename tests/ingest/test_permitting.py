"""Permissions read apart from content: whole or not at all, beside whatever else runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from permitted import Office, account, column, grants_of, reads
from sluice import ingest
from sluice.catalog import documents, permissions, runs, sources, status
from sluice.errors import (
    BadInput,
    Incomplete,
    LoadHeld,
    SluiceError,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
)
from sluice.ingest import Pipeline, sync_permissions
from sluice.ingest.pipeline import exclusive
from sluice.model import Policy, Rules
from sluice.sources import Files
from sluice.sources.rules import ruled
from world import SOURCE, World, allow, deny

ADA, BEN = "user:ada@x.org", "user:ben@x.org"
RUN = f"{SOURCE}:permissions:1"


@pytest.fixture
def world(pipeline: Pipeline) -> World:
    """The pipeline's tenant, with a source and a directory of people."""
    return World(pipeline.catalog)


@pytest.fixture
def office(world: World) -> Office:
    """Four rooms, a group in a group, Ada, and Ben whose address nobody vouches for."""
    office = Office(
        groups={
            "group:wiki:staff": ["group:wiki:board", "account:wiki:2"],
            "group:wiki:board": ["account:wiki:1", "group:wiki:staff"],
        },
        accounts=[account("1", "Ada@X.org"), account("2", "ben@x.org", verified=False)],
    )
    office.share("lobby", allow("public"))
    office.share("staff", allow("group:wiki:staff"))
    office.share("desk", allow("account:wiki:2"))
    office.share("domain", allow("domain:x.org"))
    return office


def sync(pipeline: Pipeline, office: Office, run_id: str = RUN, **how: bool) -> dict[str, int]:
    """One run."""
    return sync_permissions(pipeline, office, run_id, **how)


def state(pipeline: Pipeline) -> object:
    """All that a run could have changed."""
    query = (
        "SELECT jsonb_build_array("
        " (SELECT acl_observed_at FROM sluice.source WHERE source = 'wiki'),"
        " (SELECT jsonb_agg(m ORDER BY m) FROM sluice.membership m),"
        " (SELECT jsonb_agg(i ORDER BY i) FROM sluice.identity i),"
        " (SELECT jsonb_agg(a ORDER BY a) FROM sluice.account a),"
        " (SELECT jsonb_agg(a ORDER BY a) FROM sluice.address a),"
        " (SELECT jsonb_agg(a ORDER BY a) FROM sluice.acl a),"
        " (SELECT jsonb_agg(g ORDER BY g) FROM sluice.acl_grant g))"
    )
    return column(pipeline.catalog, query)


def test_one_run_brings_grants_groups_and_accounts(pipeline: Pipeline, office: Office) -> None:
    """Nested groups in circles, a domain, an account; and it is all told in the run's record."""
    counts = sync(pipeline, office)
    assert counts == {
        "objects": 4,
        "memberships": 4,
        "accounts": 2,
        "mapped": 1,
        "held": 1,
        "contradicted": 0,
        "changed": 1,
    }
    assert reads(pipeline.catalog, ADA) == {"lobby", "staff", "domain"}
    assert sync(pipeline, office)["changed"] == 0
    with pipeline.catalog.begin() as connection:
        assert runs.summary(connection, RUN)["objects"] == 4


def test_what_the_source_takes_back_is_gone(pipeline: Pipeline, office: Office) -> None:
    """A grant, a membership, an object and an account, each by the next run."""
    sync(pipeline, office)
    office.share("lobby", deny("account:wiki:1"), allow("public"))
    office.groups["group:wiki:board"] = []
    del office.acls["domain"]
    sync(pipeline, office)
    assert reads(pipeline.catalog, ADA) == set()
    assert reads(pipeline.catalog, BEN) == {"lobby"}


def test_an_object_that_could_not_be_read_grants_nothing(
    pipeline: Pipeline, office: Office
) -> None:
    """Whatever it granted before."""
    sync(pipeline, office)
    office.share("lobby", allow("public"), error="403 for its sharing settings")
    sync(pipeline, office)
    assert "lobby" not in reads(pipeline.catalog, ADA)


def failing(error: Exception) -> Callable[[], object]:
    """Something that ends a reading half-way."""

    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (Incomplete("page 3 of 9 timed out"), Incomplete, "page 3 of 9 timed out"),
        (SourceUnavailable("502"), SourceUnavailable, "502"),
        (SourceBusy("429", after=7), SourceBusy, "429"),
        (SourceRefused("no such scope"), SourceRefused, "no such scope"),
        (KeyError("secret"), Incomplete, "unexpected KeyError"),
    ],
)
def test_a_reading_that_is_not_whole_changes_nothing(
    pipeline: Pipeline, office: Office, error: Exception, kind: type[SluiceError], said: str
) -> None:
    """Neither rights nor their age; the record says so, and the error keeps what it is."""
    sync(pipeline, office)
    before = state(pipeline)
    office.acls.clear()
    office.accounts.clear()
    office.meanwhile = failing(error)
    with pytest.raises(kind) as caught:
        sync(pipeline, office, "r2")
    assert state(pipeline) == before
    (message,) = column(pipeline.catalog, "SELECT message FROM sluice.run WHERE run_id = 'r2'")
    assert f"could not be read whole ({said})" in str(message)
    assert "nothing was given or taken away" in str(message) and "secret" not in str(message)
    assert str(message).startswith("wiki: ")
    assert not isinstance(error, SourceBusy) or caught.value is error


def test_what_cannot_be_changes_nothing(pipeline: Pipeline, office: Office) -> None:
    """A source speaks of its own groups alone, and people contain nobody: all or nothing."""
    sync(pipeline, office)
    before = state(pipeline)
    office.share("lobby")
    office.accounts.append(account("3", "eve@x.org"))
    for group in ("group:company:board", "user:ada@x.org"):
        office.groups = {group: ["account:wiki:3"]}
        with pytest.raises(BadInput, match="nothing was given or taken away"):
            sync(pipeline, office)
        assert state(pipeline) == before


def test_objects_that_vanish_at_once_are_held(pipeline: Pipeline, office: Office) -> None:
    """They keep what they grant; nothing is given, but what the others lost is lost."""
    sync(pipeline, office)
    observed = column(pipeline.catalog, "SELECT acl_observed_at FROM sluice.source")
    for key in ("staff", "domain"):
        del office.acls[key]
    office.share("lobby")
    office.share("new", allow("public"))
    with pytest.raises(LoadHeld, match=r"2 of 4 permission objects are gone.*accept_loss"):
        sync(pipeline, office, "r2")
    assert reads(pipeline.catalog, ADA) == {"staff", "domain"}
    assert column(pipeline.catalog, "SELECT acl_observed_at FROM sluice.source") == observed
    assert column(pipeline.catalog, "SELECT state FROM sluice.run WHERE run_id = 'r2'") == ["held"]
    sync(pipeline, office, "r3", accept_loss=True)
    assert reads(pipeline.catalog, ADA) == {"new"}
    sync(pipeline, office, "r4")  # what was given up is not missed for ever


def test_an_empty_listing_is_held_whatever_the_policy_allows(
    pipeline: Pipeline, office: Office
) -> None:
    """It may lose all of its objects, but not by showing nothing at all."""
    office.policy = Policy(max_loss=1.0)
    sync(pipeline, office)
    office.acls.clear()
    with pytest.raises(LoadHeld):
        sync(pipeline, office)
    assert "lobby" in reads(pipeline.catalog, ADA)
    sync(pipeline, office, accept_loss=True)
    assert reads(pipeline.catalog, ADA) == set()


def test_the_first_run_may_find_nothing(pipeline: Pipeline, world: World) -> None:
    """An empty source is no loss."""
    assert sync(pipeline, Office())["objects"] == 0


def test_permissions_and_content_do_not_wait_for_each_other(
    pipeline: Pipeline, office: Office
) -> None:
    """A content run may hold the source for hours; and one may begin while permissions are read."""
    with exclusive(pipeline, SOURCE, "office", Policy(), "content"):
        sync(pipeline, office)
        assert "lobby" in reads(pipeline.catalog, ADA)

    def content() -> None:
        with exclusive(pipeline, SOURCE, "office", Policy(), "content", patience=0):
            pass

    office.meanwhile = content
    sync(pipeline, office)


def test_two_runs_of_the_same_permissions_wait_for_each_other(
    pipeline: Pipeline, office: Office
) -> None:
    """The second reads only when the first has written."""
    order: list[str] = []
    begun = threading.Event()

    def slowly() -> None:
        begun.set()
        other.join(0.7)
        order.append("first")

    office.meanwhile = slowly
    second = Office(acls=office.acls, meanwhile=lambda: order.append("second"))
    other = threading.Thread(target=lambda: (begun.wait(), sync(pipeline, second, "r2")))
    other.start()
    sync(pipeline, office, "r1")
    other.join()
    assert order == ["first", "second"]


def test_the_newest_run_of_a_source_is_one_of_its_content(
    pipeline: Pipeline, office: Office
) -> None:
    """Status shows both, and neither hides the other."""
    sync(pipeline, office)
    with pipeline.catalog.begin() as connection:
        found = {each.source: each for each in status.sources(connection)}
    assert list(found) == ["people", SOURCE]
    content, apart = found[SOURCE].run, found[SOURCE].permissions_run
    assert content is not None and content.run_id == "run-1"
    assert apart is not None and (apart.run_id, apart.state) == (RUN, "succeeded")


def test_what_content_saw_later_stands(pipeline: Pipeline, office: Office) -> None:
    """An object that a content run read after this reading began keeps what that run saw."""
    sync(pipeline, office)

    def content() -> None:
        with pipeline.catalog.begin() as connection:
            now = datetime.now(UTC)
            permissions.touch(connection, SOURCE, {"staff": frozenset()}, now)

    office.meanwhile = content
    sync(pipeline, office)
    assert "staff" not in reads(pipeline.catalog, ADA)
    office.meanwhile = lambda: None
    sync(pipeline, office)
    assert "staff" in reads(pipeline.catalog, ADA)


def test_a_clock_that_is_ahead_outlasts_nothing(pipeline: Pipeline, office: Office) -> None:
    """A reading counts from when it began here, whatever the source believes."""
    office.clock = lambda: datetime.now(UTC) + timedelta(hours=1)
    sync(pipeline, office)
    office.clock = lambda: datetime.now(UTC)
    office.share("lobby")
    sync(pipeline, office)
    assert "lobby" not in reads(pipeline.catalog, ADA)


def test_their_age_is_that_of_permission_runs_alone(
    pipeline: Pipeline, tree: Path, world: World
) -> None:
    """Content that goes live says nothing of groups and accounts, so it makes nothing fresh."""

    class Both(Files):
        """A folder whose permissions could be read apart."""

        def permissions(self, kit: object) -> None: ...

    query = "SELECT acl_observed_at FROM sluice.source WHERE source = 'pages'"
    ingest.run(pipeline, Both(name="pages", url=str(tree)), "r1")
    assert column(pipeline.catalog, query) == [None]
    with pipeline.catalog.begin() as connection:
        assert list(documents.known(connection, "pages")) == ["pages:welcome.md"]
    ingest.run(pipeline, Files(name="pages", url=str(tree)), "r2")
    assert column(pipeline.catalog, query) != [None]


def test_a_deactivated_account_is_nobody(pipeline: Pipeline, world: World, office: Office) -> None:
    """Neither by its address nor by a table of people; and its memberships are gone."""
    world.people({}, {"account:wiki:2": BEN})
    sync(pipeline, office)
    assert reads(pipeline.catalog, BEN) == {"lobby", "staff", "desk", "domain"}
    office.accounts = [account("1", "ada@x.org"), account("2", "ben@x.org", active=False)]
    sync(pipeline, office)
    assert reads(pipeline.catalog, BEN) == {"lobby", "domain"}
    members = column(pipeline.catalog, "SELECT member FROM sluice.membership")
    assert "account:wiki:2" not in members
    world.people({}, {"account:wiki:2": BEN})  # the table's next run does not bring it back
    assert reads(pipeline.catalog, BEN) == {"lobby", "domain"}
    office.accounts.pop()
    sync(pipeline, office)
    assert reads(pipeline.catalog, BEN) == {"lobby", "domain"}, "gone is no better"
    office.accounts.append(account("2", "ben@x.org"))
    sync(pipeline, office)
    assert reads(pipeline.catalog, BEN) == {"lobby", "staff", "desk", "domain"}


def test_a_table_of_people_wins_over_addresses(
    pipeline: Pipeline, world: World, office: Office
) -> None:
    """Account 1 is Ben's, whatever its address; that it says otherwise is told."""
    sync(pipeline, office)
    world.people({}, {"account:wiki:1": BEN})
    assert "staff" not in reads(pipeline.catalog, ADA)
    assert "staff" in reads(pipeline.catalog, BEN)
    assert sync(pipeline, office)["contradicted"] == 1
    assert "staff" not in reads(pipeline.catalog, ADA)
    world.people({}, {})
    assert "staff" in reads(pipeline.catalog, ADA)
    assert "staff" not in reads(pipeline.catalog, BEN)


@pytest.mark.parametrize(
    ("guest", "person"),
    [
        (account("g", "guest@x.org", verified=False), "user:guest@x.org"),
        (account("g", "guest@x.org", verified=False), "user:guest@mail.example"),
        (account("g", None), "user:g"),
        (account("g", "admin"), "user:admin"),
        (account("g", "admin@"), "user:admin"),
        (account("g", "@x.org"), "user:@x.org"),
        (account("g", "guest\u200b@x.org"), "user:guest@x.org"),
    ],
)
def test_a_guest_without_a_verified_address_reads_what_is_public(
    pipeline: Pipeline, office: Office, guest: object, person: str
) -> None:
    """What was shared with the account, or its groups, is nobody's. A domain is its person's."""
    office.accounts = [guest]  # type: ignore[list-item]
    office.groups = {"group:wiki:staff": ["account:wiki:g"]}
    office.share("desk", allow("account:wiki:g"))
    sync(pipeline, office)
    own = {"domain"} if person.endswith("@x.org") else set()
    assert reads(pipeline.catalog, person) == {"lobby"} | own


def test_a_domain_counts_for_who_has_an_address_in_it(pipeline: Pipeline, office: Office) -> None:
    """Not for who only says so to the source, and not for the domains around it."""
    office.accounts = [
        account("1", "ada@x.org"),
        account("3", "eve@evil.example", verified=True),
        account("4", "eve@x.org", verified=False),
    ]
    sync(pipeline, office)
    assert "domain" in reads(pipeline.catalog, ADA)
    for person in ("user:eve@evil.example", "user:eve@x.org.evil", "user:eve@sub.x.org", "user:x"):
        assert "domain" not in reads(pipeline.catalog, person)


def test_deny_beats_allow_however_it_comes(pipeline: Pipeline, office: Office) -> None:
    """An account in a denied group is shut out of what its person's domain may read.

    Ben's account is in it too, but nobody vouches that it is his: it takes nothing from him either.
    """
    office.share("domain", allow("domain:x.org"), allow("account:wiki:1"), deny("group:wiki:staff"))
    sync(pipeline, office)
    assert "domain" not in reads(pipeline.catalog, ADA)
    assert "domain" in reads(pipeline.catalog, BEN)


def test_a_link_share_is_not_public(pipeline: Pipeline, office: Office) -> None:
    """Who has the link can read it at the source; here nobody was allowed."""
    office.share("link")
    sync(pipeline, office)
    assert "link" in grants_of(pipeline.catalog)
    assert "link" not in reads(pipeline.catalog, ADA)


def test_what_a_source_cannot_tell_is_hidden_until_an_operator_decides(
    pipeline: Pipeline, office: Office
) -> None:
    """A rule opens it; one that could be read is never loosened, and one without a rule is shut."""
    office.share("mystery", error="it has no sharing settings")
    office.share("other", error="it has no sharing settings")
    office.share("closed", deny("public"))
    sync(pipeline, office)
    assert not {"mystery", "other", "closed"} & reads(pipeline.catalog, ADA)
    rules = Rules(readers={"mystery": (ADA,), "closed": ("public",)})
    office.acls = {key: ruled(acl, rules) for key, acl in office.acls.items()}
    sync(pipeline, office)
    assert "mystery" in reads(pipeline.catalog, ADA)
    assert "mystery" not in reads(pipeline.catalog, BEN)
    assert not {"other", "closed"} & reads(pipeline.catalog, ADA)


def test_a_source_that_was_removed_leaves_no_address_behind(
    pipeline: Pipeline, office: Office
) -> None:
    """Nor an account, a group or a grant; not even of objects that a clock ahead of ours saw."""
    sync(pipeline, office)
    with pipeline.catalog.begin() as connection:
        ahead = datetime.now(UTC) + timedelta(hours=1)
        permissions.touch(connection, SOURCE, {"staff": frozenset({allow("public")})}, ahead)
        sources.remove(connection, SOURCE)
    for table in ("account", "address", "identity", "membership", "acl_grant"):
        with pipeline.catalog.begin() as connection:
            found = connection.execute(sa.text(f"SELECT count(*) FROM sluice.{table}"))
            assert found.scalar() == 0, table
