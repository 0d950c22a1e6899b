"""An API as a source: pages, cursors, deletions, permissions, and answers that drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from landed import BROKEN, drafts_of, state
from sluice import landing
from sluice.errors import ConfigurationError, Incomplete, SchemaDrift, SourceRefused
from sluice.landing import Zone
from sluice.model import Bearer, Grant, Load, Principal, Window
from sluice.ports import Permissioned, Source
from sluice.sources import (
    Container,
    Cursor,
    Documents,
    Everyone,
    LinkHeader,
    ListedIn,
    NextLink,
    Offset,
    PageNumber,
    Rest,
)
from sluice.sources.rest import OnePage
from sluice.sources.rest.paging import Pages
from web_server import Answer, Asked, Kit, Service, serving

PAGE = 100


@dataclass
class Desk:
    """What the API holds; it pages in every way there is, and answers 500 where it is told to."""

    records: list[dict[str, Any]] = field(default_factory=list)
    members: dict[str, Any] = field(default_factory=dict)
    broken_from: int | None = None  # position in the list
    body: Any = None  # instead of a page
    key: str = "a-made-up-key"

    def answer(self, asked: Asked) -> Answer:
        """Answer one request."""
        if asked.headers.get("Authorization") != f"Bearer {self.key}":
            return Answer(401)
        if asked.path.startswith("/api/projects/"):
            found = self.members.get(asked.path.split("/")[3])
            return Answer(404) if found is None else Answer(200, {"members": found})
        if self.body is not None:
            return Answer(200, self.body)
        return self._page(asked)

    def _page(self, asked: Asked) -> Answer:
        query = asked.query
        records = [r for r in self.records if r.get("updated", "") >= query.get("since", "")]
        start = int(query.get("offset", 0)) or (int(query.get("page", 1)) - 1) * PAGE
        if self.broken_from is not None and start >= self.broken_from:
            return Answer(500, {"message": "the database is away"})
        more = start + PAGE < len(records)
        following = f"{asked.path}?page={start // PAGE + 2}&since={query.get('since', '')}"
        return Answer(
            200,
            {
                "tickets": records[start : start + PAGE],
                "next": start // PAGE + 2 if more else None,
                "link": f"http://{asked.headers['Host']}{following}" if more else None,
                "total": len(records),
            },
            {"Link": f'<http://{asked.headers["Host"]}{following}>; rel="next"'} if more else {},
        )


@pytest.fixture
def desk() -> Desk:
    """Three tickets in two projects."""
    return Desk(
        records=[ticket(1), ticket(2, project="b"), ticket(3)],
        members={"a": [{"email": "ada@x.com"}, {"email": None}], "b": [{"email": "bo@x.com"}]},
    )


@pytest.fixture
def service(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The API; nobody waits long for a broken one."""
    monkeypatch.setattr("sluice.sources.web.adapter._LONGEST", 0.01)  # a constant, no behaviour
    with serving(desk.answer) as service:
        yield service


@pytest.fixture
def rest(name: str, service: Service) -> Rest:
    """The tickets, guarded by their project, with a cursor."""
    return Rest(
        name=name,
        base_url=f"{service.url}/api",
        auth=Bearer(connection="desk"),
        documents=Documents(
            path="/tickets",
            records="tickets",
            pages=Cursor("next", "page"),
            title="subject",
            text=("body", "detail.answer"),
            uri="https://desk.example/{id}",
            updated="updated",
            since="since",
            deleted="gone",
        ),
        acl=Container("project", "/projects/{}/members", records="members"),
    )


def ticket(number: int, *, project: str = "a", updated: str = "2026-01-01", **more: Any) -> Any:
    """One record."""
    return {
        "id": number,
        "subject": f"Ticket {number}",
        "body": "It rattles.",
        "detail": {"answer": "Tighten it."},
        "project": project,
        "updated": f"{updated}T00:00:00Z",
        **more,
    }


