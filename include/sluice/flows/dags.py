"""The shapes of DAG that a source and a directory become."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import (
    DAG,
    Asset,
    AssetOrTimeSchedule,
    AssetWatcher,
    CronDataIntervalTimetable,
    Param,
    chain,
    get_current_context,
    task,
)
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowFailException

from sluice.errors import (
    AlreadyRunning,
    CatalogUnavailable,
    EmbedderUnavailable,
    IndexUnavailable,
    Overloaded,
    SluiceError,
    SourceUnavailable,
    StillEmbedding,
)
from sluice.flows.links import DataDocsLink, data_docs
from sluice.flows.report import counts, table
from sluice.flows.waiting import PatientOperator
from sluice.flows.watching import StreamTrigger
from sluice.model import Window

if TYPE_CHECKING:
    from sluice.ingest import Pipeline
    from sluice.ports import Directory, Permissioned, Source  # which import numpy, 0.2 s

log = logging.getLogger(__name__)

_PASSES = (
    SourceUnavailable,
    EmbedderUnavailable,
    Overloaded,
    StillEmbedding,
    IndexUnavailable,
    CatalogUnavailable,
    AlreadyRunning,
)
_FIRST_DAY = datetime(2024, 1, 1, tzinfo=UTC)  # the earliest that a backfill may start
RETRIES = {
    "retries": 4,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "max_active_tis_per_dag": 1,  # backfill runs heed no max_active_runs
}
_PARAMS = {
    "accept_loss": Param(
        False,
        type="boolean",
        title="Publish a held load",
        description="Go ahead although the source lost more documents than its policy allows. "
        "Everything that is gone from the source is then gone from every answer.",
    ),
    "since": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Read again from",
        description="Read rows again that changed at this time or later. Empty: what is new.",
    ),
    "until": Param(
        None,
        type=["null", "string"],
        format="date-time",
        title="Read again up to",
        description="The end of that window, itself not included. Empty: now.",
    ),
}

_LOSS = {
    "accept_loss": Param(
        False,
        type="boolean",
        title="Believe that they are gone",
        description="Go ahead although more permission objects are gone from the source than its "
        "policy allows. Nobody can read what they guard then.",
    ),
}


def ingest_dag(
    source: Source, *, runbook: str | None, schedule: str = "@hourly", owner: str = "data"
) -> DAG:
    """Return the DAG, named as the source, that keeps its documents fresh.

    Args:
        source: what is read.
        runbook: Markdown shown on the DAG's page; pass the DAG file's ``__doc__``.
        schedule: a cron expression, in UTC.
        owner: whom to call.
    """
    if getattr(source, "changes", None):
        return _live_dag(source, runbook, schedule, owner)
    with _dag(source.name, source.kind, runbook, _cron(schedule), owner, _PARAMS) as dag:

        @task
        def extract() -> str:
            from sluice.ingest import extract

            with _pipeline() as pipeline:
                return extract(pipeline, source, _run_id(source), window=_window())

        @task(multiple_outputs=False)
        def validate() -> dict[str, int]:
            from sluice.ingest import validate

            context = get_current_context()
            here = conf.get("api", "base_url", fallback="").rstrip("/")
            log.info("Data Docs: %s%s", here, data_docs(source.name, context["dag_run"].run_id))
            accept_loss = bool(context["params"]["accept_loss"])
            with _pipeline() as pipeline:
                found = validate(pipeline, source, _run_id(source), accept_loss=accept_loss)
            log.info("%s rows judged, %s quarantined", found.rows, found.quarantined)
            return {"rows": found.rows, "quarantined": found.quarantined}

        def publish() -> dict[str, Any]:
            from sluice.ingest import publish

            with _pipeline() as pipeline:
                summary = publish(pipeline, source, _run_id(source))
            for line in table(summary):
                log.info(line)
            return counts(summary)

        chain(
            extract(), validate(), PatientOperator(task_id="publish", work=publish, source=source)
        )
    dag.get_task("validate").operator_extra_links = (DataDocsLink(source.name),)
    return dag


def _live_dag(source: Any, runbook: str | None, schedule: str, owner: str) -> DAG:
    """A DAG that is rung when changes are noted, and does all of it in one task: hops cost time.

    The schedule sweeps beside it, since a bell may be missed.
    """
    bell = Asset(
        f"sluice_{source.name}",
        watchers=[AssetWatcher(name=source.name, trigger=StreamTrigger.of(source))],
    )
    rung = AssetOrTimeSchedule(timetable=_cron(schedule), assets=[bell])
    with _dag(source.name, source.kind, runbook, rung, owner, _PARAMS) as dag:

        def live() -> dict[str, Any]:
            from sluice.ingest.live import keep_live

            with _pipeline() as pipeline:
                summary = keep_live(
                    pipeline,
                    source,
                    _run_id(source),
                    window=_window(),
                    accept_loss=bool(get_current_context()["params"]["accept_loss"]),
                )
            for line in table(summary):
                log.info(line)
            return counts(summary)

        PatientOperator(task_id="live", work=live, source=source)
    return dag


def permissions_dag(
    directory: Directory, *, runbook: str | None, schedule: str = "*/10 * * * *", owner: str = "it"
) -> DAG:
    """Return the DAG, named as the directory, that keeps people, groups and accounts fresh.

    Args:
        directory: what is read.
        runbook: Markdown shown on the DAG's page; pass the DAG file's ``__doc__``.
        schedule: a cron expression, in UTC.
        owner: whom to call.
    """
    with _dag(directory.name, "directory", runbook, _cron(schedule), owner, {}) as dag:

        @task(multiple_outputs=False)
        def sync() -> dict[str, int]:
            from sluice.ingest import sync_directory

            with _pipeline() as pipeline:
                return sync_directory(pipeline, directory, _run_id(directory))

        sync()
    return dag


def source_permissions_dag(
    source: Permissioned, *, runbook: str | None, schedule: str = "*/5 * * * *", owner: str = "data"
) -> DAG:
    """Return the DAG ``<source>_permissions`` that keeps who may read a source's content fresh.

    It stands beside the source's ``ingest_dag``, runs more often, and embeds nothing.

    Args:
        source: what is read.
        runbook: Markdown shown on the DAG's page; pass the DAG file's ``__doc__``.
        schedule: a cron expression, in UTC.
        owner: whom to call.
    """
    name = f"{source.name}_permissions"
    with _dag(name, source.kind, runbook, _cron(schedule), owner, _LOSS) as dag:

        @task(multiple_outputs=False)
        def sync() -> dict[str, int]:
            from sluice.ingest import sync_permissions

            context = get_current_context()
            run_id = f"{source.name}:permissions:{context['dag_run'].run_id}"
            accept_loss = bool(context["params"]["accept_loss"])
            with _pipeline() as pipeline:
                return sync_permissions(pipeline, source, run_id, accept_loss=accept_loss)

        sync()
    return dag


def _dag(
    name: str,
    kind: str,
    runbook: str | None,
    schedule: CronDataIntervalTimetable | AssetOrTimeSchedule,
    owner: str,
    params: Mapping[str, Param],
) -> DAG:
    return DAG(
        name,
        description=description(runbook),
        doc_md=runbook and runbook.strip(),
        schedule=schedule,
        start_date=_FIRST_DAY,
        catchup=False,
        max_active_runs=1,
        default_args={"owner": owner, **RETRIES},
        params=dict(params),
        tags=["sluice", kind],
    )


def _cron(schedule: str) -> CronDataIntervalTimetable:
    return CronDataIntervalTimetable(schedule, timezone="UTC")


def description(runbook: str | None) -> str | None:
    """The title of a runbook: its first line."""
    return (runbook or "").strip().partition("\n")[0].strip("# ") or None


def _run_id(each: Source | Directory) -> str:
    """Name the run in the catalog: Airflow uses the same run ids in every DAG."""
    return f"{each.name}:{get_current_context()['dag_run'].run_id}"


def _window() -> Window | None:
    """What to read again: the interval of a backfill run, or what the trigger form says."""
    context = get_current_context()
    run, params = context["dag_run"], context["params"]
    since, until = _moment(params["since"]), _moment(params["until"])
    if since is None and until is None and run.run_type == "backfill":
        since, until = run.data_interval_start, run.data_interval_end
    if since is None and until is None:
        return None
    return Window(since or _FIRST_DAY, until or datetime.now(UTC))


def _moment(text: str | None) -> datetime | None:
    """A time from the trigger form; one without a zone is UTC."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@contextmanager
def _pipeline() -> Iterator[Pipeline]:
    """A pipeline for one task."""
    from sluice import settings
    from sluice.flows.connections import connection
    from sluice.ingest import open_pipeline

    with retried_only_if_it_helps():
        pipeline = open_pipeline(settings.load(), connection)
        try:
            yield pipeline
        finally:
            pipeline.close()


@contextmanager
def retried_only_if_it_helps() -> Iterator[None]:
    """Fail the task at once, with one line, for an error that the next try would meet again."""
    try:
        yield
    except _PASSES:
        raise
    except SluiceError as error:
        raise AirflowFailException(str(error)) from None
