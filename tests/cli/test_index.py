"""``sluice index``: what it says, how it ends, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa
from shell import Run, failed
from sluice.api.services import Services
from sluice.catalog import collections as rows
from sluice.ingest.switching import alone
from world import World

ASK = ("search", "--as", "user:ada@x.org", "kettle", "--json")
MOVE = ("index", "migrate", "--embedder", "local-static-64", "--yes")


@pytest.fixture(autouse=True)
def whole(world: World, services: Services) -> None:
    """The page as an ingest would have indexed it."""
    from sluice.ingest.filling import fill
    from sluice.ingest.progress import Progress

    with world.catalog.begin() as connection:
        connection.execute(sa.text("DELETE FROM sluice.placement"))
    fill(world.catalog, services.serving, batch=8, progress=Progress())


def listed(run: Run) -> list[dict[str, Any]]:
    """What ``list`` says."""
    found: list[dict[str, Any]] = json.loads(run("index", "list", "--json").stdout)
    return found


def states(run: Run) -> list[str]:
    """The state of every collection, the oldest first."""
    return [each["state"] for each in listed(run)]


def test_a_migration_is_told_asked_for_compared_and_done(run: Run) -> None:
    """Forecast, question, comparison, outcome; and who asks notices nothing but the model."""
    before = json.loads(run(*ASK).stdout)["hits"]
    done = run("index", "migrate", "--embedder", "local-static-64", typed="y\n")
    assert done.returncode == 0, done.stderr
    for words in (
        "A new collection: lance with local-static-64",
        "documents  1",
        "cost       $0.00",
        " kB",
        "1 documents counted",
        "Recall of the first ten",
        "serves: lance with local-static-64",
        "sluice index rollback",
    ):
        assert words in done.stdout
    assert "Go ahead?" in done.stderr and "documents 1/1" in done.stderr
    assert json.loads(run(*ASK).stdout)["hits"] == before
    first, second = listed(run)
    assert (first["state"], second["state"]) == ("kept", "serving")
    assert (second["generations"], second["chunks"], second["missing"]) == (1, 1, 0)
    table = run("index", "list").stdout
    assert "local-static-64" in table and "kept" in table and second["name"] in table


def test_nothing_is_built_unasked(run: Run) -> None:
    """No and silence leave all as it was."""
    for typed in ("n\n", ""):
        done = run("index", "migrate", "--embedder", "local-static-64", typed=typed)
        assert done.returncode == 1
    assert states(run) == ["serving"]


def test_the_settings_say_what_to_move_to(run: Run) -> None:
    """Set SLUICE_EMBEDDER and migrate; once that is so, nothing is to be done."""
    moved = run("index", "migrate", "--yes", "--json", SLUICE_EMBEDDER="local-static-128")
    report = json.loads(moved.stdout)
    assert report["comparison"]["generations"] == 1
    assert report["forecast"]["embedder"] == "local-static-128"
    assert report["filled"]["written"]["chunks"] == 1
    same = run("index", "migrate", SLUICE_EMBEDDER="local-static-128")
    assert same.returncode == 0 and "nothing to do" in same.stdout
    assert json.loads(
        run("index", "migrate", "--json", "--embedder", "local-static-128").stdout
    ) == {"serving": report["serving"]}
    again = run("index", "migrate", "--anew", "--yes", SLUICE_EMBEDDER="local-static-128")
    assert again.returncode == 0 and "First tens as before: 100.0%" in again.stdout
    assert states(run) == ["kept", "kept", "serving"]


def test_back_and_back_again(run: Run) -> None:
    """The one before serves; then the other; each goes on receiving."""
    assert run(*MOVE).returncode == 0
    back = run("index", "rollback")
    assert back.returncode == 0 and "serves again: lance with local-static." in back.stdout
    assert states(run) == ["serving", "kept"]
    again = json.loads(run("index", "rollback", "--json").stdout)
    assert states(run) == ["kept", "serving"]
    assert again["serving"] == listed(run)[1]["collection_id"]


def test_what_cannot_be_is_refused_in_one_line(run: Run) -> None:
    """Bad input and configuration 2, what is not there 3, what does not answer 4."""
    (serving,) = listed(run)
    assert "one of local-static" in failed(run("index", "migrate", "--embedder", "x", "--yes"), 2)
    assert "no such backend" in failed(run("index", "migrate", "--to", "x", "--yes"), 2)
    assert "SLUICE_WEAVIATE_URL" in failed(run("index", "migrate", "--to", "weaviate"), 2)
    assert states(run) == ["serving"]
    assert "no collection is kept" in failed(run("index", "rollback"), 3)
    number = serving["collection_id"]
    assert "it serves" in failed(run("index", "drop", str(number), "--yes"), 2)
    assert "no such collection" in failed(run("index", "drop", "999999999", "--yes"), 3)
    nobody = {"SLUICE_TENANT": "t-nobody"}
    assert "Ingest a source first" in failed(run("index", "migrate", "--yes", **nobody), 4)
    assert "Ingest a source first" in failed(run("index", "check", **nobody), 4)
    assert "no collection" in run("index", "list", **nobody).stdout
    assert "no collection is kept" in failed(run("index", "rollback", **nobody), 3)


def test_only_one_at_a_time(world: World, run: Run) -> None:
    """Whoever comes second is told to wait."""
    with alone(world.catalog):
        assert "at work" in run(*MOVE).stderr
        assert "at work" in failed(run("index", "rollback"), 3)
        assert "at work" in failed(run("index", "drop", "1", "--yes"), 3)
    assert states(run) == ["serving"]


def test_dropping_asks_and_can_be_repeated(run: Run) -> None:
    """No leaves it; yes removes it; again is no error."""
    assert run(*MOVE).returncode == 0
    number = str(listed(run)[0]["collection_id"])
    refused = run("index", "drop", number, typed="n\n")
    assert refused.returncode == 1 and "no way back" in refused.stderr
    assert states(run) == ["kept", "serving"]
    assert run("index", "drop", number, typed="y\n").returncode == 0
    assert json.loads(run("index", "drop", number, "--json").stdout) == {"dropped": int(number)}
    assert states(run) == ["dropped", "serving"]


def test_check_counts_and_says_whose_dag_to_run(run: Run, services: Services) -> None:
    """All is well: 0. Something is lost: 1, and what mends it."""
    well = run("index", "check")
    assert well.returncode == 0 and "1 documents counted, 0 not whole" in well.stdout
    services.serving.index.delete(services.serving.index.generations())
    lost = run("index", "check", "--json")
    assert lost.returncode == 1
    assert json.loads(lost.stdout)["lost"] == {"wiki": 1}
    assert listed(run)[0]["missing"] == 1


def test_status_tells_of_moves_that_are_due_under_way_or_over(
    world: World, run: Run, services: Services
) -> None:
    """The settings differ from what serves; one is being built; one is kept for long."""
    assert json.loads(run("status", "--json").stdout)["notes"] == []
    due = run("status", SLUICE_EMBEDDER="local-static-64")
    assert due.returncode == 0 and "run `sluice index migrate`" in due.stdout
    made = services.collections.register(
        services.settings.model_copy(update={"embedder": "local-static-64"}), "building"
    )
    assert made is not None
    assert "is being built: 0 of 1 documents" in run("status").stdout
    assert run(*MOVE).returncode == 0
    assert "sluice index drop" not in run("status").stdout
    with world.catalog.begin() as connection:
        kept = rows.previous(connection)
        connection.execute(
            sa.text(
                "UPDATE sluice.collection SET served_at = now() - interval '8 days'"
                " WHERE state = 'kept'"
            )
        )
    assert kept is not None
    assert f"`sluice index drop {kept.collection_id}`" in run("status").stdout
