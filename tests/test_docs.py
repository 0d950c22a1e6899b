"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sluice.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def documented() -> dict[str, tuple[str, str]]:
    """Variable to (default, description), as docs/configuration.md gives them."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `SLUICE_(\w+)` \| ?([^|]*?) ?\| (.*?) \|$", page, re.MULTILINE)
    return {name.lower(): (default.strip("` "), text) for name, default, text in rows}


def test_every_setting_is_documented_and_none_is_invented() -> None:
    """The table names exactly the fields of Settings."""
    assert documented().keys() == Settings.model_fields.keys()


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_setting_is_documented_as_it_is(name: str) -> None:
    """Default and description in the table are those in the code."""
    default, text = documented()[name]
    setting = Settings.model_fields[name]
    assert text == setting.description
    if name == "suites":
        assert str(setting.default).endswith(default)
    else:
        assert default == ("" if setting.default is None else str(setting.default))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link in the documentation is a file of this repository."""
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_changelog_knows_this_version() -> None:
    """What is unreleased has a heading to be written under."""
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_documented_api_is_two_dags_in_under_40_lines() -> None:
    """What the page shows can be put into a file as it is."""
    page = (ROOT / "docs" / "add-a-source.md").read_text()
    found = re.search(r"## An API.*?```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    assert len(found[1].splitlines()) < 40
    names: dict[str, Any] = {"__doc__": "# Tracker\n"}
    exec(found[1], names)  # noqa: S102  # it is our own documentation
    assert names["dag"].dag_id == "tracker"
    assert names["permissions"].dag_id == "tracker_permissions"
