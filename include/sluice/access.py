"""The one choke point: nothing is read on anyone's behalf except through here.

``scope`` says what a person may read, so that a search is made inside it. ``gate`` asks again, of
the catalog alone and in one snapshot, about everything a search found: the index may be stale,
doubled or wrong, and permissions may have changed meanwhile. The gate only removes.

Rights are the person's, cut down to the people whom the asking agent may act for. Unknown means no.
"""

from __future__ import annotations

import enum
import hashlib
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from sluice.catalog import Catalog
from sluice.catalog import scope as scopes
from sluice.catalog.scope import Allow, LiveDocument
from sluice.errors import InvalidPrincipal, NotFound, NotPermitted, ScopeTooLarge, TooStale
from sluice.model import (
    Caller,
    Candidate,
    Principal,
    PrincipalKind,
    Reason,
    SourceFreshness,
    storable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """How fresh the permissions must be that an answer rests on. None: as fresh as they are."""

    min_acl_version: int | None = None
    max_staleness: timedelta | None = None


ANY_AGE = Freshness()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What one person may read, as of one snapshot."""

    person: Principal
    principals: frozenset[Principal]
    acl_ids: frozenset[int]
    acl_version: int

    @property
    def hash(self) -> str:
        """SHA-256 of the permission objects: two equal filters have equal hashes."""
        return hashlib.sha256(",".join(map(str, sorted(self.acl_ids))).encode()).hexdigest()


class Verdict(enum.Enum):
    """What the gate says of a candidate."""

    PERMITTED = "live, and the person may read it"
    DENIED = "the person may not read its document"
    ABSENT = "its document is deleted, unguarded or was never published"
    REPLACED = "a newer version of its document is live"
    UNBORN = "its version is not live yet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """A candidate that passed."""

    candidate: Candidate
    document: LiveDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Gated:
    """What became of candidates, in their order, as of one snapshot."""

    permitted: tuple[Permitted, ...]
    reasons: Mapping[int, Reason]  # by acl_id, where they were asked for
    denied: int
    replaced: Mapping[str, int]  # documents of which an old version was found: the live one
    acl_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PermittedDocument:
    """A whole document that the person may read."""

    document: LiveDocument
    text: str  # Markdown
    reason: Reason
    acl_version: int


class Access:
    """Answers who may read what, from the catalog, anew each time.

    Every method refuses with InvalidPrincipal who is not a person, with NotPermitted a person for
    whom the caller may not act, and with TooStale while the directory of people is out of date.
    """

    def __init__(self, catalog: Catalog, cap: int):
        """``cap`` is the most permission objects that a search is filtered by."""
        self._catalog = catalog
        self._cap = cap

    def scope(self, caller: Caller, person: Principal, freshness: Freshness = ANY_AGE) -> Scope:
        """Return what ``person`` may read now, for ``caller`` to search in.

        Raises:
            ScopeTooLarge: more permission objects than a search can be filtered by.
            TooStale: the permissions are older than ``freshness`` demands.
        """
        with self._catalog.begin("REPEATABLE READ") as connection:
            principals, acl_version = _standing(connection, caller, person)
            acl_ids = scopes.readable(connection, {person: principals}, limit=self._cap + 1)[person]
            if len(acl_ids) > self._cap:
                raise ScopeTooLarge(
                    f"more than {self._cap} permission objects are readable",
                    subject=str(person),
                    cure="Raise SLUICE_SCOPE_CAP, or share folders instead of single documents",
                )
            _demand(connection, freshness, acl_version, acl_ids)
        return Scope(person=person, principals=principals, acl_ids=acl_ids, acl_version=acl_version)

    def sources(self, scope: Scope) -> list[SourceFreshness]:
        """Return how fresh each source is of which the scope's person may read something."""
        with self._catalog.begin() as connection:
            return scopes.freshness(connection, scope.acl_ids)

    def gate(
        self,
        caller: Caller,
        person: Principal,
        candidates: Sequence[Candidate],
        *,
        explain: bool = False,
    ) -> Gated:
        """Return those of ``candidates`` that are live and that ``person`` may read now."""
        with self._catalog.begin("REPEATABLE READ") as connection:
            principals, acl_version = _standing(connection, caller, person)
            live = scopes.documents(connection, {each.document_id for each in candidates})
            readable = _readable(connection, person, principals, live.values())
            verdicts = [judge(each, live.get(each.document_id), readable) for each in candidates]
            permitted = tuple(
                Permitted(candidate=each, document=live[each.document_id])
                for each, verdict in zip(candidates, verdicts, strict=True)
                if verdict is Verdict.PERMITTED
            )
            told = {each.document.acl_id for each in permitted} if explain else ()
            reasons = _reasons(connection, person, principals, told)
        return Gated(
            permitted=permitted,
            reasons=reasons,
            denied=verdicts.count(Verdict.DENIED),
            replaced={
                each.document_id: live[each.document_id].generation
                for each, verdict in zip(candidates, verdicts, strict=True)
                if verdict is Verdict.REPLACED
            },
            acl_version=acl_version,
        )

    def document(self, caller: Caller, person: Principal, document_id: str) -> PermittedDocument:
        """Return a document's live version, whole.

        Raises:
            NotFound: it is absent, deleted or forbidden. Which of these cannot be told.
        """
        with self._catalog.begin("REPEATABLE READ") as connection:
            principals, acl_version = _standing(connection, caller, person)
            asked = [document_id] if storable(document_id) else []
            live = scopes.documents(connection, asked).get(document_id)
            readable = _readable(connection, person, principals, [live] if live else [])
            if live is None or live.acl_id not in readable:
                raise NotFound("no such document", cure="Check its id, and whom you ask for")
            return PermittedDocument(
                document=live,
                text=scopes.text(connection, live.generation),
                reason=_reasons(connection, person, principals, {live.acl_id})[live.acl_id],
                acl_version=acl_version,
            )


def judge(
    candidate: Candidate, document: LiveDocument | None, readable: Collection[int]
) -> Verdict:
    """Decide about one candidate, given its document as it is now.

    Permission is judged before liveness: a version of a document that the person may not read is
    never told apart from any other.
    """
    if document is None:
        return Verdict.ABSENT
    if document.acl_id not in readable:
        return Verdict.DENIED
    if candidate.generation < document.generation:
        return Verdict.REPLACED
    if candidate.generation > document.generation:
        return Verdict.UNBORN
    return Verdict.PERMITTED


def explain(
    person: Principal,
    steps: Iterable[tuple[Principal, Principal]],
    allows: Iterable[Allow],
) -> dict[int, Reason]:
    """For each permission object, the allow that is nearest to the person, and the way there.

    Args:
        person: where every way begins.
        steps: single steps, from what is contained to what contains it. Cycles do no harm.
        allows: unexpired allows, each of something that the person comes under.
    """
    ways = _ways(person, steps)
    nearest = sorted(allows, key=lambda each: (len(ways[each.principal]), each.principal))
    reasons: dict[int, Reason] = {}
    for each in nearest:
        reasons.setdefault(
            each.acl_id,
            Reason(
                principal=each.principal,
                via=ways[each.principal],
                acl_key=each.acl_key,
                expires_at=each.expires_at,
            ),
        )
    return reasons


def _ways(
    person: Principal, steps: Iterable[tuple[Principal, Principal]]
) -> dict[Principal, tuple[Principal, ...]]:
    """The shortest way from the person to everything above; among equals, the first by name."""
    above: defaultdict[Principal, list[Principal]] = defaultdict(list)
    for low, high in sorted(steps):
        above[low].append(high)
    ways: dict[Principal, tuple[Principal, ...]] = {person: (person,)}
    queue = deque([person])
    while queue:
        low = queue.popleft()
        for high in above[low]:
            if high not in ways:
                ways[high] = (*ways[low], high)
                queue.append(high)
    return ways


def _standing(
    connection: sa.Connection, caller: Caller, person: Principal
) -> tuple[frozenset[Principal], int]:
    """What the person comes under and the version that says so, if the caller may act for them."""
    if person.kind is not PrincipalKind.USER:
        raise InvalidPrincipal("not a person", subject=str(person), cure="Write user:<e-mail>")
    version = scopes.version(connection)
    if version.stale_directory:
        raise TooStale(
            "the directory of people and groups is older than its policy allows",
            subject=version.stale_directory,
            cure="Run its DAG; until then a lost membership could hide a deny",
        )
    principals = scopes.principals(connection, [person])[person]
    if not principals & caller.acts_for:
        raise NotPermitted(
            "this key may not act for that person",
            subject=str(person),
            cure="Ask for someone it was made for (`sluice keys list`)",
        )
    return principals, version.acl_version


def _readable(
    connection: sa.Connection,
    person: Principal,
    principals: frozenset[Principal],
    documents: Iterable[LiveDocument],
) -> frozenset[int]:
    among = {each.acl_id for each in documents}
    return scopes.readable(connection, {person: principals}, among=among)[person]


def _reasons(
    connection: sa.Connection,
    person: Principal,
    principals: frozenset[Principal],
    acl_ids: Collection[int],
) -> dict[int, Reason]:
    if not acl_ids:
        return {}
    steps = scopes.steps(connection, person, principals)
    return explain(person, steps, scopes.allows(connection, acl_ids, principals))


def _demand(
    connection: sa.Connection, freshness: Freshness, acl_version: int, acl_ids: Collection[int]
) -> None:
    if freshness.min_acl_version is not None and acl_version < freshness.min_acl_version:
        raise TooStale(
            f"permissions are at version {acl_version}, before {freshness.min_acl_version}",
            cure="Ask again in a moment",
        )
    if freshness.max_staleness is not None:
        age = scopes.staleness(connection, acl_ids)
        if age is None or age > freshness.max_staleness:
            raise TooStale("permissions are older than demanded", cure="Run the source's DAG")
