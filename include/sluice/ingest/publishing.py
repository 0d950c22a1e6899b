"""The third stage: what was validated becomes live, in one flip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from sluice.catalog import (
    batches,
    changes,
    collections,
    costs,
    documents,
    permissions,
    placements,
    runs,
)
from sluice.documents import to_document
from sluice.embedding import open_embedder
from sluice.errors import AlreadyRunning
from sluice.ingest.ahead import delta, embed_ahead, outlook
from sluice.ingest.build import Builder, Built, to_build
from sluice.ingest.keeping import bound_cache, collect, lost, optimize
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.plan import Change, Plan, plan
from sluice.ingest.progress import Progress
from sluice.ingest.tiers import Outlook
from sluice.ingest.work import Work, grants, left_to_do
from sluice.model import Account, Document, RunSummary
from sluice.ports import Permissioned, Source

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


def publish(
    pipeline: Pipeline, source: Source, run_id: str, *, progress: Progress | None = None
) -> RunSummary:
    """Make everything validated live, in one flip, and collect what it replaced.

    Raises:
        StillEmbedding: a provider works on its chunks; call again in a while.
        EmbeddingError, BudgetExhausted: it cannot be embedded; nothing became visible.
        IndexUnavailable: the index cannot be written, or lost something; nothing became visible.
    """
    progress = progress or Progress()
    with exclusive(pipeline, source.name, source.kind, source.policy, run_id):
        receiving = pipeline.collections.receiving()
        with progress.stage("collect"):
            collect(pipeline.catalog, receiving, source.name, progress)
        with progress.stage("plan"):
            work = left_to_do(pipeline, source)
            if work is None or not work.validated:  # left to the run that landed something newer
                return _finish(pipeline, source, run_id, (), {}, Built(), progress)
            whole = work.listing.gone is None  # the index is looked over as often as the source
            gone = lost(pipeline.catalog, receiving[0], source.name) if whole else frozenset()
            todo = _plan(source, work, gone)
            with pipeline.catalog.begin() as connection:
                acl_ids = permissions.ensure_acls(
                    connection, source.name, {each.acl_key for each in todo.builds}
                )
        with progress.stage("embed"):
            account = Account(source=source.name, run_id=run_id)
            embed_ahead(
                pipeline.catalog,
                receiving[0],
                partial(to_build, pipeline.catalog, todo.builds),
                source.policy,
                account,
                progress,
            )
        builder = Builder(
            pipeline.catalog,
            receiving,
            run_id=run_id,
            batch=pipeline.batch,
            progress=progress,
        )
        built = builder.build(todo.builds, acl_ids)
        with progress.stage("flip"):
            regranted = _flip(pipeline, source, work, todo, built)
        receiving = [  # one may have been made meanwhile
            each
            for each in pipeline.collections.standing()
            if each.collection.collection_id not in builder.left_behind
        ]
        with progress.stage("collect"):
            collect(pipeline.catalog, receiving, source.name, progress)
            bound_cache(pipeline.catalog, pipeline.settings.cache_mb)
        with progress.stage("optimize"):  # after the flip: nobody waits for it
            optimize(receiving)
        counts = _counts(todo, regranted)
        return _finish(pipeline, source, run_id, work.load_ids, counts, built, progress)


def look_ahead(pipeline: Pipeline, source: Source, embedder: str | None = None) -> Outlook:
    """What the next publish of what has landed would embed, and what that costs.

    Args:
        pipeline: what to work with.
        source: whose.
        embedder: by name; None: of the collection that serves, or as settings say.

    Raises:
        ConfigurationError: there is no such embedder.
        SourceUnavailable: what has landed is no complete listing.
    """
    settings, catalog = pipeline.settings, pipeline.catalog
    with catalog.begin() as connection:
        serving = collections.serving(connection)
    name = embedder or (serving.embedder if serving else settings.embedder)
    opened = open_embedder(name, settings.endpoints)
    work = left_to_do(pipeline, source)
    builds = _plan(source, work, frozenset()).builds if work else ()
    found = delta(catalog, opened, to_build(catalog, builds))
    return outlook(catalog, opened, name, found, source.policy, Account(source=source.name))


def _plan(source: Source, work: Work, gone: frozenset[int]) -> Plan:
    incoming: dict[str, Document] = {}
    for row in work.rows:
        if row.key not in work.rejected:
            acl_key = work.listing.acl_keys.get(row.key)
            document = to_document(source.draft(row), source.name, acl_key or "")
            incoming[document.id] = document
    listed = {f"{source.name}:{key}": acl_key for key, acl_key in work.listing.acl_keys.items()}
    return plan(work.known, incoming, listed, lost=gone)


def _flip(
    pipeline: Pipeline, source: Source, work: Work, todo: Plan, built: Built
) -> frozenset[str]:
    """The one transaction that readers notice; return the documents whose readers changed.

    The lock goes with its connection, and this run may not have noticed that it went. So what was
    planned is thrown away if another run has published the same loads meanwhile.
    """
    with pipeline.catalog.begin() as connection:
        # Where runs of their own read all of a source's permissions, theirs is their age, too.
        apart = isinstance(source, Permissioned)
        write = permissions.apply if work.listing.whole and not apart else permissions.touch
        changed = write(  # row-locks the source: the next line sees whoever was first
            connection, source.name, grants(work.listing), work.listing.observed_at
        )
        if work.listing.current and not apart:
            permissions.confirm(connection, source.name, work.listing.observed_at)
        if runs.overtaken(connection, source.name, work.load_ids):
            raise AlreadyRunning(
                "another run published this load meanwhile",
                subject=source.name,
                cure="Nothing is lost; the next run takes up what is left",
            )
        serving = collections.hold(connection)
        if placements.unplaced(connection, serving, built.generations):
            raise AlreadyRunning(
                "what this run built is not in the collection that serves by now",
                subject=source.name,
                cure="Nothing is lost; the next run builds it there",
            )
        documents.flip(connection, built.generations)
        documents.guard(connection, source.name, todo.guard)
        documents.describe(connection, todo.describe)
        documents.delete(connection, todo.deleted)
        runs.mark_loads(connection, source.name, work.load_ids, "published")
        changes.forget(connection, source.name, work.load_ids)
        runs.synced(connection, source.name)
        return frozenset(documents.under(connection, changed))


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
        tokens, dollars = costs.spent_by_run(connection, run_id)
        runs.note(
            connection,
            run_id,
            {
                **counts,
                "load_ids": list(load_ids),
                "chunks": built.chunks,
                "embedded": built.embedded + batches.embedded_by_run(connection, run_id),
                "tokens": tokens,
                "dollars": f"{dollars:f}",
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
