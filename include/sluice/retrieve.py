"""A question becomes hits: only what the person may read, exactly ranked, and on record.

A search takes the best of the keyword list and of the vector list inside the person's scope, lets
the gate remove what is no longer so, fuses what is left, and passes the gate once more right
before it is audited. Ranks depend on permitted documents alone, with one exception that keyword
search brings along: how rare a term is (BM25's IDF) is counted over the whole index.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from sluice.access import ANY_AGE, Access, Freshness, Gated, Permitted, PermittedDocument, Scope
from sluice.audit import ANSWERED, DEGRADED, Audit, Read
from sluice.collections import Opened, Serving
from sluice.errors import (
    BadInput,
    BudgetExhausted,
    ConfigurationError,
    EmbedderBusy,
    EmbeddingError,
    IndexUnavailable,
    LimitExceeded,
    Overloaded,
    Refused,
    SluiceError,
)
from sluice.index.analysis import analyse
from sluice.index.fusion import DEPTH, fuse
from sluice.model import (
    Account,
    Caller,
    Candidate,
    Hit,
    Principal,
    Reason,
    SourceFreshness,
    storable,
)
from sluice.ports import Meter, Vectors

_log = logging.getLogger(__name__)

_ATTEMPTS = 8  # each takes milliseconds; a document is not published that fast
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)

_NOT_EMBEDDED = (EmbeddingError, BudgetExhausted)
_ON_RECORD = (Refused, LimitExceeded, Overloaded, IndexUnavailable, ConfigurationError)

_WHY: dict[type[SluiceError], str] = {
    BudgetExhausted: "a budget is spent",
    EmbedderBusy: "the embedder is busy",
    EmbeddingError: "no embedder",
}

Search = Callable[[Scope, int], list[Candidate]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person may read about a question, best first."""

    hits: tuple[Hit, ...]
    acl_version: int
    trace_id: str
    sources: tuple[SourceFreshness, ...]  # of which the person may read something
    degraded: str | None = None  # why it was found by keywords alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """One whole document."""

    document: PermittedDocument
    trace_id: str


class Retriever:
    """Answers questions and hands out documents, on behalf of people."""

    def __init__(
        self,
        access: Access,
        serving: Serving,
        audit: Audit,
        meter: Callable[[Account], Meter],
        *,
        dense_weight: float | None,
        max_question: int,
        max_hits: int,
    ):
        self._access = access
        self._serving = serving
        self._audit = audit
        self._pays = meter
        self._dense_weight = dense_weight
        self._max_question = max_question
        self._max_hits = max_hits

    def search(
        self,
        caller: Caller,
        person: Principal,
        question: str,
        k: int,
        *,
        freshness: Freshness = ANY_AGE,
        trace_id: str | None = None,
    ) -> Answer:
        """Return the best ``k`` chunks that ``person`` may read, fewer where there are no more.

        Where the question cannot be embedded, because the embedder is down or a budget is spent,
        keywords alone are searched, and the answer says so.

        Raises:
            BadInput: the question or ``k`` is out of bounds.
            Refused: the caller may not ask for the person, or what :meth:`Access.scope` refuses.
            LimitExceeded: the caller has asked more in this minute than it may.
            Overloaded: more is asked than can be embedded.
            EmbeddingError, BudgetExhausted: it cannot be embedded, and keywords do not count here.
            ConfigurationError: nothing says where the collection is that serves.
            IndexUnavailable, CatalogUnavailable: no answer is better than a wrong one.
        """
        self._require_sane(question, k)
        trace_id = trace_id or new_trace_id()
        account = Account(agent=caller.agent, team=caller.team, user=str(person), request=trace_id)
        asked = _Question(question, self._pays(account), self._dense_weight)
        try:
            scope, gated = self._find(caller, person, asked, k, freshness)
        except (*_ON_RECORD, *_NOT_EMBEDDED) as error:
            self._audit.record(_refusal(error, trace_id, caller, person, "search", question))
            raise
        hits = tuple(
            _hit(rank, each, gated.reasons[each.document.acl_id])
            for rank, each in enumerate(gated.permitted, start=1)
        )
        self._audit.record(
            Read(
                trace_id=trace_id,
                caller=caller,
                person=person,
                action="search",
                asked=question,
                outcome=DEGRADED if asked.degraded else ANSWERED,
                scope_hash=scope.hash,
                acl_version=gated.acl_version,
                denied=gated.denied,
                returned=tuple((hit.document_id, hit.generation) for hit in hits),
            )
        )
        return Answer(
            hits=hits,
            acl_version=gated.acl_version,
            trace_id=trace_id,
            sources=tuple(_changed(each, hits) for each in self._access.sources(scope)),
            degraded=asked.degraded,
        )

    def document(
        self, caller: Caller, person: Principal, document_id: str, *, trace_id: str | None = None
    ) -> Fetched:
        """Return a whole document as it is now.

        Raises:
            NotFound: it is absent, or ``person`` may not read it.
            Refused: the caller may not ask for the person, or permissions are too old.
        """
        trace_id = trace_id or new_trace_id()
        try:
            found = self._access.document(caller, person, document_id)
        except Refused as refused:
            self._audit.record(_refusal(refused, trace_id, caller, person, "fetch", document_id))
            raise
        self._audit.record(
            Read(
                trace_id=trace_id,
                caller=caller,
                person=person,
                action="fetch",
                asked=document_id,
                acl_version=found.acl_version,
                returned=((document_id, found.document.generation),),
            )
        )
        return Fetched(document=found, trace_id=trace_id)

    def _require_sane(self, question: str, k: int) -> None:
        if not question.strip() or len(question) > self._max_question:
            raise BadInput(f"a question has 1 to {self._max_question} characters", subject="query")
        if not storable(question):
            raise BadInput("a question has no NUL and no lone surrogate", subject="query")
        if not 1 <= k <= self._max_hits:
            raise BadInput(f"k is 1 to {self._max_hits}", subject="k")

    def _find(
        self, caller: Caller, person: Principal, asked: _Question, k: int, freshness: Freshness
    ) -> tuple[Scope, Gated]:
        """Search until one search saw everything that was live when it was judged.

        If the last gate still drops something, others may have to take its place. And a document
        whose new version went live after the index was searched is found by its old version, which
        the first gate drops: the search is made again, so that the document is never missing. But
        if its live version was known to be live before the search began, the search could find
        it and did not: that is no reason to search again.

        Each search asks which collection serves. One that began while another was made to serve
        ends where it began, and is made again if that can no longer be read.
        """
        depth = max(DEPTH, 5 * k)
        known: dict[str, int] = {}
        denied = 0
        for _ in range(_ATTEMPTS):
            opened = self._serving()
            scope = self._access.scope(caller, person, freshness)  # who may not ask pays nothing
            searches = asked.searches(opened, scope)
            try:
                (keyword, dense), first = self._ranked(caller, person, searches, scope, depth)
            except IndexUnavailable:
                if self._serving().collection == opened.collection:
                    raise
                continue
            best = fuse(keyword, dense, opened.dense_weight(self._dense_weight))[:k]
            last = self._access.gate(caller, person, best, explain=True)
            denied += first.denied + last.denied
            if len(last.permitted) == len(best) and first.replaced.items() <= known.items():
                return scope, replace(last, denied=denied)
            known |= first.replaced
        raise IndexUnavailable(
            "documents change faster than they can be searched", cure="Ask again in a moment"
        )

    def _ranked(
        self,
        caller: Caller,
        person: Principal,
        searches: Sequence[Search],
        scope: Scope,
        depth: int,
    ) -> tuple[list[list[Candidate]], Gated]:
        """The first ``depth`` live, permitted candidates of each list, or all there are."""
        limit = depth
        while True:
            found = [search(scope, limit) for search in searches]
            gated = self._access.gate(caller, person, [each for one in found for each in one])
            live = {each.candidate for each in gated.permitted}
            passed = [[each for each in dict.fromkeys(one) if each in live] for one in found]
            if all(
                len(good) >= depth or len(one) < limit
                for good, one in zip(passed, found, strict=True)
            ):
                return [good[:depth] for good in passed], gated
            limit *= 2


