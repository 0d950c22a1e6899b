"""The DAG that moves an index: by hand, in four steps that can each be tried again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from airflow.sdk import DAG, Param, chain, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from sluice.flows.dags import RETRIES, description, retried_only_if_it_helps
from sluice.flows.waiting import PatientOperator
from sluice.model import Backend

if TYPE_CHECKING:
    from sluice.ingest.filling import Filled
    from sluice.ingest.migrating import Migration  # which imports numpy, 0.2 s

log = logging.getLogger(__name__)

_PARAMS = {
    "to": Param(
        None,
        type=["null", "string"],
        enum=[None, *get_args(Backend)],
        title="Backend",
        description="Empty: as SLUICE_INDEX says.",
    ),
    "embedder": Param(
        None,
        type=["null", "string"],
        title="Embedding model",
        description="Empty: as SLUICE_EMBEDDER says.",
    ),
    "anew": Param(
        False,
        type="boolean",
        title="Make another one",
        description="Although one is there already that is of this backend and model: laid out "
        "otherwise, for instance.",
    ),
}


def reindex_dag(*, runbook: str | None, owner: str = "data") -> DAG:
    """Return the DAG ``reindex``: forecast → build → compare → switch, only when triggered.

    Args:
        runbook: Markdown shown on the DAG's page; pass the DAG file's ``__doc__``.
        owner: whom to call.
    """
    with DAG(
        "reindex",
        description=description(runbook),
        doc_md=runbook,
        schedule=None,
        is_paused_upon_creation=False,  # it runs when it is triggered, and only then
        max_active_runs=1,
        default_args={"owner": owner, **RETRIES},
        params=_PARAMS,
        tags=["sluice", "index"],
    ) as dag:

        @task(multiple_outputs=False)
        def forecast() -> dict[str, Any]:
            """Say what it will take; skip everything where there is nothing to do."""
            with _migration() as migration:
                target = migration.target()
                if target is not None and target.state == "serving":
                    raise AirflowSkipException(f"collection {target.collection_id} is as wanted")
                found = asdict(migration.forecast())
            for name, value in found.items():
                log.info("%-14s %s", name, value)
            return found

        def build() -> dict[str, int]:
            """Give the new collection everything that is live."""
            with _migration() as migration:
                filled = migration.build(_told)
            return {
                "documents": filled.documents,
                "chunks": filled.written.chunks,
                "embedded": filled.written.embedded,
            }

        @task(multiple_outputs=False)
        def compare() -> dict[str, Any] | None:
            """Compare it with what it should be; if it differs, the old one serves on."""
            with _migration() as migration:
                found = migration.compare()
            if found is None:
                return None
            return {**asdict(found), "recalls": [asdict(each) for each in found.recalls]}

        @task(multiple_outputs=False)
        def switch() -> dict[str, int]:
            """Let it serve; the one before is kept."""
            with _migration() as migration:
                return {"documents": migration.switch(_told).documents}

        first = forecast()
        chain(first, PatientOperator(task_id="build", work=build), compare(), switch())
    return dag


@contextmanager
def _migration() -> Iterator[Migration]:
    """The move that the trigger form describes, with nobody else at it."""
    from sluice import settings
    from sluice.catalog import open_catalog
    from sluice.collections import Collections
    from sluice.ingest.migrating import Migration, wanted
    from sluice.ingest.switching import alone

    params = get_current_context()["params"]
    with retried_only_if_it_helps():
        found = settings.load()
        catalog = open_catalog(found)
        collections = Collections(found, catalog)
        try:
            with alone(catalog):
                yield Migration(
                    catalog,
                    collections,
                    wanted(found, to=params["to"], embedder=params["embedder"]),
                    anew=bool(params["anew"]),
                )
        finally:
            collections.close()
            catalog.close()


def _told(filled: Filled) -> None:
    log.info("%s documents written, %s left", filled.documents, filled.left)
