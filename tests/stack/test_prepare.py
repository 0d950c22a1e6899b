"""`sluice prepare` on a server of one's own, which nothing was done to before."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sluice.stack import postgres


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[postgres.Server]:
    """A PostgreSQL in which nobody made anything."""
    directory = tmp_path_factory.mktemp("empty") / "data"
    try:
        yield postgres.start(directory, "adm1n", port=0, durable=False)
    finally:
        postgres.remove(directory)


@pytest.fixture
def secrets(empty: postgres.Server, tmp_path: Path) -> Path:
    """One file for each URL, as they are mounted in a container."""
    folder = tmp_path / "secrets"
    folder.mkdir()
    server = f"127.0.0.1:{empty.port}"
    for name, text in {
        "sluice_database_url": empty.url("sluice"),
        "sluice_catalog_url": f"postgresql://sluice_app:a%25pp@{server}/sluice",
        "sluice_landing_url": f"postgresql://sluice_landing:land@{server}/sluice",
        "airflow_database_url": f"postgresql+psycopg2://airflow:fl0w@{server}/airflow",
        "helpdesk_url": f"postgresql+psycopg://desk:d3sk@{server}/helpdesk",
    }.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def start(secrets: Path, *options: str, home: str = "home") -> subprocess.Popen[str]:
    """Run the command as a container does, with every URL in a file."""
    airflow = secrets / "airflow_database_url"
    return subprocess.Popen(
        [sys.executable, "-c", "from sluice.cli import main; main()", "prepare", *options],
        env={
            **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "SLUICE_SECRETS": str(secrets),
            "SLUICE_HOME": str(secrets.with_name(home)),
            "AIRFLOW_HOME": str(secrets.with_name(f"airflow-{home}")),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"awk 1 ORS= {airflow}",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_at_once_prepare_everything_once(empty: postgres.Server, secrets: Path) -> None:
    """Of two that run together one waits; both end well, and everything is there."""
    both = [start(secrets, "--sample", home=name) for name in ("one", "two")]
    for process in both:
        said, complained = process.communicate(timeout=240)
        assert process.returncode == 0, complained
        steps = [line.partition(":")[0] for line in said.splitlines()]
        assert steps == ["catalog", "airflow", "sample", "catalog and landing zone"]
    for role, password, database in (
        ("sluice_app", "a%pp", "sluice"),
        ("sluice_landing", "land", "sluice"),
        ("airflow", "fl0w", "airflow"),
        ("desk", "d3sk", "helpdesk"),
    ):
        with psycopg.connect(
            host="127.0.0.1", port=empty.port, user=role, password=password, dbname=database
        ) as connection:
            tables = "SELECT count(*) FROM pg_tables WHERE tableowner = current_user"
            [(owned,)] = connection.execute(tables).fetchall()
            assert (owned > 0) == (role in {"airflow", "desk"})


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("sluice_catalog_url", "postgresql://postgres:x@h/sluice", "not a URL of the role sluice_"),
        ("sluice_landing_url", "postgresql://sluice_landing@h/sluice", "with its password"),
        ("sluice_database_url", "mysql://root:x@h/sluice", "SLUICE_DATABASE_URL: is not the URL"),
        ("airflow_database_url", None, "Airflow cannot read it"),
    ],
)
def test_a_url_of_something_else_is_refused_before_anything_is_done(
    secrets: Path, name: str, text: str | None, complaint: str
) -> None:
    """The line names the setting, and never the password."""
    if text is None:
        (secrets / name).unlink()
    else:
        (secrets / name).write_text(text)
    process = start(secrets)
    said, complained = process.communicate(timeout=60)
    assert process.returncode != 0
    assert said == ""
    (line,) = complained.splitlines()
    assert complaint in line
    assert ":x@" not in line
