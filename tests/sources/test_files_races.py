"""A folder that changes while it is read: rules and pages of two moments never meet."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from landed import state
from sluice import landing
from sluice.errors import SourceUnavailable
from sluice.landing import Zone
from sluice.model import PUBLIC, Column, Draft, Grant, LandedRow, Policy, Principal, Window
from sluice.ports import Kit
from sluice.sources import Files

EVERYONE = frozenset({Grant(PUBLIC)})
EVE = frozenset({Grant(Principal.parse("user:eve@x.com"))})
OPEN, EVE_ONLY = "allow: [public]\n", "allow: [user:eve@x.com]\n"


@dataclass
class Meddled:
    """Files, with something that happens after the pages were read and before the rules are."""

    files: Files
    meddle: Callable[[], object]
    kind: str = "files"
    policy: Policy = Policy()  # noqa: RUF009  # frozen

    @property
    def name(self) -> str:
        return self.files.name

    def columns(self) -> Sequence[Column] | None:
        return None

    def resources(self, window: Window | None, kit: Kit, *, whole: bool) -> Sequence[Any]:
        rows, *others = self.files.resources(window, kit, whole=whole)
        return [rows.add_map(self._first_meddle), *others]

    def draft(self, row: LandedRow) -> Draft:
        return self.files.draft(row)

    def _first_meddle(self, page: Any) -> Any:
        self.meddle()
        return page


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with rules at its root and one page."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "page.md").write_text("harmless")
    (tmp_path / ".access.yaml").write_text(OPEN)
    time.sleep(0.15)
    return tmp_path


def test_rules_tightened_after_a_page_was_read_guard_it(root: Path, name: str, zone: Zone) -> None:
    """The new-enemy rule: whoever was shut out before the page was written does not see it."""
    rules = root / ".access.yaml"
    source = Meddled(Files(name=name, url=str(root)), lambda: rules.write_text(EVE_ONLY))
    assert state(zone, source, landing.land(source, zone))["sub/page.md"].acl == EVE


def test_nearer_rules_that_appear_after_a_page_was_read_guard_it(
    root: Path, name: str, zone: Zone
) -> None:
    """A file that did not exist when the folder was first listed is honoured too."""
    rules = root / "sub" / ".access.yaml"
    source = Meddled(Files(name=name, url=str(root)), lambda: rules.write_text(EVE_ONLY))
    assert state(zone, source, landing.land(source, zone))["sub/page.md"].acl == EVE


def test_page_blacked_out_before_its_folder_was_opened_is_never_shown_as_it_was(
    root: Path, name: str, zone: Zone
) -> None:
    """Old content under new rules: the run gives up, and the next one reads both again."""
    rules, page = root / ".access.yaml", root / "sub" / "page.md"
    rules.write_text(EVE_ONLY)
    page.write_text("secret!!")
    time.sleep(0.15)

    def redact_and_open() -> None:
        before = page.stat()
        page.write_text("redacted")
        os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
        rules.write_text(OPEN)

    files = Files(name=name, url=str(root))
    with pytest.raises(SourceUnavailable, match="changed while the folder was being read"):
        landing.land(Meddled(files, redact_and_open), zone)
    seen = state(zone, files, landing.land(files, zone))
    assert (seen["sub/page.md"].text, seen["sub/page.md"].acl) == ("redacted", EVERYONE)


def test_rules_that_change_over_an_unchanged_page_break_nothing(
    root: Path, name: str, zone: Zone
) -> None:
    """Only a page that changed too makes the run give up."""
    rules = root / ".access.yaml"
    rules.write_text(EVE_ONLY)
    source = Meddled(Files(name=name, url=str(root)), lambda: rules.write_text(OPEN))
    seen = state(zone, source, landing.land(source, zone))
    assert seen["sub/page.md"].acl == EVERYONE


def test_page_deleted_while_the_folder_is_read_is_not_listed(
    root: Path, name: str, zone: Zone
) -> None:
    """A page that went before it could be read is gone, not an error."""
    pages = [root / f"p{number:04}.md" for number in range(1500)]
    for page in pages:
        page.write_text("x")
    source = Meddled(
        Files(name=name, url=str(root)), lambda: pages[-1].exists() and pages[-1].unlink()
    )
    seen = state(zone, source, landing.land(source, zone))
    assert len(seen) == 1500
    assert pages[-1].name not in seen
