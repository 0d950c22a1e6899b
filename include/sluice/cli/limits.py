"""``sluice limit``: what may be asked of embedding endpoints in a minute, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.costs import LevelName, Name, level_of, name_of, whose
from sluice.cli.output import AsJson, console, print_json
from sluice.cli.session import services
from sluice.errors import BadInput, NotFound

if TYPE_CHECKING:
    from sluice.catalog.limits import Setting

app = typer.Typer(help="Limits a minute: list, set, remove.", no_args_is_help=True)

_MOST = 2_000_000_000  # a minute: what the catalog's column holds


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show every limit. Those of endpoints are in their own file."""
    from sluice.catalog import limits as rows

    with services() as opened, opened.catalog.begin() as connection:
        known = rows.settings(connection)
    if as_json:
        print_json(known)
        return
    from rich.table import Table

    table = Table("level", "name", box=None)
    table.add_column("requests a minute", justify="right")
    table.add_column("tokens a minute", justify="right")
    for each in known:
        table.add_row(each.level, each.name, _shown(each.requests), _shown(each.tokens))
    console().print(table if known else "There is no limit but those of the endpoints.")


@app.command("set")
def set_(
    level: LevelName,
    name: Name,
    requests: Annotated[int | None, typer.Option(help="A minute. Unset: any.")] = None,
    tokens: Annotated[int | None, typer.Option(help="A minute. Unset: any.")] = None,
    as_json: AsJson = False,
) -> None:
    """Allow so much a minute from now on: documents wait for it, questions are refused."""
    from sluice.catalog import limits as rows

    if requests is None and tokens is None:
        raise BadInput("it would limit nothing", cure="Say --requests, --tokens or both")
    for number in (requests, tokens):
        if number is not None and not 1 <= number <= _MOST:
            raise BadInput("is no number a minute", subject=str(number), cure=f"Write 1 to {_MOST}")
    setting = rows.Setting(
        level=level_of(level), name=name_of(level, name), requests=requests, tokens=tokens
    )
    with services() as opened, opened.catalog.begin() as connection:
        rows.set_limit(connection, setting)
    if as_json:
        print_json(setting)
    else:
        typer.echo(f"Allowed: {_said(setting)}.")


@app.command()
def remove(level: LevelName, name: Name, as_json: AsJson = False) -> None:
    """Allow anything again."""
    from sluice.catalog import limits as rows

    chosen = level_of(level), name_of(level, name)
    with services() as opened, opened.catalog.begin() as connection:
        if not rows.remove_limit(connection, *chosen):
            raise NotFound(
                "no such limit", subject=f"{level} {name}", cure="See `sluice limit list`"
            )
    if as_json:
        print_json({"removed": [level, name]})
    else:
        typer.echo(f"Removed: {level} {name}.")


def _shown(number: int | None) -> str:
    return "any" if number is None else f"{number:,}"


def _said(setting: Setting) -> str:
    return (
        f"{_shown(setting.requests)} requests and {_shown(setting.tokens)} tokens a minute for "
        f"{whose(setting.level, setting.name)}"
    )
