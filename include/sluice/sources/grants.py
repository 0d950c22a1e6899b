"""Grants as sources write them, and as Sluice keeps them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from sluice.errors import BadInput
from sluice.model import Effect, Grant, Principal

_FOREVER = datetime.max.replace(tzinfo=UTC)


def grant(
    principal: Any, effect: Any = Effect.ALLOW, until: Any = None, *, zone: tzinfo | None = None
) -> Grant:
    """Return the grant that three values of a source mean.

    Args:
        principal: text, in any spelling that :meth:`Principal.parse` knows.
        effect: ``allow`` or ``deny``, in either case.
        until: see :func:`expiry`, also for ``zone``.

    Raises:
        BadInput: one of them means nothing; the message says which.
    """
    if not isinstance(principal, str):
        raise BadInput("a principal is text", subject=repr(principal)[:80])
    try:
        meaning = Effect(str(effect).strip().lower())
    except ValueError:
        raise BadInput("an effect is allow or deny", subject=repr(effect)[:80]) from None
    return Grant(Principal.parse(principal), meaning, expiry(until, zone))


def expiry(until: Any, zone: tzinfo | None = None) -> datetime | None:
    """Return the instant from which a grant is void.

    A date counts through the end of that day, UTC: ``2027-03-31`` is void from
    ``2027-04-01T00:00Z`` on. A time counts to the instant; one without a zone is read in ``zone``,
    and refused where there is none. None never ends.

    Raises:
        BadInput: it is neither.
    """
    moment = _parse(until) if isinstance(until, str) else until
    if moment is None and until is None:
        return None
    try:
        if isinstance(moment, datetime):
            if moment.tzinfo is None and zone is None:
                raise BadInput("until: a time without a zone names no instant", subject=str(until))
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
        if isinstance(moment, date):
            return datetime(moment.year, moment.month, moment.day, tzinfo=UTC) + timedelta(days=1)
    except OverflowError:
        return None  # the end of the calendar: never
    raise BadInput("until: not a date or a time", subject=repr(until)[:80])


def merged(grants: Iterable[Grant]) -> frozenset[Grant]:
    """Return one grant per principal and effect: of several, the one that lasts longest."""
    longest: dict[tuple[Principal, Effect], Grant] = {}
    for each in grants:
        place = (each.principal, each.effect)
        known = longest.get(place)
        if known is None or _end(each) > _end(known):
            longest[place] = each
    return frozenset(longest.values())


def _end(each: Grant) -> datetime:
    return each.expires_at or _FOREVER


def _parse(text: str) -> date | None:
    text = text.strip()
    for read in (date.fromisoformat, datetime.fromisoformat):
        try:
            return read(text)
        except ValueError:
            continue
    return None
