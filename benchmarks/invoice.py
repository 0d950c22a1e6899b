"""A hundred thousand documents through the batch tier: is the bill what was forecast, and half?

    python benchmarks/invoice.py [--documents 100000]

Documents of about 500 tokens are landed, forecast (``ingest.look_ahead``), published with batches
and indexed, in a process of its own, as the DAG does it. The provider is a server on loopback that
checks every request as OpenAI does and bills by the same vocabulary; its bill, and its record of
how often each text was embedded, are what the forecast and our ledger are held against.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import measure
import paid
import report
import sections

DIMENSIONS = 256
SENTENCES = 19  # of a document, in two parts: about 500 tokens
ASKED = 50  # documents that are looked for at the end
TOLERANCE = Decimal("0.01")  # of the invoice
SOURCE = "notes"


def main(documents: int) -> int:
    """Publish everything, and compare three accounts of it; return the exit status."""
    with (
        measure.server() as server,
        tempfile.TemporaryDirectory(prefix="sluice-bench-invoice-") as folder,
        paid.provider(Path(folder), DIMENSIONS) as (provider, environment),
    ):
        provider.batches.alone = True
        tree = Path(folder) / "tree"
        build(tree, documents)
        time.sleep(2.5)  # younger files are read twice
        urls = server.database("invoice")
        home = {"SLUICE_HOME": str(Path(folder) / "home")}
        done, spent = measure.run(__file__, [str(tree)], {**environment, **urls, **home}, server)
        batch, standard = provider.charged["batch"], provider.charged["standard"]
        invoice, tokens = provider.dollars("batch"), provider.tokens["batch", paid.MODEL]
        left = len(provider.files)
    list_price = tokens * Decimal("0.02") / 1_000_000
    forecast, ledger = Decimal(done["forecast"]), Decimal(done["ledger"])
    twice = sum(times > 1 for times in batch.values())
    report.table(
        f"{documents:,} documents through the batch tier of {paid.MODEL}@{DIMENSIONS}",
        [
            {
                "documents": documents,
                "chunks": done["chunks"],
                "batches": done["batches"],
                "tokens": tokens,
                "forecast $": f"{forecast:f}",
                "invoice $": f"{invoice:f}",
                "ledger $": f"{ledger:f}",
                "standard tier $": f"{list_price:f}",
                "embedded twice": twice,
                "live": done["live"],
            }
        ],
    )
    report.table("Seconds", [{"stage": name, "s": s} for name, s in done["seconds"].items()])
    report.table(
        "The process",
        [{"CPU s": spent.cpu, "of it PostgreSQL": spent.postgres, "MB": round(spent.megabytes)}],
    )
    result = {
        "documents": documents,
        **done,
        "tokens": tokens,
        "invoice": f"{invoice:f}",
        "standard_price": f"{list_price:f}",
        "twice": twice,
        "cpu_s": spent.cpu,
        "megabytes": spent.megabytes,
    }
    report.write("invoice", result, ["openai", "lancedb", "dlt"])
    return report.verdict(
        {
            f"the forecast is the invoice within {TOLERANCE:.0%}": (
                abs(forecast - invoice) <= TOLERANCE * invoice
            ),
            "the ledger is the invoice to the last digit": ledger == invoice,
            "the invoice is half of the standard tier's price": invoice * 2 == list_price,
            "0 chunks embedded twice, and none at the standard price": (
                twice == 0 and batch.total() == done["chunks"] and standard.total() <= ASKED
            ),
            "every document is live, whole in the index, and found": (
                done["live"] == documents
                and done["indexed"] == done["chunks"]
                and done["found"] == ASKED
            ),
            "no file is left at the provider": left == 0,
        }
    )


def build(tree: Path, documents: int) -> None:
    """Write documents that everybody may read, a thousand in a folder, no two with a text alike."""
    chance = random.Random(sections.SEED)
    sections.allow(tree, "public")
    for number in range(documents):
        sentences = [sections._sentence(chance) for _ in range(SENTENCES)]
        first, second = " ".join(sentences[::2]), " ".join(sentences[1::2])
        folder = tree / f"{number // 1000:03d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:06d}.md").write_text(
            f"# {_title(number)}\n\n{first}\n\n## What else\n\n{second}\n"
        )


def _title(number: int) -> str:
    return f"Note n{number:06d}"


def _publish(tree: Path) -> dict[str, Any]:
    """Land, forecast, publish, wait, publish, and look for some of it."""
    import sqlalchemy as sa
    from sluice import ingest
    from sluice.api.services import Services
    from sluice.catalog import costs
    from sluice.embedding.batch import ended
    from sluice.errors import StillEmbedding
    from sluice.model import PUBLIC, Caller, Principal
    from sluice.settings import load
    from sluice.sources import Files

    settings, seconds = load(), dict[str, float]()

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            seconds[name] = round(seconds.get(name, 0.0) + time.monotonic() - began, 2)
            print(f"{name}: {seconds[name]:.1f} s", flush=True)

    source, run_id = Files(name=SOURCE, url=str(tree)), f"{SOURCE}:1"
    pipeline = ingest.open_pipeline(settings)
    with timed("extract"):
        ingest.extract(pipeline, source, run_id)
    with timed("validate"):
        ingest.validate(pipeline, source, run_id)
    with timed("forecast"):
        told = ingest.look_ahead(pipeline, source)
    print(told, flush=True)
    batches = set[str]()
    while True:
        try:
            with timed("publish: go on" if batches else "publish: submit"):
                summary = ingest.publish(pipeline, source, run_id)
            break
        except StillEmbedding as waiting:
            batches |= set(waiting.remote_ids)
            with timed("the provider"):
                while not ended(settings.embedder, settings.endpoints, waiting.remote_ids):
                    time.sleep(1)
    with pipeline.catalog.begin() as connection:
        live = connection.execute(
            sa.text("SELECT count(live_generation) FROM sluice.document WHERE deleted_at IS NULL")
        ).scalar_one()
        _, ledger = costs.spent_by_run(connection, run_id)
    indexed = pipeline.collections.serving().index.size()
    pipeline.close()
    ask = Services(settings)
    caller = Caller(agent="benchmark", key_id=None, acts_for=frozenset({PUBLIC}))
    person, found = Principal.parse("user:anyone@example.com"), 0
    for number in random.Random(2).sample(range(live), ASKED):
        hits = ask.retriever.search(caller, person, _title(number), 5).hits
        found += any(each.document_id.endswith(f"/{number:06d}.md") for each in hits)
    ask.close()
    return {
        "forecast": f"{told.dollars['batch']:f}",
        "forecast_tokens": told.tokens,
        "tier": told.tier,
        "ledger": f"{ledger:f}",
        "chunks": summary.chunks,
        "batches": len(batches),
        "live": live,
        "indexed": indexed,
        "found": found,
        "seconds": seconds | {f"of the run: {k}": v for k, v in summary.stages.items()},
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        measure.answer(lambda: _publish(Path(sys.argv[2])))
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--documents", type=int, default=100_000)
        sys.exit(main(parser.parse_args().documents))
