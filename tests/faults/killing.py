"""Runs a program that kills what it starts, and reads its report."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any


def outcome_of(
    program: str, home: Path, catalog_url: str, landing_url: str, **settings: str
) -> dict[str, Any]:
    """What ``program`` (a file beside this one) reports of a tenant, by default one of its own.

    It has failed if it, or a run after a kill, saw anything wrong.
    """
    config = {
        "home": str(home),
        "tenant": f"t-{uuid.uuid4().hex[:12]}",
        "catalog_url": catalog_url,
        "landing_url": landing_url,
        **settings,
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name(program)), json.dumps(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert report["failures"] == [], done.stderr[-4000:]
    return report


def report_of(
    program: str, home: Path, catalog_url: str, landing_url: str, **settings: str
) -> dict[str, Any]:
    """The same of a program that has a reader, which must not have seen anything wrong either."""
    report = outcome_of(program, home, catalog_url, landing_url, **settings)
    assert report["wrong"] == []
    assert report["reads"] > len(report["killed"])
    return report
