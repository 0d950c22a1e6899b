"""``sluice embed``: what embedding will cost, and vectors that are to be forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import AsJson, console, print_json
from sluice.cli.session import services
from sluice.errors import NotFound

if TYPE_CHECKING:
    from sluice.ingest.tiers import Outlook

app = typer.Typer(help="Embedding: what it will cost; forget vectors.", no_args_is_help=True)


@app.command()
def plan(
    source: Annotated[str, typer.Argument(help="As its DAG is called.")],
    embedder: Annotated[
        str | None, typer.Option(help="Another model than the one that serves.")
    ] = None,
    dags: Annotated[Path, typer.Option(help="The folder of DAG files.")] = Path("dags"),
    as_json: AsJson = False,
) -> None:
    """Show what the next run would embed of what has landed: tokens, dollars and hours.

    Nothing is sent and nothing is written.
    """
    from sluice import ingest
    from sluice.flows.declared import declared
    from sluice.settings import load

    known = declared(dags)
    if source not in known:
        raise NotFound(
            f"no DAG file in {dags} has such a source",
            subject=source,
            cure=f"Write one of {', '.join(sorted(known)) or 'nothing: there is none'}",
        )
    pipeline = ingest.open_pipeline(load())
    try:
        found = ingest.look_ahead(pipeline, known[source], embedder)
    finally:
        pipeline.close()
    if as_json:
        print_json(found)
    else:
        _show(source, found)


@app.command()
def erase(
    document: Annotated[str, typer.Argument(help="Its id, <source>:<its own id>.")],
    as_json: AsJson = False,
) -> None:
    """Forget every vector of any version of a document, of every model.

    What of it is still live stays in the index until its source no longer has it.
    """
    from sluice.catalog import embeddings

    with services() as opened, opened.catalog.begin() as connection:
        removed = embeddings.erase(connection, document)
    if removed is None:
        raise NotFound("no such document", subject=document, cure="Write <source>:<its own id>")
    if as_json:
        print_json({"document": document, "erased": removed})
    else:
        typer.echo(f"Erased: {removed} vectors of {document}.")


def _show(source: str, found: Outlook) -> None:
    from rich.table import Table

    out = console()
    out.print(f"{source} with {found.embedder}")
    out.print(f"  documents  {found.documents:,} to build")
    out.print(f"  chunks     {found.chunks:,}; {found.cached:,} of their vectors are there already")
    out.print(f"  tokens     {found.tokens:,} to embed")
    table = Table("tier", box=None, pad_edge=False)
    table.add_column("dollars", justify="right")
    table.add_column("hours at most", justify="right")
    for tier, dollars in found.dollars.items():
        mark = f"{tier} ←" if tier == found.tier else tier
        table.add_row(mark, f"{dollars:.6f}", f"{found.hours[tier]:.2f}")
    out.print(table)
    out.print(f"It will take the {found.tier} tier: {found.why}.")
    if found.left is not None:
        out.print(f"${found.left:f} is left of the tightest budget.")
