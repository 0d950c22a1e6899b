"""``sluice keys``: who may ask, and on whose behalf."""

from __future__ import annotations

import typer

app = typer.Typer(help="Agents' API keys: create, list, revoke.", no_args_is_help=True)
