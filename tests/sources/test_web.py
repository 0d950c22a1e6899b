"""Speaking to a service: signed in, no faster than it allows, patiently, and never indiscreet."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import PageNumberPaginator
from json_server import Asked, Said, serving
from oauth_server import CLIENT, SECRET, AuthorizationServer
from oauth_server import serving as authorizing
from sluice import crypto
from sluice.auth import Tokens, Vault
from sluice.catalog import Catalog, runs
from sluice.crypto import MasterKeys
from sluice.errors import SignInNeeded, SourceBusy, SourceRefused, SourceUnavailable
from sluice.ingest.kit import Kit
from sluice.model import ApiKey, Auth, Basic, Bearer, ClientCredentials, Connection, Policy
from sluice.sources.web import Dialect, Rate, open_session
from sluice.sources.web.budget import Budget
from sluice.sources.web.verdicts import Meaning, judge

PAGES = 200
NOW = 1_800_000_000.0


@pytest.fixture
def issuer() -> Iterator[AuthorizationServer]:
    """A server that gives tokens."""
    with authorizing(AuthorizationServer()) as started:
        yield started


@pytest.fixture
def kit(catalog: Catalog) -> Kit:
    """A kit with a client's secret in it, and real tokens."""
    with catalog.begin() as connection:
        runs.ensure_source(connection, "crm", "rest", Policy())
    tokens = Tokens(catalog, Vault(catalog, MasterKeys.parse(crypto.new_master("first"))))

    def connection(name: str) -> Connection:
        return Connection(name=name, login=CLIENT, password=SECRET)

    return Kit(catalog, "crm", connection, lambda: tokens)


def test_a_token_that_dies_in_mid_listing_behind_rate_limits_costs_no_page(
    issuer: AuthorizationServer, kit: Kit
) -> None:
    """Two hundred pages, a 429 every seventh request, the token revoked after a hundred."""
    count = 0

    def answer(asked: Asked) -> Said:
        nonlocal count
        count += 1
        if count % 7 == 0:
            return Said({}, 429, {"Retry-After": "0.01"})
        if asked.bearer not in issuer.access:
            return Said({}, 401)
        page = int(asked.query["page"])
        if page == PAGES // 2 and len(issuer.requests) == 1:
            issuer.access.clear()
            return Said({}, 401)
        return Said([{"id": page * 10 + n} for n in range(10)] if page < PAGES else [])

    auth = ClientCredentials(connection="crm", token_url=f"{issuer.url}/token")
    with serving(answer) as service:
        client = RESTClient(
            service.url,
            session=open_session(kit, "crm", auth),
            paginator=PageNumberPaginator(base_page=0, total_path=None),
        )
        seen = [each["id"] for page in client.paginate("/things") for each in page]
    assert seen == list(range(PAGES * 10)), "no record twice, and none missing"
    assert len(issuer.requests) == 2, "one token, and one after it"


@pytest.mark.parametrize(
    ("auth", "sent"),
    [
        (ApiKey(connection="crm"), ("x-api-key", SECRET)),
        (ApiKey(connection="crm", name="authorization", prefix="Token "), None),
        (Bearer(connection="crm"), ("authorization", f"Bearer {SECRET}")),
        (Basic(connection="crm"), ("authorization", "Basic")),
    ],
)
def test_keys_are_sent_as_the_service_wants_them_and_a_refused_one_is_said(
    kit: Kit, auth: Auth, sent: tuple[str, str] | None
) -> None:
    """A refusal names the cure, and holds neither the key nor the query."""
    with serving(lambda asked: Said({}, 401 if asked.path == "/closed" else 200)) as service:
        session = open_session(kit, "crm", auth)
        session.get(f"{service.url}/open")
        with pytest.raises(SourceRefused, match="Check the Airflow connection") as refusal:
            session.get(f"{service.url}/closed?token=hidden")
        if sent is not None:
            assert service.asked[0].headers[sent[0]].startswith(sent[1])
    assert SECRET not in str(refusal.value) and "hidden" not in str(refusal.value)


def test_a_key_in_the_address_is_in_no_error(kit: Kit) -> None:
    """Where a service wants it there, it is added last and never shown."""
    auth = ApiKey(connection="crm", name="key", place="query")
    with serving(lambda asked: Said({}, 200 if "key" in asked.query else 404)) as service:
        session = open_session(kit, "crm", auth)
        assert session.get(f"{service.url}/a?b=c").status_code == 200
    with pytest.raises(SourceUnavailable) as error:
        open_session(kit, "crm", auth, sleep=lambda _: None).get(f"{service.url}/a?b=c")
    assert SECRET not in str(error.value) + repr(error.value.__cause__)


def test_a_redirect_to_another_host_carries_no_credential(kit: Kit) -> None:
    """Attachments often lie elsewhere, and their host is not to be trusted with the token."""
    with serving(lambda _: Said({"file": "yes"})) as elsewhere:
        lead = Said(
            {}, 302, {"Location": f"{elsewhere.url}/file".replace("127.0.0.1", "localhost")}
        )
        with serving(lambda _: lead) as service:
            session = open_session(kit, "crm", Bearer(connection="crm"))
            assert session.get(f"{service.url}/file").json() == {"file": "yes"}
            assert service.asked[0].bearer == SECRET
        assert "authorization" not in elsewhere.asked[0].headers


def test_a_token_that_is_refused_when_it_is_new_needs_a_person(
    issuer: AuthorizationServer, kit: Kit
) -> None:
    """It is got anew once, never again and again."""
    auth = ClientCredentials(connection="crm", token_url=f"{issuer.url}/token")
    with (
        serving(lambda _: Said({}, 401)) as service,
        pytest.raises(SignInNeeded, match="sluice connect crm"),
    ):
        open_session(kit, "crm", auth).get(f"{service.url}/things")
    assert len(issuer.requests) == 2


