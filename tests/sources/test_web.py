"""How HTTP sources are spoken to: limits, credentials and refusals, against a real server."""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.helpers.rest_client.paginators import JSONResponseCursorPaginator
from sluice.errors import SignInNeeded, SourceBusy, SourceError, SourceRefused, SourceUnavailable
from sluice.model import ApiKey, Auth, Basic, Bearer, ClientCredentials
from sluice.sources.web import Budget, Dialect, Rate, open_session
from sluice.sources.web.verdicts import Allowance, judged
from web_server import Answer, Asked, Kit, Service, serving

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOON = {"X-RateLimit-Reset": str(int(NOW.timestamp()) + 30)}
OAUTH = ClientCredentials(connection="service", token_url="http://127.0.0.1/token")


def google(reason: str) -> str:
    """Google's 403."""
    return f'{{"error": {{"message": "no", "errors": [{{"reason": "{reason}"}}]}}}}'


@pytest.mark.parametrize(
    ("dialect", "status", "headers", "body", "kind", "seconds"),
    [
        ("generic", 200, {}, "", "fine", None),
        ("generic", 429, {"Retry-After": "7"}, "", "wait", 7),
        ("generic", 429, {"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT"}, "", "wait", 9),
        ("generic", 503, {"Retry-After": "7"}, "", "wait", 7),
        ("generic", 429, SOON, "", "wait", 30),
        ("generic", 429, {"X-RateLimit-Reset": "12"}, "", "wait", 12),
        ("generic", 429, {"Retry-After": "nan"}, "", "wait", None),
        ("generic", 429, {}, "", "wait", None),
        ("generic", 503, {}, "", "broken", None),
        ("generic", 401, {}, "", "unauthorized", None),
        ("generic", 403, {"X-RateLimit-Remaining": "0", **SOON}, "", "refused", None),
        ("generic", 200, {}, '{"ok": false, "error": "ratelimited"}', "fine", None),
        ("github", 403, {"X-RateLimit-Remaining": "0", **SOON}, "", "wait", 30),
        ("github", 429, {"X-RateLimit-Remaining": "0", **SOON}, "", "wait", 30),
        ("github", 403, {"Retry-After": "5"}, "secondary rate limit", "wait", 5),
        ("github", 403, {}, "You exceeded a secondary rate limit", "wait", 60),
        ("github", 403, {"X-RateLimit-Remaining": "9", **SOON}, "", "refused", None),
        ("slack", 429, {"Retry-After": "3"}, "", "wait", 3),
        ("slack", 200, {}, '{"ok": true}', "fine", None),
        ("slack", 200, {"Retry-After": "3"}, '{"ok":false,"error":"ratelimited"}', "wait", 3),
        ("slack", 200, {}, '{"ok": false, "error": "invalid_auth"}', "unauthorized", None),
        ("slack", 200, {}, '{"ok": false, "error": "token_revoked"}', "unauthorized", None),
        ("slack", 200, {}, '{"ok": false, "error": "token_expired"}', "unauthorized", None),
        ("slack", 200, {}, '{"ok": false, "error": "account_inactive"}', "unauthorized", None),
        ("slack", 200, {}, '{"ok": false, "error": "missing_scope"}', "refused", None),
        ("google", 403, {}, google("rateLimitExceeded"), "wait", None),
        ("google", 403, {}, google("userRateLimitExceeded"), "wait", None),
        ("google", 403, {}, google("quotaExceeded"), "wait", None),
        ("google", 403, {}, google("insufficientFilePermissions"), "refused", None),
        ("google", 403, {}, "<html>", "refused", None),
        (
            "matrix",
            429,
            {},
            '{"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 1500}',
            "wait",
            1.5,
        ),
        ("matrix", 401, {}, '{"errcode": "M_UNKNOWN_TOKEN"}', "unauthorized", None),
        ("matrix", 403, {}, '{"errcode": "M_FORBIDDEN", "error": "no"}', "refused", None),
    ],
)
def test_an_answer_means_what_its_service_means_by_it(
    dialect: str, status: int, headers: Any, body: str, kind: str, seconds: float | None
) -> None:
    """One line for every way of saying no."""
    verdict = judged(Dialect(dialect), status, headers, body, NOW)
    assert (verdict.kind, verdict.seconds) == (kind, seconds)


