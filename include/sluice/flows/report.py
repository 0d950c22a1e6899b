"""A run's summary as Airflow shows it: an XCom value, and a table in the log."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sluice.model import RunSummary

_DOCUMENTS = (
    "new",
    "changed",
    "acl_only",
    "metadata_only",
    "unchanged",
    "deleted",
    "quarantined",
)
_WORK = ("chunks", "embedded", "tokens")
_MONEY = ("forecast", "dollars")


def counts(summary: RunSummary) -> dict[str, Any]:
    """The summary as plain JSON; stage times in seconds."""
    plain = asdict(summary)
    plain["load_ids"] = list(summary.load_ids)
    plain["stages"] = {name: round(seconds, 2) for name, seconds in summary.stages.items()}
    return plain


def table(summary: RunSummary) -> list[str]:
    """The summary in lines fit for a log."""
    plain = asdict(summary)
    names = [*_DOCUMENTS, *_WORK]
    lines = [f"{name.replace('_', ' '):<15}{plain[name]:>10,}" for name in names]
    lines += [f"{name:<15}{float(plain[name]):>10,.4f}" for name in _MONEY]
    lines += [f"{name:<15}{seconds:>9.2f} s" for name, seconds in summary.stages.items()]
    width = max(map(len, lines))
    documents, work = len(_DOCUMENTS), len(_WORK) + len(_MONEY)
    rule = "─" * width
    return [
        f"{summary.source}: documents",
        rule,
        *lines[:documents],
        rule,
        *lines[documents : documents + work],
        rule,
        *lines[documents + work :],
        rule,
    ]