def land(zone: Zone, rest: Rest, *, whole: bool = False, window: Window | None = None) -> Load:
    """Read it as a run does."""
    return landing.land(rest, zone, window, kit=Kit(), whole=whole)


def allowed(*people: str) -> frozenset[Grant]:
    """Grants to people of x.com."""
    return frozenset(Grant(Principal.parse(f"user:{each}@x.com")) for each in people)


def test_records_become_documents_that_their_container_guards(rest: Rest, zone: Zone) -> None:
    """Title, sections, address and members come from where the value says."""
    seen = state(zone, rest, land(zone, rest))
    assert seen["1"].title == "Ticket 1"
    assert seen["1"].text == "It rattles.\n\n## Answer\n\nTighten it."
    assert {key: each.acl for key, each in seen.items()} == {
        "1": allowed("ada"),
        "2": allowed("bo"),
        "3": allowed("ada"),
    }
    assert all(each.problems == () for each in seen.values())


@pytest.mark.parametrize(
    "pages",
    [
        Cursor("next", "page"),
        NextLink("link"),
        LinkHeader(),
        PageNumber(),
        Offset(PAGE),
        Offset(PAGE, total="total"),
    ],
    ids=lambda pages: type(pages).__name__,
)
def test_every_way_of_paging_lists_everything_once(
    pages: Pages, rest: Rest, desk: Desk, zone: Zone
) -> None:
    """A thousand and seven records, each once."""
    desk.records = [ticket(n) for n in range(1007)]
    load = land(zone, replace(rest, documents=replace(rest.documents, pages=pages)))
    assert load.rows == 1007 and load.listing is not None and len(load.listing.acl_keys) == 1007


def test_a_cursor_asks_for_what_changed_and_finds_what_is_flagged(
    rest: Rest, desk: Desk, service: Service, zone: Zone
) -> None:
    """The next reading asks from the newest time seen, less the lag; a flag is a deletion."""
    land(zone, rest)
    desk.records[0] = ticket(1, updated="2026-02-01", body="It is quiet.")
    desk.records[1] = ticket(2, updated="2026-02-01", gone=True)
    load = land(zone, rest)
    assert service.asked[-2].query["since"] == "2025-12-31T23:55:00Z"
    assert load.rows == 1 and load.listing is not None and not load.listing.whole
    assert (drafts_of(zone, rest, ["1"])["1"].text or "").startswith("It is quiet.")
    assert set(load.listing.acl_keys) == {"1", "3"}


def test_a_time_in_the_future_does_not_carry_the_cursor_away(
    rest: Rest, desk: Desk, zone: Zone
) -> None:
    """A clock that is wrong for one record hides no later change of another."""
    desk.records[0] = ticket(1, updated="2999-01-01")
    land(zone, rest)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    desk.records[2] = ticket(3, body="Later.") | {"updated": now}
    land(zone, rest)
    assert (drafts_of(zone, rest, ["3"])["3"].text or "").startswith("Later.")


def test_a_deletion_without_a_flag_is_found_by_a_whole_reading(
    rest: Rest, desk: Desk, zone: Zone
) -> None:
    """What is not listed is gone."""
    land(zone, rest)
    del desk.records[1]
    load = land(zone, rest, whole=True)
    assert (
        load.listing is not None
        and load.listing.whole
        and set(load.listing.acl_keys)
        == {
            "1",
            "3",
        }
    )


def test_a_window_reads_again_and_leaves_the_cursor_alone(
    rest: Rest, service: Service, zone: Zone
) -> None:
    """A backfill asks from its own start."""
    land(zone, rest)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    land(zone, rest, window=Window(start, start + timedelta(days=1)))
    assert service.asked[-3].query["since"] == "2019-12-31T23:55:00Z"
    land(zone, rest)
    assert any(each.query.get("since") == "2025-12-31T23:55:00Z" for each in service.asked[-3:])


