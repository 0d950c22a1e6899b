"""Airflow's four programs and their settings, all derived from ours.

``airflow.cfg`` holds them, so that ``AIRFLOW_HOME=.sluice/airflow airflow …`` at a terminal works
on the running stack. ``AIRFLOW__…`` variables win over it, as always in Airflow; those that tie the
programs to this stack are set for each program and win over both.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy as sa

from sluice.errors import StackError
from sluice.settings import Settings
from sluice.stack.database import Databases
from sluice.stack.home import PROJECT, Home, Secrets, write_private
from sluice.stack.supervisor import Program

LOGIN = "admin"
ANSWERING = ("api-server",)  # what a question needs
INGESTING = ("api-server", "scheduler", "dag-processor")  # what a first run needs
REPORTING = ("scheduler", "dag_processor", "triggerer")  # as Airflow's health page names them


def version() -> str:
    """The installed Airflow."""
    return importlib.metadata.version("apache-airflow-core")


def url(settings: Settings) -> str:
    """Where a person finds Airflow, and Sluice inside it."""
    return f"http://{_reachable(settings.host)}:{settings.port}"


def configure(settings: Settings, home: Home, kept: Secrets, databases: Databases) -> None:
    """Write ``airflow.cfg`` and the login."""
    home.airflow.mkdir(parents=True, exist_ok=True)
    write_private(home.airflow / "login.json", json.dumps({LOGIN: kept.login}) + "\n")
    parser = configparser.RawConfigParser()
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keep the spelling
    for name, values in _sections(settings, home, kept, databases).items():
        parser[name] = {key: value.replace("%", "%%") for key, value in values.items()}
    path = home.airflow / "airflow.cfg"
    write_private(path, "")
    with path.open("w") as output:
        parser.write(output)


def environment(settings: Settings, home: Home, databases: Databases) -> dict[str, str]:
    """What each program, and each task, finds in its environment."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {
        "GX_ANALYTICS_ENABLED": "false",
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "DO_NOT_TRACK": "1",
        "PROVIDERS__ENABLE_AIRFLOW_SECRETS": "false",  # or dlt asks for 1,000 Airflow variables
        **home.read_env(),
        **inherited,
        "AIRFLOW_HOME": str(home.airflow),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": _metadata_url(databases),
        "SLUICE_HOME": str(settings.home),
    }


def programs(variables: Mapping[str, str]) -> dict[str, Program]:
    """All four, by name."""
    commands = {
        "api-server": ["api-server"],
        "scheduler": ["scheduler", "--skip-serve-logs"],  # logs are read from the shared folder
        "dag-processor": ["dag-processor"],
        "triggerer": ["triggerer", "--skip-serve-logs"],
    }
    return {
        name: Program(name, [sys.executable, "-m", "airflow", *command], variables)
        for name, command in commands.items()
    }


def migrate(variables: Mapping[str, str], log: Path) -> None:
    """Bring Airflow's database to the installed version.

    Raises:
        StackError: it failed; the log has all of it.
    """
    with log.open("ab") as output:
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "db", "migrate"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(variables),
            check=False,
        )
    if done.returncode:
        lines = log.read_text(errors="replace").strip().splitlines() or ["no reason given"]
        raise StackError(f"`airflow db migrate` failed: {lines[-1]}", cure=f"See {log}")


def _sections(
    settings: Settings, home: Home, kept: Secrets, databases: Databases
) -> dict[str, dict[str, str]]:
    here = url(settings)
    return {
        "core": {
            "dags_folder": str(PROJECT / "dags"),
            "plugins_folder": str(PROJECT / "plugins"),
            "executor": "LocalExecutor",
            "parallelism": "4",  # each of these is a process that waits
            "load_examples": "False",
            "fernet_key": kept.fernet,
            "execution_api_server_url": f"{here}/execution/",
            "simple_auth_manager_users": f"{LOGIN}:admin",
            "simple_auth_manager_passwords_file": str(home.airflow / "login.json"),
        },
        "database": {"sql_alchemy_conn": _metadata_url(databases)},
        "api": {
            "host": settings.host,
            "port": str(settings.port),
            "base_url": here,
            "instance_name": "Sluice",
            "secret_key": kept.jwt,
            "workers": "1",
        },
        "api_auth": {"jwt_secret": kept.jwt},
        "scheduler": {
            "scheduler_idle_sleep_time": "0.5",
            "enable_health_check": "False",
        },
        "dag_processor": {
            "refresh_interval": "15",  # seconds until a new file in dags/ is seen
            "min_file_process_interval": "15",
        },
        "logging": {"base_log_folder": str(home.logs / "tasks")},
    }


def _metadata_url(databases: Databases) -> str:
    parsed = sa.make_url(databases.airflow).set(drivername="postgresql+psycopg2")
    return parsed.render_as_string(False)


def _reachable(host: str) -> str:
    """An address to connect to, for one to listen on."""
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104  # compared, not bound
