"""The command line: what an operator does at a terminal.

One module per group of commands. Exit codes are those of :mod:`sluice.cli.output`; an error is one
line on stderr. ``sluice --help`` must answer at once, so commands import what is heavy themselves.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import sluice
from sluice.cli import (
    accounts,
    connect,
    costs,
    embed,
    index,
    keys,
    limits,
    prepare,
    quarantine,
    search,
    serve,
    sources,
    stack,
    status,
)
from sluice.cli.output import fail
from sluice.errors import SluiceError

app = typer.Typer(
    name="sluice",
    help="Keeps AI agents supplied with context that is fresh, permitted and traceable.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sluice {sluice.__version__}")
        raise typer.Exit


@app.callback()
def _sluice(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None: ...


app.command("up")(stack.up)
app.command("down")(stack.down)
app.command("reset")(stack.reset)
app.command("prepare")(prepare.prepare)
app.command("search")(search.search)
app.command("connect")(connect.connect)
app.command("status")(status.status)
app.command("serve")(serve.serve)
app.command("costs")(costs.costs)
app.add_typer(accounts.app, name="accounts")
app.add_typer(costs.app, name="budget")
app.add_typer(embed.app, name="embed")
app.add_typer(index.app, name="index")
app.add_typer(keys.app, name="keys")
app.add_typer(limits.app, name="limit")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(sources.app, name="sources")


def main() -> None:
    """Run one command and exit: never with a traceback."""
    try:
        app()
    except SluiceError as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  # the last line of defence: a person reads this
        sys.exit(fail(SluiceError(f"unexpected {type(error).__name__}: {error}")))
