"""From a question to hits: exact, whole, gated to the last moment, and on record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Several
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluice.access import Access, Freshness, Gated
from sluice.audit import Audit
from sluice.catalog import Catalog, connect
from sluice.collections import Opened
from sluice.embedding import open_embedder
from sluice.errors import (
    BadInput,
    CatalogUnavailable,
    IndexUnavailable,
    NotFound,
    NotPermitted,
    ScopeTooLarge,
    TooStale,
    Unauthenticated,
)
from sluice.index.analysis import analyse
from sluice.index.lance import LanceIndex
from sluice.keys import Keys
from sluice.metering import Metered
from sluice.model import PUBLIC, Caller, Candidate, Principal
from sluice.ports import Index, Vectors
from sluice.retrieve import Retriever, trace_id_of
from world import ADA, ANYONE, BEN, World, a_collection, allow, deny

EMBEDDER = open_embedder("local-static")
HERE = a_collection(embedder="local-static", model=EMBEDDER.model, dimensions=EMBEDDER.dimensions)


class Meddler:
    """A real index, where something happens right after each search of it."""

    def __init__(self, index: Index, meanwhile: Callable[[], None]):
        self._index = index
        self._meanwhile = meanwhile

    def search_terms(self, terms: str, scope: Several[int], limit: int) -> list[Candidate]:
        """Search, then meddle."""
        found = self._index.search_terms(terms, scope, limit)
        self._meanwhile()
        return found

    def search_vector(self, vector: Vectors, scope: Several[int], limit: int) -> list[Candidate]:
        """Search, in peace."""
        return self._index.search_vector(vector, scope, limit)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the index's own."""
        return getattr(self._index, name)


class Latecomer(Access):
    """The real choke point, where something happens once, right before the last gate."""

    def __init__(self, catalog: Catalog, meanwhile: Callable[[], None]):
        super().__init__(catalog, 1000)
        self._meanwhile = iter([meanwhile])

    def gate(
        self,
        caller: Caller,
        person: Principal,
        candidates: Sequence[Candidate],
        *,
        explain: bool = False,
    ) -> Gated:
        """Meddle if this is the last gate, then judge."""
        if explain:
            next(self._meanwhile, lambda: None)()
        return super().gate(caller, person, candidates, explain=explain)


def retriever(
    world: World,
    index: Index,
    *,
    dense_weight: float | None = 0.2,
    cap: int = 1000,
    access: Access | None = None,
) -> Retriever:
    """The product's own way from question to answer."""
    return Retriever(
        access or Access(world.catalog, cap),
        lambda: Opened(HERE, index, EMBEDDER),
        Audit(world.catalog),
        partial(Metered, world.catalog),
        dense_weight=dense_weight,
        max_question=4000,
        max_hits=100,
    )


def new_index(folder: Path, world: World) -> LanceIndex:
    """An empty index of the world's tenant."""
    index = LanceIndex(
        folder,
        name=HERE.name,
        model=EMBEDDER.model,
        dimensions=EMBEDDER.dimensions,
        tenant=world.catalog.tenant,
    )
    index.ensure()
    return index


@pytest.fixture
def world(catalog: Catalog) -> World:
    """A tenant with a source and a directory, both empty."""
    return World(catalog)


@pytest.fixture
def index(tmp_path: Path, world: World) -> LanceIndex:
    """An empty index."""
    return new_index(tmp_path, world)


def audited(world: World) -> list[Any]:
    """The tenant's audit log."""
    with world.catalog.begin() as connection:
        return list(
            connection.execute(sa.text("SELECT * FROM sluice.audit_event ORDER BY event_id"))
        )


def documents(answer: Any) -> list[str]:
    """The documents of an answer, best first."""
    return [hit.document_id for hit in answer.hits]


