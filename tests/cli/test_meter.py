"""How far long work is: a bar for a person, a few lines for a log."""

from __future__ import annotations

import io
import sys

import pytest
from sluice.cli.meter import duration, meter


class Terminal(io.StringIO):
    """Something that a person looks at."""

    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_at_the_end_and_few_before(capsys: pytest.CaptureFixture[str]) -> None:
    """A thousand ticks in no time are one line."""
    with meter("documents") as tick:
        for done in range(1, 1001):
            tick(done, 1000)
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("documents 1,000/1,000, ")
    assert said.err.count("\n") == 1


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is done, what there is, and the rate."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with meter("documents") as tick:
        tick(5, 10)
        tick(10, 10)
    assert "10/10" in terminal.getvalue() and "/s" in terminal.getvalue()


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.2, "0 s"), (89, "89 s"), (600, "10 min"), (10_800, "3.0 h")]
)
def test_durations_are_told_as_people_tell_them(seconds: float, said: str) -> None:
    """Seconds, then minutes, then hours."""
    assert duration(seconds) == said
