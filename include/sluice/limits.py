"""Requests go out as fast as the endpoint and the operator allow, whichever process they are of.

Two kinds of limits count, each in requests and in tokens a minute:

* an endpoint's: as its table says, or as its answers say, whichever is less. Documents leave some
  of it to questions. Where sources compete, each gets the same number of tokens: whoever had the
  fewest goes first, and who was away does not come back with a claim to all that it missed
  (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024).
* an operator's: of a tenant, a source, a model, a team, a user or an agent.

A bucket is the moment at which it is full again: the generic cell rate algorithm (ITU-T I.371,
annex A). That is also how endpoints answer, so what they say replaces what was counted here.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from sluice.catalog import Catalog
from sluice.catalog import limits as rows
from sluice.catalog.costs import levels
from sluice.catalog.limits import Bucket, Pace
from sluice.errors import EmbedderBusy, LimitExceeded
from sluice.model import Account, Limit, Quota, Spend

MINUTE = 60.0  # seconds
DOCUMENTS = 10.0  # seconds' worth of a limit that documents may use up at once
QUESTIONS = 50.0  # and questions
SOON = 0.25  # seconds that a question waits for its turn
_LOOK = 0.5  # seconds after which who waits looks again, at the latest
_BLINK = 0.02  # and at the earliest


def room(bucket: Bucket, limit: Limit, now: float, burst: float) -> float:
    """Seconds until the next request may go; 0: it may go now.

    Args:
        bucket: what was asked so far.
        limit: what may be asked.
        now: in seconds.
        burst: seconds' worth of the limit that may be used up at once.
    """
    waits = [0.0]
    if limit.requests is not None:
        waits.append(bucket.requests_full - burst - now)
    if limit.tokens is not None:
        waits.append(bucket.tokens_full - burst - now)
    return max(waits)


def taken(bucket: Bucket, limit: Limit, tokens: int, now: float) -> Bucket:
    """The bucket after one more request of so many tokens."""
    requests, full = bucket.requests_full, bucket.tokens_full
    if limit.requests is not None:
        requests = max(requests, now) + MINUTE / limit.requests
    if limit.tokens is not None:
        full = max(full, now) + MINUTE * tokens / limit.tokens
    return Bucket(requests_full=requests, tokens_full=full)


def effective(limit: Limit, pace: Pace) -> Limit:
    """The lower of what was configured and what the endpoint says."""
    return Limit(
        name=limit.name,
        requests=_least(limit.requests, pace.requests),
        tokens=_least(limit.tokens, pace.tokens),
    )


def _least(one: int | None, other: int | None) -> int | None:
    return min((each for each in (one, other) if each is not None), default=None)


def first(served: Mapping[str, int]) -> str:
    """Whose turn it is: by the tokens that each of those who wait has had."""
    return min(served, key=lambda name: (served[name], name))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wait:
    seconds: float
    of: str | None  # whose limit it is, of those that an operator set; None: the endpoint's


_GO = _Wait(seconds=0.0, of=None)


class Limiter:
    """The limits of one tenant, and those of the endpoints that all tenants share."""

    def __init__(self, catalog: Catalog):
        """``catalog`` keeps what was asked."""
        self._catalog = catalog

    def queue(self, spend: Spend, account: Account, limit: Limit) -> None:
        """Wait until a request for documents may go.

        Args:
            spend: the request.
            account: for whom it is made.
            limit: of the endpoint.
        """
        ticket = uuid.uuid4()
        while (wait := self._try(spend, account, limit, ticket)).seconds:
            time.sleep(min(max(wait.seconds, _BLINK), _LOOK))

    def now(self, spend: Spend, account: Account, limit: Limit) -> None:
        """Return if a question may be asked now, or very soon.

        Raises:
            LimitExceeded: whoever asks has asked too much.
            EmbedderBusy: the endpoint takes no more at the moment.
        """
        wait = self._try(spend, account, limit, None)
        if 0 < wait.seconds <= SOON:
            time.sleep(wait.seconds)
            wait = self._try(spend, account, limit, None)
        if wait.of:
            raise LimitExceeded("asks for more than its limit", after=wait.seconds, subject=wait.of)
        if wait.seconds:
            raise EmbedderBusy(
                "as much is asked as it allows",
                subject=f"{spend.endpoint}/{spend.model}",
                cure=f"Try again in {wait.seconds:.0f} s, or raise its limits",
            )

    def heard(self, endpoint: str, quota: Quota) -> None:
        """Note what an endpoint says of its limits, for everybody who asks it."""
        with self._catalog.begin() as connection:
            rows.heard(connection, endpoint, quota)

    def _try(self, spend: Spend, account: Account, limit: Limit, ticket: uuid.UUID | None) -> _Wait:
        """Take a turn, or say how long there is none. Documents have a ticket, and queue."""
        burst = QUESTIONS if ticket is None else DOCUMENTS
        with self._catalog.begin() as connection:
            own = rows.own(connection, levels(account, spend.model))
            seen = rows.pace(connection, limit.name, locked=False)
            if not own and not seen.paused and _unlimited(effective(limit, seen)):
                return _GO
            buckets = [(each, rows.bucket(connection, each.name)) for each in own]
            pace = rows.pace(connection, limit.name, locked=True)
            for each, bucket in buckets:
                if wait := room(bucket, each, pace.now, burst):
                    if ticket is not None:
                        rows.leave(connection, ticket)  # others need not wait for this one
                    return _Wait(seconds=wait, of=each.name)
            known = effective(limit, pace)
            wait = max(pace.paused, room(pace.bucket, known, pace.now, burst))
            if ticket is not None:
                source = f"{self._catalog.tenant}/{account.source or ''}"
                wait = _stand(connection, limit.name, ticket, source, spend.tokens, wait, pace.turn)
            if wait:
                return _Wait(seconds=wait, of=None)
            for each, bucket in buckets:
                rows.fill(connection, each.name, taken(bucket, each, spend.tokens, pace.now))
            rows.go(connection, limit.name, taken(pace.bucket, known, spend.tokens, pace.now))
        return _GO


def _stand(
    connection: sa.Connection,
    endpoint: str,
    ticket: uuid.UUID,
    source: str,
    tokens: int,
    wait: float,
    turn: int,
) -> float:
    """Stand in the queue; leave it with a turn, or return the seconds to wait."""
    served = rows.stand(connection, endpoint, ticket, source, turn)
    if first(served) != source:
        return wait + _BLINK  # let whose turn it is look first
    if not wait:
        rows.serve(connection, endpoint, ticket, source, tokens)
    return wait


def _unlimited(limit: Limit) -> bool:
    return limit.requests is None and limit.tokens is None