def test_a_service_that_stumbles_is_asked_again_and_one_that_is_down_is_said(kit: Kit) -> None:
    """Five bad answers are borne, with growing pauses between them; then it is an error."""
    bad = 5
    pauses: list[float] = []

    def answer(asked: Asked) -> Said:
        nonlocal bad
        bad -= 1
        return Said({}, 502 if bad >= 0 else 200)

    with serving(answer) as service:
        session = open_session(kit, "crm", None, sleep=pauses.append)
        assert session.get(f"{service.url}/things").status_code == 200
        assert len(pauses) == 5
        bad = 100
        with pytest.raises(SourceUnavailable, match="6 times: answered 502"):
            session.get(f"{service.url}/things")


def test_a_wait_that_is_too_long_for_a_worker_is_handed_back(kit: Kit) -> None:
    """An hour until there is more: the run ends and says when to come again."""
    said = Said({}, 429, {"Retry-After": "3600"})
    with serving(lambda _: said) as service, pytest.raises(SourceBusy) as busy:
        open_session(kit, "crm", None).get(f"{service.url}/things")
    assert busy.value.after == pytest.approx(3600, abs=1)


def test_an_answer_that_was_asked_for_is_no_error(kit: Kit) -> None:
    """What may be missing may be looked for; the wish itself is not sent."""
    with serving(lambda _: Said({}, 404)) as service:
        session = open_session(kit, "crm", None)
        found = session.get(f"{service.url}/maybe", headers={"X-Sluice-Accept": "404 410"})
        assert found.status_code == 404
        assert "x-sluice-accept" not in service.asked[0].headers
        with pytest.raises(SourceRefused, match="answered 404"):
            session.get(f"{service.url}/maybe")


@pytest.mark.parametrize(
    ("dialect", "status", "headers", "body", "meaning", "after"),
    [
        (Dialect.PLAIN, 200, {}, {}, Meaning.FINE, None),
        (Dialect.PLAIN, 429, {"Retry-After": "7"}, {}, Meaning.WAIT, 7),
        (Dialect.PLAIN, 503, {"Retry-After": "7"}, {}, Meaning.WAIT, 7),
        (Dialect.PLAIN, 429, {}, {}, Meaning.WAIT, None),
        (Dialect.PLAIN, 500, {}, {}, Meaning.BROKEN, None),
        (Dialect.PLAIN, 403, {}, {}, Meaning.REFUSED, None),
        (
            Dialect.GITHUB,
            403,
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW) + 90)},
            {},
            Meaning.WAIT,
            91,
        ),
        (
            Dialect.GITHUB,
            403,
            {},
            {"message": "You have exceeded a secondary rate limit."},
            Meaning.WAIT,
            60,
        ),
        (
            Dialect.GITHUB,
            403,
            {"X-RateLimit-Remaining": "4999", "X-RateLimit-Reset": str(int(NOW) + 90)},
            {"message": "Resource not accessible by integration"},
            Meaning.REFUSED,
            None,
        ),
        (Dialect.SLACK, 200, {}, {"ok": True}, Meaning.FINE, None),
        (Dialect.SLACK, 200, {}, {"ok": False, "error": "ratelimited"}, Meaning.WAIT, None),
        (Dialect.SLACK, 200, {}, {"ok": False, "error": "token_expired"}, Meaning.SIGNED_OUT, None),
        (Dialect.SLACK, 200, {}, {"ok": False, "error": "missing_scope"}, Meaning.REFUSED, None),
        (
            Dialect.GOOGLE,
            403,
            {},
            {"error": {"errors": [{"reason": "userRateLimitExceeded"}]}},
            Meaning.WAIT,
            None,
        ),
        (
            Dialect.GOOGLE,
            403,
            {},
            {"error": {"errors": [{"reason": "insufficientPermissions"}]}},
            Meaning.REFUSED,
            None,
        ),
        (
            Dialect.MATRIX,
            429,
            {},
            {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500},
            Meaning.WAIT,
            1.5,
        ),
        (Dialect.MATRIX, 401, {}, {"errcode": "M_UNKNOWN_TOKEN"}, Meaning.SIGNED_OUT, None),
    ],
)
def test_each_service_is_understood_in_its_own_words(
    dialect: Dialect,
    status: int,
    headers: dict[str, str],
    body: object,
    meaning: Meaning,
    after: float | None,
) -> None:
    """What is a limit with one is a refusal with another."""
    verdict = judge(dialect, status, headers, json.dumps(body).encode(), NOW)
    assert verdict.meaning is meaning
    assert verdict.after == (after if after is None else pytest.approx(after))


def test_a_date_in_retry_after_is_a_time_from_now() -> None:
    """RFC 9110 allows either."""
    headers = {"Retry-After": time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(NOW + 30))}
    assert judge(Dialect.PLAIN, 429, headers, b"", NOW).after == pytest.approx(30, abs=1)


def test_a_budget_is_kept_before_the_service_has_to_say_no() -> None:
    """In no stretch of a minute are there more requests than the rate allows, and its burst."""
    now = 0.0
    budget, sent = Budget(Rate(requests=60, per=60), lambda: now), []
    while now < 300:
        now += budget.take()
        sent.append(now)
    for start in range(0, 240, 7):
        assert sum(start <= each < start + 60 for each in sent) <= 60 + 6 + 1
    assert len(sent) >= 300, "and it is used up"
