"""Ten thousand documents, one in a hundred edited in one paragraph: what is embedded again?

    python benchmarks/edits.py [--documents 10000]

Each document has several sections of two paragraphs. It is ingested, edited and ingested again,
each time in a process of its own that counts the texts its embedder was given. They are held
against a count by brute force: every document is divided before and after, and of the texts those
are new that were not there before. The model runs here and costs nothing; what OpenAI would bill
for the same chunks is worked out with its vocabulary and its price.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import measure
import report
import sections
from sluice.embedding import open_embedder
from sluice.ingest.writing import divide
from sluice.model import Document

PARTS = range(4, 9)  # sections of a document
SENTENCES = 5  # of a paragraph; a section has two, and is a chunk of its own
EDITED = 0.01  # of the documents
PRICED = "openai/text-embedding-3-small"


def main(documents: int) -> int:
    """Ingest, edit, ingest again, and count; return the exit status."""
    edited = round(documents * EDITED)
    with measure.server() as server, tempfile.TemporaryDirectory(prefix="sluice-bench-") as folder:
        tree = Path(folder) / "tree"
        build(tree, documents)
        environment = {**server.database("edits"), "SLUICE_HOME": str(Path(folder) / "home")}
        before = dict(texts(tree))
        time.sleep(2.5)  # younger files are read twice
        first, _ = measure.run(__file__, [str(tree)], environment, server)
        changed = edit(tree, edited)
        after = dict(texts(tree))
        time.sleep(2.5)
        second, spent = measure.run(__file__, [str(tree)], environment, server)
        idle, _ = measure.run(__file__, [str(tree)], environment, server)
    known = {each for some in before.values() for each in some}
    new = {each for some in after.values() for each in some} - known
    whole = [each for path in changed for each in after[path]]
    every = [each for some in after.values() for each in some]
    rows = [
        {
            "embedded": name,
            "chunks": len(some),
            "share": f"{len(some) / len(every):.2%}",
            **_bill(some),
        }
        for name, some in (
            ("all documents", every),
            ("the edited documents whole", whole),
            ("what changed, as Sluice does", list(new)),
        )
    ]
    report.table(
        f"{documents:,} documents, {edited:,} edited in one paragraph",
        rows,
        f"Dollars: what {PRICED} would bill at its standard price.",
    )
    result = {
        "documents": documents,
        "edited": edited,
        "chunks": len(every),
        "embedded_first": first["embedded"],
        "embedded": second["embedded"],
        "embedded_idle": idle["embedded"],
        "new_by_brute_force": len(new),
        "share": second["embedded"] / len(every),
        "seconds": spent.wall,
        "rows": rows,
    }
    report.write("edits", result, ["lancedb", "dlt"])
    return report.verdict(
        {
            "the first run embeds every text once": first["embedded"] == len(known),
            f"{len(new):,} texts are new by brute force, and so many were embedded": (
                second["embedded"] == len(new)
            ),
            "one chunk for each edited paragraph": len(new) == edited,
            "nothing changed, nothing embedded": idle["embedded"] == 0,
        }
    )


def build(tree: Path, documents: int) -> None:
    """Write documents of several sections, a thousand in a folder, that everybody may read."""
    chance = random.Random(sections.SEED)
    sections.allow(tree, "public")
    for number in range(documents):
        folder = tree / f"{number // 1000:02d}"
        folder.mkdir(exist_ok=True)
        parts = (
            f"## Part {part}\n\n{_paragraph(chance)}\n\n{_paragraph(chance)}\n"
            for part in range(chance.choice(PARTS))
        )
        (folder / f"{number:05d}.md").write_text(f"# Note {number}\n\n" + "\n".join(parts))


def edit(tree: Path, count: int) -> list[str]:
    """Add a sentence to one paragraph of ``count`` documents; return which."""
    chance = random.Random(sections.SEED + 1)
    chosen = chance.sample(sorted(tree.rglob("*.md")), count)
    for path in chosen:
        blocks = path.read_text().split("\n\n")
        at = chance.choice([i for i, each in enumerate(blocks) if not each.startswith("#")])
        blocks[at] = blocks[at].rstrip("\n") + " " + sections._sentence(chance)
        path.write_text("\n\n".join(blocks).rstrip("\n") + "\n")
    return [str(path.relative_to(tree)) for path in chosen]


def texts(tree: Path) -> Iterator[tuple[str, list[str]]]:
    """What would be embedded of each document, by its path."""
    embedder = open_embedder("local-static")
    for path in sorted(tree.rglob("*.md")):
        name = str(path.relative_to(tree))
        title, _, text = path.read_text().partition("\n\n")
        document = Document(
            source="notes",
            native_id=name,
            title=title.removeprefix("# "),
            text=text,
            uri=path.as_uri(),
            acl_key="",
        )
        yield name, [each.searched for each in divide(document, embedder)]


def _bill(some: list[str]) -> dict[str, object]:
    """Tokens and dollars of texts."""
    priced = open_embedder(PRICED)
    tokens = sum(map(priced.count_tokens, some))
    return {"tokens": tokens, "$": f"{Decimal(priced.dollars(tokens)):f}"}


def _paragraph(chance: random.Random) -> str:
    return " ".join(sections._sentence(chance) for _ in range(SENTENCES))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        import product

        measure.answer(lambda: product.run(Path(sys.argv[2])))
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--documents", type=int, default=10_000)
        sys.exit(main(parser.parse_args().documents))