def test_two_people_get_different_answers(world: World, index: LanceIndex) -> None:
    """The same question, each answered with what that person may read, and why."""
    world.grant({"staff": [allow("group:co:staff")], "ben": [allow("user:ben@x.org")]})
    world.people({"group:co:staff": ["user:ada@x.org", "user:ben@x.org"]})
    world.index(index, world.publish("rules", "staff", "The salary review is in May."))
    world.index(index, world.publish("notes", "ben", "The salary of Ben is under review."))
    ask = retriever(world, index)
    assert documents(ask.search(ANYONE, ADA, "salary review", 5)) == ["wiki:rules"]
    answer = ask.search(ANYONE, BEN, "salary review", 5)
    assert set(documents(answer)) == {"wiki:rules", "wiki:notes"}
    assert [hit.rank for hit in answer.hits] == [1, 2]
    assert {str(hit.reason) for hit in answer.hits} == {
        "staff allows group:co:staff (user:ben@x.org → group:co:staff)",
        "ben allows user:ben@x.org (user:ben@x.org)",
    }
    assert answer.hits[0].run_id == "run-1" and answer.hits[0].source == "wiki"


def test_k_bounds_the_answer(world: World, index: LanceIndex) -> None:
    """Never more than ``k`` hits, and fewer only where there are no more."""
    world.grant({"a": [allow("public")]})
    world.index(index, *(world.publish(str(n), "a", f"kettle {n}") for n in range(7)))
    ask = retriever(world, index)
    assert [len(ask.search(ANYONE, ADA, "kettle", k).hits) for k in (1, 5, 7, 100)] == [1, 5, 7, 7]


def test_stop_words_are_answered_by_meaning(world: World, index: LanceIndex) -> None:
    """A question without a single term still finds what is nearest."""
    world.grant({"a": [allow("public")]})
    world.index(index, world.publish("one", "a", "To be or not to be."))
    assert analyse("who is it") == ""
    assert documents(retriever(world, index).search(ANYONE, ADA, "who is it", 5)) == ["wiki:one"]


@pytest.mark.parametrize(
    ("question", "k"),
    [("", 5), (" \n", 5), ("a" * 4001, 5), ("a\0", 5), ("\ud800", 5), ("a", 0), ("a", 101)],
)
def test_a_question_out_of_bounds_is_refused(
    world: World, index: LanceIndex, question: str, k: int
) -> None:
    """Empty, gigantic and broken questions, and impossible ``k``, are the caller's mistake."""
    with pytest.raises(BadInput):
        retriever(world, index).search(ANYONE, ADA, question, k)


def test_a_right_revoked_between_search_and_gate_counts(world: World, index: LanceIndex) -> None:
    """What the index found inside the old scope does not leave."""
    world.grant({"a": [allow("public")], "b": [allow("public")]})
    world.index(index, world.publish("keep", "a", "kettle"), world.publish("lose", "b", "kettle"))

    def revoke() -> None:
        world.grant({"a": [allow("public")], "b": [allow("public"), deny("user:ada@x.org")]})

    answer = retriever(world, Meddler(index, revoke)).search(ANYONE, ADA, "kettle", 5)
    assert documents(answer) == ["wiki:keep"]
    assert audited(world)[-1].denied > 0


def test_a_right_revoked_before_the_last_gate_makes_room_for_another(
    world: World, index: LanceIndex
) -> None:
    """What the last gate drops does not leave, and does not cost a hit either."""
    world.grant({"a": [allow("public")], "b": [allow("public")]})
    best = world.publish("best", "b", "kettle")
    world.index(index, best, world.publish("next", "a", "kettle and spoon"))
    access = Latecomer(world.catalog, lambda: world.grant({"a": [allow("public")], "b": []}))
    answer = retriever(world, index, access=access).search(ANYONE, ADA, "kettle", 1)
    assert documents(answer) == ["wiki:next"]
    assert audited(world)[-1].denied == 1


def test_a_document_replaced_before_the_last_gate_is_found_anew(
    world: World, index: LanceIndex
) -> None:
    """A flip between the two gates is seen as one between search and gate is."""
    world.grant({"a": [allow("public")]})
    old = world.publish("page", "a", "kettle, first version")
    world.index(index, old)

    def flip() -> None:
        world.index(index, world.publish("page", "a", "kettle, second version"))
        index.delete([old.generation])

    access = Latecomer(world.catalog, flip)
    answer = retriever(world, index, access=access).search(ANYONE, ADA, "kettle", 5)
    assert [hit.text for hit in answer.hits] == ["kettle, second version"]


