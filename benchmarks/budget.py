"""Two hundred processes race to spend one dollar: is it ever passed, and is the ledger exact?

    python benchmarks/budget.py [--workers 200]

Every process is forked, has its own connection, and reserves, settles and releases through
``sluice.budget.Purse`` until nothing is left. Some kill themselves (-9) while they hold money, some
are killed from outside at any moment; what they held expires, and others take their place. Each
writes down what it does before and after it does it, in a file of its own: that is the oracle.

The database itself refuses a row in which held and spent are above the budget (a CHECK made for
this benchmark), so that no moment can be missed; a watcher compares what the budget's row says with
the holds and the ledger, in one snapshot, all the while; and afterwards the ledger is replayed.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import measure
import report
import sqlalchemy as sa
from sluice.budget import Purse
from sluice.catalog import Catalog, connect, costs
from sluice.catalog.costs import EACH, Budget
from sluice.errors import BudgetExhausted
from sluice.model import Account, Spend

DOLLAR, OF_A_SOURCE = Decimal("1.00"), Decimal("0.25")
SOURCES = ("s0", "s0", "s0", "s1", "s1", "s2", "s2", "s3", "s3", "s4")  # of the processes, by turns
PRICE = Decimal("0.02") / 1_000_000  # of a token, as text-embedding-3-small's
MOST = 2_600  # tokens of a request
LEASE = 20.0  # seconds; a request takes far less than that even here
SUICIDES, MURDERS = 25, 25
TENANT = "race"
EVENTS = 100_000  # at least

Line = list[Any]  # (what was done, hold, tokens)


def main(workers: int) -> int:
    """Let them race, and hold the ledger against what they wrote; return the exit status."""
    with (
        measure.server(connections=workers + 60) as server,
        tempfile.TemporaryDirectory(prefix="sluice-bench-budget-") as folder,
    ):
        url = server.database("budget")["SLUICE_CATALOG_URL"]
        _prepare(server.url, url)
        gc.freeze()
        notes = Path(folder)
        seen, seconds = _race(url, notes, workers)
        found = _judge(url, notes)
    report.table(
        f"{workers} processes, ${DOLLAR} for all, ${OF_A_SOURCE} for each source",
        [
            {
                "events": found.events,
                "events/s": found.events / seconds,
                "requests": found.kinds["reserve"],
                "settled": found.kinds["settle"],
                "released": found.kinds["release"],
                "expired": found.kinds["expire"],
                "refused": found.refused,
                "killed": seen["killed"],
                "most held + spent": str(found.peak),
                "spent": str(found.spent),
            }
        ],
        "PostgreSQL with fsync on, on the same cores as the processes.",
    )
    result = {
        "workers": workers,
        "seconds": seconds,
        "events": found.events,
        "events_per_second": found.events / seconds,
        "kinds": dict(found.kinds),
        "refused": found.refused,
        "peak_dollars": str(found.peak),
        "spent_dollars": str(found.spent),
        "watched": seen,
        "wrong": found.wrong[:20],
    }
    report.write("budget", result, ["sqlalchemy", "psycopg"])
    return report.verdict(
        {
            f"{EVENTS:,} events of the ledger or more": found.events >= EVENTS,
            "no row of the budget was ever above it, as the database saw it": not found.failed,
            "the budget's row, the holds and the ledger agree in every snapshot, "
            f"of {seen['looks']}": seen["looks"] > 10 and not seen["wrong"],
            f"replayed in order, held and spent are never above ${DOLLAR}": found.peak <= DOLLAR,
            "the ledger is what the processes wrote down, hold by hold, to the last digit": (
                not found.wrong
            ),
            f"{SUICIDES + MURDERS} processes were killed, and all they held came free": (
                seen["killed"] == SUICIDES + MURDERS
                and found.kinds["expire"] >= SUICIDES
                and found.held == 0
            ),
            "the dollar was spent to the last token": found.spent == DOLLAR,
        }
    )


def _prepare(admin: str, url: str) -> None:
    """Set the budgets, and let the database refuse what is above them."""
    catalog = Catalog(url, TENANT)
    with catalog.begin() as connection:
        for level, per, dollars in (("tenant", "month", DOLLAR), ("source", "run", OF_A_SOURCE)):
            costs.set_budget(
                connection,
                Budget(level=level, name=EACH, per=per, dollars=dollars),  # type: ignore[arg-type]  # of the literals
            )
    catalog.close()
    engine = connect(sa.make_url(admin).set(database="budget").render_as_string(False))
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "ALTER TABLE sluice.budget_use ADD CHECK (held >= 0 AND spent >= 0 AND held + spent"
                f" <= CASE level WHEN 'tenant' THEN {DOLLAR} ELSE {OF_A_SOURCE} END)"
            )
        )
    engine.dispose()


def _race(url: str, notes: Path, workers: int) -> tuple[dict[str, Any], float]:
    """Run everybody to the end; return what the watcher saw, and seconds of the race."""
    chance, stop = random.Random(1), notes / "stop"
    watcher = _fork(lambda: _watch(url, notes / "watched.json", stop))
    began = time.monotonic()
    alive = {_fork_worker(url, notes, number): number for number in range(workers)}
    started, murdered, killed = workers, 0, 0
    next_murder = began + 5.0
    while alive:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == watcher:
            raise RuntimeError("the watcher ended")
        if pid:
            del alive[pid]
            if os.WIFSIGNALED(status):  # another takes its place
                alive[_fork_worker(url, notes, started)] = started
                started, killed = started + 1, killed + 1
        elif murdered < MURDERS and time.monotonic() > next_murder:
            victim = chance.choice([pid for pid, number in alive.items() if number >= SUICIDES])
            os.kill(victim, signal.SIGKILL)
            murdered += 1
            next_murder = time.monotonic() + chance.uniform(0.5, 2.0)
        else:
            time.sleep(0.01)
    seconds = time.monotonic() - began
    time.sleep(LEASE)  # what the dead held can be spent now
    for number in range(started, started + len(SOURCES)):
        os.waitpid(_fork_worker(url, notes, number), 0)
    stop.touch()
    os.waitpid(watcher, 0)
    return {**json.loads((notes / "watched.json").read_text()), "killed": killed}, seconds


def _fork(work: Callable[[], None]) -> int:
    """Begin ``work`` in a child that ends with it; return its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  # a child must end here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid


