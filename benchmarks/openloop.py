"""Searches at a fixed rate from processes of their own, whether answers come or not.

A search is due at a moment that does not depend on any answer, and its time counts from there: a
store that stalls is not spared the questions it kept waiting. A client holds :data:`OUTSTANDING`
unanswered at most; what is due beyond that is counted as not sent.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pages
import servers
from history import Answer, History
from sluice import settings
from sluice.api.services import Services
from sluice.model import PUBLIC, Caller, Principal

THREADS, OUTSTANDING, HITS = 8, 64, 10
CALLER = Caller(agent="benchmark", key_id=None, acts_for=frozenset({PUBLIC}))
_STOP = "stop"
Row = dict[str, Any]


@contextmanager
def running(
    home: Path, environment: Mapping[str, str], rate: float, clients: int
) -> Iterator[list[tuple[str, float]]]:
    """Search while the body works; it appends the phases it enters to the list, with the time.

    Args:
        home: where ``targets.json`` is, and the answers go.
        environment: the settings of the clients.
        rate: searches a second of all clients together.
        clients: processes.
    """
    script = Path(__file__)
    started = [
        subprocess.Popen(
            [sys.executable, script, str(home), str(number), str(rate / clients)], env=environment
        )
        for number in range(clients)
    ]
    try:
        while not all((home / f"ready.{number}").exists() for number in range(clients)):
            time.sleep(0.1)
            if any(each.poll() is not None for each in started):
                raise RuntimeError("a client ended before it began")
        yield [("before", time.monotonic())]
    finally:
        (home / _STOP).touch()
        for each in started:
            each.wait()


@dataclass(frozen=True, slots=True)
class Asked:
    """A search and when it was due; None: it was not sent."""

    due: float
    answer: Answer | None


def answers(home: Path) -> list[Asked]:
    """What all clients got."""
    found = []
    for path in home.glob("answers.*"):
        for line in path.read_text().splitlines():
            due, answer = json.loads(line)
            found.append(Asked(due, Answer(**answer) if answer else None))
    return found


def phases(
    found: Sequence[Asked], marks: Sequence[tuple[str, float]], history: History
) -> list[Row]:
    """Each phase's rates, times and verdicts; a search belongs to the phase it was due in."""
    ends = [at for _, at in marks[1:]] + [max(each.due for each in found)]
    return [
        _phase(name, end - begin, [each for each in found if begin <= each.due < end], history)
        for (name, begin), end in zip(marks, ends, strict=True)
    ]


def blemishes(found: Sequence[Asked], history: History, most: int = 20) -> list[Row]:
    """Answers that are not right, with what is wrong: to be looked into."""
    judged = ((history.judge(each.answer), each.answer) for each in found if each.answer)
    return [
        {"verdict": verdict, **asdict(answer)} for verdict, answer in judged if verdict != "right"
    ][:most]


def _phase(name: str, seconds: float, found: Sequence[Asked], history: History) -> Row:
    sent = [(each.due, each.answer) for each in found if each.answer]
    verdicts = Counter(history.judge(answer) for _, answer in sent)
    times = [1000 * (answer.end - due) for due, answer in sent]
    wrong = ("stale", "mixed", "missing")
    return {
        "phase": name,
        "seconds": seconds,
        "offered/s": len(found) / seconds,
        "answered/s": len(sent) / seconds,
        "not sent": len(found) - len(sent),
        **{f"p{each} ms": float(np.percentile(times, each)) for each in (50, 95, 99)},
        "answers": len(sent),
        "about one page": sum(answer.target is not None for _, answer in sent),
        "failed": verdicts["failed"],
        "wrong": sum(verdicts[each] for each in wrong),
        "leaked": verdicts["leaked"],
        "errors": sorted({answer.error for _, answer in sent if answer.error})[:5],
    }


@dataclass(slots=True)
class _Client:
    """One process: its questions, and what is outstanding."""

    services: Services
    targets: Mapping[str, Any]
    chance: random.Random
    out: Any
    outstanding: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def drive(self, rate: float, stop: Path) -> None:
        """Send a search every ``1 / rate`` seconds until ``stop`` is there."""
        with ThreadPoolExecutor(THREADS) as pool:
            due = time.monotonic()
            while not stop.exists():
                due += 1 / rate
                time.sleep(max(0.0, due - time.monotonic()))
                person, question, target = self._question()
                with self.lock:
                    full = self.outstanding >= OUTSTANDING
                    self.outstanding += not full
                if full:
                    self._write(due, None)
                else:
                    pool.submit(self._ask, due, person, question, target)

    def _question(self) -> tuple[str, str, str | None]:
        """Half are some words; the others ask for a page that the person mostly may read."""
        person = self.chance.choice(pages.PEOPLE)
        if self.chance.random() < 0.5:
            return person, self.chance.choice(self.targets["questions"]), None
        where = self.chance.choice(("archive", "desk"))
        mine = self.targets[where][person if self.chance.random() < 0.8 else "anyone"]
        target = self.chance.choice(mine)
        return person, Path(target).stem, target

    def _ask(self, due: float, person: str, question: str, target: str | None) -> None:
        begin = time.monotonic()
        hits, error = (), None
        try:
            found = self.services.retriever.search(CALLER, Principal(person), question, HITS)
            hits = [
                (each.document_id, each.generation, pages.edition(each.path[0]))
                for each in found.hits
            ]
        except Exception as raised:  # noqa: BLE001  # whatever it is, it is a failed search
            error = f"{type(raised).__name__}: {raised}"
        answer = {
            "begin": begin,
            "end": time.monotonic(),
            "person": person,
            "target": target,
            "hits": hits,
            "error": error,
        }
        self._write(due, answer)
        with self.lock:
            self.outstanding -= 1

    def _write(self, due: float, answer: Row | None) -> None:
        with self.lock:
            self.out.write(json.dumps([due, answer]) + "\n")


def _work(home: Path, number: int, rate: float) -> None:
    with servers.running_loop() as loop, (home / f"answers.{number}").open("w") as out:
        services = Services(settings.load(), loop)
        targets = json.loads((home / "targets.json").read_text())
        client = _Client(services, targets, random.Random(number), out)
        for person in pages.PEOPLE[:5]:
            services.retriever.search(CALLER, Principal(person), targets["questions"][0], HITS)
        (home / f"ready.{number}").touch()
        client.drive(rate, home / _STOP)
        services.close()


if __name__ == "__main__":
    _work(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