def test_turns_come_as_fast_as_the_rate_and_no_faster() -> None:
    """Three at once, then one every ten seconds; whoever would wait too long takes none."""
    clock = [0.0]
    budget = Budget(Rate(3, 30.0), lambda: clock[0])
    assert [budget.take(300) for _ in range(5)] == [0, 0, 0, 10, 20]
    assert budget.take(25) == 30
    clock[0] = 20
    assert budget.take(25) == 10


def test_what_a_service_has_left_is_spread_over_the_time_until_there_is_more() -> None:
    """With 4 of 100 left for 40 seconds, one goes every ten; with none, none goes."""
    clock = [0.0]
    budget = Budget(None, lambda: clock[0])
    budget.heard(Allowance(remaining=50, limit=100, seconds=40))
    assert [budget.take(300) for _ in range(3)] == [0, 0, 0]
    budget.heard(Allowance(remaining=4, limit=100, seconds=40))
    assert [budget.take(300) for _ in range(3)] == [0, 10, 20]
    budget.heard(Allowance(remaining=0, limit=100, seconds=40))
    assert budget.take(300) == 40


def client(service: Service, auth: Auth | None, kit: Kit | None = None, **how: Any) -> RESTClient:
    """DLT's client, as sources use it."""
    session = open_session(kit or Kit(), "desk", auth, **how)
    pages = JSONResponseCursorPaginator(cursor_path="next", cursor_param="page")
    return RESTClient(service.url, session=session, paginator=pages, data_selector="items")


def test_a_token_that_dies_behind_rate_limits_loses_and_doubles_no_page() -> None:
    """Of 200 pages each comes once, though every seventh request is 429 and the token ends."""
    served: Counter[int] = Counter()
    count = [0]

    def answer(asked: Asked) -> Answer:
        count[0] += 1
        if count[0] % 7 == 0:
            return Answer(429, "", {"Retry-After": "0"})
        page = int(asked.query.get("page", 1))
        good = "token-1" if page <= 100 else "token-2"
        if asked.headers["Authorization"] != f"Bearer {good}":
            return Answer(401)
        served[page] += 1
        return Answer(200, {"items": [{"id": page}], "next": page + 1 if page < 200 else None})

    with serving(answer) as service:
        found = [row["id"] for page in client(service, OAUTH).paginate("/rows") for row in page]
    assert found == list(range(1, 201))
    assert set(served.values()) == {1}


def test_a_second_refused_token_wants_somebody_to_sign_in() -> None:
    """A new token is tried once, not for ever."""
    with (
        serving(lambda _: Answer(401)) as service,
        pytest.raises(SignInNeeded, match="sluice connect desk"),
    ):
        client(service, OAUTH).get("/rows")
    assert [each.headers["Authorization"] for each in service.asked] == [
        "Bearer token-1",
        "Bearer token-2",
    ]


def test_githubs_403_waits_until_the_reset() -> None:
    """The reset is a moment; the request goes again after it, and not before."""
    reset = int(time.time()) + 2

    def answer(asked: Asked) -> Answer:
        if time.time() < reset:
            left = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(reset)}
            return Answer(403, {"message": "API rate limit exceeded"}, left)
        return Answer(200, {})

    with serving(answer) as service:
        assert client(service, None, dialect=Dialect.GITHUB).get("/rows").ok
    assert len(service.asked) == 2 and time.time() >= reset


def test_a_wait_that_is_too_long_gives_the_worker_back() -> None:
    """Whoever started the run learns after how many seconds to come again."""
    with (
        serving(lambda _: Answer(429, "", {"Retry-After": "900"})) as service,
        pytest.raises(SourceBusy) as caught,
    ):
        client(service, None, rate=Rate(100, 1.0, longest_wait=5)).get("/rows")
    assert caught.value.after == 900 and len(service.asked) == 1


def test_slacks_refusals_come_with_200() -> None:
    """A missing scope is an error that names it, not an empty page."""
    refusal = {"ok": False, "error": "missing_scope", "needed": "channels:read"}
    with (
        serving(lambda _: Answer(200, refusal)) as service,
        pytest.raises(SourceRefused, match="channels:read"),
    ):
        client(service, OAUTH, dialect=Dialect.SLACK).get("/conversations.list")


