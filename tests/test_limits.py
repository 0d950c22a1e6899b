"""Limits a minute: shared by all processes, fair between sources, and never exceeded."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice.catalog import Catalog
from sluice.catalog import limits as rows
from sluice.catalog.costs import EACH
from sluice.catalog.limits import Bucket, Setting
from sluice.errors import EmbedderBusy, LimitExceeded
from sluice.limits import DOCUMENTS, MINUTE, QUESTIONS, Limiter, first, room, taken
from sluice.model import Account, Limit, Quota, Spend

WIKI = Account(source="wiki", run_id="wiki:1")
BOT = Account(agent="bot", user="user:ada@example.com", team="support", request="trace-1")


@pytest.fixture
def limiter(catalog: Catalog) -> Limiter:
    """The limits of a tenant that has asked nothing."""
    return Limiter(catalog)


@pytest.fixture
def endpoint() -> str:
    """An endpoint that nobody has asked; all tenants share what is known of it."""
    return f"gateway/{uuid.uuid4().hex}"


def spend(tokens: int = 10) -> Spend:
    """A request of so many tokens."""
    return Spend(
        endpoint="gateway", model="small", tier="standard", tokens=tokens, dollars=Decimal(0)
    )


def allow(
    catalog: Catalog, level: str, name: str, requests: int | None, tokens: int | None
) -> None:
    """Set a limit."""
    with catalog.begin() as connection:
        rows.set_limit(
            connection,
            Setting(level=level, name=name, requests=requests, tokens=tokens),  # type: ignore[arg-type]  # one of them
        )


asked = st.lists(
    st.tuples(st.floats(0, 30), st.integers(1, 400)), min_size=1, max_size=60
)  # seconds since the one before, tokens


@given(asked, st.integers(1, 60), st.integers(100, 2_000), st.sampled_from([DOCUMENTS, QUESTIONS]))
def test_no_minute_ever_has_more_than_the_limit_and_one_burst(
    asked: list[tuple[float, int]], requests: int, tokens: int, burst: float
) -> None:
    """Over every stretch of time: its share of the limit, what may come at once, and one request.

    The oracle adds up what went, stretch by stretch.
    """
    limit = Limit(name="x", requests=requests, tokens=tokens)
    bucket, now, went = Bucket(), 0.0, list[tuple[float, int]]()
    for pause, size in asked:
        now += pause
        if room(bucket, limit, now, burst) == 0:
            bucket = taken(bucket, limit, size, now)
            went.append((now, size))
    for at, (begin, _) in enumerate(went):
        for end, (until, last) in enumerate(went[at:], start=at):
            some = went[at : end + 1]
            seconds = until - begin + burst
            assert len(some) <= seconds * requests / MINUTE + 1 + 1e-6
            assert sum(size for _, size in some) <= seconds * tokens / MINUTE + last + 1e-6


@given(asked, st.integers(100, 2_000))
def test_who_waits_as_long_as_told_may_go(asked: list[tuple[float, int]], tokens: int) -> None:
    """No earlier, and no later."""
    limit, bucket, now = Limit(name="x", tokens=tokens), Bucket(), 0.0
    for pause, size in asked:
        now += pause
        wait = room(bucket, limit, now, DOCUMENTS)
        if wait:
            assert room(bucket, limit, now + wait * 0.99, DOCUMENTS) > 0
        now += wait
        assert room(bucket, limit, now + 1e-6, DOCUMENTS) == 0
        bucket = taken(bucket, limit, size, now)


def test_whoever_had_the_fewest_tokens_goes_first() -> None:
    """Names decide between equals, so that all who look see the same."""
    assert first({"b": 5, "a": 7, "c": 5}) == "b"


def test_without_any_limit_nobody_waits_and_nothing_is_written(
    limiter: Limiter, catalog: Catalog, endpoint: str
) -> None:
    """An endpoint of one's own may have none."""
    for _ in range(20):
        limiter.now(spend(10_000), BOT, Limit(name=endpoint))
    with catalog.begin() as connection:
        assert rows.pace(connection, endpoint, locked=False).now == 0.0