def test_a_page_that_fails_deletes_nothing(rest: Rest, desk: Desk, zone: Zone) -> None:
    """Of 10,000 ids 9,000 are on pages that fail: an error that says so, and all are kept."""
    desk.records = [ticket(n) for n in range(10_000)]
    first = land(zone, rest)
    desk.broken_from = 1000
    with pytest.raises(Incomplete) as caught:
        land(zone, rest, whole=True)
    assert "page 11 of /tickets could not be read, after 1000 records" in str(caught.value)
    assert "the database is away" in str(caught.value) and "nothing deleted" in str(caught.value)
    assert landing.pending(zone, rest.name, [first.load_id]) == []
    kept = landing.listing(zone, rest.name, [first.load_id])
    assert kept is not None and len(kept.acl_keys) == 10_000


@pytest.mark.parametrize(
    "body",
    [
        {"error": "maintenance"},
        {"tickets": None},
        {"tickets": {"id": 1}},
        {"tickets": ["1"]},
        ["1"],
        b"<html>Back soon</html>",
        b"",
    ],
    ids=str,
)
def test_an_answer_that_is_no_page_is_no_empty_one(
    body: Any, rest: Rest, desk: Desk, zone: Zone
) -> None:
    """A 200 without the list is an error: it must not delete what there is."""
    land(zone, rest)
    desk.body = body
    with pytest.raises(Incomplete, match="page 1 of /tickets"):
        land(zone, rest, whole=True)


def test_an_empty_list_is_one(rest: Rest, desk: Desk, zone: Zone) -> None:
    """Where the API says there is nothing, there is nothing."""
    desk.records = []
    load = land(zone, rest)
    assert load.listing is not None and load.listing.acl_keys == {}


def test_a_page_that_comes_again_is_an_error(rest: Rest, desk: Desk, zone: Zone) -> None:
    """An API that ignores the page's number would be read for ever."""
    desk.body = {"tickets": [ticket(1)], "next": 2}
    with pytest.raises(Incomplete, match="the page before came again"):
        land(zone, rest)


def test_records_that_move_while_they_are_listed_are_noticed(
    rest: Rest, desk: Desk, zone: Zone
) -> None:
    """A total that is not what came proves the listing incomplete."""
    desk.body = {"tickets": [ticket(1)], "total": 2}
    pages = Offset(PAGE, total="total")
    with pytest.raises(Incomplete, match="2 records were announced"):
        land(zone, replace(rest, documents=replace(rest.documents, pages=pages)))


def test_a_refused_key_names_the_connection(rest: Rest, desk: Desk, zone: Zone) -> None:
    """Not a page that failed: somebody has to correct it."""
    desk.key = "another"
    with pytest.raises(SourceRefused, match="Airflow connection desk"):
        land(zone, rest)


def test_unknown_permissions_hide(rest: Rest, desk: Desk, zone: Zone) -> None:
    """A container whose members cannot be listed or named, and a record without one: nobody."""
    desk.members = {"b": [{"name": "Bo"}]}
    desk.records += [ticket(4, project=".."), ticket(5) | {"project": None}]
    desk.records += [ticket(6, project="empty")]
    desk.members["empty"] = []
    acls = {key: each.acl for key, each in state(zone, rest, land(zone, rest)).items()}
    assert acls == {
        "1": BROKEN,
        "2": BROKEN,
        "3": BROKEN,
        "4": BROKEN,
        "5": None,
        "6": frozenset(),
    }


def test_members_that_do_not_answer_stop_the_load(rest: Rest, desk: Desk, zone: Zone) -> None:
    """A list of members that ended half-way takes nobody's right away."""
    desk.members["a"] = None
    assert land(zone, rest).listing is not None  # 404 is an answer
    desk.members["a"] = {"not": "a list"}
    with pytest.raises(Incomplete, match="/projects/a/members"):
        land(zone, rest)


