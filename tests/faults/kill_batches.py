"""Kills a publish whose chunks take the batch tier, and runs it again until it is done.

A program of its own, since it forks: ``test_kill_batches.py`` runs it, is the provider, and judges
what both have written down. A run dies in three ways, each by a real ``kill -9``: at each boundary
by its own hand; at each request by the provider's, before and after that did what it was asked for
(it reads in the file ``victim`` whom to kill, and when); and at random moments, up to three times
in a row.

    python kill_batches.py '{"home": …, "catalog_url": …, "landing_url": …, "tenant": …}'
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from kill_ingest import CALLER, PERSON, begin, check, child, warm_up, write_tree
from sluice import ingest
from sluice.api.services import Services
from sluice.errors import StillEmbedding
from sluice.ingest import Pipeline, Progress
from sluice.model import Policy
from sluice.settings import Settings
from sluice.sources import Files

AT_RANDOM = 12  # rounds
_IN_A_ROW = 3  # kills of such a round, at most


def source(tree: Path) -> Files:
    """A source of which every delta is bulk."""
    return Files(name="faults", url=str(tree), policy=Policy(max_loss=0.9, batch_from=1))


def publish(
    settings: Settings, tree: Path, run_id: str, watch: Callable[[str], None] = lambda _: None
) -> None:
    """Publish, again and again until the provider has done everything, as the task does."""
    pipeline = Pipeline(settings, batch=4)
    while True:
        try:
            ingest.publish(pipeline, source(tree), run_id, progress=Progress(watch))
        except StillEmbedding:
            continue
        return


def land(settings: Settings, tree: Path, run_id: str) -> None:
    """What comes before a publish; ``kill_ingest.py`` kills that."""
    pipeline = Pipeline(settings)
    ingest.extract(pipeline, source(tree), run_id)
    ingest.validate(pipeline, source(tree), run_id)


def at_boundary(settings: Settings, number: int) -> Callable[[str], None]:
    """A watcher that kills its own process at a boundary of the batches, counted from 1."""
    reached = 0

    def watch(boundary: str) -> None:
        nonlocal reached
        reached += boundary.startswith("batch: ")
        if reached == number and boundary.startswith("batch: "):
            (settings.home / "killed_at").write_text(boundary)
            os.kill(os.getpid(), signal.SIGKILL)

    return watch


def searchable(settings: Settings, tree: Path, edition: int) -> None:
    """Every page is there, whole and once, and is found."""
    check(settings, tree, edition)
    ask = Services(settings).retriever
    for page in tree.glob("*.md"):
        name = page.stem.removeprefix("stable").removeprefix("passing")
        number = int(name) + (100 if page.stem.startswith("passing") else 0)
        found = ask.search(CALLER, PERSON, f"station{number} edition{edition:04d}", 20)
        assert found.degraded is None
        assert f"faults:{page.name}" in {each.document_id for each in found.hits}


@dataclass
class Rounds:
    """A tree that is edited, published with kills in between, and looked at, round by round."""

    settings: Settings
    tree: Path
    edition: int = 0
    killed: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0  # of the newest publish that nobody killed

    def begin(self) -> str:
        """Edit every page and land it; return the run's name."""
        self.edition += 1
        write_tree(self.tree, self.edition)
        run_id = f"r{self.edition}"
        if child(lambda: land(self.settings, self.tree, run_id)):
            self.failures.append(f"{run_id}: it did not land")
        return run_id

    def end(self, run_id: str) -> None:
        """Run again what was killed, and look at everything."""
        began = time.monotonic()
        if child(lambda: publish(self.settings, self.tree, run_id)):
            self.failures.append(f"{run_id}: the run after {self.killed[-1:]} failed")
        self.seconds = time.monotonic() - began
        if child(lambda: searchable(self.settings, self.tree, self.edition)):
            self.failures.append(f"{run_id}: after {self.killed[-1:]} something is wrong")

    def died(self, status: int, where: str | None = None) -> bool:
        """Write down where a process was killed; False: it ended by itself, which is in order."""
        if status == 0:
            return False
        self.killed.append(where or (self.settings.home / "killed_at").read_text())
        print(f"edition {self.edition}: {self.killed[-1]}", file=sys.stderr)  # noqa: T201  # its log
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            self.failures.append(f"killed at {self.killed[-1]}, it ended with {status}")
        return True

    def boundaries(self) -> None:
        """Kill at the first boundary, the second, … until a run gets through."""
        died, number = True, 0
        while died:
            number += 1
            run_id, watch = self.begin(), at_boundary(self.settings, number)
            died = self.died(child(lambda: publish(self.settings, self.tree, run_id, watch)))  # noqa: B023  # at once
            self.end(run_id)

    def requests(self) -> None:
        """Be killed by the provider before its first request, after it, before the second, …"""
        victim, died, number = self.settings.home / "victim", True, 0

        def work(run_id: str, at: int) -> None:
            victim.write_text(f"{os.getpid()} {at}")
            publish(self.settings, self.tree, run_id)

        while died:
            run_id = self.begin()
            died = self.died(child(lambda: work(run_id, number)))  # noqa: B023  # at once
            victim.unlink()
            self.end(run_id)
            number += 1

    def moments(self, chance: random.Random) -> None:
        """Kill anywhere."""
        for _ in range(AT_RANDOM):
            run_id = self.begin()
            for _ in range(_IN_A_ROW):
                pid = begin(lambda: publish(self.settings, self.tree, run_id))  # noqa: B023  # at once
                after = chance.uniform(0, self.seconds)
                time.sleep(after)
                os.kill(pid, signal.SIGKILL)  # one that has ended is still there until waited for
                if not self.died(os.waitpid(pid, 0)[1], f"after {after:.3f} s"):
                    break
            self.end(run_id)


def main(config: dict[str, str]) -> None:
    """Kill in every way; print the report as JSON."""
    settings, began = Settings(**config), time.monotonic()  # type: ignore[arg-type]  # strings become what the fields are
    tree = settings.home / "tree"
    tree.mkdir(parents=True)
    (tree / ".access.yaml").write_text("allow: [public]\n")
    rounds = Rounds(settings, tree)
    rounds.edition += 1
    write_tree(tree, rounds.edition)
    warm_up(settings, tree)
    rounds.end(rounds.begin())
    rounds.boundaries()
    rounds.requests()
    rounds.moments(random.Random(4))
    report = {
        "killed": rounds.killed,
        "failures": rounds.failures,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(report))  # noqa: T201  # its result


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