def _fork_worker(url: str, notes: Path, number: int) -> int:
    return _fork(lambda: _Worker(url, notes, number).spend_all())


class _Worker:
    """One process: reserves until it is refused the smallest request."""

    def __init__(self, url: str, notes: Path, number: int):
        """``number`` decides what it does; ``notes`` gets its file."""
        self._purse = Purse(Catalog(url, TENANT))
        self._notes = os.open(notes / f"{number}.jsonl", os.O_CREAT | os.O_WRONLY)
        self._chance = random.Random(number)
        source = SOURCES[number % len(SOURCES)]
        self._account = Account(source=source, run_id=f"{source}:1", agent=str(number))
        self._dies_at = self._chance.randrange(20, 60) if number < SUICIDES else None
        self._failing = notes / f"{number}.failed"

    def spend_all(self) -> None:
        """Until nothing is left. An error is left in a file."""
        try:
            most, reserved = MOST, 0
            while most:
                tokens = self._chance.randint(1, most)
                done = self._request(tokens, reserved)
                reserved += done
                if not done:  # ask for less, at last for one token
                    most = 0 if tokens == 1 else max(1, tokens // 2)
        except BaseException:
            self._failing.write_text(traceback.format_exc())
            raise

    def _request(self, tokens: int, reserved: int) -> bool:
        """Reserve, and settle or release; False: it was refused."""
        spend = Spend(
            endpoint="openai",
            model="text-embedding-3-small",
            tier="standard",
            tokens=tokens,
            dollars=tokens * PRICE,
        )
        self._note("reserve?", None, tokens)
        try:
            held = self._purse.reserve(spend, self._account, lease=LEASE)
        except BudgetExhausted:
            self._note("refused", None, tokens)
            return False
        hold = str(held.hold_id)
        self._note("reserve", hold, tokens)
        if reserved == self._dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        kind, billed = self._fate(tokens)
        self._note(f"{kind}?", hold, billed)
        for _ in range(2 if self._chance.random() < 0.01 else 1):  # again: it changes nothing
            if kind == "settle":
                self._purse.settle(held, billed, billed * PRICE)
            else:
                self._purse.release(held)
        self._note(kind, hold, billed)
        return True

    def _fate(self, tokens: int) -> tuple[str, int]:
        """Most are billed as said, some for less, some not at all."""
        drawn = self._chance.random()
        if drawn < 0.2:
            return "release", 0
        return "settle", tokens if drawn < 0.8 else self._chance.randint(0, tokens)

    def _note(self, what: str, hold: str | None, tokens: int) -> None:
        os.write(self._notes, json.dumps([what, hold, tokens]).encode() + b"\n")


def _watch(url: str, path: Path, stop: Path) -> None:
    """Compare the budget's row with the holds and the ledger in one snapshot, again and again."""
    catalog, looks, wrong, peak = Catalog(url, TENANT), 0, list[str](), Decimal(0)
    while not stop.exists():
        with catalog.begin("REPEATABLE READ") as connection:
            row = connection.execute(
                sa.text(
                    "SELECT held, spent, (SELECT coalesce(sum(dollars), 0) FROM sluice.cost_hold),"
                    " (SELECT coalesce(sum(dollars), 0) FROM sluice.cost WHERE kind = 'settle')"
                    " FROM sluice.budget_use WHERE level = 'tenant'"
                )
            ).one_or_none()
        if row is not None:
            looks += 1
            peak = max(peak, row[0] + row[1])
            if (row[0], row[1]) != (row[2], row[3]) or row[0] + row[1] > DOLLAR:
                wrong.append(str(row))
        time.sleep(0.25)
    path.write_text(json.dumps({"looks": looks, "peak_dollars": str(peak), "wrong": wrong[:20]}))


@dataclass(slots=True)
class _Found:
    """What the ledger says, and where that is not what the processes wrote down."""

    kinds: Counter[str] = field(default_factory=Counter)
    peak: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    held: int = 0
    refused: int = 0
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def events(self) -> int:
        return sum(self.kinds.values())


def _judge(url: str, notes: Path) -> _Found:
    """Replay the ledger, and hold it against every process's notes."""
    catalog = Catalog(url, TENANT)
    with catalog.begin() as connection:
        events = connection.execute(
            sa.text(
                "SELECT kind, hold_id, agent, dollars, tokens FROM sluice.cost ORDER BY event_id"
            )
        ).all()
        held = connection.execute(sa.text("SELECT count(*) FROM sluice.cost_hold")).scalar_one()
        uses = costs.uses(connection, [f"{each}:1" for each in SOURCES])
        spent = connection.execute(
            sa.text("SELECT spent FROM sluice.budget_use WHERE level = 'tenant'")
        ).scalar_one()
    catalog.close()
    found = _Found(kinds=Counter(each.kind for each in events), held=held, spent=spent)
    _replay(events, found)
    by_agent: dict[str, list[Any]] = {}
    for each in events:
        by_agent.setdefault(each.agent, []).append(each)
    total = Decimal(0)
    for path in notes.glob("*.jsonl"):
        lines = [json.loads(each) for each in path.read_text().splitlines()]
        found.refused += sum(what == "refused" for what, _, _ in lines)
        total += _compare(path.stem, lines, by_agent.pop(path.stem, []), found)
    found.wrong += [f"nobody wrote down what {agent} did" for agent in by_agent]
    found.failed = [each.read_text() for each in notes.glob("*.failed")]
    if not total == spent == sum(each.spent for each in uses.values()):
        found.wrong.append(f"{total} by the processes, {spent} by the budget, {uses}")
    return found


def _replay(events: Sequence[Any], found: _Found) -> None:
    """Held and spent after each event.

    An event that frees money has its number before the row of the budget is locked, and one that
    takes money after that; so this sum may be below the truth for a moment, and never above it.
    """
    open_holds, gone = dict[Any, Decimal](), Decimal(0)
    for each in events:
        if each.kind == "reserve":
            open_holds[each.hold_id] = each.dollars
            gone += each.dollars
        else:
            if each.hold_id not in open_holds:
                found.wrong.append(f"{each.kind} of {each.hold_id}, which is not held")
            gone += each.dollars - open_holds.pop(each.hold_id, Decimal(0))
        found.peak = max(found.peak, gone)
    if open_holds or gone != found.spent:
        found.wrong.append(f"the ledger ends with {gone} and {len(open_holds)} holds")


def _compare(agent: str, lines: list[Line], events: list[Any], found: _Found) -> Decimal:
    """Hold one process's notes against its events; return the dollars that it was billed.

    Of the last step of a process that was killed only the beginning is written down: it may be in
    the ledger or not, but if it is, then as it was begun.
    """
    said = {(w, hold, tokens) for w, hold, tokens in lines if w in ("reserve", "settle", "release")}
    holds = {hold for w, hold, _ in lines if w == "reserve"}
    ended = {hold for w, hold, _ in lines if w in ("settle", "release")}
    last, last_hold, last_tokens = lines[-1] if lines else ("", None, 0)
    killed = last.endswith("?") or bool(holds - ended)
    done = set[tuple[str, str, int]]()
    billed = Decimal(0)
    for each in events:
        event = (each.kind, str(each.hold_id), each.tokens)
        if each.dollars != each.tokens * PRICE:
            found.wrong.append(f"{agent}: {event} for {each.dollars}")
        if each.kind == "settle":
            billed += each.dollars
        begun = (
            last == f"{each.kind}?" and last_tokens == each.tokens and last_hold in (None, event[1])
        )
        if each.kind == "expire":
            if event[1] in ended or not killed:
                found.wrong.append(f"{agent}: {event}, but it was alive")
        elif event not in said and not begun:
            found.wrong.append(f"{agent}: {event} is not written down")
        if event in done:
            found.wrong.append(f"{agent}: {event} twice")
        done.add(event)
    found.wrong += [f"{agent}: {each} is not in the ledger" for each in said - done]
    return billed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, default=200)
    sys.exit(main(parser.parse_args().workers))
