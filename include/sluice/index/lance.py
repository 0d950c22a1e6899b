"""The embedded index: one directory, LanceDB inside.

What is exact here and what is not:

* Filters are applied before ranking, in both searches, on rows folded into the indexes or not.
* Vector search looks at every permitted row. Once a table has a vector index the rows are ranked by
  8-bit vectors and the best :data:`RERANKED` again by the full ones, so a permitted set of no more
  rows than that is searched exactly, and so is any table without a vector index.
* BM25 finds every permitted match at once. Its weights are exact after :meth:`LanceIndex.optimize`;
  until then rows in the index are weighted by the statistics of the last fold, so the drift is
  that of the fraction of rows written or deleted since.

Only integers ever reach a ``where``; terms are matched as they are, there is no query syntax.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
from lancedb.index import FTS, BTree, IvfSq
from lancedb.query import MatchQuery
from lancedb.table import Table

from sluice.errors import IndexUnavailable, SluiceError
from sluice.index import rows
from sluice.index.lock import exclusive
from sluice.model import Candidate, IndexedChunk
from sluice.ports import Vectors

BM25_K1, BM25_B = 1.2, 0.75  # Lance's own constants; a store that can be told gets these
ANN_ROWS = 20_000  # below it brute force over everything takes 15 ms or less
RERANKED = 256  # rows ranked again by full vectors; at least three times those fetched
UNFOLDED = 0.05  # of all rows, written since the last fold: BM25 drifts by about as much
FRAGMENTS = 50  # pieces of a table, one a write; each makes every search a little slower
SEGMENTS = 8  # every fold adds one to the vector index and slows it; more, and it is built anew
KEEP_FILES = timedelta(minutes=10)  # readers may still be on a version this old
_BATCH = 5_000  # integers in one filter
_ALL_PARTITIONS = 1 << 20  # more than any table has: a partition left out is recall lost silently


class LanceIndex:
    """``ports.Index`` over one tenant's chunks of one embedding model.

    Any number of processes may read and write; writers wait for each other.
    """

    def __init__(
        self,
        path: Path,
        *,
        name: str,
        model: str,
        dimensions: int,
        tenant: str,
        patience: float = 120.0,
    ):
        """Name the index; nothing is opened yet.

        Args:
            path: the directory of all indexes.
            name: of the table.
            model: names the vector space.
            dimensions: of each vector.
            tenant: whose chunks; each tenant has a directory of its own, so that no statistics
                are shared.
            patience: seconds a writer waits for another one.
        """
        self._path = path / tenant
        self._tenant = tenant
        self._patience = patience
        self._schema = rows.schema(model, dimensions)
        self._name = name
        self._opened: Table | None = None

    def ensure(self) -> None:
        """Create the table and its indexes where missing.

        Raises:
            IndexUnavailable: the folder cannot be used, or holds another schema under our name.
        """
        with self._reading():  # what is complete must not wait for whoever writes
            if self._made() and _INDEXES.keys() <= _indexed(self._table()):
                return
        with self._writing():
            table = self._connect().create_table(self._name, schema=self._schema, exist_ok=True)
            for column in _INDEXES.keys() - _indexed(table):
                table.create_index(column, config=_INDEXES[column])

    def upsert(self, chunks: Sequence[IndexedChunk]) -> None:
        """Write chunks, in one commit; writing the same ids again changes nothing.

        Raises:
            BadInput: a chunk is another tenant's, or cannot be stored.
            IndexUnavailable: nothing was written.
        """
        if not chunks:
            return
        fresh = rows.table(chunks, self._schema, self._tenant)
        with self._writing():
            table = self._table()
            if any(self._count(table, {chunk.generation for chunk in chunks}).values()):
                merge = table.merge_insert("id")
                merge.when_matched_update_all().when_not_matched_insert_all().execute(fresh)
            else:  # four times cheaper, and as safe: nobody else writes now
                table.add(fresh)

    def search_terms(self, terms: str, scope: Collection[int], limit: int) -> list[Candidate]:
        """The best ``limit`` permitted chunks by BM25 over analysed ``terms``, best first.

        A term that is asked twice counts twice.

        Raises:
            IndexUnavailable: the store cannot be read.
        """
        asked = terms.split()[: rows.QUERY_TERMS]
        if not asked or not scope or limit < 1:
            return []
        with self._reading():
            query = MatchQuery(" ".join(asked), "terms")  # type: ignore[call-arg]  # has defaults
            search = self._table().search(query, query_type="fts")
            return _found(search.where(_within("acl_id", scope)), "_score", limit, best=-1)

    def search_vector(self, vector: Vectors, scope: Collection[int], limit: int) -> list[Candidate]:
        """The nearest ``limit`` permitted chunks by cosine, nearest first.

        Raises:
            IndexUnavailable: the store cannot be read.
        """
        if not scope or limit < 1:
            return []
        with self._reading():
            wanted = np.asarray(vector, np.float32)
            nearest: Any = self._table().search(wanted, "vector", query_type="vector")
            again = max(3, -(-RERANKED // (limit + rows.TIES)))  # in multiples of what is fetched
            nearest = nearest.distance_type("cosine").where(_within("acl_id", scope))
            nearest = nearest.nprobes(_ALL_PARTITIONS).refine_factor(again)
            return _found(nearest, "_distance", limit, best=1)

    def count(self, generations: Collection[int]) -> Mapping[int, int]:
        """Chunks held of each generation; one that is absent counts 0."""
        with self._reading():
            return self._count(self._table(), generations)

    def delete(self, generations: Collection[int]) -> None:
        """Remove every chunk of these generations, however many there are."""
        if not generations:
            return
        with self._writing():
            for batch in rows.batches(generations, _BATCH):
                self._table().delete(_within("generation", batch))

    def generations(self) -> frozenset[int]:
        """Every generation of which the store holds at least one chunk."""
        with self._reading():
            column = self._table().search().select(["generation"]).to_arrow()["generation"]
            return frozenset(column.unique().to_pylist())

    def size(self) -> int:
        """Chunks held in all."""
        with self._reading():
            return self._table().count_rows()

    def fetch(self, generations: Collection[int]) -> list[IndexedChunk]:
        """Every chunk of these generations, whole, by document and ordinal."""
        with self._reading():
            table = self._table()
            found = [
                rows.chunk(row, self._tenant)
                for batch in rows.batches(generations, _BATCH)
                for row in table.search().where(_within("generation", batch)).to_arrow().to_pylist()
            ]
        return sorted(found, key=lambda each: (each.document_id, each.generation, each.ordinal))

    def optimize(self) -> None:
        """Fold new rows into the indexes, merge small files, drop files dead for ten minutes."""
        with self._writing():
            table = self._table()
            table.optimize(cleanup_older_than=KEEP_FILES)
            indexes = [each for each in table.list_indices() if "vector" in each.columns]
            pieces = sum(each.num_segments or 1 for each in indexes)
            if pieces > SEGMENTS or (not pieces and table.count_rows() >= ANN_ROWS):
                table.create_index("vector", config=IvfSq(distance_type="cosine"), replace=True)

    def wants_optimizing(self) -> bool:
        """Whether folding pays: keyword weights are off by now, or the table is in pieces."""
        with self._reading():
            table = self._table()
            terms = table.index_stats("terms_idx")
            fresh = terms.num_unindexed_rows if terms else 0
            stats: Any = table.stats()  # typed as an object, comes as a dictionary
            pieces = stats["fragment_stats"]["num_fragments"]
            return fresh > UNFOLDED * table.count_rows() or bool(pieces > FRAGMENTS)

    def ping(self) -> None:
        """Return if the store can be read.

        Raises:
            IndexUnavailable: it cannot.
        """
        with self._reading():
            self._table().count_rows()

    def impediment(self) -> str | None:
        """None: what can be read can be written, or the write says why not."""
        return None

    def announce(self) -> None:
        """There is no alias in a directory."""

    def drop(self) -> None:
        """Remove the table with all that is in it."""
        with self._writing():
            self._opened = None
            if self._made():
                self._connect().drop_table(self._name)

    def close(self) -> None:
        """There is no connection."""

    def _made(self) -> bool:
        return (self._path / f"{self._name}.lance").is_dir()

    def _connect(self) -> lancedb.DBConnection:
        # Interval zero: every read looks for the newest version. The default never looks again.
        return lancedb.connect(self._path, read_consistency_interval=timedelta(0))

    def _table(self) -> Table:
        if self._opened is None:
            if not self._made():  # the store would make folders only to say so
                raise IndexUnavailable("it is not there", subject=str(self._path), cure=rows.ABSENT)
            table = self._connect().open_table(self._name)
            rows.require(self._schema, table.schema, self._path)
            self._opened = table
        return self._opened

    def _count(self, table: Table, generations: Collection[int]) -> dict[int, int]:
        held: Counter[int] = Counter()
        for batch in rows.batches(generations, _BATCH):
            found = table.search().where(_within("generation", batch)).select(["generation"])
            held.update(found.to_arrow()["generation"].to_pylist())
        return {generation: held[generation] for generation in generations}

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """Turn whatever the store raises into one line with a cure."""
        try:
            yield
        except SluiceError:
            raise
        except Exception as error:  # its Rust core maps errors to many types
            self._opened = None  # the folder may have been thrown away, and made anew since
            raise _unavailable(error, self._path) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Be the only writer, among all processes."""
        with self._reading():
            self._path.mkdir(parents=True, exist_ok=True)
            with exclusive(self._path / "writer.lock", self._patience):
                yield


