"""A table that is followed: what is committed is noted, and lands as it is by then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from following import Followed, followed, wait_until, watching
from sluice import landing
from sluice.catalog import Catalog, changes
from sluice.catalog.changes import Noted
from sluice.errors import ConfigurationError
from sluice.landing import Zone
from sluice.model import Window
from sluice.sources import Replication, SqlTable
from sluice.sources.replication import ensure, health
from sluice.stack import postgres

LONG = "x" * 10_000  # PostgreSQL keeps it apart, and does not send it when it did not change


@pytest.fixture
def table(server: postgres.Server, catalog: Catalog, zone: Zone) -> Iterator[Followed]:
    """A table with two rows, that has landed whole."""
    with followed(server.url, catalog, zone) as made:
        made.execute("INSERT INTO note VALUES (1, 'one', %s, 'hall'), (2, 'two', '', 'hall')", LONG)
        yield made


def test_inserts_updates_and_deletes_land_and_nothing_else_is_read(table: Followed) -> None:
    """After the first, whole reading only the rows that changed are read."""
    with watching(table):
        table.settle()
        assert table.landed() == table.table()
        table.execute("INSERT INTO note VALUES (3, 'three', 'new', 'hall')")
        table.execute("UPDATE note SET title = 'two, mended' WHERE id = 2")
        table.execute("DELETE FROM note WHERE id = 1")
        wait_until(lambda: table.noted() == 3)
        table.land()
        assert table.landed() == table.table()
        assert table.landed().keys() == {"2", "3"}


def test_a_long_text_that_did_not_change_is_not_lost(table: Followed) -> None:
    """The stream leaves such a column out; the row is read again, whole."""
    with watching(table):
        table.settle()
        table.execute("UPDATE note SET title = 'another title' WHERE id = 1")
        wait_until(table.noted)
        table.land()
        assert table.landed()["1"]["title"] == "another title"
        assert table.landed()["1"]["body"] == LONG


def test_a_row_whose_key_changes_is_gone_under_the_old_one(table: Followed) -> None:
    """A move is a delete and an insert."""
    with watching(table):
        table.settle()
        table.execute("UPDATE note SET id = 20 WHERE id = 2")
        wait_until(table.noted)
        table.land()
        assert table.landed().keys() == {"1", "20"}


def test_a_change_of_permissions_is_told_and_reads_no_row(table: Followed) -> None:
    """Whoever loses a room loses it with the next load, and its rows stay as they landed."""
    with watching(table):
        table.settle()
        table.execute("DELETE FROM access WHERE room = 'hall'")
        wait_until(table.noted)
        kit = table.kit()
        load = landing.land(table.source, table.zone, kit=kit)
        assert load.rows == 0
        assert load.listing is not None
        assert load.listing.acls["hall"].error == "acl_query says nothing about it"


def test_a_table_of_permissions_that_could_not_be_written_any_more_is_refused(
    table: Followed,
) -> None:
    """To publish a table without a replica identity would break those who write to it."""
    table.execute("ALTER TABLE access DROP CONSTRAINT access_pkey")
    with pytest.raises(ConfigurationError, match="access REPLICA IDENTITY FULL"):
        ensure(table.where)


def test_truncate_leaves_nothing(table: Followed) -> None:
    """It names no rows, so every id is compared."""
    with watching(table):
        table.settle()
        table.execute("TRUNCATE note")
        wait_until(table.noted)
        table.land()
        assert table.landed() == {}


def test_columns_may_come_and_go_in_mid_stream(table: Followed) -> None:
    """The rows are read as they are by then."""
    with watching(table):
        table.settle()
        table.execute("ALTER TABLE note ADD COLUMN mood text")
        table.execute("UPDATE note SET mood = 'glad' WHERE id = 1")
        table.execute("ALTER TABLE note DROP COLUMN body")
        table.execute("INSERT INTO note VALUES (4, 'four', 'hall', 'calm')")
        table.settle()
        assert table.landed() == {**table.table(), "2": table.landed()["2"]}
        assert table.landed()["1"]["mood"] == "glad"


def test_a_transaction_of_100000_rows_lands_whole(table: Followed) -> None:
    """However many rows change at once, each is noted."""
    with watching(table):
        table.settle()
        table.execute(
            "INSERT INTO note SELECT n, 'bulk', 'text', 'hall' FROM generate_series(1001, 101000) n"
        )
        table.settle()
        assert len(table.landed()) == 100_002


def test_a_slot_that_was_lost_loses_no_change(table: Followed) -> None:
    """It is made anew, and every id is compared."""
    with watching(table):
        table.settle()
    with psycopg.connect(table.url, autocommit=True) as connection:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [table.where.slot])
    table.execute("DELETE FROM note WHERE id = 2")
    assert health(table.where).trouble
    with watching(table):
        wait_until(table.noted)
        table.land()
        assert table.landed() == table.table()


def test_a_killed_connection_is_made_again(table: Followed) -> None:
    """Whoever ends the stream's connection only delays it."""
    with watching(table):
        table.settle()
        with psycopg.connect(table.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots"
                " WHERE slot_name = %s",
                [table.where.slot],
            )
        table.execute("DELETE FROM note WHERE id = 2")
        table.settle()
        assert table.landed().keys() == {"1"}


