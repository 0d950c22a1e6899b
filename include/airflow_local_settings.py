"""Airflow imports this first in each of its programs; it finds it because ``include`` is a path.

A scheduler (LocalExecutor) and a Celery worker fork their tasks, and what they have imported by
then no task imports again: a run of a small source is mostly that. The fork itself gets slower with
what is loaded, so nothing else.
"""

import sys
from importlib import import_module

__all__: list[str] = []  # or Airflow takes every name here for a setting

_forks_tasks = sys.argv[1:2] == ["scheduler"] or sys.argv[1:3] == ["celery", "worker"]

if _forks_tasks or sys.argv[1:2] == ["dag-processor"]:  # which forks what reads a DAG file
    import sluice.flows
    import sluice.sources

if _forks_tasks:
    import_module("airflow.dag_processing.dagbag")
    import_module("airflow.sdk.execution_time.task_runner")
    sluice.flows.preload()