_INDEXES: dict[str, FTS | BTree] = {
    # Terms are ours: the store must neither stem, fold, stop nor drop any.
    "terms": FTS(
        base_tokenizer="whitespace",
        max_token_length=None,
        lower_case=False,
        stem=False,
        remove_stop_words=False,
        ascii_folding=False,
    ),
    "acl_id": BTree(),
    "generation": BTree(),
}


def _within(column: str, numbers: Collection[int]) -> str:
    """``column IN (…)``, the only filter there is. ``int`` lets nothing but integers through."""
    return f"{column} IN ({','.join(str(int(n)) for n in sorted(numbers))})"


def _found(search: Any, score: str, limit: int, best: int) -> list[Candidate]:
    """Run ``search``; equal scores are ordered by document and ordinal, whatever the store does."""
    found = search.limit(limit + rows.TIES).select([*rows.SHOWN, score]).to_arrow().to_pylist()
    return rows.best(((best * row[score], row) for row in found), limit)


def _indexed(table: Table) -> set[str]:
    return {column for index in table.list_indices() for column in index.columns}


def _unavailable(error: Exception, path: Path) -> IndexUnavailable:
    said = _line(error)
    cure = "Check the folder and run this again"
    if "No space left" in said or "File too large" in said:
        cure = "Free some disk space and run this again"
    elif isinstance(error, PermissionError) or "Permission denied" in said:
        cure = "Give this user read and write access to the folder"
    elif "does not match existing table" in said:
        cure = rows.FOREIGN
    elif "was not found" in said or "does not exist" in said or said.endswith("/_versions"):
        cure = rows.ABSENT
    return IndexUnavailable(said, subject=str(path), cure=cure)


def _line(error: Exception) -> str:
    """The first line of what ``error`` says, without the trail of Rust source lines."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _TRAIL.sub("", lines[0])[:300].rstrip(".")


_TRAIL = re.compile(r",?\s*\S+\.rs:\d+(:\d+)?")
