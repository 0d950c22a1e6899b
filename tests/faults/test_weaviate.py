"""Publishing without transactions: whatever Weaviate forgets, repeats or brings back, nobody reads.

And a Weaviate that is gone, slow, read-only or another one than we made costs a clear refusal, and
never a document.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
import weaviate_server
from serving import open_site
from sluice import ingest
from sluice.api.services import Services
from sluice.errors import IndexUnavailable
from sluice.ingest import Pipeline
from sluice.model import PUBLIC, Caller, IndexedChunk, Policy, Principal
from sluice.settings import Settings
from sluice.sources import Files
from weaviate_server import Server
from world import ADA

CALLER = Caller(agent="tests", key_id=None, acts_for=frozenset({PUBLIC}))
PERSON = Principal.parse("user:reader@example.com")
ASK = {"query": "kettle", "as": str(ADA)}


class Site:
    """A folder of pages, ingested into a Weaviate, and a reader of it."""

    def __init__(self, settings: Settings, tree: Path):
        self.tree = tree
        self.source = Files(name="pages", url=str(tree), policy=Policy(max_loss=0.9))
        self.pipeline = Pipeline(settings)
        self.retriever = Services(settings).retriever
        self._runs = iter(range(10_000))
        tree.mkdir()
        (tree / ".access.yaml").write_text("allow: [public]\n")
        for number in range(5):
            self.write(number, "first")
        self.run()

    def write(self, number: int, edition: str) -> None:
        """Write a page."""
        (self.tree / f"page{number}.md").write_text(
            f"# Page {number}\n\nThe kettle is {edition}.\n"
        )

    def run(self) -> None:
        """Ingest what changed."""
        ingest.run(self.pipeline, self.source, f"r{next(self._runs)}")

    def found(self) -> dict[str, str]:
        """Every page that a reader finds, with its text."""
        answer = self.retriever.search(CALLER, PERSON, "kettle", 100)
        assert len({hit.document_id for hit in answer.hits}) == len(answer.hits)
        return {hit.document_id.removeprefix("pages:"): hit.text for hit in answer.hits}

    def held(self) -> list[IndexedChunk]:
        """Every chunk that is live, as Weaviate has it."""
        with self.pipeline.catalog.begin() as connection:
            live = connection.execute(
                sa.text("SELECT generation FROM sluice.generation WHERE state = 'live'")
            ).scalars()
            generations = list(live)
        return self.pipeline.collections.serving().index.fetch(generations)

    def index_matches_catalog(self) -> bool:
        """Whether Weaviate holds what is live, whole, and nothing else."""
        index = self.pipeline.collections.serving().index
        held = {chunk.generation for chunk in self.held()}
        return index.generations() == held and index.size() == len(self.held())


def settings_for(server: Server, home: Path, catalog_url: str, landing_url: str = "") -> Settings:
    """A tenant of its own on ``server``."""
    return Settings(
        home=home,
        tenant=f"t-{uuid.uuid4().hex[:12]}",
        catalog_url=catalog_url,
        landing_url=landing_url or None,
        index="weaviate",
        weaviate_url=server.url,
        weaviate_grpc=server.grpc,
        weaviate_timeout=2.0,
    )


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that this test may break."""
    with weaviate_server.start(tmp_path / "weaviate") as server:
        yield server


@pytest.fixture
def site(own: Server, tmp_path: Path, catalog_url: str, landing_url: str) -> Site:
    """Five pages, live."""
    return Site(settings_for(own, tmp_path / "home", catalog_url, landing_url), tmp_path / "tree")


def edition(found: dict[str, str]) -> dict[str, str]:
    """The last word of each page."""
    return {page: text.rstrip(".\n").rpartition(" ")[2] for page, text in sorted(found.items())}


PAGES = [f"page{number}.md" for number in range(5)]


