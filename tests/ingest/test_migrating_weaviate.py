"""Out of one machine and back: the embedded index, a real Weaviate, another layout of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import weaviate_server
from moving import ask, holds_what_is_live, migrate, migration, publish, write
from sluice.api.services import Services
from sluice.errors import IndexUnavailable
from sluice.ingest import Pipeline, Progress
from sluice.ingest.switching import alone, drop, rollback
from sluice.settings import Settings

SAME = "local-static"


def reaching(settings: Settings, server: weaviate_server.Server) -> Settings:
    """Settings that also say where Weaviate is."""
    where = {"weaviate_url": server.url, "weaviate_grpc": server.grpc}
    return settings.model_copy(update=where)


@pytest.fixture
def told(
    pages: Pipeline, settings: Settings, weaviate: weaviate_server.Server
) -> Iterator[Pipeline]:
    """A pipeline of the same tenant that knows where Weaviate is."""
    opened = Pipeline(reaching(settings, weaviate), batch=8)
    yield opened
    for each in opened.collections.standing()[1:]:
        drop(opened.catalog, opened.collections, each.collection.collection_id)
    opened.close()


def aliased(server: weaviate_server.Server) -> set[str]:
    """The collections that an alias points to."""
    found = httpx.get(f"{server.url}/v1/aliases", trust_env=False).json()
    return {each["class"] for each in found["aliases"]}


def test_there_and_on_and_back(
    told: Pipeline, tree: Path, weaviate: weaviate_server.Server
) -> None:
    """Embedded → Weaviate → Weaviate laid out otherwise → embedded; each holds what is live."""
    services = Services(told.settings)
    questions = [f"stationp{n} word" for n in range(5)]
    before = [{hit.document_id for hit in ask(services, each)} for each in questions]
    compared = migrate(told, to="weaviate", embedder=SAME)
    assert compared is not None and compared.overlap is not None and compared.overlap > 0.95
    assert services.serving.collection.backend == "weaviate"
    first = services.serving.collection.name
    assert first in aliased(weaviate)
    assert [{hit.document_id for hit in ask(services, each)} for each in questions] == before
    write(tree, "p1", 2)
    (tree / "p2.md").unlink()
    publish(told, tree, "r2")
    assert "edition0002" in ask(services, "stationp1")[0].text
    flat = Pipeline(
        told.settings.model_copy(update={"weaviate_quantization": "none", "weaviate_shards": 2})
    )
    compared = migrate(flat, to="weaviate", embedder=SAME, anew=True)
    assert compared is not None and all(each.recall > 0.99 for each in compared.recalls)
    assert first not in aliased(weaviate) and services.serving.collection.name in aliased(weaviate)
    assert [each.collection.backend for each in told.collections.standing()] == [
        "weaviate",
        "weaviate",
        "lance",
    ]
    migrate(told, embedder=SAME)
    assert services.serving.collection.backend == "lance"
    assert "edition0002" in ask(services, "stationp1")[0].text
    assert not any(hit.document_id == "pages:p2.md" for hit in ask(services, "stationp2"))
    for each in told.collections.standing():
        assert holds_what_is_live(told, each)
    flat.close()
    services.close()


def test_a_rollback_to_the_embedded_index_gives_the_very_answers_of_before(
    told: Pipeline,
) -> None:
    """And the way to Weaviate again those that it gave."""
    services = Services(told.settings)
    questions = [f"wordp{page}x{part}x{n}" for page in range(5) for part in (0, 1) for n in (1, 5)]
    old = [ask(services, each) for each in questions]
    migrate(told, to="weaviate", embedder=SAME)
    new = [ask(services, each) for each in questions]
    for answers in (old, new):
        with alone(told.catalog):
            rollback(told.catalog, told.collections)
        assert [ask(services, each) for each in questions] == answers
    services.close()


def test_a_weaviate_that_dies_is_no_end(pages: Pipeline, settings: Settings, tree: Path) -> None:
    """While it is filled: the same command goes on. While it is kept: it catches up."""
    with weaviate_server.start(tree.parent / "weaviate") as server:
        fast = reaching(settings, server).model_copy(update={"weaviate_timeout": 0.5})
        told = Pipeline(fast, batch=4)

        def die(boundary: str) -> None:
            if boundary == "index: written":
                server.kill()

        with pytest.raises(IndexUnavailable):
            migration(told, to="weaviate", progress=Progress(die)).build()
        write(tree, "p1", 2)
        assert publish(told, tree, "r2").changed == 1  # who serves is the other one
        server.start()
        patient = Pipeline(reaching(settings, server), batch=4)
        assert migrate(patient, to="weaviate") is not None
        assert patient.collections.serving().collection.backend == "weaviate"
        assert holds_what_is_live(patient, patient.collections.serving())
        with alone(patient.catalog):
            rollback(patient.catalog, patient.collections)
        server.kill()
        write(tree, "p1", 3)
        (tree / "p2.md").unlink()
        publish(told, tree, "r3")
        server.start()
        with alone(patient.catalog):
            assert rollback(patient.catalog, patient.collections).backend == "weaviate"
        services = Services(patient.settings)
        assert "edition0003" in ask(services, "stationp1")[0].text
        assert holds_what_is_live(patient, patient.collections.serving())
        services.close()
        patient.close()
        told.close()
