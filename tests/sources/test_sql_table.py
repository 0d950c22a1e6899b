"""A table as a source: PostgreSQL and SQLite, edits, deletions, permissions and odd values."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from landed import BROKEN, drafts_of, state
from sluice import landing
from sluice.catalog import connect
from sluice.errors import ConfigurationError, SchemaDrift, SourceError, SourceUnavailable
from sluice.landing import Zone
from sluice.model import PUBLIC, Effect, Grant, Principal, Window
from sluice.sources import SqlTable

EVE, ENG = Principal.parse("user:eve@x.com"), Principal.parse("group:c:eng")
TICKETS = """
CREATE TABLE {schema}.ticket (
    id bigint PRIMARY KEY, queue text, subject text, body text, answer text,
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now());
CREATE TABLE {schema}.access (queue text, principal text, effect text, until timestamptz);
INSERT INTO {schema}.access VALUES ('open', 'public', 'allow', NULL),
    ('eng', 'group:c:eng', 'allow', '2030-01-01Z'), ('eng', 'user:eve@x.com', 'deny', 'infinity');
"""
Run = Callable[..., Any]


@pytest.fixture
def run(database: str, name: str) -> Iterator[Run]:
    """Runs SQL in a schema of the test's own, as the owner of the source's database."""
    engine = connect(database)

    def execute(statement: str, **values: Any) -> Any:
        with engine.begin() as connection:
            done = connection.execute(sa.text(statement.format(schema=name)), values)
            return done.fetchall() if done.returns_rows else None

    execute("CREATE SCHEMA {schema}")
    execute(TICKETS)
    yield execute
    engine.dispose()


@pytest.fixture
def desk(database: str, name: str, run: Run) -> SqlTable:
    """The tickets, guarded by their queue."""
    return SqlTable(
        name=name,
        url=database,
        schema=name,
        table="ticket",
        key="id",
        title="subject",
        text=("body", "answer"),
        cursor="updated_at",
        created="created_at",
        acl_column="queue",
        acl_query=f"SELECT queue, principal, effect, until FROM {name}.access",
        uri_template="https://desk.example/{queue}/{id}",
    )


def add(
    run: Run, number: int, body: str = "hello", queue: str | None = "open", **more: Any
) -> None:
    """Insert a ticket."""
    values = {"id": number, "subject": f"T{number}", "body": body, "queue": queue, **more}
    names = ", ".join(values)
    run(
        f"INSERT INTO {{schema}}.ticket ({names}) VALUES ({', '.join(':' + v for v in values)})",
        **values,
    )


def test_rows_become_pleasant_documents(run: Run, desk: SqlTable, zone: Zone) -> None:
    """The first text column stands bare, the next under its name; the address is filled in."""
    add(run, 7, "It broke.", queue="a/b", answer="We mended it.")
    landing.land(desk, zone)
    draft = drafts_of(zone, desk, ["7"])["7"]
    assert draft.text == "It broke.\n\n## Answer\n\nWe mended it."
    assert (draft.title, draft.uri) == ("T7", "https://desk.example/a%2Fb/7")
    assert draft.created_at is not None and draft.created_at == draft.updated_at
    assert draft.problems == ()


def test_acl_query_gives_each_object_its_grants(run: Run, desk: SqlTable, zone: Zone) -> None:
    """Allow, deny and expiry come from the query; without a row nothing is known."""
    for number, queue in enumerate(["open", "eng", "nobody", None]):
        add(run, number, queue=queue)
    seen = state(zone, desk, landing.land(desk, zone))
    assert seen["0"].acl == {Grant(PUBLIC)}
    assert seen["1"].acl == {
        Grant(ENG, Effect.ALLOW, datetime(2030, 1, 1, tzinfo=UTC)),
        Grant(EVE, Effect.DENY),
    }
    assert seen["2"].acl == BROKEN
    assert seen["3"].acl is None


def test_acl_row_that_means_nothing_closes_its_object(run: Run, desk: SqlTable, zone: Zone) -> None:
    """A bad principal or effect is an error for that object; the others stay open."""
    run(
        "INSERT INTO {schema}.access"
        " VALUES ('bad', 'public', 'allow'), ('bad', 'everyone', 'allow')"
    )
    run("INSERT INTO {schema}.access VALUES ('odd', 'public', 'maybe')")
    for number, queue in enumerate(["open", "bad", "odd"]):
        add(run, number, queue=queue)
    seen = state(zone, desk, landing.land(desk, zone))
    assert (seen["0"].acl, seen["1"].acl, seen["2"].acl) == ({Grant(PUBLIC)}, BROKEN, BROKEN)


def test_only_what_changed_lands_again(run: Run, desk: SqlTable, zone: Zone) -> None:
    """A quiet run lands nothing, an edit one row; an ACL change none at all."""
    for number in range(5):
        add(run, number)
    assert landing.land(desk, zone).rows == 5
    assert landing.land(desk, zone).rows == 0
    run("UPDATE {schema}.ticket SET body = 'edited', updated_at = now() WHERE id = 3")
    edited = landing.land(desk, zone)
    assert [row.key for row in landing.rows(zone, desk.name, [edited.load_id])] == ["3"]
    run("UPDATE {schema}.access SET principal = 'user:eve@x.com' WHERE queue = 'open'")
    moved = landing.land(desk, zone)
    assert moved.rows == 0
    assert state(zone, desk, moved)["3"].acl == {Grant(EVE)}


def test_edit_in_the_same_instant_is_found(run: Run, desk: SqlTable, zone: Zone) -> None:
    """Two versions with one timestamp: the second is not taken for the first."""
    moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
    add(run, 1, updated_at=moment)
    landing.land(desk, zone)
    run("UPDATE {schema}.ticket SET body = 'second thoughts' WHERE id = 1")
    add(run, 2, updated_at=moment)
    seen = state(zone, desk, landing.land(desk, zone))
    assert (seen["1"].text, seen["2"].text) == ("second thoughts", "hello")


def test_edit_that_was_committed_late_is_found(run: Run, desk: SqlTable, zone: Zone) -> None:
    """A row whose time lies up to ``lag`` before the newest one seen is read again."""
    now = datetime.now(UTC)
    add(run, 1, updated_at=now - timedelta(minutes=4))
    add(run, 2, updated_at=now - timedelta(minutes=1))
    landing.land(desk, zone)
    run(
        "UPDATE {schema}.ticket SET body = 'late', updated_at = :t WHERE id = 1",
        t=now - timedelta(minutes=3),
    )
    assert state(zone, desk, landing.land(desk, zone))["1"].text == "late"


def test_row_inserted_with_an_old_time_is_found(run: Run, desk: SqlTable, zone: Zone) -> None:
    """An import of old tickets is listed but unknown, whatever the cursor says."""
    add(run, 1)
    landing.land(desk, zone)
    add(run, 2, "from the archive", updated_at=datetime(2001, 1, 1, tzinfo=UTC))
    load = landing.land(desk, zone)
    assert load.rows == 1
    assert state(zone, desk, load)["2"].text == "from the archive"


def test_row_deleted_and_restored_unchanged_lands_again(
    run: Run, desk: SqlTable, zone: Zone
) -> None:
    """Restored from a backup with its old time: new again, since it was gone in between."""
    add(run, 1)
    add(
        run,
        2,
        updated_at=datetime(2001, 1, 1, tzinfo=UTC),
        created_at=datetime(2001, 1, 1, tzinfo=UTC),
    )
    landing.land(desk, zone)
    run("DELETE FROM {schema}.ticket WHERE id = 2")
    gone = landing.land(desk, zone)
    assert gone.listing is not None and set(gone.listing.acl_keys) == {"1"}
    add(
        run,
        2,
        updated_at=datetime(2001, 1, 1, tzinfo=UTC),
        created_at=datetime(2001, 1, 1, tzinfo=UTC),
    )
    assert landing.land(desk, zone).rows == 1


def test_row_dated_in_the_future_does_not_hide_later_edits(
    run: Run, desk: SqlTable, zone: Zone
) -> None:
    """One ticket dated 2099 must not move the cursor past everything else."""
    add(run, 1)
    add(run, 2, updated_at=datetime(2099, 1, 1, tzinfo=UTC))
    landing.land(desk, zone)
    run("UPDATE {schema}.ticket SET body = 'edited', updated_at = now() WHERE id = 1")
    assert state(zone, desk, landing.land(desk, zone))["1"].text == "edited"


def test_window_reads_a_stretch_of_time_and_leaves_the_cursor(
    run: Run, desk: SqlTable, zone: Zone
) -> None:
    """A backfill lands what changed inside it, and later runs go on as before."""
    for day in range(1, 6):
        add(run, day, updated_at=datetime(2026, 1, day, tzinfo=UTC))
    landing.land(desk, zone)
    run("UPDATE {schema}.ticket SET body = 'quiet edit' WHERE id IN (2, 3, 4)")
    window = Window(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))
    load = landing.land(desk, zone, window)
    assert load.listing is not None and len(load.listing.acl_keys) == 5
    assert [r.key for r in landing.rows(zone, desk.name, [load.load_id])] == ["2", "3"]
    assert landing.land(desk, zone, window).rows == 0
    assert landing.land(desk, zone).rows == 0
    add(run, 9, updated_at=datetime(2026, 2, 1, tzinfo=UTC))
    assert landing.land(desk, zone).rows == 1


def test_without_a_cursor_the_whole_table_is_compared(
    run: Run, desk: SqlTable, database: str, zone: Zone
) -> None:
    """Edits are found by hash, even those that leave no time behind."""
    query = "SELECT 'ticket', 'account:desk:1'::text WHERE '100%' LIKE '100%'"
    plain = SqlTable(
        name=desk.name, url=database, schema=desk.name, table="ticket", key="id",
        title="subject", text=("body",), acl_query=query,
    )  # fmt: skip
    add(run, 1)
    add(run, 2)
    assert landing.land(plain, zone).rows == 2
    run("UPDATE {schema}.ticket SET body = 'edited' WHERE id = 2")
    load = landing.land(plain, zone)
    assert load.rows == 1
    assert {each.acl for each in state(zone, plain, load).values()} == {
        frozenset({Grant(Principal.parse("account:desk:1"))})
    }


def test_odd_values_survive_as_json(run: Run, desk: SqlTable, zone: Zone) -> None:
    """Every type lands without breaking the run, times that Python cannot hold included."""
    run(
        """
        ALTER TABLE {schema}.ticket ADD d date, ADD n numeric, ADD b bytea, ADD j jsonb,
            ADD a text[], ADD u uuid, ADD f float8, ADD r int4range, ADD t time, ADD i interval;
        INSERT INTO {schema}.ticket
            (id, queue, subject, body, created_at, d, n, b, j, a, u, f, r, t, i)
        VALUES (1, 'open', E'a\tb "q" \\\\N', E'\\\\.\nline, "two"', 'infinity', '0044-03-15 BC',
            123456789.0123456789, '\\xff00', CAST('{{"k": [1, null]}}' AS jsonb), '{{x,NULL}}',
            'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'NaN', '[1,5)', '10:20', '3 days')
        """.replace(":", "\\:")
    )
    landing.land(desk, zone)
    [row] = landing.rows_by_key(zone, desk.name, ["1"])
    wanted = {
        "subject": 'a\tb "q" \\N', "body": '\\.\nline, "two"', "created_at": "infinity",
        "d": "0044-03-15 BC", "n": "123456789.0123456789", "b": "/wA=", "j": {"k": [1, None]},
        "a": ["x", None], "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "f": "nan", "t": "10:20:00",
        "answer": None,
    }  # fmt: skip
    assert {key: row.record[key] for key in wanted} == wanted
    assert desk.draft(row).problems == ("created_at is not a time: 'infinity'",)


def test_rows_without_a_usable_id_are_set_apart(
    run: Run, database: str, name: str, zone: Zone
) -> None:
    """NULL, shared, blank and unprintable keys land once each, listed, with a reason and no id."""
    run("CREATE TABLE {schema}.loose (k text, who text, body text)")
    for key in (None, None, "twice", "twice", "", "bad\u202e", "x" * 3000, "good"):
        run("INSERT INTO {schema}.loose VALUES (:k, 'public', 'text')", k=key)
    run("INSERT INTO {schema}.loose VALUES (NULL, 'public', 'another')")
    loose = SqlTable(
        name=name, url=database, schema=name, table="loose", key="k", title="body",
        text=("body",), acl_column="who",
    )  # fmt: skip
    load = landing.land(loose, zone)
    assert load.listing is not None
    drafts = drafts_of(zone, loose, list(load.listing.acl_keys))
    assert drafts.keys() == load.listing.acl_keys.keys()
    good = {key for key, each in drafts.items() if each.native_id and not each.problems}
    assert good == {"good"}
    assert drafts["twice"].problems == ("its id belongs to 2 rows",)
    assert load.listing.acl_keys["twice"] is None
    assert len(drafts) == 7, "two different rows without a key, and five others"
    assert landing.land(loose, zone).rows == 0
    run(
        "DELETE FROM {schema}.loose"
        " WHERE ctid = (SELECT min(ctid) FROM {schema}.loose WHERE k = 'twice')"
    )
    mended = landing.land(loose, zone)
    assert drafts_of(zone, loose, ["twice"])["twice"].problems == ()
    assert mended.listing is not None and mended.listing.acl_keys["twice"] is not None


def test_column_that_is_no_key_is_refused(
    run: Run, desk: SqlTable, database: str, zone: Zone
) -> None:
    """Thousands of shared values mean a wrong column in the DAG file, not thousands of bad rows."""
    run(
        "INSERT INTO {schema}.ticket (id, subject) SELECT n, 's' || n / 2"
        " FROM generate_series(1, 4000) n"
    )
    wrong = SqlTable(
        name=desk.name, url=database, schema=desk.name, table="ticket", key="subject",
        title="subject", text=("body",), acl_column="queue",
    )  # fmt: skip
    with pytest.raises(SourceError, match="subject is no key"):
        landing.land(wrong, zone)


@pytest.mark.parametrize(
    ("kind", "value"),
    [("text", "user:eve@x.com, group:c:eng"), ("text", '["group:c:eng", "user:EVE@x.com"]'),
     ("text[]", ["group:c:eng", "user:eve@x.com"]), ("jsonb", '["user:eve@x.com","group:c:eng"]')],
)  # fmt: skip
def test_column_of_principals_is_the_acl(
    run: Run, database: str, name: str, zone: Zone, kind: str, value: Any
) -> None:
    """Arrays, JSON and comma-separated text mean the same, and equal lists share one ACL."""
    run(f"CREATE TABLE {{schema}}.page (id int PRIMARY KEY, body text, who {kind})")
    run(f"INSERT INTO {{schema}}.page VALUES (1, 'x', CAST(:w AS {kind}))", w=value)
    run("INSERT INTO {schema}.page VALUES (2, 'y', NULL)")
    run("INSERT INTO {schema}.page SELECT 3, 'z', who FROM {schema}.page WHERE id = 1")
    page = SqlTable(
        name=name, url=database, schema=name, table="page", key="id", title="body",
        text=("body",), acl_column="who",
    )  # fmt: skip
    load = landing.land(page, zone)
    seen = state(zone, page, load)
    assert seen["1"].acl == {Grant(EVE), Grant(ENG)}
    assert seen["2"].acl is None
    assert load.listing is not None
    assert load.listing.acl_keys["1"] == load.listing.acl_keys["3"]
    assert len(load.listing.acls) == 1


@pytest.mark.parametrize("value", ["everyone", "public, nobody", "[1]", '["public"', '{"a": 1}'])
def test_cell_that_lists_no_principals_is_unreadable(
    run: Run, database: str, name: str, zone: Zone, value: str
) -> None:
    """A cell that cannot be understood closes its row; it never means everyone."""
    run("CREATE TABLE {schema}.page (id int PRIMARY KEY, body text, who text)")
    run("INSERT INTO {schema}.page VALUES (1, 'x', :w)", w=value)
    page = SqlTable(
        name=name, url=database, schema=name, table="page", key="id", title="body",
        text=("body",), acl_column="who",
    )  # fmt: skip
    assert state(zone, page, landing.land(page, zone))["1"].acl == BROKEN


@pytest.mark.parametrize("column", ["id", "updated_at", "queue"])
def test_missing_column_that_is_needed_stops_the_run(
    run: Run, desk: SqlTable, zone: Zone, column: str
) -> None:
    """Key, cursor and ACL column: without one of them nothing is landed, and it says which."""
    add(run, 1)
    run(f"ALTER TABLE {{schema}}.ticket DROP {column} CASCADE")
    with pytest.raises(SchemaDrift, match=f"column {column} is gone"):
        landing.land(desk, zone)


def test_missing_text_and_title_columns_do_not(run: Run, desk: SqlTable, zone: Zone) -> None:
    """A text column that is gone reads as empty, a title is taken from the text."""
    add(run, 1, "First line.\nSecond.", answer="gone soon")
    run("ALTER TABLE {schema}.ticket DROP answer, DROP subject")
    landing.land(desk, zone)
    draft = drafts_of(zone, desk, ["1"])["1"]
    assert (draft.title, draft.text) == ("First line.", "First line.\nSecond.")
    columns = desk.columns()
    assert columns is not None
    assert {c.name: c.required for c in columns} == {
        "id": True, "queue": True, "body": False, "created_at": False, "updated_at": True,
    }  # fmt: skip


def test_retyped_cursor_reads_the_table_from_the_start(
    run: Run, desk: SqlTable, zone: Zone
) -> None:
    """A cursor of another type cannot be compared with the old one, and need not be."""
    add(run, 1)
    landing.land(desk, zone)
    run("ALTER TABLE {schema}.ticket ALTER updated_at DROP DEFAULT")
    run(
        "ALTER TABLE {schema}.ticket ALTER updated_at"
        " TYPE bigint USING extract(epoch FROM updated_at)"
    )
    add(run, 2, updated_at=5)
    seen = state(zone, desk, landing.land(desk, zone))
    assert set(seen) == {"1", "2"}
    run(
        "ALTER TABLE {schema}.ticket ALTER updated_at TYPE timestamp USING to_timestamp(updated_at)"
    )
    run("UPDATE {schema}.ticket SET body = 'again' WHERE id = 2")
    assert state(zone, desk, landing.land(desk, zone))["2"].text == "again"


def test_database_that_does_not_answer_is_unavailable(name: str, zone: Zone) -> None:
    """One line, no password, nothing landed."""
    table = SqlTable(
        name=name, url="postgresql://u:hunter2@127.0.0.1:9/x", table="t", key="k", title="t",
        text=("t",), acl_column="a",
    )  # fmt: skip
    for read in (table.columns, lambda: landing.land(table, zone)):
        with pytest.raises(SourceUnavailable) as caught:
            read()
        assert "\n" not in str(caught.value) and "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(table)
    assert landing.pending(zone, name, []) == []


def test_url_may_live_in_the_environment(
    monkeypatch: pytest.MonkeyPatch, run: Run, desk: SqlTable, database: str, zone: Zone
) -> None:
    """An Airflow connection's variable works, in Airflow's own spelling of the scheme."""
    table = SqlTable(
        name=desk.name, url_env="AIRFLOW_CONN_DESK", schema=desk.name, table="ticket", key="id",
        title="subject", text=("body",), acl_column="queue", acl_query=desk.acl_query,
    )  # fmt: skip
    with pytest.raises(ConfigurationError, match="no AIRFLOW_CONN_DESK"):
        table.columns()
    monkeypatch.setenv("AIRFLOW_CONN_DESK", database.replace("postgresql://", "postgres://"))
    add(run, 1)
    assert landing.land(table, zone).rows == 1


@pytest.mark.parametrize(
    "wrong",
    [{"url_env": "X"}, {"url": None}, {"text": ()}, {"text": "body"}, {"acl_column": None}],
)
def test_incomplete_source_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    """The DAG file says at once what is missing."""
    right = {
        "name": "desk", "url": "sqlite://", "table": "t", "key": "k", "title": "t",
        "text": ("t",), "acl_column": "a",
    }  # fmt: skip
    SqlTable(**right)
    with pytest.raises(ConfigurationError):
        SqlTable(**(right | wrong))


def test_sqlite_rows_that_break_their_types_still_land(
    tmp_path: Path, name: str, zone: Zone
) -> None:
    """SQLite keeps what it is given: junk in a date column, NUL in text, text in a blob."""
    path = tmp_path / "desk.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE note (id INTEGER, body TEXT, at DATETIME, raw BLOB, who TEXT)")
        db.executemany(
            "INSERT INTO note VALUES (?, ?, ?, ?, 'public')",
            [
                (1, "fine", "2026-01-01 10:00:00", b"as text"),
                (2, "junk time", "yesterday", None),
                (3, "nul \0 inside", "2026-01-01 10:00:00", b"\xff"),
            ],
        )
    note = SqlTable(
        name=name, url=f"sqlite:///{path}", table="note", key="id", title="body",
        text=("body", "raw"), cursor="at", acl_column="who",
    )  # fmt: skip
    load = landing.land(note, zone)
    drafts = drafts_of(zone, note, ["1", "2", "3"])
    assert load.rows == 3
    assert drafts["1"].text == "fine\n\n## Raw\n\nas text"
    assert drafts["1"].updated_at == datetime(2026, 1, 1, 10, tzinfo=UTC)
    assert drafts["3"].problems == ("body holds NUL characters",)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE note SET body = 'edited', at = datetime('now') WHERE id = 1")
        db.execute("DELETE FROM note WHERE id = 2")
    assert set(state(zone, note, landing.land(note, zone))) == {"1", "3"}
    assert drafts_of(zone, note, ["1"])["1"].text.startswith("edited")


ids = st.integers(0, 5)
texts = st.sampled_from(["one", "two", "three"])
changes = st.one_of(
    st.tuples(st.just("put"), ids, texts, st.sampled_from([0, 0, 60, 10**8])),  # seconds ago
    st.tuples(st.just("delete"), ids),
    st.tuples(st.just("queue"), ids, st.sampled_from(["open", "eng", "nobody", None])),
    st.tuples(st.just("access"), st.sampled_from(["public", "user:eve@x.com", "junk"])),
)


@pytest.mark.timeout(600)
@given(history=st.lists(st.lists(changes, min_size=1, max_size=6), min_size=2, max_size=4))
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_landed_is_what_the_table_says(
    run: Run, desk: SqlTable, database: str, zone: Zone, history: list[list[tuple]]
) -> None:
    """After each round of changes: the same rows, the same text, the same readers."""
    run("TRUNCATE {schema}.ticket")
    source = SqlTable(
        **{
            **{f: getattr(desk, f) for f in desk.__slots__ if f != "kind"},
            "name": f"s{uuid.uuid4().hex[:12]}",
        }
    )
    for changes_of_round in history:
        for change in changes_of_round:
            _do(run, change)
        seen = state(zone, source, landing.land(source, zone))
        who = run("SELECT principal FROM {schema}.access WHERE queue = 'open'")[0][0]
        open_to = BROKEN if who == "junk" else frozenset({Grant(Principal.parse(who))})
        acls = {"open": open_to, "nobody": BROKEN, None: None}
        rows = run("SELECT id, body, queue FROM {schema}.ticket")
        assert {k: v.text for k, v in seen.items()} == {str(n): body for n, body, _ in rows}
        for number, _, queue in rows:
            if queue != "eng":
                assert seen[str(number)].acl == acls[queue]


def _do(run: Run, change: tuple) -> None:
    match change:
        case "put", number, text, ago:
            run("DELETE FROM {schema}.ticket WHERE id = :id AND body <> :b", id=number, b=text)
            run(
                "INSERT INTO {schema}.ticket (id, subject, body, queue, updated_at)"
                " VALUES (:id, 't', :b, 'open', now() - make_interval(secs => :ago))"
                " ON CONFLICT DO NOTHING",
                id=number, b=text, ago=ago,
            )  # fmt: skip
        case "delete", number:
            run("DELETE FROM {schema}.ticket WHERE id = :id", id=number)
        case "queue", number, queue:
            run("UPDATE {schema}.ticket SET queue = :q WHERE id = :id", q=queue, id=number)
        case "access", who:
            run("UPDATE {schema}.access SET principal = :w WHERE queue = 'open'", w=who)
