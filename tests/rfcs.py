"""A real corpus as a source: all Rust RFCs, with the people and teams of Rust.

The folder has 642 entries: 639 RFCs, and three folders with nine more documents and two pictures,
so 648 documents. That a team may read an RFC is a mapping made for tests: RFC numbers are dealt out
to teams.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

RFCS = 648
DAGS = '''
"""Airflow reads this DAG file: {folder} as a source, and who may read it."""

from sluice.flows import ingest_dag, permissions_dag
from sluice.sources import Files, People

rfcs = ingest_dag(Files(name="rust_rfcs", url={folder!r}), runbook=__doc__)
people = permissions_dag(People(name="rust_team", url={people!r}), runbook=__doc__)
'''


@dataclass(frozen=True)
class Corpus:
    """The RFCs in a folder of their own, and which team may read each."""

    folder: Path
    people: Path
    team: dict[str, str]  # by path in the folder
    members: dict[str, list[str]]  # by team, direct ones

    def dag_file(self) -> str:
        return DAGS.format(folder=str(self.folder), people=str(self.people))


def make_corpus(data: Path, home: Path) -> Corpus:
    """Copy the RFCs, deal them out to teams, and write the teams down as a people file."""
    folder = home / "rfcs"
    shutil.copytree(data / "rust-rfcs" / "text", folder)
    teams = [
        tomllib.loads(path.read_text()) for path in sorted(data.glob("rust-team/teams/*.toml"))
    ]
    members = {team["name"]: [_login(each) for each in team["people"]["members"]] for team in teams}
    groups = [
        {
            "id": f"group:rust:{name}",
            "members": [f"user:{login}" for login in logins]
            + [f"group:rust:{t['name']}" for t in teams if t.get("subteam-of") == name],
        }
        for name, logins in members.items()
    ]
    people = sorted({login for logins in members.values() for login in logins})
    written = {"people": [{"id": f"user:{login}"} for login in people], "groups": groups}
    (home / "people.yaml").write_text(yaml.safe_dump(written))
    able = sorted(name for name, logins in members.items() if logins)
    paths = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.md"))
    team = {path: able[int(path[:4]) % len(able)] for path in paths}
    rules = {path: {"allow": [f"group:rust:{team[path]}"]} for path in paths}
    pages = {path: rule for path, rule in rules.items() if "/" not in path}
    (folder / ".access.yaml").write_text(yaml.safe_dump({"pages": pages}))
    for path, rule in rules.items():
        if "/" in path:
            (folder / path).with_name(".access.yaml").write_text(yaml.safe_dump(rule))
    return Corpus(folder, home / "people.yaml", team, members)


def _login(member: str | dict[str, Any]) -> str:
    return member if isinstance(member, str) else str(member["github"])
