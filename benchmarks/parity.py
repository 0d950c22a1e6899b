"""The same corpus, questions and people on LanceDB and on Weaviate: are the answers the same?

    python benchmarks/parity.py [--data ../shared/data] [--claims 300]

SciFact is ingested once; one collection in LanceDB serves and one in Weaviate receives the same, so
that both hold the very same chunks and vectors, under one catalog with one set of people. The
abstracts lie on 40 shelves, and seven people read between all of it and nothing. What each may read
is worked out three times: from the shelves' rules, from the catalog, and from each store by a
search for everything.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import quality
import report
import servers
import yaml
from measure import server
from quality import DATA, MODES, Collection
from sluice import ingest
from sluice.access import Access
from sluice.audit import Audit
from sluice.catalog import Catalog, placements, scope
from sluice.collections import Opened
from sluice.metering import Metered
from sluice.model import PUBLIC, Caller, Hit, Principal
from sluice.retrieve import Retriever
from sluice.settings import Settings
from sluice.sources import Files

SHELVES, ALONE = 40, 20
EVERYTHING = 10_000  # more than there are chunks, and as many as Weaviate gives at once
HITS, TOP = 20, 10
# Who reads how many shelves; two read otherwise.
SHARES = {"all": 40, "half": 20, "team": 6, "shelf": 1, "nobody": 0}
PAGES, DENIED = "pages", "denied"  # a few pages shared alone; all but what is denied, by domain
PEOPLE = (*SHARES, PAGES, DENIED)
_CALLER = Caller(agent="benchmark", key_id=None, acts_for=frozenset({PUBLIC}))

Chunk = tuple[str, int, int]  # document, generation, ordinal


@dataclass(frozen=True, slots=True)
class Library:
    """A collection of documents on shelves, and who may read which."""

    texts: Collection
    shelf: Mapping[str, int]  # by document
    alone: frozenset[str]  # documents that are shared on their own

    @classmethod
    def of(cls, texts: Collection) -> Library:
        """Put ``texts`` on shelves, one after the other."""
        every = len(texts.documents) // ALONE
        return cls(
            texts,
            {document: i % SHELVES for i, document in enumerate(texts.documents)},
            frozenset(each for i, each in enumerate(texts.documents) if i % every == 0),
        )

    def readable(self, person: str) -> frozenset[str]:
        """The documents that ``person`` may read, by the rules and nothing else."""
        if person == PAGES:
            return self.alone
        return frozenset(
            document
            for document, shelf in self.shelf.items()
            if document not in self.alone and self._reads(person, shelf)
        )

    def write(self, tree: Path) -> None:
        """Write every document as a page, and every shelf's rules."""
        for shelf in range(SHELVES):
            (tree / f"{shelf:02}").mkdir(parents=True)
        for document, (title, text) in self.texts.documents.items():
            page = tree / f"{self.shelf[document]:02}" / f"{document}.md"
            page.write_text(f"# {title}\n\n{text}\n")
        for shelf in range(SHELVES):
            alone = [each for each in self.alone if self.shelf[each] == shelf]
            rules = {
                "allow": [_address(each) for each in SHARES if self._reads(each, shelf)]
                + ["domain:else.example"],
                "deny": [] if self._reads(DENIED, shelf) else [_address(DENIED)],
                "pages": {f"{each}.md": {"allow": [_address(PAGES)]} for each in alone},
            }
            (tree / f"{shelf:02}" / ".access.yaml").write_text(yaml.safe_dump(rules))

    def _reads(self, person: str, shelf: int) -> bool:
        return shelf % 3 > 0 if person == DENIED else shelf < SHARES[person]


def _address(person: str) -> str:
    return f"user:{person}@{'else' if person == DENIED else 'here'}.example"


@dataclass(frozen=True, slots=True)
class Side:
    """One backend, and how it is asked."""

    name: str
    opened: Opened
    catalog: Catalog
    settings: Settings

    def ask(self, person: str, question: str, mode: str, k: int) -> tuple[Hit, ...]:
        """The first ``k`` hits, as the service finds them."""
        weights = {"keyword": 0.0, "vector": 1.0, "hybrid": self.settings.dense_weight}
        retriever = Retriever(
            Access(self.catalog, self.settings.scope_cap),
            lambda: self.opened,
            Audit(self.catalog),
            partial(Metered, self.catalog),
            dense_weight=weights[mode],
            max_question=self.settings.max_question,
            max_hits=EVERYTHING,
        )
        return retriever.search(_CALLER, Principal.parse(_address(person)), question, k).hits


@contextmanager
def sides(library: Library, home: Path, named: Mapping[str, Any]) -> Iterator[tuple[Side, Side]]:
    """Ingest ``library`` once, into both backends; ``named`` are the settings of both."""
    here = Settings(home=home, **{**named, "index": "lance"})
    library.write(home / "library")
    pipeline = ingest.open_pipeline(here)
    pipeline.collections.receiving()
    pipeline.collections.register(here.model_copy(update={"index": "weaviate"}), "building")
    both = pipeline.collections.receiving()
    for each in both:
        each.index.ensure()
    summary = ingest.run(pipeline, Files(name="library", url=str(home / "library")), "parity")
    for each in both:
        if each.index.size() != summary.chunks:
            raise AssertionError(
                f"{each.index.size()} of {summary.chunks} chunks: {each.collection}"
            )
        each.index.optimize()
    lance, weaviate = (Side(each.collection.backend, each, pipeline.catalog, here) for each in both)
    yield lance, weaviate
    pipeline.close()


