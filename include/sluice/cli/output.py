"""How every command speaks: results on stdout, one line per error on stderr, an exit code.

0  done
1  failed
2  bad usage, bad input, bad configuration
3  refused: not found, not permitted, held, too dear
4  unavailable: the catalog, the index, a source or an embedder does not answer
"""

from __future__ import annotations

import dataclasses
import json
import sys
import unicodedata
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.errors import (
    AlreadyRunning,
    BadInput,
    BudgetExhausted,
    CatalogUnavailable,
    ConfigurationError,
    EmbedderUnavailable,
    IndexUnavailable,
    LoadHeld,
    Overloaded,
    PlacementRefused,
    Refused,
    SluiceError,
    SourceUnavailable,
    StillEmbedding,
)
from sluice.model import Principal

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_CODES: tuple[tuple[tuple[type[SluiceError], ...], int], ...] = (
    ((BadInput, ConfigurationError), 2),
    ((Refused, LoadHeld, AlreadyRunning, BudgetExhausted, PlacementRefused), 3),
    ((CatalogUnavailable, IndexUnavailable, SourceUnavailable), 4),
    ((EmbedderUnavailable, StillEmbedding, Overloaded), 4),
)


def fail(error: SluiceError) -> int:
    """Say on stderr, in one line, what happened; return the exit code for it."""
    line = " ".join(str(error).split())
    typer.echo(f"sluice: {line}", err=True)
    return exit_code(error)


def exit_code(error: SluiceError) -> int:
    """The code that a command ends with on ``error``."""
    return next((code for kinds, code in _CODES if isinstance(error, kinds)), 1)


def console() -> Console:
    """Where people read results. A pipe gets lines that are not cut to a terminal's width."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def plain(text: str) -> str:
    """Return ``text`` without what could move a terminal's cursor or change its colours."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) != "Cc")


def ago(moment: datetime | None) -> str:
    """Say how long ago ``moment`` was."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def print_json(value: Any) -> None:
    """Print ``value`` (dataclasses and times included) as JSON on stdout."""
    typer.echo(json.dumps(value, default=_plain, indent=2, ensure_ascii=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Principal):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"  # of a cent's millionths, too, in digits
    return str(value)