@pytest.mark.parametrize(
    ("level", "name"),
    [
        ("tenant", EACH),
        ("model", "small"),
        ("team", "support"),
        ("user", EACH),
        ("agent", "bot"),
        ("agent", EACH),
    ],
)
@pytest.mark.parametrize(("requests", "tokens"), [(60, None), (None, 600)])
def test_a_limit_of_any_level_refuses_a_question_that_is_above_it(
    limiter: Limiter,
    catalog: Catalog,
    endpoint: str,
    level: str,
    name: str,
    requests: int | None,
    tokens: int | None,
) -> None:
    """At once, with the name of the limit and the seconds after which to ask again."""
    allow(catalog, level, name, requests, tokens)
    for _ in range(int(QUESTIONS)):
        limiter.now(spend(10), BOT, Limit(name=endpoint))
    asking = (limiter.now(spend(10), BOT, Limit(name=endpoint)) for _ in range(3))
    with pytest.raises(LimitExceeded, match=f"^{level} .*more than its limit") as refused:
        list(asking)
    assert 0.25 < refused.value.after <= 1.0


def test_a_limit_by_name_goes_before_the_one_for_each(
    limiter: Limiter, catalog: Catalog, endpoint: str
) -> None:
    """And what one agent asks does not count for another."""
    allow(catalog, "agent", EACH, 1, None)
    allow(catalog, "agent", "bot", 600, None)
    for _ in range(20):
        limiter.now(spend(), BOT, Limit(name=endpoint))
    other, third = (Account(agent=each, request="t") for each in ("other", "third"))
    limiter.now(spend(), other, Limit(name=endpoint))
    with pytest.raises(LimitExceeded):
        limiter.now(spend(), other, Limit(name=endpoint))
    limiter.now(spend(), third, Limit(name=endpoint))


def test_tenants_have_limits_of_their_own_and_share_those_of_the_endpoint(
    limiter: Limiter, catalog: Catalog, endpoint: str, new_catalog: object
) -> None:
    """A key has its limit whoever uses it."""
    other = Limiter(new_catalog())  # type: ignore[operator]  # a factory
    allow(catalog, "tenant", EACH, 1, None)
    limiter.now(spend(), BOT, Limit(name=endpoint))
    with pytest.raises(LimitExceeded):
        limiter.now(spend(), BOT, Limit(name=endpoint))
    for _ in range(5):
        other.now(spend(), BOT, Limit(name=endpoint, tokens=60))
    other.now(spend(), BOT, Limit(name=endpoint, tokens=60))
    with pytest.raises(EmbedderBusy):
        other.now(spend(10), BOT, Limit(name=endpoint, tokens=60))


def test_documents_leave_some_of_an_endpoint_to_questions(limiter: Limiter, endpoint: str) -> None:
    """However much is to be embedded, a question does not wait for it."""
    limit = Limit(name=endpoint, tokens=60_000)
    documents = threading.Thread(
        target=lambda: [limiter.queue(spend(200), WIKI, limit) for _ in range(10)], daemon=True
    )
    documents.start()
    for _ in range(20):
        limiter.now(spend(500), BOT, limit)
    documents.join(20)
    assert not documents.is_alive()


def test_what_the_endpoint_says_counts_for_everybody(
    limiter: Limiter, catalog: Catalog, endpoint: str, new_catalog: object
) -> None:
    """Also where nothing was configured, and less than what was."""
    other = Limiter(new_catalog())  # type: ignore[operator]  # a factory
    other.heard(endpoint, Quota(tokens=60_000, tokens_full=QUESTIONS + 0.2))
    began = time.monotonic()
    limiter.now(spend(), BOT, Limit(name=endpoint))
    assert time.monotonic() - began >= 0.15
    other.heard(endpoint, Quota(tokens=60_000, tokens_full=QUESTIONS + 30))
    with pytest.raises(EmbedderBusy, match="as much is asked"):
        limiter.now(spend(), BOT, Limit(name=endpoint, tokens=1_000_000))


def test_while_an_endpoint_wants_nothing_nobody_asks_it(limiter: Limiter, endpoint: str) -> None:
    """Who was told to wait has told all others."""
    limiter.heard(endpoint, Quota(pause=0.6))
    with pytest.raises(EmbedderBusy):
        limiter.now(spend(), BOT, Limit(name=endpoint))
    began = time.monotonic()
    limiter.queue(spend(), WIKI, Limit(name=endpoint))
    assert time.monotonic() - began >= 0.4