def permitted(library: Library, both: Sequence[Side]) -> list[dict[str, Any]]:
    """For each person, what the rules, the catalog and each store say that they may read."""
    compared = []
    for person in PEOPLE:
        rules = library.readable(person)
        live = _live(both[0], person)
        found = [
            {(hit.document_id, hit.generation, hit.ordinal) for hit in _everything(side, person)}
            for side in both
        ]
        compared.append(
            {
                "person": person,
                "documents": len(rules),
                "chunks": len(live),
                "rules = catalog": {_native(each) for each, _, _ in live} == rules,
                **{
                    f"{side.name} = catalog": chunks == live
                    for side, chunks in zip(both, found, strict=True)
                },
            }
        )
    return compared


def _everything(side: Side, person: str) -> tuple[Hit, ...]:
    return side.ask(person, "everything there is", "vector", EVERYTHING)


def _live(side: Side, person: str) -> set[Chunk]:
    """Every chunk that is live and that the person may read, by the catalog alone."""
    import sqlalchemy as sa

    who = Principal.parse(_address(person))
    with side.catalog.begin("REPEATABLE READ") as connection:
        under = scope.principals(connection, [who])
        acl_ids = scope.readable(connection, under)[who]
        chunks = placements.expected(connection, side.opened.collection.collection_id)
        found = connection.execute(
            sa.text(
                "SELECT document_id, live_generation FROM sluice.document"
                " WHERE deleted_at IS NULL AND acl_id = ANY(:ids)"
            ),
            {"ids": list(acl_ids)},
        )
        return {
            (document, generation, ordinal)
            for document, generation in found
            for ordinal in range(chunks[generation])
        }


def _native(document_id: str) -> str:
    return Path(document_id.partition(":")[2]).stem


def compare(library: Library, both: Sequence[Side], claims: int) -> list[dict[str, Any]]:
    """Ask every claim on both: of everybody who reads anything, and of the first in every mode."""
    texts = library.texts
    asked = list(texts.gains)[:claims]
    compared = []
    for person in PEOPLE:
        readable = library.readable(person)
        for mode in (MODES if person == PEOPLE[0] else MODES[-1:]) if readable else ():
            answers = [
                [side.ask(person, texts.questions[each], mode, HITS) for each in asked]
                for side in both
            ]
            compared.append(
                {"person": person, "mode": mode, "claims": len(asked)}
                | _agreement(*answers)
                | _scores(texts, asked, readable, answers)
            )
    return compared


def _agreement(ours: Sequence[Sequence[Hit]], theirs: Sequence[Sequence[Hit]]) -> dict[str, Any]:
    pairs = [(_top(a), _top(b)) for a, b in zip(ours, theirs, strict=True)]
    overlaps = [len(set(a) & set(b)) / max(len(a), len(b), 1) for a, b in pairs]
    return {
        "overlap": fmean(overlaps),
        "worst": min(overlaps),
        "same order": fmean(a == b for a, b in pairs),
    }


def _top(hits: Sequence[Hit]) -> list[tuple[str, int]]:
    return [(hit.document_id, hit.ordinal) for hit in hits[:TOP]]


def _scores(
    texts: Collection,
    asked: Sequence[str],
    readable: frozenset[str],
    answers: Sequence[Sequence[Sequence[Hit]]],
) -> dict[str, Any]:
    """Mean nDCG@10 of both, over the claims of which the person may read some evidence."""
    scores: list[list[float]] = [[], []]
    for number, question in enumerate(asked):
        gains = {k: v for k, v in texts.gains[question].items() if k in readable}
        for which, side in enumerate(answers if gains else ()):
            ranked = list(dict.fromkeys(_native(hit.document_id) for hit in side[number]))
            scores[which].append(quality.ndcg(ranked, gains))
    means = [fmean(each) if each else None for each in scores]
    return {
        "judged": len(scores[0]),
        "nDCG@10 lance": means[0],
        "nDCG@10 weaviate": means[1],
        "difference": means[1] - means[0] if None not in means else None,
    }


def main(data: Path, claims: int) -> int:
    """Print the tables, write the results, return 0 if every claim held."""
    if not data.is_dir():
        print(f"skipped: no test collections in {data}")
        return 0
    library = Library.of(quality.scifact(data))
    with ExitStack() as stack:
        database = stack.enter_context(server())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-parity-")))
        found = stack.enter_context(servers.weaviate(home / "weaviate"))
        urls = database.database("parity")
        named = {name.removeprefix("SLUICE_").lower(): url for name, url in urls.items()}
        both = stack.enter_context(sides(library, home, named | servers.reach(found)))
        sets = permitted(library, both)
        rows = compare(library, both, claims)
    report.table("What each person may read", sets)
    report.table("The same claims on both", rows, "overlap, same order: of the first ten chunks")
    claimed = claims_of(sets, rows)
    packages = ["lancedb", "weaviate-client", "wordllama"]
    report.write("parity", {"permitted": sets, "rows": rows, "claims": claimed}, packages)
    return report.verdict(claimed)


def claims_of(
    sets: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]]
) -> dict[str, bool]:
    """What must hold."""
    return {
        "rules, catalog and both stores name the same permitted chunks for everybody": all(
            value for row in sets for name, value in row.items() if "=" in name
        ),
        "the first ten overlap by 95 % or more, for everybody": all(
            row["overlap"] >= 0.95 for row in rows
        ),
        "nDCG@10 differs by less than 0.01, for everybody": all(
            abs(row["difference"]) < 0.01 for row in rows if row["difference"] is not None
        ),
    }


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--claims", type=int, default=300)
    given = arguments.parse_args()
    sys.exit(main(given.data, given.claims))
