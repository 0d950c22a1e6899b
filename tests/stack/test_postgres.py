"""The embedded server: it starts, survives a kill, and says what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sluice.errors import StackError
from sluice.stack import postgres

PASSWORD = "made-up-for-tests"


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    """Where a server may live; whatever runs there at the end is stopped and deleted."""
    yield tmp_path / "data"
    postgres.remove(tmp_path / "data")


def ask(server: postgres.Server, statement: str) -> list[tuple[object, ...]]:
    """Run one statement as the administrator."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_data_survives_a_stop_and_a_kill(directory: Path) -> None:
    """What was committed is there after an orderly stop, and after kill -9 of the server."""
    server = postgres.start(directory, PASSWORD, port=0)
    ask(server, "CREATE TABLE kept (n int)")
    postgres.stop(directory)
    assert not postgres.running(directory)
    server = postgres.start(directory, PASSWORD, port=0)
    ask(server, "INSERT INTO kept VALUES (1)")
    [(pid,)] = ask(server, "SELECT pg_read_file('postmaster.pid', 0, 20)")
    os.kill(int(str(pid).split()[0]), signal.SIGKILL)
    while postgres.running(directory):
        time.sleep(0.01)
    server = postgres.start(directory, PASSWORD, port=0)
    assert ask(server, "SELECT n FROM kept") == [(1,)]


def test_a_running_server_is_used_as_it_is(directory: Path) -> None:
    """Starting twice gives the same server, on the same port."""
    first = postgres.start(directory, PASSWORD, port=0)
    assert postgres.start(directory, PASSWORD, port=0) == first


def test_it_is_ready_for_logical_replication_and_demands_a_password(directory: Path) -> None:
    """``wal_level`` is logical, so that sources may stream from it; nobody gets in unasked."""
    server = postgres.start(directory, PASSWORD, port=0)
    assert ask(server, "SHOW wal_level") == [("logical",)]
    [(version,)] = ask(server, "SHOW server_version")
    assert str(version).startswith("18")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(server.url().replace(PASSWORD, "wrong"))


def test_its_files_are_private(directory: Path) -> None:
    """Nobody but the server's own user may enter the data directory."""
    postgres.start(directory, PASSWORD, port=0)
    _, home = postgres._account(directory)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_taken_port_is_one_clear_line(directory: Path) -> None:
    """A port that something else has is named, with the log to look at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StackError, match=f"port {port} is taken") as caught:
            postgres.start(directory, PASSWORD, port=port)
    assert "\n" not in str(caught.value)


def test_a_half_made_server_is_made_again(directory: Path) -> None:
    """A killed initdb leaves a folder that the next start replaces."""
    _, home = postgres._account(directory)
    half = home.with_name(home.name + ".half")
    half.mkdir(parents=True)
    (half / "rubbish").touch()
    postgres.start(directory, PASSWORD, port=0)
    assert not half.exists()