def test_records_may_list_who_reads_them(rest: Rest, desk: Desk, zone: Zone) -> None:
    """Texts and objects name people; what is no list, or names nobody, is shown to nobody."""
    readers = [["ada@x.com"], [{"mail": "ada@x.com"}], [], None, {"mail": "ada@x.com"}, [None], 7]
    desk.records = [ticket(n, readers=each) for n, each in enumerate(readers)]
    texts = state(zone, listed := replace(rest, acl=ListedIn("readers")), land(zone, listed))
    assert [texts[str(n)].acl for n in range(7)] == [
        allowed("ada"),
        BROKEN,
        frozenset(),
        None,
        BROKEN,
        BROKEN,
        BROKEN,
    ]
    objects = replace(rest, acl=ListedIn("readers", "user:{mail}"))
    assert state(zone, objects, land(zone, objects, whole=True))["1"].acl == allowed("ada")


def test_an_operators_rule_covers_everything(rest: Rest, zone: Zone) -> None:
    """And asks the API nothing about permissions."""
    rest = replace(rest, acl=Everyone(("user:eve@x.com",)))
    assert {each.acl for each in state(zone, rest, land(zone, rest)).values()} == {allowed("eve")}
    with pytest.raises(ConfigurationError, match="not a principal"):
        Everyone(("eve",))


def test_permissions_are_read_apart_from_content(rest: Rest, desk: Desk) -> None:
    """All of them, or an error."""
    assert isinstance(rest, Permissioned)
    source: Source = rest
    assert source.columns() is None
    found = rest.permissions(Kit())
    assert {key: acl.grants for key, acl in found.acls.items()} == {
        "a": allowed("ada"),
        "b": allowed("bo"),
    }
    assert set(replace(rest, acl=Everyone(("public",))).permissions(Kit()).acls) == {"everyone"}
    desk.broken_from = 0
    with pytest.raises(Incomplete):
        rest.permissions(Kit())


def test_fields_that_come_go_and_change_their_type_land_nothing_new(
    rest: Rest, desk: Desk, zone: Zone
) -> None:
    """What no document is made of may drift as it likes; the run goes on."""
    for each in desk.records:
        each |= {"priority": 1, "tags": ["a"]}
    land(zone, rest)
    for each in desk.records:
        each |= {
            "priority": {"level": "high"},
            "mood": "calm",
            "detail": {**each["detail"], "n": 1},
        }
        del each["tags"]
    assert land(zone, rest, whole=True).rows == 0


def test_fields_that_documents_are_made_of_may_drift_too(
    rest: Rest, desk: Desk, zone: Zone
) -> None:
    """Of three records two drift: they land, with their problems, and the third does not."""
    land(zone, rest)
    desk.records[0] |= {"subject": 17, "updated": "yesterday", "detail": "Tighten it."}
    desk.records[1] |= {"body": {"text": "It rattles."}}
    load = land(zone, rest, whole=True)
    seen = state(zone, rest, load)
    assert load.rows == 2
    assert seen["1"].title == "17" and seen["1"].problems == ("updated is not a time: 'yesterday'",)
    assert seen["2"].text == '{\n  "text": "It rattles."\n}\n\n## Answer\n\nTighten it.'


def test_a_key_that_is_gone_everywhere_is_drift(rest: Rest, desk: Desk, zone: Zone) -> None:
    """Otherwise everything would be new, and what there was deleted."""
    land(zone, rest)
    for each in desk.records:
        each["uid"] = each.pop("id")
    with pytest.raises(SchemaDrift, match="no record has its key, id"):
        land(zone, rest, whole=True)


@pytest.mark.parametrize(
    ("part", "value"),
    [("records", "tickets[*]"), ("text", ()), ("updated", None)],
)
def test_a_value_that_cannot_work_is_refused_at_once(part: str, value: Any, rest: Rest) -> None:
    """In the DAG file, not in the first run."""
    with pytest.raises(ConfigurationError):
        replace(rest, documents=replace(rest.documents, **{part: value}))


def test_a_list_on_one_page_needs_no_paging(rest: Rest, desk: Desk, zone: Zone) -> None:
    """And may be the page itself."""
    desk.body = [ticket(1)]
    whole = replace(rest.documents, records="$", pages=OnePage())
    assert land(zone, replace(rest, documents=whole)).rows == 1
