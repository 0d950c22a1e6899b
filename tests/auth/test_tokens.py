"""Tokens: got early, got once, kept before use; a grant that is gone is never met in silence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import sqlalchemy as sa
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from oauth_server import CLIENT, SECRET, AuthorizationServer
from sluice import crypto
from sluice.auth import Consent, Tokens, Vault
from sluice.catalog import Catalog, status
from sluice.catalog import tokens as rows
from sluice.crypto import MasterKeys
from sluice.errors import (
    BadInput,
    ConfigurationError,
    SignInNeeded,
    SourceRefused,
    SourceUnavailable,
)
from sluice.model import (
    AuthorizationCode,
    ClientCredentials,
    Connection,
    GitHubApp,
    JwtBearer,
    Token,
)

SOURCE = "crm"
CALLBACK = "http://127.0.0.1:8080/sluice/connect/callback"
CONNECTION = Connection(name="crm", login=CLIENT, password=SECRET)
CHILD = Path(__file__).parent / "token_child.py"


def give_consent(consent: Consent, auth: AuthorizationCode) -> str:
    """Do what a person does: follow the link, agree, come back."""
    link = consent.begin(SOURCE, auth, CALLBACK)
    sent_to = requests.get(link, allow_redirects=False, timeout=10).headers["Location"]
    assert sent_to.startswith(CALLBACK)
    back = parse_qs(urlsplit(sent_to).query)
    return consent.finish(back["state"][0], back["code"][0])


def age(catalog: Catalog, tokens: Tokens, auth: AuthorizationCode) -> Token:
    """Make the token that is kept one that ended a minute ago; return it."""
    with catalog.begin() as connection:
        rows.lock(connection, SOURCE)
        held = tokens._held(connection, SOURCE)
        assert held is not None
        ended = Token(
            access=held.access,
            refresh=held.refresh,
            expires_at=datetime.now(UTC) - timedelta(minutes=1),
        )
        tokens.keep(connection, SOURCE, ended)
    return ended


def sign_in_note(catalog: Catalog) -> str | None:
    """What the source's record says about signing in."""
    with catalog.begin() as connection:
        found: str | None = connection.execute(
            sa.text("SELECT sign_in FROM sluice.source WHERE source = :s"), {"s": SOURCE}
        ).scalar_one()
    return found


def test_consent_gives_a_token_that_is_used_until_it_nearly_ends(
    issuer: AuthorizationServer, consent: Consent, tokens: Tokens, auth: AuthorizationCode
) -> None:
    """The link carries PKCE and a state; the code that comes back is redeemed once."""
    assert give_consent(consent, auth) == SOURCE
    first = tokens.access(SOURCE, auth, CONNECTION)
    assert first in issuer.access
    assert tokens.access(SOURCE, auth, CONNECTION) == first
    assert len(issuer.requests) == 1


def test_a_consent_that_was_not_asked_for_gives_nothing(
    consent: Consent, auth: AuthorizationCode
) -> None:
    """A made-up state, and one that was used, are refused alike."""
    with pytest.raises(BadInput, match="not asked for"):
        consent.finish("made-up", "code")
    link = consent.begin(SOURCE, auth, CALLBACK)
    state = parse_qs(urlsplit(link).query)["state"][0]
    with pytest.raises(BadInput, match="access_denied"):
        consent.finish(state, None, "access_denied")
    with pytest.raises(BadInput, match="not asked for"):
        consent.finish(state, "code")


def test_a_code_without_its_verifier_is_refused_by_the_server(
    issuer: AuthorizationServer, consent: Consent, auth: AuthorizationCode
) -> None:
    """Whoever steals a code from the address bar cannot redeem it with a link of their own."""
    stolen = requests.get(
        consent.begin(SOURCE, auth, CALLBACK), allow_redirects=False, timeout=10
    ).headers["Location"]
    code = parse_qs(urlsplit(stolen).query)["code"][0]
    other = parse_qs(urlsplit(consent.begin(SOURCE, auth, CALLBACK)).query)["state"][0]
    with pytest.raises(SignInNeeded):
        consent.finish(other, code)
    assert not issuer.access


def test_a_token_is_refreshed_before_it_ends_and_the_rotated_one_is_kept(
    issuer: AuthorizationServer,
    consent: Consent,
    tokens: Tokens,
    auth: AuthorizationCode,
    catalog: Catalog,
) -> None:
    """Each refresh token is used once; the one that came with the new token is used next."""
    give_consent(consent, auth)
    for _ in range(3):
        before = age(catalog, tokens, auth)
        after = tokens.access(SOURCE, auth, CONNECTION)
        assert after != before.access and after in issuer.access
    assert len(issuer.used) == 3


