"""Landing: what a killed run leaves behind, what a listing proves, what is pending."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa
from landing_child import Scripted
from sluice import landing
from sluice.catalog import connect
from sluice.errors import CatalogUnavailable, SourceUnavailable
from sluice.landing import Zone
from sluice.model import Load

BEFORE = {f"k{number}": "one" for number in range(10)}
AFTER = {**BEFORE, "k0": "two", "k1": "two", "new": "one"}
del AFTER["k9"]


@pytest.fixture
def name() -> str:
    """A source name that no other test has."""
    return f"s{uuid.uuid4().hex[:12]}"


def state(url: str, source: Scripted, load: Load) -> dict[str, str]:
    """Text by key of everything that is listed."""
    listing = landing.listing(url, source.name, [load.load_id])
    assert listing is not None
    rows = landing.rows_by_key(url, source.name, list(listing.acl_keys))
    return {row.key: row.record["text"] for row in rows}


@pytest.mark.parametrize(
    "place",
    ["rows", "listing", "acls"]
    + [f"table {t}" for t in ("rows", "listing", "acls", "marks", "_dlt_loads")]
    + ["done"],
)
def test_killed_run_loses_and_doubles_nothing(
    name: str, zone: Zone, database: str, tmp_path: Path, place: str
) -> None:
    """Killed while reading, while each table is written, or right after: the next run mends it."""
    source = Scripted(name, BEFORE)
    first = landing.land(source, zone)
    kill_a_run_at(place, name, zone.url, database, tmp_path)
    source.content = AFTER
    load = landing.land(source, zone)
    assert state(zone, source, load) == AFTER
    pending = landing.pending(zone, name, [first.load_id])
    changed = [row.key for row in landing.rows(zone, name, pending)]
    assert sorted(changed) == ["k0", "k1", "new"], "each change is in exactly one pending load"
    assert landing.land(source, zone).rows == 0


def kill_a_run_at(place: str, name: str, url: str, database: str, scratch: Path) -> None:
    """Start a run over AFTER in a process of its own and kill -9 it at ``place``."""
    child = subprocess.Popen(
        [
            sys.executable,
            Path(__file__).with_name("landing_child.py"),
            url,
            name,
            json.dumps(AFTER),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},  # where a killed run leaves its files
    )
    assert child.stdin and child.stdout
    engine = connect(database)
    try:
        with engine.connect() as connection:
            for line in child.stdout:
                if line.strip() == "rows" and place.startswith("table "):
                    table = place.removeprefix("table ")
                    connection.execute(
                        sa.text(f'LOCK TABLE landing_{name}."{table}" IN EXCLUSIVE MODE')
                    )
                if line.strip() == place:
                    break
                child.stdin.write("\n")
                child.stdin.flush()
                if line.strip() == "acls" and place.startswith("table "):
                    wait_until_blocked(engine, name)
                    break
            else:
                raise AssertionError(f"the run never came to {place}")
            child.send_signal(signal.SIGKILL)
            child.wait(timeout=30)
    finally:
        child.kill()
        child.wait(timeout=30)
        engine.dispose()


def wait_until_blocked(engine: sa.Engine, name: str) -> None:
    """Return once somebody waits for a lock in the landing schema."""
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
        " WHERE NOT l.granted AND c.relnamespace = CAST(:schema AS regnamespace)"
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with engine.connect() as connection:
            if connection.execute(waiting, {"schema": f"landing_{name}"}).scalar_one():
                return
        time.sleep(0.05)
    raise AssertionError("nobody waits")


def test_source_that_fails_halfway_commits_nothing(name: str, zone: Zone) -> None:
    """An error while listing takes the rows with it, and the retry reads afresh."""

    def fail(place: str) -> None:
        if place == "listing":
            raise SourceUnavailable("the line went dead", subject=name)

    source = Scripted(name, BEFORE, fail)
    with pytest.raises(SourceUnavailable, match="the line went dead"):
        landing.land(source, zone)
    assert landing.pending(zone, name, []) == []
    source.content, source.reached = AFTER, lambda _: None
    load = landing.land(source, zone)
    assert (load.rows, state(zone, source, load)) == (len(AFTER), AFTER)


def test_pending_loads_come_oldest_first_without_the_published(name: str, zone: Zone) -> None:
    """What ingest published is not offered again; of an unknown source there is nothing."""
    assert landing.pending(zone, name, []) == []
    source = Scripted(name, BEFORE)
    loads = [landing.land(source, zone).load_id for _ in range(3)]
    assert landing.pending(zone, name, []) == loads
    assert landing.pending(zone, name, loads[:2]) == loads[2:]


def test_row_belongs_to_the_newest_load_that_changed_it(name: str, zone: Zone) -> None:
    """Loads that wait for publication hand over each row once, in its newest version."""
    source = Scripted(name, BEFORE)
    first = landing.land(source, zone)
    source.content = AFTER
    second = landing.land(source, zone)
    of_first = {row.key for row in landing.rows(zone, name, [first.load_id])}
    assert of_first == {f"k{number}" for number in range(2, 10)}
    both = list(landing.rows(zone, name, [first.load_id, second.load_id]))
    assert {row.key: row.record["text"] for row in both} == {**AFTER, "k9": "one"}
    assert len(both) == 11


def test_listing_is_believed_only_while_it_is_whole(name: str, zone: Zone, database: str) -> None:
    """A key that went missing from the table makes the listing no proof of anything."""
    source = Scripted(name, BEFORE)
    load = landing.land(source, zone)
    assert landing.listing(zone, name, [load.load_id]) == load.listing
    engine = connect(database)
    with engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM landing_{name}.listing WHERE row_key = 'k3'"))
    engine.dispose()
    assert landing.listing(zone, name, [load.load_id]) is None
    assert landing.listing(zone, name, ["no such load"]) is None


def test_listing_of_a_load_is_gone_once_another_listed(name: str, zone: Zone) -> None:
    """Only the newest listing can be had; an old one is never made up from it."""
    source = Scripted(name, BEFORE)
    old = landing.land(source, zone)
    landing.land(source, zone)
    assert landing.listing(zone, name, [old.load_id]) is None


def test_empty_source_is_a_complete_listing_of_nothing(name: str, zone: Zone) -> None:
    """First empty, then full, then empty again: each is proven."""
    source = Scripted(name, {})
    for content in ({}, BEFORE, {}):
        source.content = content
        load = landing.land(source, zone)
        assert load.listing is not None
        assert load.listing.acl_keys.keys() == content.keys()


def test_rows_that_left_are_thrown_away_by_the_next_run(name: str, zone: Zone) -> None:
    """What the source no longer lists is not kept for ever."""
    source = Scripted(name, BEFORE)
    landing.land(source, zone)
    source.content = AFTER
    landing.land(source, zone)
    landing.land(source, zone)
    assert not list(landing.rows_by_key(zone, name, ["k9"]))


def test_database_that_goes_away_in_between_is_told_too(
    name: str, zone: Zone, database: str
) -> None:
    """No connection is let in any more once all is read; the next run brings the rows."""
    engine = connect(database)

    def cut(place: str) -> None:
        if place == "acls":
            with engine.begin() as connection:
                connection.execute(sa.text("ALTER ROLE sluice_landing CONNECTION LIMIT 0"))

    source = Scripted(name, BEFORE)
    landing.land(source, zone)
    source.content, source.reached = AFTER, cut
    try:
        with pytest.raises(CatalogUnavailable, match="landing zone does not answer"):
            landing.land(source, zone)
    finally:
        with engine.begin() as connection:
            connection.execute(sa.text("ALTER ROLE sluice_landing CONNECTION LIMIT -1"))
        engine.dispose()
    source.reached = lambda _: None
    assert state(zone, source, landing.land(source, zone)) == AFTER


def test_database_that_does_not_answer_is_told_in_one_line(name: str) -> None:
    """No password, no traceback's worth of text."""
    url = "postgresql://sluice_landing:hunter2@127.0.0.1:9/sluice"
    with pytest.raises(CatalogUnavailable) as caught:
        landing.land(Scripted(name, BEFORE), Zone(url, "main"))
    assert "\n" not in str(caught.value) and "hunter2" not in str(caught.value)
