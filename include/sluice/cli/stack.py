"""``sluice up``, ``down``, ``reset``: everything on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice import settings
from sluice.cli.output import AsJson, print_json

if TYPE_CHECKING:
    from sluice.stack.display import Display
    from sluice.stack.up import Ready


def up(
    once: Annotated[
        bool, typer.Option("--once", help="Stop everything once the questions are answered.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start PostgreSQL, Airflow and the sample company, and keep them running until Ctrl-C."""
    from rich.console import Console

    from sluice.stack.display import Display
    from sluice.stack.up import up as start

    display = Display(Console(stderr=as_json))

    def show(ready: Ready) -> None:
        if as_json:
            print_json({"stack": ready, "seconds": display.seconds})
        else:
            _show(ready, display, once=once)

    try:
        start(settings.load(), display, show, once=once)
    except KeyboardInterrupt:
        if once:
            raise
        display.line("Stopped: nothing of it runs any more.")


def down(as_json: AsJson = False) -> None:
    """Stop everything that runs in this home, also what a killed run left behind."""
    from sluice.stack.up import down as stop

    found = settings.load()
    stopped = stop(found)
    if as_json:
        print_json({"home": found.home, "stopped": stopped})
        return
    typer.echo(f"Stopped: {found.home}" if stopped else f"Nothing runs in {found.home}.")


def reset(as_json: AsJson = False) -> None:
    """Stop everything and delete the home: database, index, logs, secrets."""
    from sluice.stack.up import reset as delete

    found = settings.load()
    deleted = delete(found)
    if as_json:
        print_json({"home": found.home, "deleted": deleted})
        return
    typer.echo(f"Deleted: {found.home}" if deleted else f"There is nothing at {found.home}.")
    if found.database_url is not None:
        typer.echo("Databases on your own server (SLUICE_DATABASE_URL) were left alone.")


def _show(ready: Ready, display: Display, *, once: bool) -> None:
    from sluice.stack import sample

    display.heading(f"Question: {sample.QUESTION}")
    for answer in ready.answers:
        display.heading(f"{answer.name} gets:")
        for hit in answer.hits:
            display.hit(hit)
    phases = ", ".join(f"{name} {took:.1f}" for name, took in display.seconds.items())
    display.line(f"\nReady after {sum(display.seconds.values()):.1f} s ({phases}).")
    if once:
        return
    display.heading("Go on with")
    display.line(f"  Airflow        {ready.url}   login {ready.user} / {ready.password}")
    display.line(f"  Airflow's CLI  export AIRFLOW_HOME={ready.airflow_home}")
    display.line(f"  API            {ready.url}/sluice/openapi.json")
    display.line(f"  Ask yourself   {ready.curl}")
    display.line("  Stop           Ctrl-C, or `make down` from elsewhere\n")
