"""``sluice quarantine``: rows that were set aside, and their way back."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.output import AsJson, console, plain, print_json
from sluice.cli.session import services
from sluice.errors import BadInput, NotFound

app = typer.Typer(help="Rows set aside by validation: list, replay.", no_args_is_help=True)

Source = Annotated[str | None, typer.Option(help="Only this source.")]


@app.command("list")
def list_(source: Source = None, as_json: AsJson = False) -> None:
    """Show what is in quarantine and why, newest first. --json shows the rows themselves too."""
    from sluice.catalog import quarantine

    with services() as opened, opened.catalog.begin() as connection:
        entries = quarantine.entries(connection, source)
    if as_json:
        print_json(entries)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("id", "source", "row", "why", "since", "replay", box=None)
    for each in entries:
        table.add_row(
            str(each.id),
            each.source,
            Text(plain(each.row_key)),
            Text(plain("; ".join(each.reasons))),
            f"{each.quarantined_at:%Y-%m-%d %H:%M}",
            "asked for" if each.replay_at else "",
        )
    console().print(table if entries else "Nothing is in quarantine.")


@app.command()
def replay(
    ids: Annotated[list[int] | None, typer.Argument(help="Ids, as the list shows them.")] = None,
    source: Source = None,
    as_json: AsJson = False,
) -> None:
    """Have rows judged again by their source's next run: those with the ids, or all of a source."""
    from sluice.catalog import quarantine

    if not ids and source is None:
        raise BadInput("nothing to replay was named", cure="Give ids, or --source")
    with services() as opened, opened.catalog.begin() as connection:
        counts = quarantine.request_replay(connection, ids=ids or (), source=source)
    if not counts:
        raise NotFound("nothing in quarantine matches", cure="See `sluice quarantine list`")
    if as_json:
        print_json(counts)
        return
    for name, count in counts.items():
        typer.echo(f"{count} of {name}: judged again by the next run of its DAG.")