class _Question:
    """What is asked: embedded at most once for each collection that is searched."""

    def __init__(self, text: str, meter: Meter, dense_weight: float | None):
        self._text = text
        self._meter = meter
        self._dense_weight = dense_weight
        self._embedded: dict[int, Vectors | None] = {}
        self.degraded: str | None = None

    def searches(self, opened: Opened, scope: Scope) -> tuple[Search, Search]:
        """The keyword search and the vector search; one that cannot count finds nothing."""
        weight = opened.dense_weight(self._dense_weight)
        terms = analyse(self._text) if weight < 1.0 else ""
        vector = self._vector(opened) if weight > 0.0 and scope.acl_ids else None

        def keyword(scope: Scope, limit: int) -> list[Candidate]:
            return opened.index.search_terms(terms, scope.acl_ids, limit) if terms else []

        def dense(scope: Scope, limit: int) -> list[Candidate]:
            if vector is None:
                return []
            return opened.index.search_vector(vector, scope.acl_ids, limit)

        return keyword, dense

    def _vector(self, opened: Opened) -> Vectors | None:
        chosen = opened.collection.collection_id
        if chosen not in self._embedded:
            self._embedded[chosen] = self._embed(opened)
        return self._embedded[chosen]

    def _embed(self, opened: Opened) -> Vectors | None:
        self.degraded = None
        try:
            return opened.embedder.ask(self._text, self._meter)
        except _NOT_EMBEDDED as error:
            if opened.dense_weight(self._dense_weight) == 1.0:
                raise
            _log.warning("searched by keywords alone: %s", error)
            why = next(said for kind, said in _WHY.items() if isinstance(error, kind))
            self.degraded = f"found by keywords alone: {why}"
            return None


def new_trace_id() -> str:
    """A W3C trace id: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def trace_id_of(traceparent: str | None) -> str:
    """The trace id that a W3C ``traceparent`` header carries; a new one where it carries none."""
    form = _TRACEPARENT.fullmatch(traceparent or "")
    if form is None or form.group(1) == "0" * 32:
        return new_trace_id()
    return form.group(1)


def _hit(rank: int, permitted: Permitted, reason: Reason) -> Hit:
    candidate, document = permitted.candidate, permitted.document
    return Hit(
        rank=rank,
        document_id=document.document_id,
        title=document.title,
        uri=document.uri,
        path=candidate.path,
        text=candidate.text,
        ordinal=candidate.ordinal,
        source=document.source,
        generation=document.generation,
        run_id=document.run_id,
        updated_at=document.updated_at,
        reason=reason,
    )


def _changed(source: SourceFreshness, hits: Sequence[Hit]) -> SourceFreshness:
    """The source, with the newest change among its hits."""
    times = [hit.updated_at for hit in hits if hit.source == source.source and hit.updated_at]
    return replace(source, changed_at=max(times, default=None))


def _refusal(
    error: SluiceError, trace_id: str, caller: Caller, person: Principal, action: str, asked: str
) -> Read:
    return Read(
        trace_id=trace_id,
        caller=caller,
        person=person,
        action=action,
        asked=asked,
        outcome=type(error).__name__,
    )