def test_a_document_replaced_between_search_and_gate_is_found_anew(
    world: World, index: LanceIndex
) -> None:
    """A flip in mid-search never makes a document disappear: the new version is found."""
    world.grant({"a": [allow("public")]})
    old = world.publish("page", "a", "kettle, first version")
    world.index(index, old)
    flips = iter(range(1))

    def flip() -> None:
        for _ in flips:
            new = world.publish("page", "a", "kettle, second version")
            world.index(index, new)
            index.delete([old.generation])

    answer = retriever(world, Meddler(index, flip)).search(ANYONE, ADA, "kettle", 5)
    assert [hit.text for hit in answer.hits] == ["kettle, second version"]


def test_documents_that_never_stand_still_give_no_wrong_answer(
    world: World, index: LanceIndex
) -> None:
    """If every search is overtaken there is an error, not an answer without the document."""
    world.grant({"a": [allow("public")]})
    latest = [world.publish("page", "a", "kettle")]
    world.index(index, latest[0])

    def flip() -> None:
        new = world.publish("page", "a", "kettle")
        world.index(index, new)
        index.delete([latest.pop().generation])
        latest.append(new)

    with pytest.raises(IndexUnavailable, match="faster"):
        retriever(world, Meddler(index, flip)).search(ANYONE, ADA, "kettle", 5)


def test_stale_chunks_never_crowd_out_live_ones(world: World, index: LanceIndex) -> None:
    """Hundreds of dead versions ahead of the only live chunk only make the search go deeper."""
    world.grant({"a": [allow("public")]})
    alive = world.publish("alive", "a", "the kettle is in the kitchen on the second floor")
    first = world.publish("page", "a", "kettle")
    dead = [replace(first, ordinal=n) for n in range(350)]
    current = world.publish("page", "a", "something else entirely")
    world.index(index, alive, current, *dead)
    answer = retriever(world, index).search(ANYONE, ADA, "kettle", 5)
    assert documents(answer) == ["wiki:alive", "wiki:page"]
    assert answer.hits[1].generation == current.generation


def test_demands_on_freshness_reach_the_gate(world: World, index: LanceIndex) -> None:
    """Permissions older than demanded refuse the search."""
    ask = retriever(world, index)
    with pytest.raises(TooStale):
        ask.search(ANYONE, ADA, "kettle", 5, freshness=Freshness(min_acl_version=99))


def test_every_read_is_on_record(world: World, index: LanceIndex) -> None:
    """One row says who read what for whom; the question itself is not in it."""
    world.grant({"a": [allow("public")]})
    found = world.publish("page", "a", "kettle")
    world.index(index, found)
    keys = Keys(world.catalog)
    caller = keys.authenticate(keys.create("helper", [PUBLIC]))
    ask = retriever(world, index)
    answer = ask.search(caller, ADA, "where is the kettle?", 5, trace_id="ab" * 16)
    fetched = ask.document(caller, ADA, found.document_id)
    search, fetch = audited(world)
    assert (search.agent, search.key_id, search.person) == ("helper", caller.key_id, str(ADA))
    assert (search.action, search.outcome, search.trace_id) == ("search", "answered", "ab" * 16)
    assert (search.returned, search.denied, search.acl_version) == (1, 0, answer.acl_version)
    assert search.generations == [found.generation] and search.documents == [found.document_id]
    assert "kettle" not in str(search) and len(search.question_hash) == 64
    assert len(search.scope_hash) == 64
    assert (fetch.action, fetch.trace_id, fetch.generations) == (
        "fetch",
        fetched.trace_id,
        [found.generation],
    )


def test_refusals_are_on_record_too(world: World, index: LanceIndex) -> None:
    """Who asked for what was not theirs can be found out."""
    world.grant({"a": [allow("public")], "b": [allow("public")]})
    keys = Keys(world.catalog)
    bens = keys.authenticate(keys.create("helper", [BEN]))
    ask = retriever(world, index, cap=1)
    with pytest.raises(NotPermitted):
        ask.search(bens, ADA, "kettle", 5)
    with pytest.raises(ScopeTooLarge):
        ask.search(bens, BEN, "kettle", 5)
    with pytest.raises(NotFound):
        ask.document(bens, BEN, "wiki:secret")
    with pytest.raises(NotFound):
        ask.document(bens, BEN, "wiki:\0\ud800")
    rows = [(row.action, row.person, row.outcome, row.returned) for row in audited(world)]
    assert rows == [
        ("search", str(ADA), "NotPermitted", 0),
        ("search", str(BEN), "ScopeTooLarge", 0),
        ("fetch", str(BEN), "NotFound", 0),
        ("fetch", str(BEN), "NotFound", 0),
    ]


