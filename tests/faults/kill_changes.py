"""Kills whoever follows a table, and whoever makes it live, and the table's own server.

A program of its own, since it forks: ``test_kill_changes.py`` runs it and judges its report.

    python kill_changes.py '{"home": …, "catalog_url": …, "landing_url": …, "tenant": …,
                             "changes": "2000"}'
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import dlt  # noqa: F401  # preloaded for the children
import great_expectations  # noqa: F401  # preloaded for the children
import pandas  # noqa: F401  # preloaded for the children
import psycopg
import sqlalchemy as sa
from kill_ingest import begin
from sluice.catalog import Catalog, changes
from sluice.embedding import open_embedder
from sluice.errors import SluiceError
from sluice.ingest import Pipeline
from sluice.ingest.live import keep_live
from sluice.ingest.watching import watch
from sluice.model import Policy
from sluice.settings import Settings
from sluice.sources import Replication, SqlTable
from sluice.sources.replication import names, place
from sluice.stack import postgres

SOURCE = SqlTable(
    name="notes",
    url_env="KILLED_NOTES_URL",
    table="note",
    key="id",
    title="title",
    text=("body",),
    acl_column="room",
    acl_query="SELECT 'hall', 'public' UNION ALL SELECT 'attic', 'user:ada@example.com'",
    policy=Policy(max_loss=1.0),
    changes=Replication(),
)
TABLE = "CREATE TABLE note (id bigint PRIMARY KEY, title text, body text, room text NOT NULL)"
PATIENCE = 120.0  # seconds
EVERY = 400  # changes between two kills


class Story:
    """The table, whoever is at work on it, and the random hand that spoils it."""

    def __init__(self, settings: Settings, folder: Path, seed: int):
        self.settings = settings
        self.folder = folder
        self.chosen = random.Random(seed)
        self.ids: set[int] = set()
        self.next = 1
        self.killed: dict[str, int] = {"follower": 0, "task": 0, "server": 0}
        server = postgres.start(folder, "made-up", port=0)
        self.port = server.port
        os.environ["KILLED_NOTES_URL"] = self.url = server.url("postgres")
        with psycopg.connect(self.url) as connection:
            connection.execute(TABLE)
        self.children = {"follower": self.start("follower"), "task": self.start("task")}

    def start(self, name: str) -> int:
        return begin(lambda: {"follower": self.follow, "task": self.work}[name]())

    def follow(self) -> None:
        """What the trigger does."""
        catalog = Catalog(self.settings.require("catalog_url"), self.settings.tenant)
        watch(catalog, place(SOURCE.address, names(SOURCE)), lambda: None, threading.Event())

    def work(self) -> None:
        """What tasks do, one after the other."""
        while True:
            pipeline = Pipeline(self.settings)
            try:
                keep_live(pipeline, SOURCE, f"notes:{time.time_ns()}", idle=1.0, longest=20.0)
            except SluiceError:
                time.sleep(0.2)
            finally:
                pipeline.close()

    def change(self) -> None:
        """One transaction of a few random changes; the server may be killed at any moment."""
        ids, following = set(self.ids), self.next
        try:
            with psycopg.connect(self.url, connect_timeout=5) as connection:
                for _ in range(self.chosen.randint(1, 8)):
                    following = self._one(connection, ids, following)
        except psycopg.OperationalError:
            self.wait_for_server()  # whether it was committed is the table's to say
            with psycopg.connect(self.url) as connection:
                ids = {row[0] for row in connection.execute("SELECT id FROM note")}
        self.ids, self.next = ids, following

    def _one(self, connection: psycopg.Connection[Any], ids: set[int], following: int) -> int:
        kind = self.chosen.choice(("insert", "insert", "update", "delete", "move", "room"))
        some = self.chosen.choice(sorted(ids)) if ids else None
        if kind == "insert" or some is None:
            values = (following, f"Note {following}", f"body {following}", "hall")
            connection.execute("INSERT INTO note VALUES (%s, %s, %s, %s)", values)
            ids.add(following)
            return following + 1
        if kind == "update":
            body = f"edition {self.chosen.random()}"
            connection.execute("UPDATE note SET body = %s WHERE id = %s", (body, some))
        elif kind == "room":
            room = self.chosen.choice(("hall", "attic"))
            connection.execute("UPDATE note SET room = %s WHERE id = %s", (room, some))
        elif kind == "delete":
            connection.execute("DELETE FROM note WHERE id = %s", (some,))
            ids.discard(some)
        else:
            connection.execute("UPDATE note SET id = %s WHERE id = %s", (following, some))
            ids.discard(some)
            ids.add(following)
            return following + 1
        return following

    def kill(self) -> None:
        """Kill one of the three, as -9, and start it again."""
        name = self.chosen.choice(("follower", "task", "server"))
        self.killed[name] += 1
        if name == "server":
            pid = postgres._pid(postgres._account(self.folder)[1])
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            self.wait_for_server()
            return
        os.kill(self.children[name], signal.SIGKILL)
        os.waitpid(self.children[name], 0)
        self.children[name] = self.start(name)

    def wait_for_server(self) -> None:
        while True:
            try:
                postgres.start(self.folder, "made-up", port=self.port)
                psycopg.connect(self.url, connect_timeout=5).close()
                return
            except Exception:  # noqa: BLE001  # it is still going, or still coming
                time.sleep(0.2)

    def wrong(self) -> list[str]:
        """How what is live differs from the table, once everything has settled."""
        catalog = Catalog(self.settings.require("catalog_url"), self.settings.tenant)
        deadline = time.monotonic() + PATIENCE
        while True:
            with catalog.begin() as connection:
                waiting = changes.any_waiting(connection, SOURCE.name)
                live = {
                    row.native_id: (row.text, row.key)
                    for row in connection.execute(sa.text(LIVE), {"source": SOURCE.name})
                }
            with psycopg.connect(self.url) as source:
                table = {
                    str(row[0]): (row[1], row[2])
                    for row in source.execute("SELECT id, body, room FROM note")
                }
            differs = {k for k in live.keys() | table.keys() if live.get(k) != table.get(k)}
            if not differs and not waiting:
                return self.index_differs(catalog)
            if time.monotonic() > deadline:
                return [
                    f"{key}: {live.get(key)} is live, {table.get(key)} in the table"
                    for key in sorted(differs)[:10]
                ] or ["changes wait and nobody lands them"]
            time.sleep(0.5)

    def index_differs(self, catalog: Catalog) -> list[str]:
        """Live generations of which the index does not hold each chunk once."""
        for child in self.children.values():
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        pipeline = Pipeline(self.settings)
        (opened,) = pipeline.collections.standing()
        with catalog.begin() as connection:
            expected = {
                row.generation: row.chunk_count
                for row in connection.execute(sa.text(CHUNKS), {"source": SOURCE.name})
            }
        held = opened.index.count(list(expected))
        pipeline.close()
        return [
            f"generation {each}: {held.get(each, 0)} chunks of {count}"
            for each, count in expected.items()
            if held.get(each, 0) != count
        ]


LIVE = """
SELECT d.native_id, g.text, a.key FROM sluice.document d
JOIN sluice.generation g ON g.generation = d.live_generation JOIN sluice.acl a USING (acl_id)
WHERE d.source = :source AND d.deleted_at IS NULL
"""
CHUNKS = """
SELECT p.generation, p.chunk_count FROM sluice.document d
JOIN sluice.placement p ON p.generation = d.live_generation
WHERE d.source = :source AND d.deleted_at IS NULL
"""


def main(config: dict[str, str]) -> None:
    """Change, kill, settle, compare; print what was found."""
    total, seed = int(config.pop("changes")), int(config.pop("seed", "1"))
    settings = Settings(**config)  # type: ignore[arg-type]  # pydantic reads them
    settings.home.mkdir(parents=True, exist_ok=True)
    open_embedder(settings.embedder, settings.endpoints)
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        story = Story(settings, Path(folder) / "pg", seed)
        try:
            made = 0
            while made < total:
                for _ in range(EVERY // 4):
                    story.change()
                made += EVERY
                time.sleep(story.chosen.random() * 2)
                story.kill()
            wrong = story.wrong()
        finally:
            for child in story.children.values():
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            postgres.remove(story.folder)
    print(json.dumps({"failures": wrong, "killed": story.killed, "rows": len(story.ids)}))  # noqa: T201


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
