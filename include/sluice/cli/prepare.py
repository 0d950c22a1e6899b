"""``sluice prepare``: once before a distributed deployment starts, and before each new version."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice import settings
from sluice.cli.output import AsJson, print_json


def prepare(
    sample: Annotated[
        bool, typer.Option("--sample", help="Make and fill the sample help desk, HELPDESK_URL.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make roles and databases on your own PostgreSQL, and migrate them, Airflow's too.

    SLUICE_DATABASE_URL says as whom; the passwords come out of the URLs that will be used.
    """
    from sluice.stack.prepare import prepare as work

    steps: list[str] = []
    work(settings.load(), steps.append if as_json else typer.echo, sample=sample)
    if as_json:
        print_json({"steps": steps})
