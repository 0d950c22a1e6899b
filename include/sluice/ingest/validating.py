"""The second stage: rights that went are taken away, rows are judged, loads are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sluice import validation
from sluice.catalog import documents, permissions, quarantine, runs
from sluice.documents import clean, to_document
from sluice.errors import BadInput, LoadHeld
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.plan import lost_fraction
from sluice.ingest.progress import Progress
from sluice.ingest.work import Work, grants, left_to_do
from sluice.model import Draft, LandedRow
from sluice.ports import Source

NOBODY = ""  # the key of a permission object that grants nothing: what waits there is hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What validation found: how many rows were judged and rejected, and the page that shows it."""

    rows: int
    quarantined: int
    data_docs: str


def validate(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    accept_loss: bool = False,
    quiet: bool = False,
    progress: Progress | None = None,
) -> Validated:
    """Judge every landed row that is not live yet; reject rows, or hold the whole load.

    Permissions that became narrower are applied here, before anything is judged.

    Args:
        pipeline: what to work with.
        source: whose rows.
        run_id: names the run.
        accept_loss: publish even if the source lost more documents than its policy allows.
        quiet: write Data Docs only if something is wrong; they take longer than the judging.
        progress: told of every boundary.

    Raises:
        LoadHeld: the source lost too many documents at once.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        work = left_to_do(pipeline, source)
        if work is None:
            return Validated(rows=0, quarantined=0, data_docs="")
        with progress.stage("narrow"):
            _narrow(pipeline, source, work)
        with progress.stage("validate"):
            verdict = validation.validate(
                source.name,
                [_seen(source.draft(row)) for row in work.rows],
                work.listing,
                suites=pipeline.suites,
                docs=pipeline.settings.data_docs_path / source.name / run_id,
                quiet=quiet,
            )
            progress.reached("validate: judged")
            rejected = {row.key: row for row in work.rows if row.key in verdict.bad}
            with pipeline.catalog.begin() as connection:
                quarantine.put(connection, source.name, rejected.values(), verdict.bad)
                settled = work.rejected - rejected.keys()  # good by now, or gone from the source
                quarantine.resolve(connection, source.name, settled)
                runs.store_data_docs(connection, run_id, str(verdict.docs))
                runs.note(
                    connection,
                    run_id,
                    {"quarantined": len(rejected), "stages": progress.seconds},
                )
        _hold_or_pass(pipeline, source, work, verdict.failures, accept_loss)
        with pipeline.catalog.begin() as connection:
            runs.note(connection, run_id, {"stages": progress.seconds})
    return Validated(rows=len(work.rows), quarantined=len(rejected), data_docs=str(verdict.docs))


def _narrow(pipeline: Pipeline, source: Source, work: Work) -> None:
    """Take away what the source took away, whatever becomes of the load.

    A document that is the same under another permission object moves there at once. One that also
    changed waits, out of sight, for its new version: its new readers were never meant to see the
    old one, and its old readers may be meant to see neither.
    """
    shown = grants(work.listing)
    reread = {row.key: row for row in work.rows}
    moved: dict[str, str | None] = {}
    for document_id, before in work.known.items():
        if before.native_id not in work.listing.acl_keys:
            continue  # gone: whether that is believed is decided later
        acl_key = work.listing.acl_keys[before.native_id]
        if acl_key != before.acl_key:
            row = reread.get(before.native_id)
            same = row is None or _content_hash(source, row) == before.content_hash
            moved[document_id] = acl_key if acl_key is not None and same else NOBODY
    with pipeline.catalog.begin() as connection:
        targets = {key: shown[key] for key in moved.values() if key in shown}
        seen_at = work.listing.observed_at
        permissions.introduce(connection, source.name, {NOBODY: frozenset(), **targets}, seen_at)
        permissions.narrow(connection, source.name, shown, seen_at)
        documents.guard(connection, source.name, moved)


def _seen(draft: Draft) -> Draft:
    """The draft as validation judges it: a title or text of which nothing can be seen is empty."""
    return replace(draft, title=_visible(draft.title), text=_visible(draft.text))


def _visible(text: str | None) -> str | None:
    return text if text is None or clean(text).strip() else ""


def _content_hash(source: Source, row: LandedRow) -> str | None:
    """What the row says, hashed; None where it makes no document."""
    try:
        return to_document(source.draft(row), source.name, "").content_hash
    except BadInput:
        return None


def _hold_or_pass(
    pipeline: Pipeline,
    source: Source,
    work: Work,
    failures: Sequence[str],
    accept_loss: bool,
) -> None:
    """Let the load go live, or hold it whole."""
    live = {each.native_id for each in work.known.values()}
    gone = live - work.listing.acl_keys.keys()
    lost = lost_fraction(len(gone), work.live)
    wrong = list(failures)
    if lost > source.policy.max_loss and not accept_loss:
        wrong.append(
            f"{len(gone)} of {work.live} documents are gone from the source ({lost:.0%}, more than "
            f"the {source.policy.max_loss:.0%} that its policy allows)"
        )
    with pipeline.catalog.begin() as connection:
        runs.mark_loads(connection, source.name, work.load_ids, "held" if wrong else "validated")
    if wrong:
        raise LoadHeld(
            "; ".join(wrong) + "; the old content keeps serving",
            subject=source.name,
            cure="Mend the source and run again; if documents were meant to go, trigger the DAG "
            "with accept_loss",
        )
