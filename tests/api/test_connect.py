"""Signing in to a source from a browser: who may, what is asked, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from oauth_server import CLIENT, SECRET, AuthorizationServer, serving
from sluice import crypto
from sluice.api.connect import connect_app
from sluice.auth import Consent, Tokens, Vault
from sluice.catalog import Catalog, runs
from sluice.crypto import MasterKeys
from sluice.errors import ConfigurationError
from sluice.model import AuthorizationCode, Connection, Policy
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

CALLBACK = "http://testserver/connect/callback"
SIGNED_IN = {"Cookie": "_token=editor"}


@pytest.fixture
def issuer() -> Iterator[AuthorizationServer]:
    """A service that asks people for consent."""
    with serving(AuthorizationServer()) as started:
        yield started


@pytest.fixture
def client(catalog: Catalog, issuer: AuthorizationServer) -> TestClient:
    """The app, where one token may edit the DAG of one source."""
    with catalog.begin() as connection:
        runs.ensure_source(connection, "crm", "rest", Policy())
    vault = Vault(catalog, MasterKeys.parse(crypto.new_master("first")))
    tokens = Tokens(catalog, vault)
    known = Connection(name="crm", login=CLIENT, password=SECRET)
    consent = Consent(catalog, vault, tokens, lambda _: known)

    def look_up(source: str) -> AuthorizationCode:
        if source != "crm":
            raise ConfigurationError("is no source that somebody consents to", subject=source)
        return AuthorizationCode(
            connection="crm",
            authorize_url=f"{issuer.url}/authorize",
            token_url=f"{issuer.url}/token",
            scopes=("read", "<script>"),
        )

    async def may_edit(token: str, source: str) -> bool:
        return token == "editor" and source != "payroll"

    app = connect_app(lambda: consent, look_up, may_edit, CALLBACK)
    return TestClient(Starlette(routes=[Mount("/connect", app)]), follow_redirects=False)


@pytest.mark.parametrize(
    ("path", "headers"),
    [("crm", {}), ("crm", {"Cookie": "_token=viewer"}), ("payroll", SIGNED_IN)],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_who_may_not_edit_the_dag_starts_no_consent(
    client: TestClient, method: str, path: str, headers: dict[str, str]
) -> None:
    """A stranger, a viewer, and the editor of something else all get the same page."""
    answer = client.request(method, f"/connect/{path}", headers=headers)
    assert answer.status_code == 401
    assert "Sign in" in answer.text and "location" not in answer.headers


def test_an_editor_consents_and_the_source_is_connected(
    client: TestClient, issuer: AuthorizationServer
) -> None:
    """The page says what is asked for; its button leads there; what comes back is a token."""
    page = client.get("/connect/crm", headers=SIGNED_IN)
    assert "read, &lt;script&gt;" in page.text and "<script>" not in page.text
    sent = client.post("/connect/crm", headers=SIGNED_IN)
    assert sent.status_code == 303
    agreed = requests.get(sent.headers["location"], allow_redirects=False, timeout=10)
    back = client.get(agreed.headers["Location"])
    assert back.status_code == 200 and "crm is connected" in back.text
    assert len(issuer.refresh) == 1
    again = client.get(agreed.headers["Location"])
    assert again.status_code == 400, "the address is good once"


def test_who_says_no_is_told_so_and_nothing_is_kept(
    client: TestClient, issuer: AuthorizationServer
) -> None:
    """What the service says of it is shown as text."""
    sent = client.post("/connect/crm", headers=SIGNED_IN)
    state = parse_qs(urlsplit(sent.headers["location"]).query)["state"][0]
    back = client.get(f"/connect/callback?state={state}&error=<b>access_denied")
    assert back.status_code == 400
    assert "&lt;b&gt;access_denied" in back.text
    assert issuer.requests == []


def test_a_source_that_nobody_consents_to_is_refused_in_one_line(client: TestClient) -> None:
    """A source that is read with a key, or that is not there."""
    answer = client.get("/connect/files", headers=SIGNED_IN)
    assert answer.status_code == 400
    assert "is no source that somebody consents to" in answer.text
