"""``sluice embed``: what the next run would cost, and what is to be forgotten."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from shell import Run, failed
from sluice import ingest
from sluice.catalog import embeddings
from sluice.ingest import Pipeline
from sluice.model.text import digest
from sluice.settings import Settings
from sluice.sources import Files
from world import World

DAG = """
from sluice.flows import ingest_dag
from sluice.model import Policy
from sluice.sources import Files

dag = ingest_dag(
    Files(name="notes", url="{tree}", policy=Policy(batch_from=10)), runbook="# Wiki"
)
"""


@pytest.fixture
def dags(tmp_path: Path, world: World, catalog_url: str, landing_url: str) -> Path:
    """A folder with one DAG file, whose source has landed."""
    tree, folder = tmp_path / "tree", tmp_path / "dags"
    tree.mkdir()
    folder.mkdir()
    (tree / ".access.yaml").write_text("allow: [public]\n")
    (tree / "welcome.md").write_text("# Welcome\n\nThe kettle is on the second floor.\n")
    (folder / "wiki.py").write_text(DAG.format(tree=tree))
    settings = Settings(
        home=tmp_path,
        tenant=world.catalog.tenant,
        catalog_url=catalog_url,
        landing_url=landing_url,
    )
    pipeline, source = Pipeline(settings), Files(name="notes", url=str(tree))
    ingest.extract(pipeline, source, "notes:1")
    ingest.validate(pipeline, source, "notes:1")
    pipeline.close()
    return folder


def test_a_plan_names_tokens_dollars_and_the_tier(run: Run, dags: Path, landing_url: str) -> None:
    """For the model that serves, or for another one; nothing is asked of anybody."""
    reach = {"SLUICE_LANDING_URL": landing_url}
    plan = ("embed", "plan", "notes", "--dags", str(dags))
    free = run(*plan, **reach)
    assert free.returncode == 0, free.stderr
    assert "1 to build" in free.stdout and "standard ←" in free.stdout
    openai = (*plan, "--embedder", "openai/text-embedding-3-small")
    said = run(*openai, **reach).stdout
    assert "It will take the batch tier: 10 tokens or more." in said
    told = json.loads(run(*openai, "--json", **reach).stdout)
    assert told["tokens"] == 10
    assert told["dollars"] == {"standard": "0.0000002", "batch": "0.0000001"}


def test_what_is_no_source_is_refused(run: Run, dags: Path, tmp_path: Path) -> None:
    """With those there are; a file that cannot be read is named."""
    refused = run("embed", "plan", "desk", "--dags", str(dags))
    said = refused.stderr.splitlines()[-1]  # Airflow may have warned before
    assert refused.returncode == 3 and "no DAG file" in said and "notes" in said
    (dags / "broken.py").write_text("1 / 0")
    broken = run("embed", "plan", "notes", "--dags", str(dags))
    assert broken.returncode == 2 and "broken.py" in broken.stderr.splitlines()[-1]


def test_vectors_of_a_document_are_erased(run: Run, world: World) -> None:
    """By its id; one that there is not is said to be none."""
    generation = world.publish("plan", "docs").generation
    chunk = digest("The plan")
    with world.catalog.begin() as connection:
        embeddings.store(connection, "small", {chunk: np.ones(4, np.float32)})
        embeddings.link(connection, {generation: [chunk]})
    assert run("embed", "erase", "wiki:plan").stdout == "Erased: 1 vectors of wiki:plan.\n"
    assert json.loads(run("embed", "erase", "wiki:plan", "--json").stdout)["erased"] == 0
    assert "no such document" in failed(run("embed", "erase", "wiki:nothing"), 3)
