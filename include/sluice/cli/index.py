"""``sluice index``: the collections of chunks, and the move from one to another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.meter import duration, meter
from sluice.cli.output import AsJson, ago, console, print_json
from sluice.cli.session import services
from sluice.errors import StillEmbedding

if TYPE_CHECKING:
    from sluice.catalog.collections import Account
    from sluice.ingest.comparing import Comparison
    from sluice.ingest.filling import Filled
    from sluice.ingest.forecast import Estimate, Forecast
    from sluice.ingest.migrating import Migration
    from sluice.model import Collection

app = typer.Typer(
    help="Collections of chunks: list, migrate, roll back, drop, check.", no_args_is_help=True
)

_POLL = 30.0  # seconds between two looks at a provider

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show every collection, what made it, and how much of what is live it holds."""
    from sluice.catalog import collections

    with services() as opened, opened.catalog.begin() as connection:
        found = collections.accounts(connection)
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    columns = ("id", "state", "since", "backend", "embedder", "made with", "documents", "chunks")
    table = Table(*columns, "missing", "name", box=None, pad_edge=False)
    for each in found:
        table.add_row(
            str(each.collection_id),
            each.state,
            ago(each.served_at or each.created_at),
            each.backend,
            each.embedder,
            each.recipe,
            f"{each.generations:,}",
            f"{each.chunks:,}",
            f"{each.missing:,}",
            each.name,
        )
    console().print(table if found else "There is no collection yet: the first ingest makes one.")