def test_a_rejected_token_is_replaced_and_a_newer_one_is_not(
    issuer: AuthorizationServer, consent: Consent, tokens: Tokens, auth: AuthorizationCode
) -> None:
    """Of two workers that were answered 401, the second gets what the first got."""
    give_consent(consent, auth)
    rejected = tokens.access(SOURCE, auth, CONNECTION)
    first = tokens.access(SOURCE, auth, CONNECTION, rejected)
    second = tokens.access(SOURCE, auth, CONNECTION, rejected)
    assert first == second != rejected
    assert len(issuer.used) == 1


def test_fifty_workers_rotate_a_single_use_token_once(
    issuer: AuthorizationServer,
    consent: Consent,
    tokens: Tokens,
    auth: AuthorizationCode,
    catalog_url: str,
    catalog: Catalog,
    keys: MasterKeys,
) -> None:
    """Five processes of ten threads ask at the same moment; a second use would end the grant."""
    give_consent(consent, auth)
    age(catalog, tokens, auth)
    issuer.slow = 0.3
    children = [start_child(catalog_url, catalog.tenant, keys, auth, "10") for _ in range(5)]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    got = {line for child in children for line in child.communicate(timeout=60)[0].split()}
    assert len(got) == 1 and got <= issuer.access
    assert len(issuer.used) == 1, "exactly one rotation"


def test_killed_between_rotation_and_use_the_next_worker_goes_on(
    issuer: AuthorizationServer,
    consent: Consent,
    tokens: Tokens,
    auth: AuthorizationCode,
    catalog_url: str,
    catalog: Catalog,
    keys: MasterKeys,
) -> None:
    """What the killed worker rotated was committed before it had it."""
    give_consent(consent, auth)
    age(catalog, tokens, auth)
    child = start_child(catalog_url, catalog.tenant, keys, auth, "1")
    assert child.stdout is not None and child.stdin is not None
    child.stdout.readline()
    child.stdin.write("go\n")
    child.stdin.flush()
    rotated = child.stdout.readline().strip()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert tokens.access(SOURCE, auth, CONNECTION) == rotated
    assert tokens.access(SOURCE, auth, CONNECTION, rotated) in issuer.access
    assert len(issuer.used) == 2


def test_a_grant_that_is_gone_is_said_and_not_asked_for_again(
    issuer: AuthorizationServer,
    consent: Consent,
    tokens: Tokens,
    auth: AuthorizationCode,
    catalog: Catalog,
) -> None:
    """It is noted where people look, and forgotten there once somebody has consented again."""
    give_consent(consent, auth)
    age(catalog, tokens, auth)
    issuer.revoke()
    with pytest.raises(SignInNeeded, match=r"needs re-authentication.*sluice connect crm"):
        tokens.access(SOURCE, auth, CONNECTION)
    asked = len(issuer.requests)
    assert sign_in_note(catalog) is not None
    with catalog.begin() as connection:
        (shown,) = status.sources(connection)
    assert shown.sign_in is not None, "`sluice status` says so"
    with pytest.raises(SignInNeeded, match="nobody has consented"):
        tokens.access(SOURCE, auth, CONNECTION)
    assert len(issuer.requests) == asked
    give_consent(consent, auth)
    assert tokens.access(SOURCE, auth, CONNECTION) in issuer.access
    assert sign_in_note(catalog) is None


def test_a_token_endpoint_that_fails_for_a_moment_loses_no_grant(
    issuer: AuthorizationServer,
    consent: Consent,
    tokens: Tokens,
    auth: AuthorizationCode,
    catalog: Catalog,
) -> None:
    """Two bad answers are borne; three are an error that the next run mends."""
    give_consent(consent, auth)
    age(catalog, tokens, auth)
    issuer.broken = 3
    with pytest.raises(SourceUnavailable, match="answered 503"):
        tokens.access(SOURCE, auth, CONNECTION)
    issuer.broken = 1
    assert tokens.access(SOURCE, auth, CONNECTION) in issuer.access


