"""``sluice status``: what is there, how fresh it is, what is stuck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from sluice.cli.output import AsJson, console, plain, print_json
from sluice.cli.session import services
from sluice.errors import SluiceError

if TYPE_CHECKING:
    from rich.table import Table

    from sluice.api.services import Services
    from sluice.catalog.status import SourceStatus

_COUNTS = ("new", "changed", "acl_only", "metadata_only", "unchanged", "deleted", "embedded")


def status(as_json: AsJson = False) -> None:
    """Show the catalog, the index, the embedder and every source.

    Ends with 4 if one of the three cannot be used.
    """
    with services() as opened:
        parts = {
            "catalog": _state(lambda: opened.catalog.check()),
            "embedder": _state(lambda: opened.embedder),
            "index": _state(lambda: opened.index.ping()),
        }
        found = _sources(opened) if parts["catalog"] == "ok" else []
    if as_json:
        print_json({**parts, "sources": found})
    else:
        for name, state in parts.items():
            console().print(f"{name:9} {plain(state)}", markup=False)
        if found:
            console().print(_table(found))
        for each in found:
            if each.run and each.run.message:
                console().print(f"{each.source}: {plain(each.run.message)}", markup=False)
    if any(state != "ok" for state in parts.values()):
        raise typer.Exit(4)


def _state(use: Callable[[], object]) -> str:
    try:
        use()
    except SluiceError as error:
        return str(error)
    return "ok"


def _sources(opened: Services) -> list[SourceStatus]:
    from sluice.catalog import status as rows

    with opened.catalog.begin() as connection:
        return rows.sources(connection)


def _table(found: Sequence[SourceStatus]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("source", "documents", "in step", "last run", "what it did", "stages", "stuck"):
        table.add_column(column)
    for each in found:
        table.add_row(
            each.source,
            str(each.documents) if each.kind != "directory" else "people",
            _ago(each.synced_at) + (", too old: hidden" if each.stale else ""),
            f"{each.run.state} {_ago(each.run.started_at)}" if each.run else "never",
            _counts(each),
            _stages(each),
            _stuck(each),
        )
    return table


def _counts(source: SourceStatus) -> str:
    summary = source.run.summary if source.run else {}
    return ", ".join(
        f"{summary[name]} {name.replace('_', ' ')}" for name in _COUNTS if summary.get(name)
    )


def _stages(source: SourceStatus) -> str:
    stages = source.run.summary.get("stages", {}) if source.run else {}
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items())


def _stuck(source: SourceStatus) -> str:
    counts = ((source.quarantined, "in quarantine"), (source.held, "loads held"))
    return ", ".join(f"{count} {what}" for count, what in counts if count)


def _ago(moment: datetime | None) -> str:
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