def test_a_service_that_breaks_for_a_moment_is_asked_again() -> None:
    """Two 500s are nobody's business."""
    answers = iter([Answer(500), Answer(502), Answer(200, {"items": []})])
    with serving(lambda _: next(answers)) as service:
        assert client(service, None).get("/rows").json() == {"items": []}


def test_one_that_does_not_answer_is_unavailable() -> None:
    """Nobody listens: an error with the address, after a few attempts."""
    with serving(lambda _: Answer(200)) as service:
        pass
    with pytest.raises(SourceUnavailable, match=r"GET 127\.0\.0\.1:\d+/rows: no connection"):
        client(service, None).get("/rows")


AUTHS: list[Auth] = [
    ApiKey(connection="service"),
    ApiKey(connection="service", name="key", place="query"),
    Basic(connection="service"),
    Bearer(connection="service"),
    OAUTH,
]


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: type(auth).__name__)
@pytest.mark.parametrize("status", [401, 403, 404])
def test_no_secret_is_in_an_error_or_a_log(
    auth: Auth, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the service repeats what it was sent."""
    caplog.set_level(logging.DEBUG)

    def answer(asked: Asked) -> Answer:
        return Answer(status, {"message": f"bad {dict(asked.headers)} {asked.query}"})

    with serving(answer) as service, pytest.raises(SourceError) as caught:
        list(client(service, auth).paginate("/rows", params={"q": "x"}))
    said = "".join(traceback.format_exception(caught.value)) + caplog.text
    assert f"/rows answered {status}" in str(caught.value) and "?" not in str(caught.value)
    for secret in ("a-made-up-key", "token-1", "token-2", "c2x1aWNlOmEtbWFkZS11cC1rZXk="):
        assert secret not in said
    assert service.asked and all(
        "Authorization" in each.headers or "X-API-Key" in each.headers or "key" in each.query
        for each in service.asked
    )


@pytest.mark.parametrize("auth", AUTHS[:4], ids=lambda auth: type(auth).__name__)
def test_a_refused_key_is_refused_at_once(auth: Auth) -> None:
    """A key that is wrong once is wrong: the connection is named, nothing is tried again."""
    with (
        serving(lambda _: Answer(401)) as service,
        pytest.raises(SourceRefused, match="Airflow connection service"),
    ):
        client(service, auth).get("/rows")
    assert len(service.asked) == 1


@pytest.mark.parametrize("auth", AUTHS, ids=lambda auth: type(auth).__name__)
def test_a_redirect_to_another_host_carries_no_credential(auth: Auth) -> None:
    """Nor does the way on and back from there; within the host it does."""

    def elsewhere(asked: Asked) -> Answer:
        further = "/further" if asked.path == "/file" else f"{home.url}/back"
        return Answer(302, "", {"Location": further})

    def answer(asked: Asked) -> Answer:
        there = {"/here": "/there", "/there": f"{other.url}/file"}.get(asked.path)
        return Answer(302, "", {"Location": there}) if there else Answer(200, {})

    with serving(elsewhere) as other, serving(answer) as home:
        response = client(home, auth).get("/here")
    signed = [
        bool({"Authorization", "X-API-Key"} & each.headers.keys() or "key" in each.query)
        for each in [*home.asked, *other.asked]
    ]
    assert home.paths == ["/here", "/there", "/back"] and other.paths == ["/file", "/further"]
    assert signed == [True, True, False, False, False]
    assert "a-made-up-key" not in f"{response.url}{response.request.headers}"


def test_a_link_to_a_host_that_was_not_named_gets_no_credential() -> None:
    """A page may say that the next one is anywhere."""
    with serving(lambda _: Answer(200, {})) as home, serving(lambda _: Answer(200, {})) as other:
        session = open_session(Kit(), "desk", Bearer(connection="service"), origins=[home.url])
        for service in (home, other):
            session.get(f"{service.url}/rows")
    assert "Authorization" in home.asked[0].headers
    assert "Authorization" not in other.asked[0].headers
