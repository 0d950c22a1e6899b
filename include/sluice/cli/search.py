"""``sluice search``: ask as a person, from a terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from sluice.cli.output import AsJson
from sluice.errors import SluiceError


def search(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    person: Annotated[
        str,
        typer.Option("--as", help="Whose rights count: user:ada@example.com.", metavar="PERSON"),
    ],
    k: Annotated[int, typer.Option("--k", "-k", help="At most this many answers.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Ask a question as a person, and see why each answer was allowed."""
    raise SluiceError("not built yet")
