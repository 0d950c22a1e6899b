"""What only the embedded store can do wrong: its folder, its lock, its vector index."""

from __future__ import annotations

import resource
import shutil
import signal
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from contract.stores import DIMENSIONS, MODEL, SPAWN, Store, generation_of, row, unit
from lancedb.index import IvfSq
from sluice.errors import IndexUnavailable
from sluice.index.lance import ANN_ROWS, SEGMENTS, LanceIndex
from sluice.index.lock import exclusive


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A place for one embedded index."""
    return Store("lance", tmp_path / "index")


def _table(store: Store) -> lancedb.table.Table:
    database = lancedb.connect(store.path / "main")
    (name,) = (path.stem for path in (store.path / "main").glob("*.lance"))
    return database.open_table(name)


def _said(error: pytest.ExceptionInfo[IndexUnavailable]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.cure
    return text


def test_a_folder_that_is_a_file_is_named_with_its_cure(tmp_path: Path) -> None:
    """Neither reading nor writing raises anything of the store's own."""
    (tmp_path / "index").write_text("not a folder")
    index = Store("lance", tmp_path / "index").open()
    for act in (index.ensure, index.ping, index.optimize, index.generations):
        with pytest.raises(IndexUnavailable) as error:
            act()
        assert str(tmp_path) in _said(error)


def test_an_index_that_is_not_there_yet_says_how_to_make_it(store: Store) -> None:
    """Reading before the first ingest is an error with a cure, not an empty answer."""
    with pytest.raises(IndexUnavailable, match="Ingest a source first"):
        store.open().search_terms("alpha", {1}, 10)
    with pytest.raises(IndexUnavailable, match="Ingest a source first"):
        store.open().upsert([row()])


def test_looking_for_an_index_makes_no_folder(store: Store) -> None:
    """A question, or a look at the status, must not lay claim to a home."""
    with pytest.raises(IndexUnavailable):
        store.open().ping()
    assert not store.path.exists()


def test_an_index_removed_under_an_open_client_is_an_error_until_it_is_made_again(
    store: Store,
) -> None:
    """A client survives that its folder is thrown away and made anew."""
    index = store.made()
    index.upsert([row()])
    shutil.rmtree(store.path)
    with pytest.raises(IndexUnavailable):
        index.search_terms("alpha", {1}, 10)
    store.made().upsert([row("new")])
    assert [c.document_id for c in index.search_terms("alpha", {1}, 10)] == ["new"]


def test_every_way_to_read_survives_an_index_made_again(store: Store) -> None:
    """Also where the new index is as many commits old as the one that a client had open."""
    index = store.made()
    index.upsert(generation_of(1, 20))
    asked = unit(1, 2)[0]
    reads = {
        "terms": lambda: {each.document_id for each in index.search_terms("alpha", {1}, 5)},
        "vector": lambda: {each.document_id for each in index.search_vector(asked, {1}, 5)},
        "count": lambda: index.count([1, 2]),
        "generations": index.generations,
    }
    for read in reads.values():
        read()
    shutil.rmtree(store.path)
    for read in reads.values():
        with pytest.raises(IndexUnavailable, match="Ingest a source first") as error:
            read()
        assert ".rs:" not in _said(error)  # where in somebody's Rust it arose helps no operator
    store.made().upsert(generation_of(2, 30, "new"))
    found = {name: read() for name, read in reads.items()}
    assert found == {
        "terms": {"new"},
        "vector": {"new"},
        "count": {1: 0, 2: 30},
        "generations": {2},
    }


def test_a_table_of_another_schema_is_refused(store: Store) -> None:
    """A table that some other program left under our name is neither read nor written."""
    store.made()
    table = _table(store)
    lancedb.connect(store.path / "main").create_table(
        table.name, pa.table({"id": ["x"]}), mode="overwrite"
    )
    for act in (store.open().ensure, store.open().ping, lambda: store.open().upsert([row()])):
        with pytest.raises(IndexUnavailable) as error:
            act()
        assert "Move the folder away" in _said(error)


def test_vectors_of_two_models_never_share_a_table(tmp_path: Path) -> None:
    """Another model, or other dimensions, under a name that is taken: refused."""
    first = LanceIndex(tmp_path, name="a", model="one", dimensions=DIMENSIONS, tenant="main")
    first.ensure()
    first.upsert([row()])
    for model, dimensions in (("two", DIMENSIONS), ("one", 4)):
        other = LanceIndex(tmp_path, name="a", model=model, dimensions=dimensions, tenant="main")
        for act in (other.ensure, other.ping, other.generations):
            with pytest.raises(IndexUnavailable, match="not made by this release for this model"):
                act()
        beside = LanceIndex(tmp_path, name="b", model=model, dimensions=dimensions, tenant="main")
        beside.ensure()
        assert beside.generations() == frozenset()
        beside.drop()


