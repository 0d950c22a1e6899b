"""``sluice embed plan``: what the next run would cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from shell import Run, failed
from sluice import ingest
from sluice.ingest import Pipeline
from sluice.settings import Settings
from sluice.sources import Files
from world import World

DAG = """
from sluice.flows import ingest_dag
from sluice.model import Policy
from sluice.sources import Files

dag = ingest_dag(
    Files(name="wiki", url="{tree}", policy=Policy(batch_from=10)), runbook="# Wiki"
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
    pipeline, source = Pipeline(settings), Files(name="wiki", url=str(tree))
    ingest.extract(pipeline, source, "wiki:1")
    ingest.validate(pipeline, source, "wiki:1")
    pipeline.close()
    return folder


def test_a_plan_names_tokens_dollars_and_the_tier(run: Run, dags: Path, landing_url: str) -> None:
    """For the model that serves, or for another one; nothing is asked of anybody."""
    reach = {"SLUICE_LANDING_URL": landing_url}
    plan = ("embed", "plan", "wiki", "--dags", str(dags))
    free = run(*plan, **reach)
    assert free.returncode == 0, free.stderr
    assert "1 to build" in free.stdout and "standard ←" in free.stdout
    openai = (*plan, "--embedder", "openai/text-embedding-3-small")
    said = run(*openai, **reach).stdout
    assert "It will take the batch tier: 10 tokens or more." in said
    told = json.loads(run(*openai, "--json", **reach).stdout)
    assert told["tokens"] == 15
    assert told["dollars"] == {"standard": "3.0E-7", "batch": "1.5E-7"}


def test_what_is_no_source_is_refused(run: Run, dags: Path, tmp_path: Path) -> None:
    """With those there are; a file that cannot be read is named."""
    said = failed(run("embed", "plan", "desk", "--dags", str(dags)), 3)
    assert "no DAG file" in said and "wiki" in said
    (dags / "broken.py").write_text("1 / 0")
    assert "broken.py" in failed(run("embed", "plan", "wiki", "--dags", str(dags)), 2)
