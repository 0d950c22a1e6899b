"""A source that loses most of its documents at once, as Airflow and as an agent see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from livestack import Running

pytestmark = pytest.mark.timeout(600)

DAG = '''
"""Airflow reads this DAG file: {folder}."""

from sluice.flows import ingest_dag
from sluice.sources import Files

dag = ingest_dag(Files(name="notes", url={folder!r}), runbook=__doc__)
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pages that everybody may read."""
    made = tmp_path_factory.mktemp("notes")
    (made / ".access.yaml").write_text("allow: [public]\n")
    for word in ("heron", "wren", "tern", "gannet", "lapwing", "ptarmigan"):
        (made / f"{word}.md").write_text(f"# The {word}\n\nWhere the {word} nests, and when.\n")
    return made


def found(running: Running, word: str) -> bool:
    """Whether an agent finds the page about a bird."""
    named = ("--agent", "notes", "--for", "anyone", "--json")
    key = json.loads(running.place.sluice("keys", "create", *named).stdout)["key"]
    hits = running.search(key, "user:anyone@example.com", f"Where does the {word} nest?")
    return any(hit["document_id"] == f"notes:{word}.md" for hit in hits)


def test_a_held_load_fails_at_once_and_is_published_only_on_demand(
    folder: Path, running: Running
) -> None:
    """The run says how much is gone; the old pages answer until a person accepts the loss."""
    (running.place.dags / "notes.py").write_text(DAG.format(folder=str(folder)))
    running.wait(lambda: running.airflow.unpause("notes"))
    assert running.run("notes").state == "success"
    for word in ("wren", "tern", "gannet", "lapwing"):
        (folder / f"{word}.md").unlink()

    held = running.run("notes")
    assert held.state == "failed"
    assert held.tasks["validate"] == "failed"
    assert held.tasks["publish"] == "upstream_failed"
    log = running.airflow.log("notes", held.run_id, "validate")
    assert "notes: 4 of 6 documents are gone from the source" in log
    assert "/sluice/data-docs/notes/" in log
    assert found(running, "wren")

    accepted = running.run("notes", accept_loss=True)
    assert accepted.state == "success"
    counts = running.airflow.result("notes", accepted.run_id, "publish")
    assert (counts["deleted"], counts["unchanged"]) == (4, 2)
    assert not found(running, "wren")
    assert found(running, "heron")
