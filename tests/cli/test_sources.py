"""A source that was renamed or is gone: how it is taken away, and what is left of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from shell import Run, failed
from sluice import ingest
from sluice.api.services import Services
from sluice.catalog import quarantine, runs
from sluice.ingest import Pipeline
from sluice.model import LandedRow
from sluice.settings import Settings
from sluice.sources import Files
from world import DIRECTORY, SOURCE, World, allow, deny

ASK = ("search", "--as", "user:ada@x.org", "kettle", "--json")


def found(run: Run) -> list[str]:
    """The documents that Ada finds."""
    return [hit["document_id"] for hit in json.loads(run(*ASK).stdout)["hits"]]


def rows(world: World, query: str) -> Sequence[Any]:
    """What the catalog says."""
    with world.catalog.begin() as connection:
        return connection.execute(sa.text(query)).scalars().all()


def test_a_removed_source_is_served_to_nobody(world: World, run: Run, services: Services) -> None:
    """Neither document, grant, chunk nor quarantined row is left; runs and generations are."""
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)  # a source's clock may be ahead of ours
    world.grant({"ada": [allow("user:ada@x.org")]}, at=in_an_hour)
    with world.catalog.begin() as connection:
        row = LandedRow(key="k", load_id="l1", record={})
        quarantine.put(connection, SOURCE, [row], {"k": ["empty text"]})
    (before,) = rows(world, "SELECT version FROM sluice.acl_version")
    assert found(run) == ["wiki:page"]
    assert SOURCE in run("sources", "list").stdout
    done = run("sources", "remove", SOURCE, "--yes", "--json")
    assert json.loads(done.stdout) == {"source": SOURCE, "documents": 1, "collected": 1}
    assert found(run) == []
    assert services.serving.index.generations() == frozenset()
    assert rows(world, "SELECT principal FROM sluice.acl_grant") == []
    assert rows(world, "SELECT row_key FROM sluice.quarantine WHERE resolved_at IS NULL") == []
    assert rows(world, "SELECT version FROM sluice.acl_version")[0] > before
    assert rows(world, "SELECT state FROM sluice.generation") == ["collected"]
    assert rows(world, "SELECT run_id FROM sluice.run") == ["run-1"]
    listed = json.loads(run("sources", "list", "--json").stdout)
    assert [each["source"] for each in listed] == [DIRECTORY]
    assert run("status").returncode == 0
    assert "no such source" in failed(run("sources", "remove", SOURCE, "--yes"), 3)


def test_nothing_is_removed_unasked(world: World, run: Run) -> None:
    """No, silence and a wrong name leave all as it was; yes does it."""
    for typed in ("n\n", ""):
        done = run("sources", "remove", SOURCE, typed=typed)
        assert done.returncode == 1 and not done.stdout.strip() and "1 documents" in done.stderr
    assert "no such source" in failed(run("sources", "remove", "wikki", "--yes"), 3)
    assert found(run) == ["wiki:page"]
    assert "brings it back" in run("sources", "remove", SOURCE, typed="y\n").stdout
    assert found(run) == []


def test_a_source_that_is_being_ingested_is_not_removed(world: World, run: Run) -> None:
    """The run would publish into what is being taken away."""
    with world.catalog.begin() as at_work:
        assert runs.lock_source(at_work, SOURCE)
        assert "at work" in failed(run("sources", "remove", SOURCE, "--yes"), 3)
    assert found(run) == ["wiki:page"]


def test_a_removed_directory_says_nothing_any_more(world: World, run: Run) -> None:
    """Groups have no members, so what they allowed and what they denied both end."""
    world.people({"group:hr:staff": ["account:hr:7"]}, {"account:hr:7": "user:ada@x.org"})
    world.grant({"ada": [allow("public"), deny("group:hr:staff")]})
    assert found(run) == []
    asked = run("sources", "remove", DIRECTORY, typed="n\n")
    assert "denied no more" in " ".join(asked.stderr.split())
    world.age(DIRECTORY, timedelta(hours=1), timedelta(hours=2))  # too old: everything is refused
    failed(run(*ASK), 3)
    assert run("sources", "remove", DIRECTORY, "--yes").returncode == 0
    assert found(run) == ["wiki:page"]
    assert rows(world, "SELECT member FROM sluice.membership") == []
    assert rows(world, "SELECT account FROM sluice.identity") == []


def test_what_an_index_out_of_reach_still_holds_is_removed_later(
    run: Run, services: Services, tmp_path: Path
) -> None:
    """Nobody reads it from the first moment; the same command again removes the chunks."""
    (tmp_path / "index").rename(tmp_path / "away")
    assert "Run the same command again" in failed(run("sources", "remove", SOURCE, "--yes"), 4)
    shutil.rmtree(tmp_path / "index")  # the lock of a writer that came too early
    (tmp_path / "away").rename(tmp_path / "index")
    assert found(run) == [] and services.serving.index.generations() != frozenset()
    done = run("sources", "remove", SOURCE, "--json")
    assert json.loads(done.stdout) == {"source": SOURCE, "documents": 0, "collected": 1}
    assert services.serving.index.generations() == frozenset()


def test_a_removed_source_comes_back_with_its_next_run(
    world: World, run: Run, tmp_path: Path, catalog_url: str, landing_url: str
) -> None:
    """Whole, although nothing changed at the source since."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / ".access.yaml").write_text("allow: [public]\n")
    (tree / "page.md").write_text("# Kettles\n\nThe kettle is on the second floor.\n")
    source = Files(name="pages", url=str(tree))
    settings = Settings(
        home=tmp_path, tenant=world.catalog.tenant, catalog_url=catalog_url, landing_url=landing_url
    )
    pipeline = Pipeline(settings)
    ingest.run(pipeline, source, "r1")
    assert "pages:page.md" in found(run)
    assert run("sources", "remove", "pages", "--yes").returncode == 0
    assert found(run) == ["wiki:page"]
    assert ingest.run(pipeline, source, "r2").new == 1
    assert "pages:page.md" in found(run)
    pipeline.close()
