"""How far long work is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

_EVERY = 10.0  # seconds between two lines

Tick = Callable[[int, int], None]  # done so far, and in all


@contextmanager
def meter(what: str) -> Iterator[Tick]:
    """Show on stderr how far ``what`` is, how fast it goes, and when it will be done."""
    if sys.stderr.isatty():
        with _bar(what) as tick:
            yield tick
    else:
        yield _lines(what)


@contextmanager
def _bar(what: str) -> Iterator[Tick]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown:
        task = shown.add_task(what, total=None, rate="")
        began = time.monotonic()

        def tick(done: int, total: int) -> None:
            rate = f"{done / max(time.monotonic() - began, 0.001):,.0f}/s"
            shown.update(task, completed=done, total=total, rate=rate)

        yield tick


def _lines(what: str) -> Tick:
    began = said = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal said
        now = time.monotonic()
        if done < total and now - said < _EVERY:
            return
        said = now
        rate = done / max(now - began, 0.001)
        left = f", {duration((total - done) / rate)} left" if done < total else ""
        typer.echo(f"{what} {done:,}/{total:,}, {rate:,.0f}/s{left}", err=True)

    return tick


def duration(seconds: float) -> str:
    """Say how long: ``20 s``, ``5 min``, ``3.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5_400 else f"{seconds / 3_600:.1f} h"