def test_client_credentials_ask_with_the_secret_in_the_header(
    issuer: AuthorizationServer, tokens: Tokens
) -> None:
    """A wrong secret is refused, with the cure, and is in no message."""
    auth = ClientCredentials(connection="crm", token_url=f"{issuer.url}/token", scopes=("read",))
    assert tokens.access(SOURCE, auth, CONNECTION) in issuer.access
    wrong = Connection(name="crm", login=CLIENT, password="wrong-secret")
    rejected = tokens.access(SOURCE, auth, wrong)
    with pytest.raises(SourceRefused, match="Check login and password") as refusal:
        tokens.access(SOURCE, auth, wrong, rejected)
    assert "wrong-secret" not in str(refusal.value) + repr(refusal.value) + repr(wrong)


def test_service_accounts_and_github_apps_sign_for_their_tokens(
    issuer: AuthorizationServer, tokens: Tokens
) -> None:
    """An assertion in RS256 is exchanged; the server verifies signature, audience and life."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    issuer.public_key = (
        private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )
    google = Connection(
        name="drive",
        extra={
            "client_email": "sluice@project.example",
            "private_key": pem,
            "token_uri": f"{issuer.url}/token",
        },
    )
    bearer = JwtBearer(connection="drive", scopes=("drive.readonly",))
    assert tokens.access("drive", bearer, google) in issuer.access
    app = Connection(name="github", login="12345", password=pem)
    installed = GitHubApp(connection="github", installation=7, api_url=issuer.url)
    assert tokens.access("code", installed, app).startswith("ghs_")
    with pytest.raises(ConfigurationError, match="cannot sign"):
        tokens.access("other", installed, Connection(name="g", login="1", password="no key"))


def test_nothing_secret_lies_readable_in_the_catalog(
    issuer: AuthorizationServer, consent: Consent, auth: AuthorizationCode, catalog: Catalog
) -> None:
    """Whoever reads the tables, or a backup of them, finds no token and no verifier."""
    consent.begin(SOURCE, auth, CALLBACK)
    give_consent(consent, auth)
    with catalog.begin() as connection:
        lying = "".join(
            str([bytes(v) if isinstance(v, memoryview) else v for v in row])
            for table in ("token", "consent", "data_key")
            for row in connection.execute(sa.text(f"SELECT * FROM sluice.{table}"))
        )
    assert lying
    for secret in issuer.access | issuer.refresh:
        assert secret not in lying


def test_master_keys_rotate_while_tokens_are_in_use(
    issuer: AuthorizationServer,
    consent: Consent,
    auth: AuthorizationCode,
    catalog: Catalog,
    keys: MasterKeys,
) -> None:
    """A new key is put first, every data key is wrapped anew, the old one can go."""
    give_consent(consent, auth)
    new = MasterKeys.parse(crypto.new_master("second")).keys
    both = MasterKeys({**new, **keys.keys})
    during = Tokens(catalog, Vault(catalog, keys))
    assert Vault(catalog, both).rewrap() == 1
    assert Vault(catalog, both).rewrap() == 0
    with pytest.raises(ConfigurationError, match="no key called second"):
        during.access(SOURCE, auth, CONNECTION)
    after = Tokens(catalog, Vault(catalog, MasterKeys(new)))
    token = after.access(SOURCE, auth, CONNECTION)
    assert Vault(catalog, MasterKeys(new)).renew(SOURCE) == 2
    assert after.access(SOURCE, auth, CONNECTION) == token


def test_a_token_moved_to_another_source_does_not_open(
    consent: Consent, auth: AuthorizationCode, tokens: Tokens, catalog: Catalog
) -> None:
    """What it belongs to is sealed with it, so that no row can be passed off as another's."""
    give_consent(consent, auth)
    with catalog.begin() as connection:
        for table in ("data_key", "token"):
            connection.execute(sa.text(f"UPDATE sluice.{table} SET source = 'other'"))
    with pytest.raises(ConfigurationError, match="does not open"):
        tokens.access("other", auth, CONNECTION)


def start_child(
    url: str, tenant: str, keys: MasterKeys, auth: AuthorizationCode, threads: str
) -> subprocess.Popen[str]:
    """Start a process that gets the token when it is told to: see ``token_child.py``."""
    asked = {
        "url": url,
        "tenant": tenant,
        "key": keys.keys["first"].hex(),
        "authorize_url": auth.authorize_url,
        "token_url": auth.token_url,
        "threads": threads,
    }
    return subprocess.Popen(
        [sys.executable, str(CHILD), json.dumps(asked)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
