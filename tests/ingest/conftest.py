"""A pipeline of its own for every test, and a tree of Markdown to feed it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import moving
import pytest
from sluice.ingest import Pipeline
from sluice.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, catalog_url: str, landing_url: str) -> Settings:
    """Settings of a tenant of its own, whose index lives in the test's own folder."""
    return Settings(
        home=tmp_path / "home",
        tenant=f"t-{uuid.uuid4().hex[:12]}",
        catalog_url=catalog_url,
        landing_url=landing_url,
    )


@pytest.fixture
def pipeline(settings: Settings) -> Iterator[Pipeline]:
    """A real pipeline: PostgreSQL, LanceDB, the local model."""
    opened = Pipeline(settings, batch=8)
    yield opened
    opened.close()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder that everybody may read, with a first page in it."""
    root = tmp_path / "tree"
    root.mkdir()
    (root / ".access.yaml").write_text("allow: [public]\n")
    (root / "welcome.md").write_text("# Welcome\n\nThe kettle is on the second floor.\n")
    return root


@pytest.fixture
def pages(pipeline: Pipeline, tree: Path) -> Pipeline:
    """A pipeline whose first collection serves the welcome page and eleven more."""
    for number in range(11):
        moving.write(tree, f"p{number}")
    moving.publish(pipeline, tree, "r1")
    return pipeline