def test_a_replayed_batch_reaches_nobody(site: Site) -> None:
    """A writer that was thought dead writes the old version again: the new one is served, once."""
    old = site.held()
    for number in range(5):
        site.write(number, "second")
    site.run()
    index = site.pipeline.collections.serving().index
    index.upsert(old)
    assert index.size() == 10
    assert edition(site.found()) == dict.fromkeys(PAGES, "second")


def test_a_resurrected_delete_reaches_nobody(site: Site) -> None:
    """What a node that was down brings back has no live document, for anyone."""
    old = [chunk for chunk in site.held() if chunk.document_id == "pages:page0.md"]
    (site.tree / "page0.md").unlink()
    site.run()
    index = site.pipeline.collections.serving().index
    index.upsert(old)
    assert index.count([old[0].generation]) == {old[0].generation: 1}
    assert list(edition(site.found())) == PAGES[1:]


def test_chunks_under_another_permission_object_open_nothing(site: Site) -> None:
    """A store that holds a chunk with the wrong acl_id shows it to nobody."""
    index = site.pipeline.collections.serving().index
    secret = site.held()[0]
    (site.tree / ".access.yaml").write_text("allow: ['user:someone@example.com']\n")
    (site.tree / "open").mkdir()
    (site.tree / "open" / ".access.yaml").write_text("allow: [public]\n")
    (site.tree / "open" / "page.md").write_text("# Open\n\nThe kettle is open.\n")
    site.run()
    assert list(site.found()) == ["open/page.md"]
    (open_chunk,) = [chunk for chunk in site.held() if chunk.document_id == "pages:open/page.md"]
    index.upsert([replace(secret, acl_id=open_chunk.acl_id)])
    assert list(site.found()) == ["open/page.md"]


def test_a_server_that_lost_its_newest_writes_shows_nothing_old(
    site: Site, own: Server, tmp_path: Path
) -> None:
    """Its folder rolled back under it, it hides what it lacks; the next run gives it back."""
    own.stop()
    shutil.copytree(own.folder / "data", tmp_path / "backup")
    own.start()
    for number in range(4):
        site.write(number, "second")
    (site.tree / "page4.md").unlink()
    site.run()
    assert edition(site.found()) == dict.fromkeys(PAGES[:4], "second")
    own.stop()
    shutil.rmtree(own.folder / "data")
    shutil.move(tmp_path / "backup", own.folder / "data")
    own.start()
    assert site.found() == {}
    site.run()
    assert edition(site.found()) == dict.fromkeys(PAGES[:4], "second")


def test_a_server_killed_in_mid_publish_loses_nothing(site: Site, own: Server) -> None:
    """kill -9 of Weaviate itself while it is written to: the run fails, the next one finishes."""
    for number in range(200):
        site.write(number, "second")
    killer = threading.Timer(0.3, own.kill)
    killer.start()
    with contextlib.suppress(IndexUnavailable):
        while True:
            site.run()
            for number in range(200):
                site.write(number, f"later{uuid.uuid4().hex}")
    killer.join()
    for number in range(200):
        site.write(number, "last")
    own.start()
    site.run()
    assert site.index_matches_catalog()
    found = edition(site.found())
    assert len(found) == 100 and set(found.values()) == {"last"}


def test_a_weaviate_that_is_down_stops_a_run_and_loses_nothing(site: Site, own: Server) -> None:
    """The run fails with one line; when Weaviate is back, the same run again does everything."""
    own.stop()
    site.write(0, "second")
    site.write(7, "new")
    with pytest.raises(IndexUnavailable, match="cannot be reached"):
        site.run()
    own.start()
    site.run()
    assert edition(site.found()) == {
        **dict.fromkeys(PAGES, "first"),
        "page0.md": "second",
        "page7.md": "new",
    }
    assert site.index_matches_catalog()


