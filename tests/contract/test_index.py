"""What ``ports.Index`` promises, over every store."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
import uuid
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from contract.stores import (
    SPAWN,
    Store,
    assert_best,
    bm25,
    delete,
    generation_of,
    keys,
    row,
    similarity,
    unit,
    write,
    write_on,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluice.errors import BadInput, IndexUnavailable
from sluice.model import IndexedChunk

EVERYTHING = 10_000
VOCABULARY = ["alpha", "beta", "gamma", "delta", "mgp2", "10.1", "日本"]

chunks = st.builds(
    row,
    document=st.sampled_from(["a", "b", "c'd"]),
    generation=st.integers(1, 4),
    ordinal=st.integers(0, 3),
    acl=st.integers(1, 6),
    terms=st.lists(st.sampled_from(VOCABULARY), max_size=6).map(" ".join),
    vector=st.integers(0, 50).map(lambda seed: unit(1, seed)[0]),
)
steps = st.lists(
    st.one_of(
        st.lists(chunks, min_size=1, max_size=8).map(lambda rows: ("upsert", rows)),
        st.sets(st.integers(1, 4), min_size=1, max_size=2).map(lambda gone: ("delete", gone)),
        st.just(("optimize", None)),
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    steps=steps, scope=st.sets(st.integers(1, 7)), question=st.lists(st.sampled_from(VOCABULARY))
)
def test_any_history_is_found_as_brute_force_finds_it(
    store: Store, steps: list, scope: set[int], question: list[str]
) -> None:
    """After any writes, deletes and folds: all that is permitted, nothing else, nearest first."""
    index = store.beside(uuid.uuid4().hex).made()
    held: dict[str, IndexedChunk] = {}
    for act, what in steps:
        if act == "upsert":
            index.upsert(what)
            held |= {each.id: each for each in what}
        elif act == "delete":
            index.delete(what)
            held = {name: each for name, each in held.items() if each.generation not in what}
        else:
            index.optimize()
    permitted = [each for each in held.values() if each.acl_id in scope]
    terms = " ".join(question)

    by_terms = index.search_terms(terms, scope, EVERYTHING)
    matching = {key for key, score in bm25(permitted, terms).items() if score}
    assert len(by_terms) == len(matching)
    assert set(keys(by_terms)) == matching

    asked = unit(1, 99)[0]
    assert_best(
        index.search_vector(asked, scope, EVERYTHING), similarity(permitted, asked), EVERYTHING
    )
    assert index.generations() == {each.generation for each in held.values()}
    assert sum(index.count(range(1, 5)).values()) == len(held) == index.size()
    index.drop()


def _clustered(count: int) -> list[IndexedChunk]:
    """Chunks around 40 centres, on 1,000 permission objects of very different sizes."""
    rng = np.random.default_rng(5)
    vectors = unit(40, 1)[rng.integers(40, size=count)] + 0.25 * rng.normal(size=(count, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    acls = np.minimum(rng.zipf(1.3, size=count), 1000)
    return [
        row(f"d{i}", 1 + i % 100, 0, int(acl), f"alpha w{i % 97}", vector)
        for i, (acl, vector) in enumerate(zip(acls, vectors, strict=True))
    ]


def test_narrow_scopes_lose_no_neighbour(store: Store) -> None:
    """Recall is 1 at 0.1, 0.3, 1, 15 and 100 % visible, with a vector index and rows beyond it."""
    rows = _clustered(24_000)
    index = store.made()
    index.upsert(rows[:21_000])
    index.optimize()
    index.upsert(rows[21_000:])
    shares = dict.fromkeys(range(1, 1001), 0)
    for each in rows:
        shares[each.acl_id] += 1
    rng = random.Random(3)
    for visible in (0.001, 0.003, 0.01, 0.15, 1.0):
        for attempt in range(4):
            scope = _scope_of(visible, shares, len(rows), rng)
            permitted = [each for each in rows if each.acl_id in scope]
            asked = unit(1, 1000 + attempt)[0]
            found = index.search_vector(asked, scope, 10)
            assert_best(found, similarity(permitted, asked), 10, tolerance=1e-4)
            assert {each.acl_id for each in found} <= scope


def _scope_of(visible: float, shares: dict[int, int], total: int, rng: random.Random) -> set[int]:
    if visible == 1.0:
        return set(shares)
    scope: set[int] = set()
    size = 0
    for acl in rng.sample(sorted(shares), len(shares)):
        if 0 < shares[acl] <= visible * total - size:
            scope.add(acl)
            size += shares[acl]
    return scope


def _random_rows(rng: random.Random, count: int, first: int) -> list[IndexedChunk]:
    vocabulary = [f"w{i}" for i in range(120)]
    return [
        row(
            f"d{first + i}",
            1 + rng.randrange(20),
            0,
            rng.randrange(10),
            " ".join(
                vocabulary[min(119, int(rng.paretovariate(0.7)) - 1)]
                for _ in range(rng.choice([2, 8, 40]))
            ),
        )
        for i in range(count)
    ]


def _assert_bm25(store: Store, rows: Collection[IndexedChunk], tolerance: float) -> None:
    index = store.open()
    rng = random.Random(11)
    for _ in range(25):
        question = " ".join(f"w{rng.randrange(60)}" for _ in range(rng.randint(1, 5)))
        scope = set(rng.sample(range(10), rng.choice([1, 4, 10])))
        permitted = set(keys(each for each in rows if each.acl_id in scope))
        scores = {key: s for key, s in bm25(rows, question).items() if key in permitted}
        assert_best(index.search_terms(question, scope, 10), scores, 10, tolerance)
        everything = index.search_terms(question, scope, EVERYTHING)
        assert set(keys(everything)) == set(scores)


def test_keyword_search_is_bm25_over_the_whole_table(store: Store) -> None:
    """Folded rows are ranked as brute force ranks them, also after deletes and further folds."""
    rng = random.Random(7)
    rows = _random_rows(rng, 600, 0)
    index = store.made()
    index.upsert(rows)
    index.optimize()
    _assert_bm25(store, rows, 1e-5)

    index.delete([1, 2, 3])
    rows = [each for each in rows if each.generation > 3] + _random_rows(rng, 150, 600)
    index.upsert(rows[-150:])
    index.optimize()
    _assert_bm25(store, rows, 1e-5 if store.folds else 0.03)


def test_keyword_search_before_a_fold_is_complete_and_near_bm25(store: Store) -> None:
    """After 20 small commits every match is found, with scores that are at most 15 % off."""
    rng = random.Random(8)
    rows = _random_rows(rng, 600, 0)
    index = store.made()
    index.upsert(rows)
    index.optimize()
    for commit in range(20):
        fresh = _random_rows(rng, 5, 600 + 5 * commit)
        index.upsert(fresh)
        rows += fresh
    _assert_bm25(store, rows, 0.15)


def test_terms_are_never_query_syntax(store: Store) -> None:
    """Operators, wildcards, fields and quotes in a question match themselves or nothing."""
    index = store.made()
    index.upsert([row("plain", terms="alpha beta"), row("odd", 2, terms='al* "x y" -beta')])
    for terms in (
        "alph*",
        "alpha~1",
        "terms:alpha",
        "(alpha",
        '"alpha',
        "+alpha",
        "NOT",
        "alpha^2",
    ):
        assert index.search_terms(terms, {1}, 10) == []
    assert keys(index.search_terms("al*", {1}, 10)) == [("odd", 2, 0)]
    assert keys(index.search_terms("-beta", {1}, 10)) == [("odd", 2, 0)]
    assert keys(index.search_terms("Alpha ALPHA alphas", {1}, 10)) == []


def test_terms_are_matched_letter_by_letter(store: Store) -> None:
    """The analysis is ours: the store stems, folds, stops and drops nothing."""
    terms = [
        "the",
        "it",
        "run",
        "runs",
        "running",
        "RUNS",
        "uber",
        "über",
        "x" * 64,
        "10.1",
        "日本",
    ]
    index = store.made()
    index.upsert([row(term, number, terms=term) for number, term in enumerate(terms, start=1)])
    for fold in (False, True):
        if fold:
            index.optimize()
        for term in terms:
            assert [c.document_id for c in index.search_terms(term, {1}, 20)] == [term]


def test_a_question_of_thousands_of_terms_is_answered(store: Store) -> None:
    """Length and repetition cost time, not answers."""
    index = store.made()
    index.upsert([row("d", terms="alpha beta")])
    for question in ("alpha " * 50_000, "alpha " + " ".join(f"x{i}" for i in range(50_000))):
        began = time.monotonic()
        assert keys(index.search_terms(question, {1}, 10)) == [("d", 1, 0)]
        assert time.monotonic() - began < 5


def test_a_scope_of_five_thousand_objects_is_searched(store: Store) -> None:
    """The largest scope that callers send is filtered by, exactly."""
    index = store.made()
    index.upsert([row(f"d{i}", 1, 0, acl=i) for i in range(0, 12_000, 100)])
    scope = range(0, 10_000, 2)
    expected = {f"d{i}" for i in range(0, 10_000, 100)}
    assert {c.document_id for c in index.search_terms("alpha", scope, 500)} == expected
    assert {c.document_id for c in index.search_vector(unit(1, 0)[0], scope, 500)} == expected


def test_an_empty_scope_finds_nothing_without_asking_the_store(store: Store) -> None:
    """Whoever may read nothing gets nothing, even where no store is."""
    index = store.open()
    assert index.search_terms("alpha", frozenset(), 10) == []
    assert index.search_vector(unit(1, 0)[0], frozenset(), 10) == []
    with pytest.raises(IndexUnavailable):
        index.search_terms("alpha", {1}, 10)


def test_only_integers_reach_the_filter(store: Store) -> None:
    """A scope or generation that is no number is refused before the store sees it."""
    index = store.made()
    index.upsert([row()])
    with pytest.raises((ValueError, TypeError, IndexUnavailable)):
        index.search_terms("alpha", ["1) OR (1=1"], 10)  # type: ignore[list-item]
    with pytest.raises((ValueError, TypeError, IndexUnavailable)):
        index.delete(["0) OR (1=1"])  # type: ignore[list-item]
    assert index.count([1]) == {1: 1}


def test_equal_scores_are_ordered_by_document_and_ordinal(store: Store) -> None:
    """The order of writing decides nothing."""
    vector = unit(1, 0)[0]
    rows = [row(d, 1, o, vector=vector) for d in "cab" for o in (1, 0)]
    expected = [(d, 1, o) for d in "abc" for o in (0, 1)]
    for seed in range(3):
        index = store.beside(str(seed)).made()
        for each in random.Random(seed).sample(rows, len(rows)):
            index.upsert([each])
        assert keys(index.search_terms("alpha", {1}, 10)) == expected
        assert keys(index.search_vector(vector, {1}, 4)) == expected[:4]


def test_writing_the_same_chunks_again_changes_nothing(store: Store) -> None:
    """A retry, whole or in part, and doubles within one call, leave one row per id."""
    index = store.made()
    rows = generation_of(1, 20)
    index.upsert(rows[:7])
    index.upsert(rows)
    index.upsert(rows + rows)
    assert index.count([1]) == {1: 20}
    assert len(index.search_terms("alpha", {1}, 100)) == 20


def test_the_last_of_two_chunks_with_one_id_counts(store: Store) -> None:
    """Writing an id again replaces what stood there."""
    index = store.made()
    index.upsert([row(text="old"), row(text="older")])
    index.upsert([row(text="new", terms="omega")])
    assert [c.text for c in index.search_terms("omega", {1}, 10)] == ["new"]
    assert index.search_terms("alpha", {1}, 10) == []


HOSTILE = [
    "it's a 'quote' and a \"double\"",
    "100 % _ \\ ; -- DROP TABLE chunks",
    "right\u202eto\u202cleft \u200b zero",
    "line\nbreak\ttab\x1fseparator",
    "日本語 😀 \U0010ffff",
    "user:a@x",
    "user:A@X",
    "",
]


def test_hostile_ids_and_texts_come_back_as_they_went_in(store: Store) -> None:
    """Nothing a source calls itself changes what is stored or found."""
    index = store.made()
    rows = [
        replace(row(name, number, text=name), path=(name, name))
        for number, name in enumerate(HOSTILE, start=1)
    ]
    index.upsert(rows)
    index.upsert(rows)
    found = {c.document_id: c for c in index.search_terms("alpha", {1}, 100)}
    assert set(found) == set(HOSTILE)
    assert all(c.text == name and c.path == (name, name) for name, c in found.items())
    index.delete([6])
    assert "user:A@X" in {c.document_id for c in index.search_terms("alpha", {1}, 100)}


def test_what_cannot_be_stored_is_refused_whole(store: Store) -> None:
    """A lone surrogate, a number too large or a wrong vector: one clear error, no row written."""
    index = store.made()
    for bad in (row(text="\ud800"), row(acl=2**70), row(vector=[1.0, 0.0]), row(tenant="other")):
        with pytest.raises(BadInput):
            index.upsert([row("good"), bad])
    assert index.generations() == frozenset()


def test_tenants_share_nothing(store: Store) -> None:
    """The same permission object number in two tenants opens nothing of the other."""
    ours, theirs = store.made("ours"), store.made("theirs")
    ours.upsert([row("mine", tenant="ours")])
    theirs.upsert([row("yours", tenant="theirs")])
    assert [c.document_id for c in ours.search_terms("alpha", {1}, 10)] == ["mine"]
    theirs.delete([1])
    assert ours.count([1]) == {1: 1}


def test_twenty_five_thousand_rows_are_deleted_also_after_a_kill_half_way(store: Store) -> None:
    """Stores that stop at 10,000 are asked again until nothing is left, by whoever comes next."""
    index = store.made()
    index.upsert([row(f"d{i}", 1 + i % 500, 0) for i in range(25_000)])
    index.upsert([row("kept", 501)])
    child = SPAWN.Process(target=delete, args=(store, range(1, 501)))
    child.start()
    while index.size() == 25_001:
        time.sleep(0.001)
    child.kill()
    child.join()
    index.delete(range(1, 501))
    assert set(index.count(range(1, 501)).values()) == {0}
    assert index.generations() == {501}
    assert index.size() == 1


def test_thousands_of_generations_are_counted_and_deleted(store: Store) -> None:
    """A list of any length is worked through."""
    index = store.made()
    index.upsert([row(f"d{i}", i) for i in range(1, 12_001)])
    counts = index.count(range(1, 12_003))
    assert len(counts) == 12_002
    assert sum(counts.values()) == 12_000
    index.delete(range(1, 12_000))
    assert index.generations() == {12_000}
    assert index.count([]) == {}
    index.delete([])


def test_chunks_are_fetched_whole(store: Store) -> None:
    """What was written comes back by document and ordinal, whatever else there is."""
    index = store.made()
    small = [row(f"d{i:03}", i, ordinal) for i in range(1, 301) for ordinal in (1, 0)]
    large = generation_of(400, 2_500, "large")
    index.upsert(small + large + [row("other", 500)])
    wanted = [*range(1, 301), 400, 999]
    found = index.fetch(wanted)
    expected = sorted(small + large, key=lambda each: (each.document_id, each.ordinal))
    assert keys(found) == keys(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.id == other.id and one.vector == pytest.approx(other.vector, abs=1e-5)
        assert (one.acl_id, one.path, one.text, one.terms) == (
            other.acl_id,
            other.path,
            other.text,
            other.terms,
        )
    assert index.fetch([]) == index.fetch([999]) == []


def test_a_store_knows_its_size(store: Store) -> None:
    """Writing again and deleting count as they should."""
    index = store.made()
    assert index.size() == 0
    index.upsert(generation_of(1, 30) + generation_of(2, 5))
    index.upsert(generation_of(1, 30))
    assert index.size() == 35
    index.delete([1])
    assert index.size() == 5


def test_what_was_dropped_is_gone_and_can_be_made_again(store: Store) -> None:
    """Dropping is complete, may be repeated, and touches no other tenant."""
    index, other = store.made(), store.made("other")
    index.upsert(generation_of(1, 20))
    other.upsert([row(tenant="other")])
    for _ in range(2):
        index.drop()
        for act in (index.ping, index.size, lambda: index.search_terms("alpha", {1}, 10)):
            with pytest.raises(IndexUnavailable, match="Ingest a source first"):
                act()
        with pytest.raises(IndexUnavailable, match="Ingest a source first"):
            index.upsert([row()])
    assert other.count([1]) == {1: 1}
    index.ensure()
    assert index.size() == 0
    index.upsert([row("new", 2)])
    assert index.generations() == {2}


def test_nothing_impedes_a_healthy_store_and_announcing_it_changes_nothing(store: Store) -> None:
    """Both may be asked at any time, also twice."""
    index = store.made()
    index.upsert([row()])
    for _ in range(2):
        index.announce()
        assert index.impediment() is None
    assert keys(index.search_terms("alpha", {1}, 10)) == [("d", 1, 0)]
    index.close()


def test_ensuring_again_keeps_everything(store: Store) -> None:
    """Every start ensures; nothing is lost by it."""
    store.made().upsert([row()])
    assert store.made().count([1]) == {1: 1}
    store.open().ping()


def test_writes_of_another_process_are_seen_at_once(store: Store) -> None:
    """A reader that is already open finds what another process wrote, and not what it deleted."""
    reader = store.made()
    reader.upsert(generation_of(1, 2))
    assert len(reader.search_terms("alpha", {1}, 100)) == 2
    child = SPAWN.Process(target=write, args=(store, [2, 3], 5))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert len(reader.search_terms("alpha", {1}, 100)) == 12
    assert len(reader.search_vector(unit(1, 0)[0], {1}, 100)) == 12
    store.open().delete([2])
    assert reader.count([1, 2, 3]) == {1: 2, 2: 0, 3: 5}


def test_two_writers_of_the_same_generations_leave_no_double(store: Store) -> None:
    """Two processes that write the same chunks at the same time leave each of them once."""
    index = store.made()
    writers = [SPAWN.Process(target=write, args=(store, range(1, 16), 4)) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert index.count(range(1, 16)) == dict.fromkeys(range(1, 16), 4)
    assert len(index.search_terms("alpha", {1}, 1000)) == 60


def test_a_writer_killed_at_any_moment_leaves_nothing_that_cannot_be_made_whole(
    store: Store,
) -> None:
    """After kill -9 what was acknowledged is whole, and writing the rest again doubles nothing.

    Where a write is a commit, the generation in hand is whole or absent; elsewhere a part of it may
    be there, which is why generations are counted before they are live.
    """
    index = store.made()
    size = 400
    first = 1
    for attempt in range(3):
        child = SPAWN.Process(target=write_on, args=(store, first, size))
        child.start()
        while not index.count([first])[first]:
            time.sleep(0.01)
        time.sleep(0.05 + 0.013 * attempt)
        assert child.pid
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        last = max(index.generations())
        counts = index.count(range(first, last + 2))
        in_hand = set() if store.commits else {last}
        assert {counts[each] for each in counts.keys() - in_hand} <= {0, size}
        write(store, [last, last + 1], size)
        assert index.count([last, last + 1]) == {last: size, last + 1: size}
        first = last + 2
    index.optimize()
    assert set(index.count(index.generations()).values()) == {size}


def _fold_until(store: Store, stop: threading.Event) -> None:
    index = store.open()
    while not stop.is_set():
        index.optimize()


def _read_until(store: Store, stop: threading.Event) -> None:
    index = store.open()
    while not stop.is_set():
        found = index.search_terms("alpha", {1}, 1000)
        assert sum(each.generation == 1 for each in found) == 50
        assert len(found) == len(set(keys(found)))
        assert len(found) % 10 == 0 or not store.commits


def test_folding_beside_readers_and_writers_disturbs_neither(store: Store) -> None:
    """While one thread folds again and again, writes arrive and every search is complete."""
    index = store.made()
    index.upsert(generation_of(1, 50))
    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        others = [pool.submit(work, store, stop) for work in (_fold_until, _read_until)]
        try:
            for number in range(2, 32):
                index.upsert(generation_of(number, 10))
                if number % 3 == 0:
                    index.delete([number])
        finally:
            stop.set()
        for each in others:
            each.result()
    assert sum(index.count(range(1, 32)).values()) == 50 + 20 * 10
