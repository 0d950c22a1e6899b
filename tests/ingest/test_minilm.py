"""``local-minilm`` on the whole way: ingest, ask, and move to it from the other model."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from moving import ask, holds_what_is_live, migrate, publish
from sluice.api.services import Services
from sluice.ingest import Pipeline
from sluice.settings import Settings


@pytest.fixture
def leave(tree: Path) -> Path:
    """The tree, with a page more."""
    (tree / "leave.md").write_text("# Time off\n\nParents stay at home for a year, with pay.\n")
    return tree


def models(pipeline: Pipeline) -> dict[str, tuple[int, int]]:
    """How many vectors of each model the catalog keeps, and the bytes of the longest."""
    with pipeline.catalog.begin() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT model, count(*), max(length(vector)) FROM sluice.embedding GROUP BY model"
            )
        )
        return {model: (count, longest) for model, count, longest in rows}


def test_a_question_finds_what_it_means_and_shares_no_word_with(
    settings: Settings, leave: Path
) -> None:
    """By vectors alone, of an index that was made with it."""
    pipeline = Pipeline(settings.model_copy(update={"embedder": "local-minilm"}))
    assert publish(pipeline, leave, "r1").embedded == 2
    services = Services(pipeline.settings.model_copy(update={"dense_weight": 1.0}))
    hits = ask(services, "maternity holidays for a mother")
    assert [hit.document_id for hit in hits] == ["pages:leave.md", "pages:welcome.md"]
    services.close()
    pipeline.close()


def test_a_move_to_it_keeps_vectors_apart_and_changes_the_weight(
    pipeline: Pipeline, leave: Path
) -> None:
    """Each model has its own vectors, and each collection the weight that suits its model."""
    publish(pipeline, leave, "r1")
    services = Services(pipeline.settings)
    assert services.serving.dense_weight(None) == 0.2
    migrate(pipeline, embedder="local-minilm")
    assert services.serving.dense_weight(None) == 0.5
    assert services.serving.dense_weight(0.2) == 0.2
    assert services.serving.embedder.dimensions == 384
    assert models(pipeline).keys() == {"wordllama-l2-supercat-256", "all-MiniLM-L6-v2-int8"}
    assert {count for count, _ in models(pipeline).values()} == {2}
    assert len({longest for _, longest in models(pipeline).values()}) == 2
    assert all(holds_what_is_live(pipeline, each) for each in pipeline.collections.standing())
    assert ask(services, "kettle")[0].document_id == "pages:welcome.md"
    services.close()