def test_an_idle_table_does_not_keep_the_log_of_a_busy_server(table: Followed) -> None:
    """What others write is confirmed as seen, so that the disk does not fill."""
    with watching(table):
        table.settle()
        table.execute(
            "CREATE TABLE other AS SELECT repeat('y', 1000) FROM generate_series(1, 9000)"
        )
        wait_until(lambda: health(table.where).behind < 100_000)


@pytest.mark.parametrize(
    ("wrong", "cure"),
    [({"key": "room"}, "Name a column that is"), ({"table": "nothing"}, "Correct the DAG file")],
)
def test_what_cannot_be_followed_is_refused_with_the_cure(
    table: Followed, wrong: dict[str, str], cure: str
) -> None:
    """A column that is no key, a table that is not there."""
    with pytest.raises(ConfigurationError, match=cure):
        ensure(replace(table.where, **wrong))


def test_a_url_in_the_dag_file_cannot_be_followed() -> None:
    """What follows a table is stored in Airflow's database for all to read."""
    with pytest.raises(ConfigurationError, match="url_env"):
        SqlTable(
            name="n",
            url="postgresql://u:p@h/d",
            table="t",
            key="id",
            title="t",
            text=("b",),
            acl_column="a",
            changes=Replication(),
        )


def test_reading_a_change_proves_the_age_of_every_permission(table: Followed) -> None:
    """The query that says who may read is read whole, so nothing is hidden for being too old."""
    with watching(table):
        table.settle()
        table.execute("UPDATE note SET title = 'again' WHERE id = 1")
        wait_until(table.noted)
        load = landing.land(table.source, table.zone, kit=table.kit())
    assert load.listing is not None
    assert load.listing.gone == frozenset()
    assert load.listing.current
    assert load.listing.acls.keys() == {"hall"}


def test_an_edit_that_moves_no_cursor_is_read_by_a_whole_reading(table: Followed) -> None:
    """Whatever the cursor column says: a stream that lost its place has every row read."""
    source = replace(table.source, cursor="stamp")
    table.execute("ALTER TABLE note ADD COLUMN stamp timestamptz DEFAULT '2020-01-01'")
    table.execute("INSERT INTO note VALUES (9, 'nine', '', 'hall', now())")
    landing.land(source, table.zone, kit=table.kit())
    table.execute("UPDATE note SET body = 'edited, and nobody touched stamp' WHERE id = 1")
    with table.catalog.begin() as connection:
        changes.note(connection, source.name, [Noted(key=None, op="all")])
    table.source = source
    table.land()
    assert table.landed()["1"]["body"] == "edited, and nobody touched stamp"


def test_a_backfill_leaves_what_was_noted_to_the_next_run(table: Followed) -> None:
    """It reads rows inside its window alone; an edit outside it still waits."""
    with watching(table):
        table.settle()
        table.execute("UPDATE note SET title = 'outside' WHERE id = 1")
        wait_until(table.noted)
        kit = table.kit()
        window = Window(datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC))
        kit.landed(landing.land(table.source, table.zone, window, kit=kit).load_id)
        assert table.noted() == 1


def test_a_follower_killed_right_after_it_made_its_slot_compares_every_id(table: Followed) -> None:
    """The slot is healthy when it comes back, and what came before it is still unknown."""
    ensure(table.where)
    with watching(table):
        wait_until(table.noted)
        table.land()
        assert table.landed() == table.table()


def test_a_table_taken_out_of_the_publication_is_published_and_compared(table: Followed) -> None:
    """Somebody tidied up; what changed meanwhile was told to nobody."""
    with watching(table):
        table.settle()
    table.execute(f"ALTER PUBLICATION {table.where.publication} DROP TABLE note")
    table.execute("DELETE FROM note WHERE id = 2")
    with watching(table):
        wait_until(table.noted)
        table.land()
        assert table.landed().keys() == {"1"}


def test_a_key_that_the_column_can_no_longer_hold_is_gone(table: Followed) -> None:
    """Its type changed since the row was noted; the others are read all the same."""
    table.land()
    with table.catalog.begin() as connection:
        noted = [Noted(key=each, op="upsert") for each in ("one", "9" * 30, "2")]
        changes.note(connection, table.source.name, noted)
    table.land()
    assert table.landed().keys() == {"1", "2"}
