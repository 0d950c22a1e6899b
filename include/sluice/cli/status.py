"""``sluice status``: what is there, how fresh it is, what is stuck."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from sluice.cli.output import AsJson, ago, console, exit_code, plain, print_json
from sluice.cli.session import services
from sluice.errors import IndexUnavailable, SluiceError

if TYPE_CHECKING:
    from rich.table import Table

    from sluice.api.services import Services
    from sluice.catalog.collections import Account
    from sluice.catalog.status import SourceStatus

_LONG = timedelta(days=7)
_FORSAKEN = (
    "warning: {0} has not been in step for more than 7 days. Run its DAG; if it was renamed or is "
    "gone for good, `sluice sources remove {0}`"
)
_SIGN_IN = "warning: {0} needs re-authentication: {1}. Consent again: `sluice connect {0}`"
_COUNTS = ("new", "changed", "acl_only", "metadata_only", "unchanged", "deleted", "embedded")


def status(as_json: AsJson = False) -> None:
    """Show the catalog, the index, the embedder and every source.

    Ends with 4 if one of the three cannot be used, with 2 if that is for want of a setting.
    """
    with services() as opened:
        errors = {
            "catalog": _error(lambda: opened.catalog.check()),
            "embedder": _error(lambda: opened.check_embedder()),
            "index": _error(lambda: _check_index(opened)),
        }
        found = _sources(opened) if errors["catalog"] is None else []
        notes = _collections(opened) if errors["catalog"] is None else []
    parts = {name: "ok" if error is None else str(error) for name, error in errors.items()}
    if as_json:
        print_json({**parts, "notes": notes, "sources": found})
    else:
        for name, state in parts.items():
            console().print(f"{name:9} {plain(state)}", markup=False)
        for note in notes:
            console().print(f"{'':9} {note}", markup=False)
        if found:
            console().print(_table(found))
        for each in found:
            for line in _remarks(each):
                console().print(line, markup=False)
    broken = [exit_code(error) for error in errors.values() if error is not None]
    if broken:
        raise typer.Exit(min(broken))


def _remarks(source: SourceStatus) -> Iterator[str]:
    """What somebody should know, or see to."""
    for last in (source.run, source.permissions_run):
        if last and last.message:
            yield f"{source.source}: {plain(last.message)}"
    if source.sign_in:
        yield _SIGN_IN.format(source.source, plain(source.sign_in))
    if source.trouble:
        yield f"warning: {source.source}: {plain(source.trouble)}"
    if _forsaken(source):
        yield _FORSAKEN.format(source.source)


def _check_index(opened: Services) -> None:
    """Raise what keeps the index from being read, or from being written."""
    opened.check_index()
    serving = opened.serving
    if trouble := serving.index.impediment():
        raise IndexUnavailable(
            f"answers questions and cannot be written: {trouble}",
            subject=f"{serving.collection.backend} {serving.collection.name}",
            cure="Runs wait and lose nothing; mend it and they go on",
        )


def _error(use: Callable[[], object]) -> SluiceError | None:
    try:
        use()
    except SluiceError as error:
        return error
    return None


def _forsaken(source: SourceStatus) -> bool:
    """Whether what is served of a source has long not been compared with it."""
    seen = [each for each in (source.synced_at, source.acl_observed_at) if each is not None]
    return bool(seen) and min(seen) < datetime.now(UTC) - _LONG


def _sources(opened: Services) -> list[SourceStatus]:
    from sluice.catalog import status as rows

    with opened.catalog.begin() as connection:
        return rows.sources(connection)


def _collections(opened: Services) -> list[str]:
    """What of the collections somebody should know, or do."""
    from sluice.catalog import collections
    from sluice.collections import fits

    with opened.catalog.begin() as connection:
        found = collections.accounts(connection)
        serving = collections.serving(connection)
    notes = [note for each in found if (note := _note(each))]
    wanted = opened.settings
    if serving is not None and not fits(serving, wanted):
        notes.append(
            f"{serving.backend} with {serving.embedder} serves ({serving.recipe}); by the settings "
            f"it is to be {wanted.index} with {wanted.embedder}: run `sluice index migrate`"
        )
    return notes


def _note(account: Account) -> str | None:
    number = account.collection_id
    if account.state == "building":
        of = account.generations + account.missing
        return f"collection {number} is being built: {account.generations:,} of {of:,} documents"
    served = account.served_at
    if account.state == "kept" and served is not None and served < datetime.now(UTC) - _LONG:
        return (
            f"collection {number} has not served for more than 7 days, and every run still writes "
            f"to it: `sluice index drop {number}` if there is no going back"
        )
    return None


def _table(found: Sequence[SourceStatus]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("source", "documents", "in step", "last run", "what it did", "stages", "stuck"):
        table.add_column(column)
    for each in found:
        table.add_row(
            each.source,
            str(each.documents) if each.kind != "directory" else "people",
            ago(each.synced_at) + (", too old: hidden" if each.stale else ""),
            f"{each.run.state} {ago(each.run.started_at)}" if each.run else "never",
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
    counts = (
        (source.quarantined, "in quarantine"),
        (source.held, "loads held"),
        (source.waiting, "changes waiting"),
    )
    said = [f"{count} {what}" for count, what in counts if count]
    return ", ".join([*said, *(["needs re-authentication"] if source.sign_in else [])])