def test_a_key_revoked_in_mid_flight_gets_no_answer(world: World, index: LanceIndex) -> None:
    """The last look at the key comes after the search, in the audit's own transaction."""
    world.grant({"a": [allow("public")]})
    world.index(index, world.publish("page", "a", "kettle"))
    keys = Keys(world.catalog)
    caller = keys.authenticate(keys.create("helper", [PUBLIC]))

    def revoke() -> None:
        keys.revoke(str(caller.key_id))

    with pytest.raises(Unauthenticated):
        retriever(world, Meddler(index, revoke)).search(caller, ADA, "kettle", 5)
    (row,) = audited(world)
    assert (row.outcome, row.returned, row.documents) == ("Unauthenticated", 0, [])


@pytest.fixture
def deaf_audit(database: str) -> Iterator[None]:
    """The application may not write its audit log, for a while."""
    admin = connect(database)
    with admin.begin() as connection:
        connection.execute(sa.text("REVOKE INSERT ON sluice.audit_event FROM sluice_app"))
    yield
    with admin.begin() as connection:
        connection.execute(sa.text("GRANT INSERT ON sluice.audit_event TO sluice_app"))
    admin.dispose()


def test_without_an_audit_there_is_no_answer(
    world: World, index: LanceIndex, deaf_audit: None
) -> None:
    """If the read cannot be put on record it does not happen, answered or refused."""
    world.grant({"a": [allow("public")]})
    found = world.publish("page", "a", "kettle")
    world.index(index, found)
    ask = retriever(world, index)
    for read in (
        lambda: ask.search(ANYONE, ADA, "kettle", 5),
        lambda: ask.document(ANYONE, ADA, found.document_id),
        lambda: ask.document(ANYONE, ADA, "wiki:never"),
    ):
        with pytest.raises(CatalogUnavailable, match="audit"):
            read()


def test_without_an_index_there_is_an_error(world: World, tmp_path: Path) -> None:
    """An index that is gone is said to be gone, in the audit log too."""
    world.grant({"a": [allow("public")]})
    gone = LanceIndex(tmp_path / "gone", name="gone", model="m", dimensions=256, tenant="t")
    with pytest.raises(IndexUnavailable):
        retriever(world, gone).search(ANYONE, ADA, "kettle", 5)
    (row,) = audited(world)
    assert (row.action, row.outcome, row.returned) == ("search", "IndexUnavailable", 0)


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (f"00-{'ab' * 16}-{'1' * 16}-01", "ab" * 16),
        (f"00-{'0' * 32}-{'1' * 16}-01", None),
        (f"00-{'AB' * 16}-{'1' * 16}-01", None),
        ("00-ab-1-01\n", None),
        ("", None),
        (None, None),
    ],
)
def test_a_trace_id_is_taken_over(header: str | None, trace_id: str | None) -> None:
    """A well-formed ``traceparent`` gives its trace id; anything else gets a new one."""
    found = trace_id_of(header)
    assert len(found) == 32
    assert trace_id in {None, found}


WORDS = ("kettle", "boiler", "pump", "valve", "filter", "gauge")


@st.composite
def corpora(draw: st.DrawFn) -> list[tuple[str, str, str]]:
    """Versions of documents in the order they were published: name, permission object, text."""
    version = st.tuples(
        st.sampled_from([f"d{n}" for n in range(12)]),
        st.sampled_from(["open", "ada", "ben", "shut"]),
        st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join),
    )
    return draw(st.lists(version, min_size=1, max_size=25))


