"""``sluice sources``: what is ingested from, and how one of them is taken away."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import AsJson, ago, console, print_json
from sluice.cli.session import services
from sluice.errors import AlreadyRunning, IndexUnavailable, NotFound

if TYPE_CHECKING:
    from sluice.api.services import Services
    from sluice.catalog.status import SourceStatus

app = typer.Typer(help="Sources and directories of people: list, remove.", no_args_is_help=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show every source and every directory of people."""
    with services() as opened:
        found = _sources(opened)
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table("source", "kind", "documents", "in step", "permissions read", box=None)
    for each in found:
        documents = "" if each.kind == "directory" else str(each.documents)
        table.add_row(
            each.source, each.kind, documents, ago(each.synced_at), ago(each.acl_observed_at)
        )
    console().print(table if found else "There is no source yet.")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `sluice sources list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a source, or a directory of people, away: at once nothing of it counts.

    For one that was renamed, or is gone for good. Runs and the audit log stay.
    Delete its file in dags/ too: the next run of its DAG brings it back.
    """
    from sluice.catalog import documents, runs, sources

    with services() as opened:
        known = next((each for each in _sources(opened) if each.source == name), None)
        with opened.catalog.begin() as connection:
            left = documents.unfinished(connection, name)
        if known is None and not left:
            raise NotFound("no such source", subject=name, cure="See `sluice sources list`")
        if known is not None and not yes:
            typer.confirm(_question(known), abort=True, err=True)
        with opened.catalog.begin() as lock:
            if not runs.lock_source(lock, name):
                raise AlreadyRunning(
                    "a run of it is at work, so nothing was removed",
                    subject=name,
                    cure="Pause its DAG, wait for the run to end, and try again",
                )
            if known is not None:
                with opened.catalog.begin() as connection:
                    sources.remove(connection, name)
            collected = _collect(opened, name)
    gone = known.documents if known is not None else 0
    if as_json:
        print_json({"source": name, "documents": gone, "collected": collected})
        return
    typer.echo(f"Removed: {name} ({gone} documents; {collected} versions left the index).")
    typer.echo("If its file is still in dags/, the next run of its DAG brings it back.")


def _sources(opened: Services) -> list[SourceStatus]:
    from sluice.catalog import status

    with opened.catalog.begin() as connection:
        return status.sources(connection)


def _question(known: SourceStatus) -> str:
    if known.kind == "directory":
        return (
            f"Remove the directory {known.source}? What it says of groups and accounts ends: who "
            "was allowed through a group loses that, and who was denied through one is denied no "
            "more"
        )
    return f"Remove the source {known.source}? Nobody can read its {known.documents} documents then"


def _collect(opened: Services, name: str) -> int:
    """Remove from the index what no reader can reach any more, and no run will look for."""
    from sluice.ingest.keeping import collect
    from sluice.ingest.progress import Progress

    try:
        return collect(opened.catalog, opened.collections.standing(), name, Progress())
    except IndexUnavailable as error:
        raise IndexUnavailable(
            f"it is removed and nobody can read it, but its chunks are still in the index, which "
            f"cannot be used ({error.happened})",
            subject=name,
            cure="Run the same command again when it can",
        ) from error
