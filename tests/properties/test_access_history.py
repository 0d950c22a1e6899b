"""20,000 random histories of permissions, each compared with brute force over the same rules.

A history is a few people in nested and cyclic groups, with accounts, grants, denies, expiries and
documents, that all change step by step. Hundreds of histories share one catalog and go forward
together, a step of all of them in one transaction, through the very functions that ingest writes
and retrieval reads with. They share no name except ``public``, so whatever crosses from one
history into another without it is a leak too.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from sluice.access import Access, Verdict, judge
from sluice.catalog import Catalog, documents, permissions, runs
from sluice.catalog import scope as scopes
from sluice.model import (
    PUBLIC,
    Candidate,
    Document,
    Effect,
    Grant,
    Identity,
    Membership,
    Policy,
    Principal,
)
from world import ANYONE, World

HISTORIES, TOGETHER, STEPS = 20_000, 125, 5
GROUPS, ACCOUNTS = 4, 2
FOREVER = datetime.max.replace(tzinfo=UTC)

Acl = dict[tuple[Principal, Effect], datetime]


class History:
    """One small company: what its sources show, and what the catalog should know of it."""

    def __init__(self, number: int, dice: random.Random):
        self.dice = dice
        self.people = [Principal(f"user:p@{side}{number}.org") for side in "ab"]
        self.people.append(Principal(f"user:q@a{number}.org"))
        self.groups = [Principal(f"group:co:{number}-{n}") for n in range(GROUPS)]
        self.accounts = [Principal(f"account:wiki:{number}-{n}") for n in range(ACCOUNTS)]
        domains = [Principal(f"domain:a{number}.org"), Principal(f"domain:b{number}.org")]
        self.names = [*self.people, *self.groups * 2, *self.accounts, *domains]
        # wiki's two folders and mail's one, as shown by the source and as known to the catalog
        self.shown: dict[tuple[str, str], Acl] = {
            ("wiki", f"{number}/0"): {},
            ("wiki", f"{number}/1"): {},
            ("mail", f"{number}/2"): {},
        }
        self.known: dict[tuple[str, str], Acl] = {each: {} for each in self.shown}
        self.members: set[tuple[Principal, Principal]] = set()  # group, member
        self.mapped: dict[Principal, Principal] = {}
        self.folder: dict[str, str | None] = {}  # of each document that is live
        self.generation: dict[str, int] = {}
        self.ids = [f"wiki:{number}-a", f"wiki:{number}-b", f"mail:{number}-c"]

    def change(self) -> None:
        """Let two or three things happen."""
        for _ in range(self.dice.choice((2, 3))):
            self.dice.choice((self._grant, self._grant, self._join, self._join, self._map))()

    def _name(self) -> Principal:
        return PUBLIC if self.dice.random() < 0.02 else self.dice.choice(self.names)

    def _grant(self) -> None:
        acl = self.shown[self.dice.choice(list(self.shown))]
        now = datetime.now(UTC)
        until = self.dice.choice((FOREVER, FOREVER, now - HOUR, now + HOUR, now + 2 * HOUR))
        effect = Effect.DENY if self.dice.random() < 0.3 else Effect.ALLOW
        what = self.dice.random()
        if acl and what < 0.2:
            del acl[self.dice.choice(list(acl))]
        elif acl and what < 0.5:
            acl[self.dice.choice(list(acl))] = until
        else:
            acl[self._name(), effect] = until

    def _join(self) -> None:
        if self.members and self.dice.random() < 0.3:
            self.members.remove(self.dice.choice(sorted(self.members)))
        else:
            self.members.add((self.dice.choice(self.groups), self._name()))

    def _map(self) -> None:
        account = self.dice.choice(self.accounts)
        if self.mapped.pop(account, None) is None:
            self.mapped[account] = self.dice.choice(self.people)


HOUR = timedelta(hours=1)


def brute_force(
    person: Principal, history: History, stale: bool, crowd: set[Principal]
) -> set[tuple[str, str]]:
    """The folders of ``history`` that ``person`` may read, by the rules and nothing else.

    ``crowd`` is what everyone comes under, in this history and in others.
    """
    under = {person, *crowd}
    if person.domain:
        under.add(person.domain)
    under |= {account for account, owner in history.mapped.items() if owner == person}
    grown = True
    while grown:
        more = {group for group, member in history.members if member in under} - under
        under |= more
        grown = bool(more)
    now = datetime.now(UTC)
    readable = set()
    for folder, acl in history.known.items():
        effects = {effect for (who, effect), until in acl.items() if who in under and until > now}
        if effects == {Effect.ALLOW} and not (stale and folder[0] == "mail"):
            readable.add(folder)
    return readable


def crowd_of(histories: list[History]) -> set[Principal]:
    """``public``, and every group that contains it."""
    crowd = {PUBLIC}
    while True:
        more = {
            group for history in histories for group, member in history.members if member in crowd
        } - crowd
        if not more:
            return crowd
        crowd |= more


class Together:
    """Histories that go forward in one catalog."""

    def __init__(self, catalog: Catalog, numbers: range, dice: random.Random):
        self.catalog = catalog
        self.dice = dice
        self.histories = [History(number, dice) for number in numbers]
        self.world = World(catalog)
        self.stale = False
        with catalog.begin() as connection:
            runs.ensure_source(connection, "mail", "files", Policy(max_acl_age=HOUR))
            self.acl_ids = {
                (source, key): acl_id
                for source in ("wiki", "mail")
                for key, acl_id in permissions.ensure_acls(
                    connection,
                    source,
                    [k for h in self.histories for s, k in h.known if s == source],
                ).items()
            }

    def step(self) -> None:
        """Change every history, and tell the catalog, all of it in one transaction."""
        for history in self.histories:
            history.change()
        narrowed, applied = self.dice.choice(((True, True), (True, False), (False, True)))
        self.stale = self.dice.random() < 0.2
        with self.catalog.begin() as connection:
            for source in ("wiki", "mail"):
                grants = self._grants(source)
                if narrowed:
                    permissions.narrow(connection, source, grants, datetime.now(UTC))
                if applied:
                    permissions.apply(connection, source, grants, datetime.now(UTC))
            permissions.replace_directory(
                connection,
                "people",
                [Membership(*pair) for history in self.histories for pair in history.members],
                [Identity(*pair) for history in self.histories for pair in history.mapped.items()],
                datetime.now(UTC),
            )
            self._documents(connection)
        for history in self.histories:
            for folder, acl in history.known.items():
                if narrowed:
                    _narrow(acl, history.shown[folder])
                if applied:
                    history.known[folder] = dict(history.shown[folder])
        self.world.age("mail", HOUR, 2 * HOUR if self.stale else timedelta(0))

    def _grants(self, source: str) -> dict[str, frozenset[Grant]]:
        return {
            key: frozenset(
                Grant(who, effect, None if until == FOREVER else until)
                for (who, effect), until in acl.items()
            )
            for history in self.histories
            for (name, key), acl in history.shown.items()
            if name == source
        }

    def _documents(self, connection: object) -> None:
        """Publish, move, hide and delete documents, here and there."""
        fresh: list[tuple[History, Document]] = []
        guarded: dict[str, dict[str, str | None]] = {"wiki": {}, "mail": {}}
        gone = []
        for history in self.dice.sample(self.histories, len(self.histories) // 4):
            document_id = self.dice.choice(history.ids)
            source = document_id.partition(":")[0]
            folders = [key for name, key in history.known if name == source]
            what = self.dice.random()
            if document_id not in history.folder or what < 0.4:
                history.folder[document_id] = self.dice.choice(folders)
                fresh.append((history, _document(document_id, history.folder[document_id])))
            elif what < 0.8:
                history.folder[document_id] = self.dice.choice([*folders, None])
                guarded[source][document_id] = history.folder[document_id]
            else:
                del history.folder[document_id]
                gone.append(document_id)
        numbers = documents.allocate(connection, len(fresh))
        building = [
            documents.Building(generation=number, document=document)
            for number, (_, document) in zip(numbers, fresh, strict=True)
        ]
        documents.register(connection, "run-1", "test", building)
        documents.flip(connection, numbers)
        for source, moves in guarded.items():
            documents.guard(connection, source, moves)
        documents.delete(connection, gone)
        for number, (history, document) in zip(numbers, fresh, strict=True):
            history.generation[document.id] = number

    def check(self) -> int:
        """Compare every person of every history with brute force; return how many there were."""
        crowd = crowd_of(self.histories)
        stranger = Principal("user:nobody@nowhere.org")
        to_all = {
            each for h in self.histories for each in brute_force(stranger, h, self.stale, crowd)
        }
        people = [person for history in self.histories for person in history.people]
        with self.catalog.begin("REPEATABLE READ") as connection:
            under = scopes.principals(connection, people)
            readable = scopes.readable(connection, under)
            live = scopes.documents(connection, [i for h in self.histories for i in h.ids])
        for history in self.histories:
            for person in history.people:
                own = brute_force(person, history, self.stale, crowd)
                folders = own | {each for each in to_all if each not in history.known}
                expected = {self.acl_ids[folder] for folder in folders}
                assert readable[person] == expected, self._story(
                    history, person, expected, readable
                )
                self._check_documents(history, own, live, readable[person])
        self._ask_as_an_agent_does(readable, live)
        return len(people)

    def _check_documents(
        self,
        history: History,
        own: set[tuple[str, str]],
        live: Mapping[str, scopes.LiveDocument],
        readable: frozenset[int],
    ) -> None:
        keys = {key for _, key in own}
        for document_id in history.ids:
            newest = history.generation.get(document_id, 0)
            for generation in (newest, newest - 1):
                found = _candidate(document_id, generation)
                passed = judge(found, live.get(document_id), readable) is Verdict.PERMITTED
                assert passed == (
                    generation == newest and history.folder.get(document_id) in keys
                ), (document_id, generation, history.__dict__)

    def _ask_as_an_agent_does(
        self,
        readable: Mapping[Principal, frozenset[int]],
        live: Mapping[str, scopes.LiveDocument],
    ) -> None:
        """A few people and all documents, through the door that everything goes through."""
        access = Access(self.catalog, cap=100_000)
        found = [_candidate(each, document.generation) for each, document in live.items()]
        for history in self.dice.sample(self.histories, 2):
            person = self.dice.choice(history.people)
            assert access.scope(ANYONE, person).acl_ids == readable[person]
            gated = access.gate(ANYONE, person, found, explain=True)
            passed = {each.document.document_id for each in gated.permitted}
            assert passed == {i for i, each in live.items() if each.acl_id in readable[person]}
            for reason in gated.reasons.values():
                assert reason.via[0] == person and reason.via[-1] == reason.principal

    def _story(
        self,
        history: History,
        person: Principal,
        expected: set[int],
        readable: Mapping[Principal, frozenset[int]],
    ) -> str:
        names = {acl_id: folder for folder, acl_id in self.acl_ids.items()}
        leaked = [names[each] for each in readable[person] - expected]
        denied = [names[each] for each in expected - readable[person]]
        return f"{person}: leaked {leaked}, falsely denied {denied}; {history.__dict__}"


def _narrow(known: Acl, shown: Acl) -> None:
    """Take from ``known`` what ``shown`` has taken away."""
    for who, effect in list(known):
        if effect is Effect.ALLOW:
            until = min(
                known.pop((who, effect)), shown.get((who, effect), datetime.min.replace(tzinfo=UTC))
            )
            if (who, effect) in shown:
                known[who, effect] = until
    for (who, effect), until in shown.items():
        if effect is Effect.DENY:
            known[who, effect] = max(until, known.get((who, effect), until))


def _document(document_id: str, folder: str | None) -> Document:
    source, _, native_id = document_id.partition(":")
    return Document(
        source=source, native_id=native_id, title="", text="", uri="", acl_key=folder or ""
    )


def _candidate(document_id: str, generation: int) -> Candidate:
    return Candidate(
        document_id=document_id, generation=generation, acl_id=0, ordinal=0, path=(), text=""
    )


@pytest.mark.timeout(600)
def test_no_history_leaks_or_falsely_denies(
    new_catalog: Callable[[], Catalog], capsys: pytest.CaptureFixture[str]
) -> None:
    """Every person of every history reads exactly what brute force says, at every check."""
    seed = random.getrandbits(32)  # pytest-randomly's: printed by it, repeated with -p
    dice = random.Random(seed)
    started, people, checks = time.process_time(), 0, 0
    for first in range(0, HISTORIES, TOGETHER):
        together = Together(new_catalog(), range(first, first + TOGETHER), dice)
        last = dice.randrange(STEPS)
        for step in range(STEPS):
            together.step()
            if step == last or dice.random() < 0.3:
                people += together.check()
                checks += 1
        together.catalog.close()
    spent = time.process_time() - started
    with capsys.disabled():
        sys.stdout.write(
            f"\n{HISTORIES} histories (seed {seed}), {people} scopes compared at {checks} points: "
            f"0 leaks, 0 false denials; {spent:.0f} s CPU beside PostgreSQL's\n"
        )
