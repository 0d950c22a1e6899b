"""Sluice in Airflow: a source becomes a DAG.

    ingest_dag(source, runbook=__doc__)            extract → validate → publish
    source_permissions_dag(source, runbook=…)      sync
    permissions_dag(directory, runbook=__doc__)    sync
    reindex_dag(runbook=__doc__)                   forecast → build → compare → switch

Airflow imports a DAG file in every task and every few seconds in its DAG processor. So this package
imports nothing heavy, and builds the same DAG each time it is asked.
"""

from __future__ import annotations

import contextlib
import importlib

from sluice.flows.dags import ingest_dag, permissions_dag, source_permissions_dag
from sluice.flows.reindex import reindex_dag

__all__ = ["ingest_dag", "permissions_dag", "preload", "reindex_dag", "source_permissions_dag"]


def preload() -> None:
    """Import what every ingest task needs, in the process that tasks are forked from.

    LanceDB is not among it: importing it starts threads, which do not survive a fork. What cannot
    be imported is left to the task that needs it, which can say so.
    """
    for name in ("sluice.ingest", "dlt", "great_expectations", "pandas", "pyarrow"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
