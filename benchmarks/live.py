"""From a commit in PostgreSQL to an answer of the endpoint, in a running Airflow.

A whole stack is started as a user starts it, with one more DAG file: a table in a server of its
own, followed by logical replication. Changes of every kind are committed one after the other, and
after each the endpoint is asked, as an agent asks it, until the answer shows it:

    insert, update   until the new text is found
    delete           until it is found no more
    revoke           until a row of the table that says who may read hides it from its reader

The limit beside it is physical: the same change seen by a plain reader of the same kind of slot.

    python benchmarks/live.py --changes 200 --rows 10000
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import livestack
import psycopg
from livestack import Running
from report import write
from sluice.sources.replication import Place, ensure, follow
from sluice.stack import postgres

DAG = '''
"""Airflow reads this DAG file."""

from sluice.flows import ingest_dag
from sluice.sources import Replication, SqlTable

dag = ingest_dag(
    SqlTable(
        name="notes",
        url_env="NOTES_URL",
        table="note",
        key="id",
        title="title",
        text=("body",),
        acl_column="room",
        acl_query="SELECT room, principal FROM access",
        changes=Replication(acl_tables=("access",)),
    ),
    runbook=__doc__,
)
'''
TABLES = """
CREATE TABLE note (id bigint PRIMARY KEY, title text, body text, room text NOT NULL);
CREATE TABLE access (room text, principal text, PRIMARY KEY (room, principal));
INSERT INTO access SELECT 'room ' || n, 'user:ada@example.com' FROM generate_series(0, 99) n;
INSERT INTO note SELECT n, 'Note ' || n, 'The ' || md5(n::text) || ' of number ' || n,
    'room ' || n %% 100 FROM generate_series(1, %s) n;
"""
ADA = "user:ada@example.com"
PATIENCE = 60.0  # seconds


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--pause", type=float, default=1.0, help="mean seconds between changes")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, table(Path(folder), asked.rows) as url:
        (Path(folder) / "stack").mkdir()
        limit = seen_by_a_plain_reader(url, 100)
        with (
            livestack.place(Path(folder) / "stack", NOTES_URL=url) as place,
            started(place) as running,
        ):
            waits = measure(running, url, asked.changes, asked.rows, asked.pause)
    report(waits, limit, asked)


@contextmanager
def table(folder: Path, rows: int) -> Iterator[str]:
    """The table, in a server of its own."""
    server = postgres.start(folder / "pg", "made-up", port=0)
    try:
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE notes")
        with psycopg.connect(server.url("notes")) as connection:
            connection.execute(TABLES % rows)
        yield server.url("notes")
    finally:
        postgres.remove(folder / "pg")


@contextmanager
def started(place: livestack.Place) -> Iterator[Running]:
    """The stack, up, with the DAG file in place and its first run over."""
    (place.dags / "notes.py").write_text(DAG)
    assert place.sluice("up", "--once").returncode == 0
    with livestack.running(place) as running:
        running.wait(lambda: running.airflow.unpause("notes"))
        running.run("notes")
        yield running


def measure(
    running: Running, url: str, changes: int, rows: int, pause: float
) -> dict[str, list[float]]:
    """Seconds that each change took, by its kind."""
    named = ("--agent", "live", "--for", "anyone", "--json")
    key = json.loads(running.place.sluice("keys", "create", *named).stdout)["key"]
    client = httpx.Client(
        base_url=running.place.url, headers={"Authorization": f"Bearer {key}"}, timeout=30
    )
    chosen, waits = random.Random(7), defaultdict[str, list[float]](list)
    ids = list(range(1, rows + 1))
    kinds = ["insert", "update", "delete", "revoke"]
    with psycopg.connect(url, autocommit=True) as connection:
        for number in range(changes + 3):  # the first ones warm up
            kind = kinds[number % len(kinds)] if number >= 3 else "update"
            word = f"zyx{number}q{chosen.randrange(10**9)}"
            committed, done = change(connection, client, kind, word, ids, chosen)
            waited = until(done) - committed
            if number >= 3:
                waits[kind].append(waited)
            time.sleep(chosen.expovariate(1 / pause))
    return dict(waits)


def change(
    connection: psycopg.Connection[Any],
    client: httpx.Client,
    kind: str,
    word: str,
    ids: list[int],
    chosen: random.Random,
) -> tuple[float, Callable[[], bool]]:
    """Commit one change; return when it was committed, and what tells that it shows."""

    def finds(document: int) -> bool:
        body = {"query": f"The {word}", "as": ADA, "k": 10}
        hits = client.post("/sluice/v1/search", json=body).json()["hits"]
        return any(hit["document_id"] == f"notes:{document}" for hit in hits)

    if kind == "insert":
        ids.append(max(ids) + 1)
        row = (ids[-1], f"Note {word}", f"About {word}", "room 1")
        connection.execute("INSERT INTO note VALUES (%s, %s, %s, %s)", row)
        return time.monotonic(), lambda: finds(row[0])
    document = chosen.choice(ids)
    if kind == "revoke":  # a room of its own, that is then closed
        connection.execute("INSERT INTO access VALUES (%s, %s)", (word, ADA))
    place = ("room", word) if kind == "revoke" else ("title", word)
    connection.execute(
        f"UPDATE note SET body = %s, {place[0]} = %s WHERE id = %s",
        (f"About {word}", place[1], document),
    )
    if kind == "update":
        return time.monotonic(), lambda: finds(document)
    until(lambda: finds(document))
    if kind == "delete":
        ids.remove(document)
        connection.execute("DELETE FROM note WHERE id = %s", (document,))
    else:
        connection.execute("DELETE FROM access WHERE room = %s", (word,))
    return time.monotonic(), lambda: not finds(document)


def until(true: Callable[[], bool]) -> float:
    """The moment at which something is so."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return time.monotonic()


def seen_by_a_plain_reader(url: str, changes: int) -> list[float]:
    """Seconds from a commit until a reader of a slot has it: what nothing can be faster than."""
    where = Place(
        source="limit",
        url=url,
        schema="public",
        table="note",
        key="id",
        slot="plain",
        publication="plain",
    )
    ensure(where)
    seen, stop = threading.Event(), threading.Event()
    reader = threading.Thread(target=follow, args=[where, lambda *_: seen.set(), stop])
    reader.start()
    waits = []
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(changes):
            seen.clear()
            connection.execute("UPDATE note SET title = title || '.' WHERE id = 1")
            committed = time.monotonic()
            seen.wait(PATIENCE)
            waits.append(time.monotonic() - committed)
        stop.set()
        reader.join()
        connection.execute("SELECT pg_drop_replication_slot('plain')")
        connection.execute("DROP PUBLICATION plain")
    return waits


def report(waits: dict[str, list[float]], limit: list[float], asked: argparse.Namespace) -> None:
    """Print and write what was found."""
    print(f"{'':10}{'n':>5}{'p50 s':>9}{'p95 s':>9}{'max s':>9}")
    every = [each for some in waits.values() for each in some]
    lines = {**waits, "all": every, "(slot)": limit}
    found = {}
    for name, seconds in lines.items():
        ranked = sorted(seconds)
        p95 = ranked[max(0, int(len(ranked) * 0.95) - 1)]
        found[name] = {"p50": statistics.median(ranked), "p95": p95, "max": ranked[-1]}
        shown = "".join(f"{each:9.3f}" for each in found[name].values())
        print(f"{name:10}{len(ranked):>5}{shown}")
    write("live", {**vars(asked), "seconds": found})


if __name__ == "__main__":
    main()