def test_damaged_files_are_reported_as_one_line(store: Store) -> None:
    """A table whose files are cut short is unavailable, whatever the store makes of them."""
    store.made().upsert(generation_of(1, 50))
    for path in (store.path / "main").rglob("*"):
        if path.is_file() and path.suffix in {".lance", ".manifest", ".idx"}:
            path.write_bytes(path.read_bytes()[:40])
    for act in (lambda i: i.ping(), lambda i: i.search_terms("alpha", {1}, 10)):
        with pytest.raises(IndexUnavailable) as error:
            act(store.open())
        assert str(store.path) in _said(error)


def _write_with_no_room(store: Store) -> None:
    """In another process: no file may grow beyond 20 kB, as on a full disk."""
    index = store.open()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with pytest.raises(IndexUnavailable, match="Free some disk space"):
        index.upsert(generation_of(2, 2000))


def test_a_disk_that_is_full_loses_nothing_and_says_so(store: Store) -> None:
    """A write that finds no room leaves what was there, and can be made again."""
    index = store.made()
    index.upsert(generation_of(1, 10))
    child = SPAWN.Process(target=_write_with_no_room, args=(store,))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert index.count([1, 2]) == {1: 10, 2: 0}
    index.upsert(generation_of(2, 2000))
    assert index.count([1, 2]) == {1: 10, 2: 2000}


def test_a_writer_gives_up_when_another_one_never_ends(store: Store) -> None:
    """Patience is bounded, readers need none, and the lock is free again afterwards."""
    store.made()
    impatient = LanceIndex(
        store.path, name="chunks", model=MODEL, dimensions=DIMENSIONS, tenant="main", patience=0.1
    )
    with exclusive(store.path / "main" / "writer.lock", 1):
        with pytest.raises(IndexUnavailable, match="another process has been writing"):
            impatient.upsert([row()])
        impatient.ensure()
        assert impatient.search_terms("alpha", {1}, 10) == []
    impatient.upsert([row()])
    assert impatient.count([1]) == {1: 1}


def _vector_segments(store: Store) -> int:
    found = [each for each in _table(store).list_indices() if "vector" in each.columns]
    return sum(each.num_segments or 1 for each in found)


def test_the_vector_index_is_built_by_optimize_alone_and_only_for_many_rows(store: Store) -> None:
    """Below the threshold, and before the first fold, every search is brute force."""
    index = store.made()
    vectors = unit(ANN_ROWS, 3)
    rows = [row(f"d{i}", 1 + i % 2, 0, vector=vector) for i, vector in enumerate(vectors)]
    index.upsert(rows[:-1])
    index.optimize()
    assert _vector_segments(store) == 0
    index.upsert(rows[-1:])
    assert _vector_segments(store) == 0
    index.optimize()
    assert _vector_segments(store) == 1
    nearest = np.argsort(-(vectors @ vectors[7]), kind="stable")[:5]
    found = index.search_vector(vectors[7], {1}, 5)
    assert [each.document_id for each in found] == [f"d{i}" for i in nearest]


def test_many_folds_do_not_crumble_the_vector_index(store: Store) -> None:
    """Each fold adds a piece to it; it is built anew before they are many."""
    index = store.made()
    index.upsert([row(f"d{i}", 1, vector=v) for i, v in enumerate(unit(ANN_ROWS, 3))])
    index.optimize()
    for number in range(2, SEGMENTS + 4):
        index.upsert([row(f"new{number}", number, vector=v) for v in unit(1, number)])
        index.optimize()
        assert 1 <= _vector_segments(store) <= SEGMENTS
    asked = unit(1, number)[0]
    assert index.search_vector(asked, {1}, 1)[0].document_id == f"new{number}"


def test_no_partition_of_the_vector_index_is_left_out(store: Store) -> None:
    """With far more partitions than the store probes by default, a narrow scope loses nothing."""
    index = store.made()
    vectors = unit(4_000, 4)
    index.upsert([row(f"d{i}", 1, 0, i % 50, vector=vector) for i, vector in enumerate(vectors)])
    _table(store).create_index("vector", config=IvfSq(distance_type="cosine", num_partitions=128))
    for asked in unit(10, 5):
        nearest = [i for i in np.argsort(-(vectors @ asked), kind="stable") if i % 50 == 7][:10]
        found = index.search_vector(asked, {7}, 10)
        assert [each.document_id for each in found] == [f"d{i}" for i in nearest]


def test_folding_is_asked_for_after_many_writes_and_not_after_few(store: Store) -> None:
    """A fold costs a second, so one that would change nothing is not asked for."""
    index = store.open()
    index.ensure()
    assert not index.wants_optimizing()
    index.upsert([row(ordinal=n) for n in range(100)])
    assert index.wants_optimizing()
    index.optimize()
    index.upsert([row(ordinal=100)])
    assert not index.wants_optimizing()
