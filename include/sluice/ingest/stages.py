"""The three stages of an ingest run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from sluice import landing, validation
from sluice.catalog import documents, drift, permissions, quarantine, runs
from sluice.documents import clean, to_document
from sluice.errors import BadInput, LoadHeld, SourceUnavailable
from sluice.ingest.build import Builder, Built, recipe
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.plan import Change, Plan, lost_fraction, plan
from sluice.ingest.progress import Progress
from sluice.model import Document, Draft, Grant, LandedRow, Listing, RunSummary, Window
from sluice.ports import Source

STAGES = (  # in the order they happen; JSON keeps none
    "extract",
    "narrow",
    "validate",
    "plan",
    "chunk",
    "embed",
    "index",
    "flip",
    "collect",
    "optimize",
)
NOBODY = ""  # the key of a permission object that grants nothing: what waits there is hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Validated:
    """What validation found: how many rows were judged and rejected, and the page that shows it."""

    rows: int
    quarantined: int
    data_docs: str


def run(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    window: Window | None = None,
    accept_loss: bool = False,
    progress: Progress | None = None,
) -> RunSummary:
    """Extract, validate and publish, as the DAG does in three tasks."""
    extract(pipeline, source, run_id, window=window, progress=progress)
    validate(pipeline, source, run_id, accept_loss=accept_loss, progress=progress)
    return publish(pipeline, source, run_id, progress=progress)


def extract(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    window: Window | None = None,
    progress: Progress | None = None,
) -> str:
    """Bring what changed at the source into its landing schema; return the load's id.

    Args:
        pipeline: what to work with.
        source: what to read.
        run_id: names the run in every record of it.
        window: read rows that changed inside it again, instead of those after the cursor.
        progress: told of every boundary.

    Raises:
        SourceUnavailable: the source does not answer.
        SchemaDrift: a column that the source cannot do without is gone.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        with progress.stage("extract"):
            _record_drift(pipeline, source, run_id)
            load = landing.land(source, pipeline.zone, window)
        with pipeline.catalog.begin() as connection:
            runs.note(connection, run_id, {"stages": progress.seconds})
    return load.load_id


