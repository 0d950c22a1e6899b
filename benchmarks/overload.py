"""Ten times as many questions as can be answered: does the service go on at its peak, and say no?

    python benchmarks/overload.py [--rounds 3] [--at-a-time 1]

`sluice serve` runs as a process of its own; its model is a provider on loopback that takes 100 ms
for a question and works on a few at a time. Clients first ask in closed loops, ever more of them:
the most answers a second are the peak. Then ten times as many questions are sent for 30 seconds,
each when it is due, whether or not others were answered. An answer counts if it is whole, not one
that was found by keywords alone, and comes within 5 s: then a client gives up and hangs up.
Medians of all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure
import numpy as np
import paid
import report
import sections

DOCUMENTS = 1_000
LATENCY = 0.1  # seconds of the provider for a question
CLIENTS = (2, 4, 8, 16, 32)  # of the closed loops
CLOSED, OPEN = 6.0, 30.0  # seconds
TIMES = 10  # as many as can be answered
PATIENCE = 5.0  # seconds that a client waits for an answer
OUTSTANDING = 4_000  # unanswered at most; what is due beyond that is not sent
MOST_MS = 5.0  # of a refusal

HOST = "127.0.0.1"
Row = dict[str, Any]


def main(rounds: int, at_a_time: int) -> int:
    """Measure the peak, pass it ten times, and compare; return the exit status."""
    with (
        measure.server() as server,
        tempfile.TemporaryDirectory(prefix="sluice-bench-overload-") as name,
        paid.provider(Path(name), 256) as (provider, environment),
    ):
        folder = Path(name)
        sections.build(folder / "tree", DOCUMENTS)
        time.sleep(2.5)  # younger files are read twice
        home = {"SLUICE_HOME": str(folder / "home")}
        settings = {**environment, **server.database("overload"), **home}
        key, _ = measure.run(__file__, ["prepare", str(folder / "tree")], settings)
        provider.latency, provider.at_a_time = LATENCY, at_a_time
        found = [_round(folder, settings, str(key), number) for number in range(rounds)]
    rows = [
        {"round": number, "step": step, **row}
        for number, each in enumerate(found, start=1)
        for step, row in each.items()
    ]
    report.table(
        f"Questions to a model of {LATENCY * 1000:.0f} ms, {at_a_time} at a time",
        rows,
        "yes and no: of an answer (median / p95) and of a refusal, as the client sees it.",
    )
    ratio = statistics.median(x["overload"]["good/s"] / x["peak"]["good/s"] for x in found)
    over = [each["overload"] for each in found]
    p50, p95 = (
        statistics.median(each[name] for each in over) for name in ("no p50 ms", "no p95 ms")
    )
    result = {"rounds": rounds, "at_a_time": at_a_time, "ratio": ratio, "rows": rows}
    report.write("overload", result, ["fastapi", "uvicorn", "openai", "lancedb"])
    return report.verdict(
        {
            f"at {TIMES} times the peak, goodput is 90 % of it or more ({ratio:.0%})": ratio >= 0.9,
            f"half of the refusals take less than {MOST_MS:.0f} ms ({p50:.1f})": 0 < p50 < MOST_MS,
            f"95 % of them do ({p95:.1f})": 0 < p95 < MOST_MS,
            "whoever is not answered is refused, with 429 and Retry-After": all(
                not each["other"] + each["gave up"] and each["refused"] == each["with Retry-After"]
                for each in over
            ),
        }
    )


def _round(folder: Path, settings: Mapping[str, str], key: str, number: int) -> dict[str, Row]:
    """The peak, and what becomes of ten times as much, with a server of its own."""
    closed = _served(folder, settings, [key, str(number), "closed"])
    peak = max(closed, key=lambda each: each["good/s"])
    rate = str(TIMES * peak["good/s"])
    (over,) = _served(folder, settings, [key, str(number), "open", rate])
    print(f"round {number + 1}: {peak}\n{over}", flush=True)
    return {"peak": peak, "overload": over}


def _served(folder: Path, settings: Mapping[str, str], how: Sequence[str]) -> list[Row]:
    """Start ``sluice serve``, ask it, and stop it."""
    said = folder / "said"
    with said.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", "from sluice.cli import main; main()", "serve", "--port", "0"],
            env={**os.environ, **settings},
            stdout=subprocess.DEVNULL,  # a line for each request
            stderr=output,
        )
    try:
        while "\n" not in said.read_text():
            time.sleep(0.1)
            if server.poll() is not None:
                raise RuntimeError("the server did not start")
        time.sleep(5)  # it opens its index beside
        port = said.read_text().partition("/sluice")[0].rpartition(":")[2]
        rows, _ = measure.run(__file__, ["ask", port, *how], settings)
    finally:
        server.kill()  # it would answer first whom nobody waits for any more
        server.wait()
    return list(rows)


def _percentiles(times: Sequence[float]) -> tuple[float, float]:
    if not times:
        return 0.0, 0.0
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came, and how long after it was sent."""

    status: int  # 0: nothing came in time
    seconds: float
    retry_after: bool
    degraded: bool