def compete(
    catalog: Catalog, endpoint: str, threads: dict[str, tuple[int, int]], seconds: float
) -> Counter[str]:
    """Tokens that each source got; ``threads`` says how many it has, and the size of a request."""
    limit = Limit(name=endpoint, tokens=60_000)  # 1,000 a second, and 10,000 at once
    Limiter(catalog).queue(spend(10_000), Account(source="-", run_id="-"), limit)
    until, got, lock = time.monotonic() + seconds, Counter[str](), threading.Lock()

    def work(source: str, tokens: int) -> None:
        limiter, account = Limiter(catalog), Account(source=source, run_id=f"{source}:1")
        while time.monotonic() < until:
            limiter.queue(spend(tokens), account, limit)
            with lock:
                got[source] += tokens if time.monotonic() < until else 0

    with ThreadPoolExecutor(sum(number for number, _ in threads.values())) as pool:
        for source, (number, tokens) in threads.items():
            for _ in range(number):
                pool.submit(work, source, tokens)
    return got


def test_a_greedy_source_does_not_starve_a_small_one(catalog: Catalog, endpoint: str) -> None:
    """Ten workers with large requests get no more tokens than three with small ones."""
    got = compete(catalog, endpoint, {"greedy": (10, 400), "small": (3, 50)}, 6.0)
    assert 0.5 < got["small"] / got["greedy"] < 2.0
    assert 3_000 < got.total() < 8_000  # and together they get what there is


def test_who_wants_little_leaves_the_rest_to_others(catalog: Catalog, endpoint: str) -> None:
    """Nothing is kept free for a source that does not ask."""
    got = compete(catalog, endpoint, {"alone": (3, 100)}, 4.0)
    assert 3_000 < got["alone"] < 5_500


def test_who_died_while_it_waited_is_forgotten(
    limiter: Limiter, catalog: Catalog, endpoint: str
) -> None:
    """Others go on after two seconds; nobody cleans up."""
    limit = Limit(name=endpoint, tokens=60_000)
    limiter.queue(spend(1_000), WIKI, limit)
    with catalog.begin() as connection:
        rows.pace(connection, endpoint, locked=True)
        rows.stand(connection, endpoint, uuid.uuid4(), f"{catalog.tenant}/dead", 0)
    began = time.monotonic()
    limiter.queue(spend(), WIKI, limit)
    assert 1.0 < time.monotonic() - began < 6.0


def test_who_waits_for_a_limit_of_its_own_holds_nobody_up(
    limiter: Limiter, catalog: Catalog, endpoint: str
) -> None:
    """It does not stand in the endpoint's queue meanwhile."""
    allow(catalog, "source", "wiki", None, 3_000)
    limit = Limit(name=endpoint, tokens=6_000_000)
    limiter.queue(spend(550), WIKI, limit)  # 10 seconds of its own limit, and one more
    waits = threading.Thread(target=limiter.queue, args=(spend(), WIKI, limit), daemon=True)
    waits.start()
    time.sleep(0.2)
    with catalog.begin() as connection:
        rows.pace(connection, endpoint, locked=True)
        served = rows.stand(connection, endpoint, uuid.uuid4(), "other", 0)
    assert served.keys() == {"other"}
    waits.join(5)
    assert not waits.is_alive()


def test_who_comes_back_has_no_claim_to_what_it_missed(
    limiter: Limiter, catalog: Catalog, endpoint: str
) -> None:
    """It begins where the others are."""
    limit = Limit(name=endpoint, tokens=6_000_000)
    limiter.queue(spend(1), Account(source="late", run_id="late:1"), limit)
    for _ in range(20):
        limiter.queue(spend(5_000), WIKI, limit)
    late = f"{catalog.tenant}/late"
    with catalog.begin() as connection:
        pace = rows.pace(connection, endpoint, locked=True)
        served = rows.stand(connection, endpoint, uuid.uuid4(), late, pace.turn)
    assert served[late] == 95_000