def validate(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    *,
    accept_loss: bool = False,
    progress: Progress | None = None,
) -> Validated:
    """Judge every landed row that is not live yet; reject rows, or hold the whole load.

    Permissions that became narrower are applied here, before anything is judged.

    Args:
        pipeline: what to work with.
        source: whose rows.
        run_id: names the run.
        accept_loss: publish even if the source lost more documents than its policy allows.
        progress: told of every boundary.

    Raises:
        LoadHeld: the source lost too many documents at once.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        work = _left_to_do(pipeline, source)
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


def publish(
    pipeline: Pipeline, source: Source, run_id: str, *, progress: Progress | None = None
) -> RunSummary:
    """Make everything validated live, in one flip, and collect what it replaced.

    Raises:
        IndexUnavailable: the index cannot be written, or lost something; nothing became visible.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        with progress.stage("collect"):
            _collect(pipeline, source.name, progress)
        with progress.stage("plan"):
            work = _left_to_do(pipeline, source)
            if work is None or not work.validated:  # left to the run that landed something newer
                return _finish(pipeline, source, run_id, (), {}, Built(), progress)
            todo = _plan(pipeline, source, work)
            with pipeline.catalog.begin() as connection:
                acl_ids = permissions.ensure_acls(
                    connection, source.name, {each.acl_key for each in todo.builds}
                )
        builder = Builder(
            pipeline.catalog,
            pipeline.index,
            pipeline.embedder,
            run_id=run_id,
            batch=pipeline.batch,
            progress=progress,
        )
        built = builder.build(todo.builds, acl_ids)
        with progress.stage("flip"):
            regranted = _flip(pipeline, source, work, todo, built)
        with progress.stage("collect"):
            _collect(pipeline, source.name, progress)
        with progress.stage("optimize"):  # after the flip: nobody waits for it
            if pipeline.index.wants_optimizing():
                pipeline.index.optimize()
        counts = _counts(todo, regranted)
        return _finish(pipeline, source, run_id, work.load_ids, counts, built, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What lies in the landing zone and is not live yet."""

    load_ids: tuple[str, ...]  # oldest first; the last one listed the source
    validated: bool  # the newest load passed, so all before it may go live with it
    rows: tuple[LandedRow, ...]
    listing: Listing
    known: Mapping[str, documents.Known]
    rejected: frozenset[str]  # row keys in quarantine


def _left_to_do(pipeline: Pipeline, source: Source) -> _Work | None:
    """Read what is left to do: rows of unpublished loads, and any that a run could not publish.

    None: another run has published every load meanwhile.

    A row comes back although its load is published when it was quarantined (its cure may lie
    elsewhere: a mended suite, a mended ACL) or when its document is listed but not live (deleted
    and restored without a change, which no cursor shows).
    """
    name, zone = source.name, pipeline.zone
    with pipeline.catalog.begin() as connection:
        published = runs.loads(connection, name, ["published"])
        validated = runs.loads(connection, name, ["validated"])
        rejected = quarantine.keys(connection, name)
        known = documents.known(connection, name)
    pending = landing.pending(zone, name, published)
    if not pending:
        return None
    listing = landing.listing(zone, name, pending[-1])
    if listing is None:
        raise SourceUnavailable(
            "its newest load holds no complete listing",
            subject=name,
            cure="Run its DAG from the beginning",
        )
    rows = {row.key: row for row in landing.rows(zone, name, pending)}
    live = {each.native_id for each in known.values()}
    again = (rejected | (listing.acl_keys.keys() - live)) - rows.keys()
    rows |= {row.key: row for row in landing.rows_by_key(zone, name, again)}
    return _Work(
        load_ids=tuple(pending),
        validated=pending[-1] in validated,
        rows=tuple(rows.values()),
        listing=listing,
        known=known,
        rejected=frozenset(rejected),
    )


def _grants(listing: Listing) -> dict[str, frozenset[Grant]]:
    """Each listed object's grants; one that could not be read grants nothing."""
    return {key: frozenset() if each.error else each.grants for key, each in listing.acls.items()}


def _narrow(pipeline: Pipeline, source: Source, work: _Work) -> None:
    """Take away what the source took away, whatever becomes of the load.

    A document that is the same under another permission object moves there at once. One that also
    changed waits, out of sight, for its new version: its new readers were never meant to see the
    old one, and its old readers may be meant to see neither.
    """
    grants = _grants(work.listing)
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
        targets = {key: grants[key] for key in moved.values() if key in grants}
        permissions.introduce(connection, source.name, {NOBODY: frozenset(), **targets})
        permissions.narrow(connection, source.name, grants)
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


def _record_drift(pipeline: Pipeline, source: Source, run_id: str) -> None:
    now = source.columns()
    if now is None:
        return
    with pipeline.catalog.begin() as connection:
        before = runs.columns(connection, source.name)
        drift.store(connection, source.name, run_id, validation.compare_columns(before, now))
        runs.store_columns(connection, source.name, [asdict(each) for each in now])


def _hold_or_pass(
    pipeline: Pipeline,
    source: Source,
    work: _Work,
    failures: Sequence[str],
    accept_loss: bool,
) -> None:
    """Let the load go live, or hold it whole."""
    live = {each.native_id for each in work.known.values()}
    gone = live - work.listing.acl_keys.keys()
    lost = lost_fraction(live, work.listing.acl_keys.keys())
    wrong = list(failures)
    if lost > source.policy.max_loss and not accept_loss:
        wrong.append(
            f"{len(gone)} of {len(live)} documents are gone from the source ({lost:.0%}, more than "
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


def _plan(pipeline: Pipeline, source: Source, work: _Work) -> Plan:
    incoming: dict[str, Document] = {}
    for row in work.rows:
        if row.key not in work.rejected:
            acl_key = work.listing.acl_keys.get(row.key)
            document = to_document(source.draft(row), source.name, acl_key or "")
            incoming[document.id] = document
    listed = {f"{source.name}:{key}": acl_key for key, acl_key in work.listing.acl_keys.items()}
    return plan(
        work.known,
        incoming,
        listed,
        recipe(pipeline.embedder),
        indexed=pipeline.index.generations(),
    )


def _flip(
    pipeline: Pipeline, source: Source, work: _Work, todo: Plan, built: Built
) -> frozenset[str]:
    """The one transaction that readers notice; return the documents whose readers changed."""
    with pipeline.catalog.begin() as connection:
        changed = permissions.apply(
            connection, source.name, _grants(work.listing), work.listing.observed_at
        )
        documents.flip(connection, built.generations)
        documents.guard(connection, source.name, todo.guard)
        documents.describe(connection, todo.describe)
        documents.delete(connection, todo.deleted)
        runs.mark_loads(connection, source.name, work.load_ids, "published")
        runs.synced(connection, source.name)
        return frozenset(documents.under(connection, changed))


def _collect(pipeline: Pipeline, name: str, progress: Progress) -> None:
    """Remove from the index what no reader can reach: replaced, deleted, or half built."""
    with pipeline.catalog.begin() as connection:
        generations = documents.unfinished(connection, name)
    if generations:
        pipeline.index.delete(generations.keys())
        progress.reached("collect: deleted")
        with pipeline.catalog.begin() as connection:
            documents.collected(connection, generations.keys())


def _finish(
    pipeline: Pipeline,
    source: Source,
    run_id: str,
    load_ids: tuple[str, ...],
    counts: Mapping[str, int],
    built: Built,
    progress: Progress,
) -> RunSummary:
    """Close the run's record and say what it did."""
    with pipeline.catalog.begin() as connection:
        runs.note(
            connection,
            run_id,
            {
                **counts,
                "load_ids": list(load_ids),
                "chunks": built.chunks,
                "embedded": built.embedded,
                "stages": progress.seconds,
            },
        )
        noted = runs.summary(connection, run_id)
        runs.finish(connection, run_id, "succeeded")
    noted["load_ids"] = tuple(noted["load_ids"])
    noted["stages"] = {each: noted["stages"][each] for each in STAGES if each in noted["stages"]}
    return RunSummary(source=source.name, run_id=run_id, **noted)


def _counts(todo: Plan, regranted: frozenset[str]) -> dict[str, int]:
    """Documents by change; one that is otherwise unchanged but has other readers is ACL-only."""
    counts = {change.value: todo.count(change) for change in Change}
    quiet = sum(1 for each in regranted if todo.changes.get(each) is Change.UNCHANGED)
    counts[Change.UNCHANGED] -= quiet
    counts[Change.ACL_ONLY] += quiet
    return counts