def test_a_read_only_weaviate_answers_and_holds_runs_up(site: Site) -> None:
    """Questions are answered; the run says which shard is closed, and goes on when it is open."""
    serving = site.pipeline.collections.serving()
    shards(site, "READONLY")
    site.write(0, "second")
    with pytest.raises(IndexUnavailable, match="read-only"):
        site.run()
    assert "read-only" in (serving.index.impediment() or "")
    assert edition(site.found()) == dict.fromkeys(PAGES, "first")
    shards(site, "READY")
    site.run()
    assert edition(site.found())["page0.md"] == "second"


def shards(site: Site, status: str) -> None:
    """Close or open every shard, as Weaviate does when its disk is full."""
    index = site.pipeline.collections.serving().index
    name = site.pipeline.collections.serving().collection.name
    index._write(lambda client: client.collections.use(name).config.update_shards(status))  # type: ignore[attr-defined]  # the operator's act


@contextlib.contextmanager
def slowed(port: int, seconds: float) -> Iterator[int]:
    """A port that leads to ``port``, ``seconds`` late."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(a: socket.socket, b: socket.socket, late: float) -> None:
        with contextlib.suppress(OSError):
            while data := a.recv(65536):
                time.sleep(late)
                b.sendall(data)
            b.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", port))
                for a, b, late in ((near, far, 0.0), (far, near, seconds)):
                    threading.Thread(target=pump, args=(a, b, late), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def test_a_weaviate_that_is_down_slow_or_not_ours_is_a_503_on_record(
    own: Server, tmp_path: Path, catalog_url: str
) -> None:
    """Retry-After, an audit row and a named culprit each time; and it comes back by itself."""
    settings = settings_for(own, tmp_path / "home", catalog_url)
    with open_site(settings) as here:
        assert here.agent.post("/v1/search", json=ASK).status_code == 200

        def refused() -> None:
            began = time.monotonic()
            response = here.agent.post("/v1/search", json=ASK)
            assert time.monotonic() - began < 8
            assert response.status_code == 503 and response.headers["Retry-After"] == "5"
            assert response.json()["error"]["message"] == "the index does not answer"
            assert own.url not in response.text
            with here.world.catalog.begin() as connection:
                newest = connection.execute(
                    sa.text("SELECT outcome FROM sluice.audit_event ORDER BY event_id DESC LIMIT 1")
                ).scalar_one()
            assert newest == "IndexUnavailable"
            ready = here.agent.get("/healthz/ready")
            assert (ready.status_code, ready.json()["culprit"]) == (503, "index")

        own.stop()
        refused()
        own.start()
        assert here.agent.post("/v1/search", json=ASK).status_code == 200
        own.pause()
        refused()
        own.resume()
        assert here.agent.post("/v1/search", json=ASK).status_code == 200
        serving = here.services.serving
        serving.index.drop()
        refused()
        client_of(serving.index).collections.create(serving.collection.name)  # without acl_id
        refused()


def client_of(index: object) -> object:
    """The client behind ``index``, to do to Weaviate what an operator might."""
    return index._write(lambda client: client)  # type: ignore[attr-defined]  # the operator's act


def test_a_weaviate_that_takes_ten_seconds_is_a_503_within_its_timeout(
    own: Server, tmp_path: Path, catalog_url: str
) -> None:
    """A slow network is answered for like a dead one, and the key check stays fast."""
    settings = settings_for(own, tmp_path / "home", catalog_url)
    with open_site(settings):
        pass
    grpc_port = int(own.grpc.rpartition(":")[2])
    with slowed(grpc_port, 10) as port:
        late = settings.model_copy(update={"weaviate_grpc": f"127.0.0.1:{port}"})
        with open_services(late) as services, pytest.raises(IndexUnavailable, match="2 s"):
            services.retriever.search(CALLER, ADA, "kettle", 5)


@contextlib.contextmanager
def open_services(settings: Settings) -> Iterator[Services]:
    """The question side, closed afterwards."""
    services = Services(settings)
    try:
        yield services
    finally:
        services.close()
