"""Random histories of a folder: what has landed is what a brute-force reading finds."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from landed import BROKEN, Seen, state
from sluice import landing
from sluice.landing import Zone
from sluice.model import Effect, Grant, Principal
from sluice.sources import Files

FOLDERS = ("", "a", "a/b", "c")
NAMES = ("x.md", "y.txt")
RULES = (
    "allow: [public]\n",
    "allow: [user:eve@x.com]\ndeny: [group:g:h]\n",
    "{}\n",
    "alow: [public]\n",
    "allow: [public\n",
    "allow: [group:g:h]\npages: {x.md: {allow: [user:eve@x.com]}}\n",
)
Place = tuple[str, str]  # folder, name


def write(root: Path, place: Place, text: str) -> None:
    """Create or replace a page."""
    path = fresh(root, place)
    path.write_text(text)


def rewrite_unseen(root: Path, place: Place, text: str) -> None:
    """Edit a page and restore its old time; often the size is the same too."""
    path = root.joinpath(*place)
    if path.is_file() and not path.is_symlink():
        before = path.stat()
        path.write_text(text)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(root: Path, place: Place) -> None:
    """Change a page's time, and nothing else."""
    if (path := root.joinpath(*place)).is_file():
        os.utime(path)


def move(root: Path, place: Place, target: Place) -> None:
    """Rename a page, perhaps over another."""
    path = root.joinpath(*place)
    if path.exists() and place != target:
        path.rename(fresh(root, target))


def link(root: Path, place: Place) -> None:
    """Put a link out of the tree where a page was."""
    fresh(root, place).symlink_to("/etc/hostname")


def rules(root: Path, folder: str, text: str) -> None:
    """Write a folder's rules."""
    fresh(root, (folder, ".access.yaml")).write_text(text)


def drop(root: Path, folder: str) -> None:
    """Delete a folder with all that is in it."""
    shutil.rmtree(root / folder, ignore_errors=True)


def fresh(root: Path, place: Place) -> Path:
    """A path whose folder exists and which is free."""
    path = root.joinpath(*place)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    return path


places = st.tuples(st.sampled_from(FOLDERS), st.sampled_from(NAMES))
folders = st.sampled_from(FOLDERS)
edits = st.one_of(
    st.tuples(st.just(write), places, st.sampled_from(["one", "two", "three"])),
    st.tuples(st.just(rewrite_unseen), places, st.sampled_from(["uno", "dos"])),
    st.tuples(st.just(touch), places),
    st.tuples(st.just(move), places, places),
    st.tuples(st.just(lambda root, place: root.joinpath(*place).unlink(True)), places),
    st.tuples(st.just(link), places),
    st.tuples(st.just(rules), folders, st.sampled_from(RULES)),
    st.tuples(st.just(lambda root, folder: fresh(root, (folder, ".access.yaml"))), folders),
    st.tuples(st.just(drop), st.sampled_from(FOLDERS[1:])),
    st.tuples(st.just(lambda _: time.sleep(0.12))),
)


def readers(root: Path, path: Path) -> frozenset[Grant] | str | None:
    """Who may read ``path``, by looking upwards for the nearest rules; naive on purpose."""
    for folder in path.parents:
        rules = folder / ".access.yaml"
        if rules.exists():
            try:
                said = yaml.safe_load(rules.read_text())
            except yaml.YAMLError:
                return BROKEN
            if set(said) - {"allow", "deny", "pages"}:
                return BROKEN
            pages = said.get("pages", {})
            if folder == path.parent and path.name in pages:
                said = pages[path.name]
            return frozenset(
                Grant(Principal.parse(who), effect)
                for effect in Effect
                for who in said.get(effect.value, [])
            )
        if folder == root:
            return None
    raise AssertionError


def brute_force(root: Path) -> dict[str, Seen]:
    """What a fresh reading of everything finds."""
    seen = {}
    for path in root.rglob("*"):
        if path.name not in NAMES or path.is_dir():
            continue
        key = str(path.relative_to(root))
        link = path.is_symlink()
        seen[key] = Seen(
            title=path.stem,
            text="" if link else path.read_text(),
            problems=("is a link; put the file here",) if link else (),
            acl=readers(root, path),
        )
    return seen


@pytest.mark.timeout(600)
@given(history=st.lists(st.lists(edits, min_size=1, max_size=8), min_size=2, max_size=5))
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_landed_is_what_brute_force_finds(zone: Zone, history: list[list[tuple]]) -> None:
    """After each round of edits: the same pages, the same text, the same readers."""
    root = Path(tempfile.mkdtemp(prefix="sluice-history-"))
    try:
        files = Files(name=f"s{uuid.uuid4().hex[:12]}", url=str(root))
        for round_of_edits in history:
            for act, *where in round_of_edits:
                act(root, *where)
            load = landing.land(files, zone)
            assert state(zone, files, load) == brute_force(root)
    finally:
        shutil.rmtree(root)
