"""The question side's commands: what they say, where, and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import sluice
import sqlalchemy as sa
from shell import Run, failed
from sluice.api.services import Services
from sluice.catalog import quarantine, runs
from sluice.model import LandedRow
from world import SOURCE, World

SLUICE = Path(sys.executable).with_name("sluice")


def test_search_answers_as_a_person(world: World, run: Run) -> None:
    """The answer, where it is from and why it is allowed, without what could harm a terminal."""
    done = run("search", "--as", "user:ada@x.org", "kettle")
    assert done.returncode == 0, done.stderr
    assert "[bold]kettle" in done.stdout and "\x1b" not in done.stdout
    assert "allowed: ada allows user:ada@x.org" in done.stdout
    answer = json.loads(run("search", "--as", "user:ada@x.org", "kettle", "--json").stdout)
    assert [hit["document_id"] for hit in answer["hits"]] == ["wiki:page"]
    with world.catalog.begin() as connection:
        agents = connection.execute(sa.text("SELECT agent, key_id FROM sluice.audit_event")).all()
    assert len(agents) == 2
    assert all(agent.startswith("cli:") and key is None for agent, key in agents)


def test_search_shows_nothing_to_a_stranger(run: Run) -> None:
    """Nothing found is an answer, not an error."""
    done = run("search", "--as", "user:eve@x.org", "kettle")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Nothing" in done.stdout


def test_errors_are_one_line_and_a_code(run: Run, tmp_path: Path) -> None:
    """Bad input 2, unavailable 4; never a traceback."""
    assert "not a principal" in failed(run("search", "--as", "ada", "kettle"), 2)
    assert "k is 1 to" in failed(run("search", "--as", "user:a@x", "kettle", "--k", "0"), 2)
    gone = {"SLUICE_CATALOG_URL": "postgresql://nobody@127.0.0.1:1/none"}
    assert "does not answer" in failed(run("keys", "list", **gone), 4)
    secret = failed(run("keys", "list", SLUICE_CATALOG_URL="postgresql://u:secret@h:port/d"), 2)
    assert "cannot be read" in secret and "secret" not in secret
    assert "SLUICE_SCOPE_CAP" in failed(run("keys", "list", SLUICE_SCOPE_CAP="x"), 2)
    elsewhere = {"SLUICE_HOME": str(tmp_path / "elsewhere")}
    assert "Ingest a source first" in failed(
        run("search", "--as", "user:ada@x.org", "kettle", **elsewhere), 4
    )
    assert run("search", "kettle").returncode == 2
    assert run("serach").returncode == 2


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    """The key alone is on stdout, so that a shell can keep it."""
    done = run("keys", "create", "--agent", "helper", "--for", "anyone", "--expires", "2999-01-31")
    key = done.stdout.strip()
    assert re.fullmatch(r"slc_[0-9a-f]{16}_[\w-]{43}", key)
    made = json.loads(
        run("keys", "create", "--agent", "b", "--for", "user:A@x.org", "--json").stdout
    )
    revoked = run("keys", "revoke", made["key_id"], "--json")
    assert json.loads(revoked.stdout) == {"revoked": made["key_id"]}
    listed = json.loads(run("keys", "list", "--json").stdout)
    assert [(each["agent"], each["acts_for"]) for each in listed] == [
        ("helper", ["public"]),
        ("b", ["user:a@x.org"]),
    ]
    assert listed[0]["expires_at"].startswith("2999-01-31T00:00:00")
    table = run("keys", "list").stdout
    assert "anyone" in table and "revoked" in table and "live" in table
    assert key.split("_", 2)[2] not in table
    assert "no such key" in failed(run("keys", "revoke", "f" * 16), 3)
    for bad in ("soon", "1999-01-01"):
        failed(run("keys", "create", "--agent", "a", "--for", "anyone", "--expires", bad), 2)


def test_status_shows_every_source(world: World, run: Run, tmp_path: Path) -> None:
    """What is there, what the last run did, and what is stuck; 4 where a part is missing."""
    with world.catalog.begin() as connection:
        runs.note(connection, "run-1", {"new": 1, "embedded": 3, "stages": {"extract": 0.5}})
        runs.finish(connection, "run-1", "held", "half of it is gone")
        runs.mark_loads(connection, SOURCE, ["l1"], "held")
        runs.synced(connection, SOURCE)
        row = LandedRow(key="k", load_id="l1", record={})
        quarantine.put(connection, SOURCE, [row], {"k": ["empty text"]})
    done = run("status")
    assert done.returncode == 0, done.stdout
    for words in (
        "wiki",
        "1 new",
        "3 embedded",
        "extract 0.5 s",
        "1 in quarantine",
        "1 loads held",
    ):
        assert words in done.stdout
    assert "half of it is gone" in done.stdout
    found: dict[str, Any] = json.loads(run("status", "--json").stdout)
    assert (found["catalog"], found["index"], found["embedder"]) == ("ok", "ok", "ok")
    assert {each["source"]: each["documents"] for each in found["sources"]}["wiki"] == 1
    partly = run("status", SLUICE_HOME=str(tmp_path / "elsewhere"))
    assert partly.returncode == 4 and "wiki" in partly.stdout


def test_status_warns_of_a_source_that_nobody_brings_news_of(world: World, run: Run) -> None:
    """A week without a run that went through: renamed, removed, or broken."""
    with world.catalog.begin() as connection:
        runs.synced(connection, SOURCE)
    world.age(SOURCE, None, timedelta(days=6))
    assert "warning" not in run("status").stdout
    world.age(SOURCE, None, timedelta(days=8))
    assert f"sluice sources remove {SOURCE}" in run("status").stdout


def test_status_ends_as_other_commands_do_without_settings(
    run: Run, environment: dict[str, str], tmp_path: Path
) -> None:
    """What is missing is in the configuration, so it is 2, not 4; and nothing is made of it."""
    del environment["SLUICE_CATALOG_URL"]
    done = run("status", SLUICE_HOME=str(tmp_path / "nowhere"))
    assert done.returncode == 2 and "SLUICE_CATALOG_URL is not set" in done.stdout
    assert not (tmp_path / "nowhere").exists()


def test_status_notices_an_index_made_anew_and_empty(
    world: World, run: Run, services: Services, tmp_path: Path
) -> None:
    """Documents are live and nothing is found: that is no index in order."""
    shutil.rmtree(tmp_path / "index")
    services.collections.receiving()
    done = run("status")
    assert done.returncode == 4 and "holds nothing" in done.stdout
    world.delete("wiki:page")
    assert run("status").returncode == 0


def test_quarantine_is_listed_and_replayed(world: World, run: Run) -> None:
    """Each row with its reasons; asked for again, one by one or a source at a time."""
    with world.catalog.begin() as connection:
        rows = [LandedRow(key=key, load_id="l1", record={"t": key}) for key in ("a", "b[/x]\x1b")]
        reasons = {row.key: ["empty text"] for row in rows}
        quarantine.put(connection, SOURCE, rows, reasons)
    table = run("quarantine", "list")
    assert "empty text" in table.stdout and "b[/x]" in table.stdout and "\x1b" not in table.stdout
    entries = json.loads(run("quarantine", "list", "--source", SOURCE, "--json").stdout)
    assert len(entries) == 2 and entries[0]["record"]["t"] in {"a", "b[/x]\x1b"}
    assert "1 of wiki" in run("quarantine", "replay", str(entries[0]["id"])).stdout
    assert json.loads(run("quarantine", "replay", "--source", SOURCE, "--json").stdout) == {
        SOURCE: 2
    }
    failed(run("quarantine", "replay"), 2)
    failed(run("quarantine", "replay", "999999999"), 3)
    assert "Nothing" in run("quarantine", "list", "--source", "other").stdout


def test_serve_answers_until_it_is_interrupted(environment: dict[str, str], run: Run) -> None:
    """The same API without Airflow; a taken port is one line; Ctrl-C ends it quietly."""
    with subprocess.Popen(
        [SLUICE, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, env=environment
    ) as server:
        assert server.stderr is not None
        try:
            url = server.stderr.readline().strip()
            deadline = time.monotonic() + 30
            while True:
                with_key = httpx.get(url, trust_env=False, timeout=30)
                if with_key.status_code == 200 or time.monotonic() > deadline:
                    break
            assert with_key.json()["info"]["title"] == "Sluice"
            port = url.split(":")[2].split("/")[0]
            assert "cannot listen" in failed(run("serve", "--port", port), 1)
            assert ".." not in failed(run("serve", "--port", "99999"), 1)
        finally:
            server.send_signal(signal.SIGINT)
            said = server.stderr.read()
            assert server.wait(20) == 130
    assert "Traceback" not in said


def test_help_answers_at_once_and_a_closed_pipe_is_no_error(environment: dict[str, str]) -> None:
    """Help costs less than a second of work, and ``| head`` gets no traceback."""
    before = os.times()
    subprocess.run([SLUICE, "--help"], capture_output=True, check=True, env=environment)
    after = os.times()
    assert after.children_user - before.children_user < 1.0
    for command in ("keys list", "keys list --json", "--help"):
        piped = subprocess.run(
            ["bash", "-c", f"exec 3>&2; ( {SLUICE} {command} 2>&3 ) | true"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
        assert piped.stderr == "", command


def test_version_is_told(run: Run) -> None:
    """One line, and nothing else happens."""
    assert run("--version").stdout == f"sluice {sluice.__version__}\n"


def test_down_and_reset_speak_json(run: Run, tmp_path: Path) -> None:
    """Also where there is nothing to do."""
    nowhere = {"SLUICE_HOME": str(tmp_path / "nowhere")}
    for command, what in (("down", "stopped"), ("reset", "deleted")):
        done = run(command, "--json", **nowhere)
        assert json.loads(done.stdout) == {"home": nowhere["SLUICE_HOME"], what: False}


def test_a_catalog_that_bypasses_the_tenants_walls_is_refused(run: Run, database: str) -> None:
    """An owner's URL is a misconfiguration, said so."""
    assert "bypasses" in failed(run("keys", "list", SLUICE_CATALOG_URL=database), 2)
