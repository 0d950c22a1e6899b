"""A real corpus through its own DAG file: all Rust RFCs, with the people and teams of Rust."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from livestack import PROJECT, Running
from rfcs import RFCS, Corpus, make_corpus

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """The corpus in a folder of its own."""
    data = PROJECT.parent / "shared" / "data"
    if not data.is_dir():
        pytest.skip("skipped: no shared/data beside the project")
    return make_corpus(data, tmp_path_factory.mktemp("rust"))


@pytest.fixture(scope="module")
def ingested(corpus: Corpus, running: Running) -> dict[str, Any]:
    """Add the DAG file to the running stack, and run it; the counts of its first run."""
    (running.place.dags / "rust_rfcs.py").write_text(corpus.dag_file())
    started = time.monotonic()
    for name in ("rust_team", "rust_rfcs"):
        running.wait(lambda: running.airflow.unpause(name))  # noqa: B023  # called at once
        running.airflow.ensure_run(name)
        run = running.wait(lambda: _over(running, name))  # noqa: B023
        assert run.state == "success", run
    seconds = time.monotonic() - started
    counts = running.airflow.result("rust_rfcs", run.run_id, "publish")
    sys.stdout.write(f"\n{RFCS} RFCs in {seconds:.1f} s: {counts}\n")
    return dict(counts)


def _over(running: Running, dag_id: str) -> Any:
    run = running.airflow.latest(dag_id)
    return run if run is not None and run.finished else None


@pytest.fixture(scope="module")
def key(running: Running) -> str:
    """A key that may act for anyone."""
    done = running.place.sluice("keys", "create", "--agent", "rfcs", "--for", "anyone", "--json")
    return str(json.loads(done.stdout)["key"])


def test_every_rfc_is_live_and_none_is_rejected(ingested: dict[str, Any]) -> None:
    """Every document is new, not one of them is in quarantine, and no text is embedded twice."""
    assert ingested["new"] == RFCS
    assert ingested["quarantined"] == 0
    assert RFCS < ingested["embedded"] <= ingested["chunks"]


def test_every_rfc_is_found_by_a_member_of_its_team(
    corpus: Corpus, ingested: dict[str, Any], running: Running, key: str
) -> None:
    """Asked with its own name and first words, each RFC is among the first hits of a reader."""
    missed = []
    for path, team in corpus.team.items():
        person = f"user:{corpus.members[team][0]}"
        hits = running.search(key, person, _question(corpus.folder / path))
        if all(hit["document_id"] != f"rust_rfcs:{path}" for hit in hits):
            missed.append(path)
        assert all(_may_read(corpus, person, hit) for hit in hits)
    assert missed == []


def test_a_stranger_finds_nothing(ingested: dict[str, Any], running: Running, key: str) -> None:
    """Whoever is in no team gets no RFC, whatever is asked."""
    hits = running.search(key, "user:stranger", "ownership borrow checker lifetimes", k=100)
    assert not [hit for hit in hits if hit["source"] == "rust_rfcs"]


def test_a_second_run_embeds_0_and_changes_0(ingested: dict[str, Any], running: Running) -> None:
    """Nothing happened at the source, so nothing happens here."""
    run = running.run("rust_rfcs")
    counts = running.airflow.result("rust_rfcs", run.run_id, "publish")
    assert counts["unchanged"] == RFCS
    quiet = ("new", "changed", "acl_only", "metadata_only", "deleted", "quarantined", "embedded")
    assert {name: counts[name] for name in quiet} == dict.fromkeys(quiet, 0)


def _question(path: Path) -> str:
    """The RFC's name and the first words of its summary."""
    text = path.read_text()
    summary = re.search(r"^#+ Summary[^\n]*\n+(.{1,300})", text, re.MULTILINE | re.DOTALL)
    return f"{path.stem[5:].replace('-', ' ')} {summary.group(1) if summary else text[:300]}"


def _may_read(corpus: Corpus, person: str, hit: dict[str, Any]) -> bool:
    """Whether the reason that was given is the one that the mapping implies."""
    if hit["source"] != "rust_rfcs":
        return True
    path = hit["document_id"].partition(":")[2]
    reason = hit["reason"]
    return bool(
        reason["principal"] == f"group:rust:{corpus.team[path]}"
        and reason["via"][0] == person
        and reason["via"][-1] == reason["principal"]
    )