class Client:
    """Asks over connections that it keeps, as little HTTP as it takes."""

    def __init__(self, port: int, key: str, seed: int):
        self._port = port
        self._head = (
            f"POST /sluice/v1/search HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
            f"Authorization: Bearer {key}\r\nContent-Type: application/json\r\n"
        )
        self._chance = random.Random(seed)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.answers: list[Answer] = []

    async def ask(self) -> Answer:
        """One question."""
        words = sections._sentence(self._chance)
        body = json.dumps({"query": words, "as": "user:anyone@example.com", "k": 5}).encode()
        began = time.perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                head, content = await self._exchange(body)
        except (OSError, asyncio.IncompleteReadError):
            found = Answer(0, time.perf_counter() - began, False, False)
        else:
            took, status = time.perf_counter() - began, int(head.split()[1])
            degraded = status == 200 and json.loads(content)["degraded"] is not None
            found = Answer(status, took, "retry-after: " in head, degraded)
        self.answers.append(found)
        return found

    async def _exchange(self, body: bytes) -> tuple[str, bytes]:
        """Send a question and read the answer; a connection that failed is not used again."""
        while self._idle and self._idle[-1][0].at_eof():  # the server closes what is idle for long
            self._idle.pop()[1].close()
        reader, writer = (
            self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self._port)
        )
        try:
            writer.write(f"{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
            content = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        self._idle.append((reader, writer))
        return head, content

    async def closed(self, clients: int, seconds: float) -> None:
        """So many ask, each as soon as it has its answer."""
        until = time.monotonic() + seconds

        async def one() -> None:
            while time.monotonic() < until:
                if (await self.ask()).status == 429:
                    await asyncio.sleep(0.05)

        await asyncio.gather(*(one() for _ in range(clients)))

    async def open(self, rate: float, seconds: float) -> int:
        """A question every ``1 / rate`` seconds; return how many were not sent."""
        began, number, unsent = time.monotonic(), 0, 0
        tasks = set[asyncio.Task[Answer]]()
        while (due := began + number / rate) < began + seconds:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            number += 1
            if len(tasks) >= OUTSTANDING:
                unsent += 1
                continue
            task = asyncio.create_task(self.ask())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        return unsent


def _ask(port: int, key: str, number: int, how: str, rate: float) -> list[Row]:
    """Ask in closed loops, ever more of them, or at a rate."""
    if how == "open":
        asyncio.run(Client(port, key, 0).ask())  # the first one waits for what is opened then
        client = Client(port, key, number)
        unsent = asyncio.run(client.open(rate, OPEN))
        return [_row(client, OPEN, f"{rate:.0f}/s", unsent)]
    rows = []
    for clients in CLIENTS:
        client = Client(port, key, 100 * number + clients)
        began = time.monotonic()
        asyncio.run(client.closed(clients, CLOSED))
        rows.append(_row(client, time.monotonic() - began, f"{clients} clients", 0))
    return rows


def _row(client: Client, seconds: float, offered: str, unsent: int) -> Row:
    answers = client.answers
    good = [each for each in answers if each.status == 200 and not each.degraded]
    refused = [each for each in answers if each.status == 429]
    yes50, yes95 = _percentiles([1000 * each.seconds for each in good])
    no50, no95 = _percentiles([1000 * each.seconds for each in refused])
    return {
        "offered": offered,
        "good/s": len(good) / seconds,
        "by keywords": sum(each.degraded for each in answers),
        "refused": len(refused),
        "with Retry-After": sum(each.retry_after for each in refused),
        "gave up": sum(each.status == 0 for each in answers),
        "other": sum(each.status not in (0, 200, 429) for each in answers),
        "not sent": unsent,
        "yes ms": f"{yes50:.0f} / {yes95:.0f}",
        "no p50 ms": no50,
        "no p95 ms": no95,
    }


def _prepare(tree: Path) -> str:
    """Ingest the documents; return a key that may ask for everybody."""
    from sluice import ingest
    from sluice.keys import Keys
    from sluice.model import PUBLIC, Policy
    from sluice.settings import load
    from sluice.sources import Files

    sections.allow(tree, "public")
    for rules in tree.glob("*/**/.access.yaml"):
        rules.unlink()
    pipeline = ingest.open_pipeline(load())
    ingest.run(
        pipeline, Files(name="notes", url=str(tree), policy=Policy(batch_from=None)), "run-1"
    )
    key = Keys(pipeline.catalog).create("benchmark", [PUBLIC])
    pipeline.close()
    return key


def _work(what: str, *given: str) -> None:
    if what == "prepare":
        measure.answer(lambda: _prepare(Path(given[0])))
        return
    port, key, number, how, *rate = given
    measure.answer(lambda: _ask(int(port), key, int(number), how, float(rate[0]) if rate else 0.0))


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        _work(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
        parser.add_argument("--rounds", type=int, default=3)
        parser.add_argument("--at-a-time", type=int, default=1)
        arguments = parser.parse_args()
        sys.exit(main(arguments.rounds, arguments.at_a_time))