@app.command()
def migrate(
    to: Annotated[
        str | None, typer.Option(help="lance or weaviate, instead of SLUICE_INDEX.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="The embedding model, instead of SLUICE_EMBEDDER.")
    ] = None,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Make another collection although one is there already."),
    ] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Build a collection as the settings describe it, compare it, and let it serve.

    The old one serves until then and is kept. After a failure or a kill, run the same command
    again: it goes on where it was.
    """
    from sluice.ingest.migrating import Migration, wanted
    from sluice.ingest.switching import alone

    with services() as opened:
        settings = wanted(opened.settings, to=to, embedder=embedder)
        migration = Migration(opened.catalog, opened.collections, settings, anew=anew)
        target = migration.target()
        if target is not None and target.state == "serving":
            migration.switch()  # whoever switched may have been killed before the last word
            _say_nothing_to_do(target, as_json=as_json)
            return
        forecast = migration.forecast()
        _show_forecast(forecast, err=as_json)
        if not yes:
            typer.confirm("Go ahead?", abort=True, err=True)
        with alone(opened.catalog):
            filled, comparison = _migrate(migration, quiet=as_json)
        serving = opened.serving.collection
    if as_json:
        print_json(
            {
                "serving": serving.collection_id,
                "forecast": forecast,
                "filled": filled,
                "comparison": comparison,
            }
        )
        return
    typer.echo(
        f"Collection {serving.collection_id} serves: {serving.backend} with {serving.embedder}. "
        "The one before is kept: `sluice index rollback` goes back to it."
    )


@app.command()
def rollback(as_json: AsJson = False) -> None:
    """Let the collection serve that served before. It received everything meanwhile."""
    from sluice.ingest.switching import alone
    from sluice.ingest.switching import rollback as go_back

    with services() as opened, alone(opened.catalog):
        serving = go_back(opened.catalog, opened.collections)
    if as_json:
        print_json({"serving": serving.collection_id})
    else:
        typer.echo(
            f"Collection {serving.collection_id} serves again: {serving.backend} with "
            f"{serving.embedder}. The other one is kept."
        )


@app.command()
def drop(
    collection_id: Annotated[
        int, typer.Argument(help="As `sluice index list` shows it.", metavar="ID")
    ],
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Remove a collection that does not serve, for good. It can be run again if it fails."""
    from sluice.catalog import collections
    from sluice.ingest.switching import alone
    from sluice.ingest.switching import drop as remove

    with services() as opened:
        with opened.catalog.begin() as connection:
            known = {each.collection_id: each for each in collections.accounts(connection)}
        found = known.get(collection_id)
        if found is not None and found.state in {"kept", "building"} and not yes:
            typer.confirm(_question(found), abort=True, err=True)
        with alone(opened.catalog):
            remove(opened.catalog, opened.collections, collection_id)
    if as_json:
        print_json({"dropped": collection_id})
    else:
        typer.echo(f"Dropped: collection {collection_id}.")


@app.command()
def check(as_json: AsJson = False) -> None:
    """Count everything that is live in the collection that serves; remove what nobody knows of.

    Ends with 1 if something is lost. The next run of its source builds it again.
    """
    from sluice.catalog import documents
    from sluice.ingest.keeping import check as count

    with services() as opened:
        serving = opened.serving
        found = count(opened.catalog, serving)
        with opened.catalog.begin() as connection:
            lost = documents.versions(connection, found.lost)
    sources = Counter(document.source for document in lost.values())
    if as_json:
        print_json(
            {
                "collection": serving.collection.collection_id,
                "documents": found.generations,
                "lost": sources,
                "orphans": found.orphans,
            }
        )
    else:
        typer.echo(
            f"Collection {serving.collection.collection_id}: {found.generations:,} documents "
            f"counted, {len(found.lost):,} not whole, {found.orphans:,} removed that nobody knew."
        )
        for source, count_ in sources.items():
            typer.echo(f"Run the DAG {source}: it builds {count_:,} of them again.")
    if found.lost:
        raise typer.Exit(1)


def _patiently(work: Callable[[], Filled]) -> Filled:
    """Try again until no provider has to be waited for."""
    while True:
        try:
            return work()
        except StillEmbedding as waiting:
            typer.echo(f"Waiting: {waiting.happened}. A kill loses nothing.", err=True)
            time.sleep(_POLL)


def _migrate(migration: Migration, *, quiet: bool) -> tuple[Filled, Comparison | None]:
    def told(filled: Filled) -> None:
        tick(filled.documents, filled.documents + filled.left)

    with meter("documents") as tick:
        filled = _patiently(lambda: migration.build(told))
    typer.echo("Comparing …", err=True)
    comparison = migration.compare()
    if comparison is not None and not quiet:
        _show_comparison(comparison)
    return filled + migration.switch(), comparison


def _say_nothing_to_do(serving: Collection, *, as_json: bool) -> None:
    if as_json:
        print_json({"serving": serving.collection_id})
    else:
        typer.echo(
            f"Collection {serving.collection_id} serves and is {serving.backend} with "
            f"{serving.embedder} already: nothing to do. --anew builds another."
        )


def _show_forecast(forecast: Forecast, *, err: bool) -> None:
    number = forecast.collection_id
    head = f"Collection {number}" if number else "A new collection"
    cached = f"{_about(forecast.cached)} of their vectors are there already"
    lines = (
        f"{head}: {forecast.backend} with {forecast.embedder}",
        f"  documents  {forecast.documents:,}",
        f"  chunks     {_about(forecast.chunks)}; {cached}",
        f"  tokens     {_about(forecast.tokens)} to embed",
        f"  time       about {duration(forecast.seconds.value)}, comparing apart",
        f"  cost       {_dollars(forecast.dollars)}",
        f"  vectors    {_size(forecast.vector_bytes.value)}",
        f"Told by {forecast.sampled:,} documents, drawn by chance; ± holds in 95 of 100 cases.",
    )
    for line in lines:
        typer.echo(line, err=err)


def _about(estimate: Estimate) -> str:
    error = f" ± {estimate.error:,.0f}" if estimate.error >= 0.5 else ""
    return f"{estimate.value:,.0f}{error}"


def _dollars(estimate: Estimate) -> str:
    error = f" ± {estimate.error:,.2f}" if estimate.error >= 0.005 else ""
    return f"${estimate.value:,.2f}{error}"


def _size(size: float) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:,.1f} {unit}"
    return f"{size / 1e3:,.1f} kB"


def _show_comparison(comparison: Comparison) -> None:
    typer.echo(
        f"{comparison.generations:,} documents counted, {comparison.sampled:,} compared word by "
        f"word, {comparison.chunks:,} chunks in all: as they should be."
    )
    for each in comparison.recalls:
        typer.echo(
            f"Recall of the first ten where {each.chunks:,} chunks may be seen "
            f"({each.share:.1%}): {each.recall:.3f}"
        )
    if comparison.overlap is not None:
        typer.echo(f"First tens as before: {comparison.overlap:.1%}")


def _question(found: Account) -> str:
    return (
        f"Drop collection {found.collection_id} ({found.state}, {found.backend} with "
        f"{found.embedder}, {found.chunks:,} chunks)? There is no way back to it then"
    )
