"""``sluice quarantine``: rows that were set aside, and their way back."""

from __future__ import annotations

import typer

app = typer.Typer(help="Rows set aside by validation: list, replay.", no_args_is_help=True)
