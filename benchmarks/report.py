"""What every benchmark ends with: a table for people and a JSON file for machines."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"

_console = Console(width=None if os.isatty(1) else 160)


def table(title: str, rows: Sequence[Mapping[str, Any]], note: str = "") -> None:
    """Print ``rows``, all with the same keys, which head the columns; numbers stand right."""
    grid = Table(title=title, caption=note or None, title_justify="left", caption_justify="left")
    for name, value in rows[0].items():
        grid.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        grid.add_row(*(_shown(value) for value in row.values()))
    _console.print(grid)


def write(name: str, result: Mapping[str, Any], packages: Sequence[str] = ()) -> Path:
    """Write ``results/<name>.json``: the figures, the machine, and the versions they hold for.

    Args:
        name: of the benchmark.
        result: plain values.
        packages: distributions whose versions matter to the figures.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {
        "benchmark": name,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "platform": platform.platform(),
            "python": platform.python_version(),
        },
        "packages": {each: version(each) for each in packages},
        **result,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    _console.print(f"[dim]{path}[/dim]")
    return path


def verdict(claims: Mapping[str, bool]) -> int:
    """Print each claim with whether it held; return the exit status: 0 if all did."""
    for claim, held in claims.items():
        _console.print(f"[{'green' if held else 'red'}]{'holds' if held else 'FAILS'}[/]  {claim}")
    return 0 if all(claims.values()) else 1


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4f}" if 0 < abs(value) < 0.1 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