def brute_force(
    index: Index, question: str, chunks: Sequence[Candidate], k: int, dense_weight: float | None
) -> list[tuple[str, int]]:
    """Rank everything there is, keep what is permitted and live, fuse ranks by the formula."""
    dense_weight = EMBEDDER.dense_weight if dense_weight is None else dense_weight
    everything = {each.acl_id for each in chunks}
    wanted = {(each.document_id, each.generation) for each in chunks}
    scores: dict[tuple[str, int], float] = {}
    lists = (
        (index.search_terms(analyse(question), everything, 10_000), 1 - dense_weight),
        (index.search_vector(EMBEDDER.embed([question])[0], everything, 10_000), dense_weight),
    )
    for found, weight in (each for each in lists if each[1] > 0):
        kept = [each for each in found if (each.document_id, each.generation) in wanted]
        for rank, each in enumerate(kept, start=1):
            key = (each.document_id, each.generation)
            scores[key] = scores.get(key, 0.0) + weight / (60 + rank)
    return sorted(scores, key=lambda key: (-scores[key], key))[:k]


GRANTS = {
    "open": [allow("public")],
    "ada": [allow("user:ada@x.org")],
    "ben": [allow("public"), deny("user:ada@x.org")],
    "shut": [],
}
READABLE = {ADA: {"open", "ada"}, BEN: {"open", "ben"}}


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    versions=corpora(),
    question=st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join),
    k=st.integers(1, 15),
    dense_weight=st.sampled_from([None, 0.0, 0.2, 0.5, 1.0]),
    deleted=st.sets(st.integers(0, 11), max_size=3),
)
def test_top_k_is_the_exact_filtered_top_k(
    new_catalog: Callable[[], Catalog],
    tmp_path_factory: pytest.TempPathFactory,
    versions: list[tuple[str, str, str]],
    question: str,
    k: int,
    dense_weight: float | None,
    deleted: set[int],
) -> None:
    """Whatever else lies in the index, the answer is brute force over permitted live chunks."""
    world = World(new_catalog())
    index = new_index(tmp_path_factory.mktemp("index"), world)
    world.grant(GRANTS)
    live: dict[str, tuple[str, Candidate]] = {}
    written = []
    for name, key, text in versions:
        found = world.publish(name, key, text)
        live[name] = (key, found)
        written.append(found)
    for number in deleted:
        world.delete(f"wiki:d{number}")
        live.pop(f"d{number}", None)
    world.index(index, *written)  # nothing was collected: every version is still found
    index.optimize()  # until then, BM25's weights depend on the filter
    ask = retriever(world, index, dense_weight=dense_weight)
    for person, readable in READABLE.items():
        answer = ask.search(ANYONE, person, question, k)
        permitted = [found for key, found in live.values() if key in readable]
        got = [(hit.document_id, hit.generation) for hit in answer.hits]
        if permitted:
            assert got == brute_force(index, question, permitted, k, dense_weight)
        else:
            assert got == []
    world.catalog.close()


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(versions=corpora(), question=st.sampled_from(WORDS))
def test_hidden_documents_change_no_answer(
    new_catalog: Callable[[], Catalog],
    tmp_path_factory: pytest.TempPathFactory,
    versions: list[tuple[str, str, str]],
    question: str,
) -> None:
    """With and without the documents a person may not read, the person is told the same.

    Ranked by vectors the answers are equal, order included. With keywords the same documents are
    found, but their order may differ: how rare a term is gets counted over the whole index.
    """
    answers = []
    for shown in ({"open", "ada"}, {"open", "ada", "ben", "shut"}):
        world = World(new_catalog())
        index = new_index(tmp_path_factory.mktemp("index"), world)
        world.grant(GRANTS)
        last = {name: (key, text) for name, key, text in versions}
        kept = [(name, *rest) for name, rest in sorted(last.items()) if rest[0] in shown]
        if kept:
            world.index(index, *(world.publish(*each) for each in kept))
        dense = retriever(world, index, dense_weight=1.0).search(ANYONE, ADA, question, 15)
        hybrid = retriever(world, index).search(ANYONE, ADA, question, 15)
        answers.append(
            (
                [(hit.rank, hit.document_id, hit.text, str(hit.reason)) for hit in dense.hits],
                {(hit.document_id, hit.text, str(hit.reason)) for hit in hybrid.hits},
                dense.acl_version,
            )
        )
        world.catalog.close()
    assert answers[0] == answers[1]
