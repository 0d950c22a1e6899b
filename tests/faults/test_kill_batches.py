"""A publish that waits for batches may be killed anywhere: no chunk is paid or embedded twice."""

from __future__ import annotations

import os
import signal
import threading
import uuid
from collections import Counter
from pathlib import Path

import openai_server
import providers
import pytest
import sqlalchemy as sa
from faults.killing import outcome_of
from openai_batches import Outcome
from openai_server import Fault
from sluice.catalog import Catalog, batches

ENQUEUED = 12_000  # tokens that we let wait: two files a round, one after the other
BOUNDARIES = (
    "planned",
    "uploading",
    "uploaded",
    "creating",
    "submitted",
    "waits",
    "kept",
    "read",
    "done",
)


class Killer:
    """The provider's hand: it kills whom a file names, before or after one of its requests."""

    def __init__(self, victim: Path):
        """``victim`` holds a pid and when: twice the requests before it, one more for after it."""
        self._victim = victim
        self._lock = threading.Lock()
        self._seen = Counter[int]()

    def __call__(self, method: str, path: str) -> Fault | None:
        """What goes wrong with this request."""
        if not self._victim.exists():
            return None
        pid, at = map(int, self._victim.read_text().split())
        with self._lock:
            self._seen[pid] += 1
            if self._seen[pid] != at // 2 + 1:
                return None

        def kill(found: object = None) -> object:
            when = "after" if at % 2 else "before"
            what = path.removeprefix("/v1/").partition("/")[0]
            self._victim.with_name("killed_at").write_text(f"{when} {method} {what}")
            os.kill(pid, signal.SIGKILL)
            return found

        if at % 2:
            return Fault(spoil=kill)
        kill()
        return Fault(drop="before")


@pytest.mark.timeout(1200)
def test_killed_anywhere_every_chunk_is_embedded_once_and_paid_as_billed(
    tmp_path: Path, catalog_url: str, landing_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each boundary, around each request, at random: the ledger has what the invoice has."""
    home, tenant = tmp_path / "home", f"t-{uuid.uuid4().hex[:12]}"
    with openai_server.start() as provider:
        provider.batches.fate = lambda _number: Outcome(polls=2)
        provider.chaos = Killer(home / "victim")
        extra = f"batch_tokens = {ENQUEUED}"
        file = providers.endpoints(provider, tmp_path, monkeypatch, extra=extra)
        where = {"embedder": providers.NAME, "endpoints": str(file), "tenant": tenant}
        report = outcome_of("kill_batches.py", home, catalog_url, landing_url, **where)
    assert len(report["killed"]) >= 40
    for boundary in BOUNDARIES:
        assert f"batch: {boundary}" in report["killed"]
    for request in ("POST files", "POST batches", "GET batches", "GET files", "DELETE files"):
        assert {f"before {request}", f"after {request}"} <= set(report["killed"])

    assert set(provider.charged["batch"].values()) == {1}
    assert not provider.batches.doubled
    assert all(len(text) < 40 for _, text in provider.charged["standard"])  # they are questions
    assert provider.files == {}
    catalog = Catalog(catalog_url, tenant)
    with catalog.begin() as connection:
        rows = connection.execute(
            sa.text("SELECT tier, sum(dollars) FROM sluice.cost WHERE kind = 'settle' GROUP BY 1")
        )
        settled = dict(rows.all())
        claims = connection.execute(sa.text("SELECT count(*) FROM sluice.claim")).scalar_one()
        kept = connection.execute(sa.text("SELECT count(*) FROM sluice.embedding")).scalar_one()
        live = batches.live(connection, "gateway/text-embedding-3-small@8")
    catalog.close()
    assert settled == {tier: provider.dollars(tier) for tier in ("standard", "batch")}
    assert (claims, live, kept) == (0, [], provider.charged["batch"].total())
