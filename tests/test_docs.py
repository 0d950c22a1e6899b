"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import oauth_server
import pytest
from landed import state
from sluice import landing
from sluice.auth import exchange
from sluice.flows.declared import declared
from sluice.landing import Zone
from sluice.model import Auth, ClientCredentials, Connection, Grant, Principal
from sluice.settings import Settings
from web_server import Answer, Asked, Kit, serving

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


def documented_api(page: str, desk: str, authority: str) -> str:
    """The DAG file of docs/add-a-source.md for an API, with servers of loopback in it."""
    section = page.partition("## An API\n")[2].partition("\n## ")[0]
    code = section.partition("```python\n")[2].partition("```")[0]
    assert len(code.splitlines()) < 40
    code = code.replace("https://desk.example.com/token", f"{authority}/token")
    return code.replace("https://desk.example.com/api", f"{desk}/api")


def test_the_documented_api_source_reads_an_api(tmp_path: Path, zone: Zone) -> None:
    """As it stands in the page: pages, a token that the service issued, members as readers."""
    tickets = [
        {"id": n, "subject": f"Ticket {n}", "body": "It rattles.", "project": "a"} for n in range(3)
    ]

    def answer(asked: Asked) -> Answer:
        if asked.headers["Authorization"].removeprefix("Bearer ") not in authority.access:
            return Answer(401)
        if asked.path == "/api/projects/a/members":
            return Answer(200, {"members": [{"email": "ada@x.com"}]})
        page = int(asked.query.get("page", 0))
        return Answer(200, {"tickets": [tickets[page]], "next": page + 1 if page < 2 else None})

    class Client(Kit):
        def connection(self, name: str) -> Connection:
            return Connection(name=name, login=oauth_server.CLIENT, password=oauth_server.SECRET)

        def token(self, auth: Auth, rejected: str | None = None) -> str:
            assert isinstance(auth, ClientCredentials)
            return exchange.granted(auth, self.connection(auth.connection)).access

    with (
        oauth_server.serving(oauth_server.AuthorizationServer()) as authority,
        serving(answer) as desk,
    ):
        page = (ROOT / "docs" / "add-a-source.md").read_text()
        (tmp_path / "desk.py").write_text(documented_api(page, desk.url, authority.url))
        source = declared(tmp_path)["desk"]
        seen = state(zone, source, landing.land(source, zone, kit=Client()))
    readers = frozenset({Grant(Principal.parse("user:ada@x.com"))})
    assert {key: each.acl for key, each in seen.items()} == dict.fromkeys("012", readers)
    assert {each.title for each in seen.values()} == {"Ticket 0", "Ticket 1", "Ticket 2"}
