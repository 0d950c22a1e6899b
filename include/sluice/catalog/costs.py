"""The ledger: what is held, what was spent, and what each budget has used of it.

Every event is a row that is never changed. What a budget has used is a row that is: whoever spends
locks those rows, in one order, so that no two can both take the last cent. Such a row begins as the
sum of what the ledger says; while it is made, nobody else writes (see :func:`begin_use`).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

import sqlalchemy as sa

from sluice.model import Account, Spend, Tier

Level = Literal["tenant", "source", "model", "team", "user", "agent"]
Per = Literal["request", "run", "day", "month"]
EACH = "*"  # every one of a level by itself; of a tenant there is only one


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that may be spent."""

    level: Level
    name: str  # of the source, model, team …; EACH: whichever has no budget of its own
    per: Per
    dollars: Decimal


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Use:
    """One budget in one period, by one of its level."""

    level: Level
    name: str
    per: Per
    period: str  # a day, a month, a run or a request


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of a budget is gone."""

    held: Decimal
    spent: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A line of a report."""

    group: str
    tier: Tier
    tokens: int
    dollars: Decimal
    forecast: Decimal | None = None  # of a run, where it was noted


def levels(account: Account, model: str) -> dict[Level, str]:
    """Everybody whom a request counts for, on each level."""
    names: dict[Level, str | None] = {
        "tenant": EACH,
        "source": account.source,
        "model": model,
        "team": account.team,
        "user": account.user,
        "agent": account.agent,
    }
    return {level: name for level, name in names.items() if name is not None}


def budgets(connection: sa.Connection) -> list[Budget]:
    """Every budget there is."""
    rows = connection.execute(
        sa.text("SELECT level, name, per, dollars FROM sluice.budget ORDER BY level, name, per")
    )
    return [Budget(**row) for row in rows.mappings()]


def set_budget(connection: sa.Connection, budget: Budget) -> None:
    """Allow so much from now on; what was spent in the period so far counts."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.budget (level, name, per, dollars)
            VALUES (:level, :name, :per, :dollars)
            ON CONFLICT (tenant_id, level, name, per) DO UPDATE SET dollars = :dollars
            """
        ),
        asdict(budget),
    )


def remove_budget(connection: sa.Connection, level: Level, name: str, per: Per) -> bool:
    """Allow anything again; False where there was no such budget."""
    return bool(
        connection.execute(
            sa.text(
                "DELETE FROM sluice.budget WHERE level = :level AND name = :name AND per = :per"
            ),
            {"level": level, "name": name, "per": per},
        ).rowcount
    )


def share(connection: sa.Connection) -> date:
    """Write beside others, but not while a use begins; return the day it is, in UTC."""
    return connection.execute(  # type: ignore[no-any-return]
        sa.text(
            f"SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date"  # noqa: S608  # a constant
            f" FROM pg_advisory_xact_lock_shared({_LEDGER})"
        )
    ).scalar_one()


_LEDGER = "hashtextextended(current_setting('sluice.tenant') || chr(31) || 'ledger/', 0)"

# A row of the ledger counts for a use if this holds.
_COUNTS = """
    CASE :level WHEN 'tenant' THEN true WHEN 'source' THEN source = :name
        WHEN 'model' THEN model = :name WHEN 'team' THEN team = :name
        WHEN 'user' THEN person = :name ELSE agent = :name END
    AND CASE :per WHEN 'day' THEN day = to_date(:period, 'YYYY-MM-DD')
        WHEN 'month' THEN to_char(day, 'YYYY-MM') = :period
        WHEN 'run' THEN run_id = :period ELSE request = :period END
"""


def begin_use(connection: sa.Connection, use: Use) -> None:
    """Make a use's row of what the ledger says so far, while nobody writes to the ledger."""
    connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LEDGER})"))  # a constant
    connection.execute(
        sa.text(
            f"""
            INSERT INTO sluice.budget_use (level, name, per, period, held, spent)
            SELECT :level, :name, :per, :period,
                (SELECT coalesce(sum(dollars), 0) FROM sluice.cost_hold WHERE {_COUNTS}),
                (SELECT coalesce(sum(dollars), 0) FROM sluice.cost
                 WHERE kind = 'settle' AND {_COUNTS})
            ON CONFLICT DO NOTHING
            """  # noqa: S608  # a constant
        ),
        asdict(use),
    )


def used(connection: sa.Connection, use: Use) -> Used | None:
    """How much of it is gone; None: it has not begun."""
    row = connection.execute(
        sa.text(f"SELECT held, spent FROM sluice.budget_use WHERE {_USE}"),  # noqa: S608  # a constant
        asdict(use),
    ).one_or_none()
    return Used(held=row.held, spent=row.spent) if row else None


_USE = "level = :level AND name = :name AND per = :per AND period = :period"


def take(connection: sa.Connection, use: Use, dollars: Decimal, most: Decimal) -> bool:
    """Hold ``dollars`` of a use that has begun, if not more than ``most`` is gone then."""
    return bool(
        connection.execute(
            sa.text(
                f"UPDATE sluice.budget_use SET held = held + :dollars"  # noqa: S608  # a constant
                f" WHERE {_USE} AND held + spent + :dollars <= :most"
            ),
            {**asdict(use), "dollars": dollars, "most": most},
        ).rowcount
    )


def give(connection: sa.Connection, uses: Iterable[Use], held: Decimal, spent: Decimal) -> None:
    """Hold ``held`` less of every use that has begun, and note ``spent``."""
    rows = [{**asdict(use), "held": held, "spent": spent} for use in sorted(uses)]
    if rows:
        connection.execute(
            sa.text(
                f"UPDATE sluice.budget_use SET held = held - :held, spent = spent + :spent"  # noqa: S608  # a constant
                f" WHERE {_USE}"
            ),
            rows,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Money that is set aside for one request or one batch."""

    hold_id: uuid.UUID
    day: date
    spend: Spend
    account: Account


def hold(connection: sa.Connection, held: Hold, lease: float | None) -> None:
    """Write down that it is set aside, for ``lease`` seconds; None: until someone settles it."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.cost_hold
                (hold_id, day, dollars, tokens, endpoint, model, tier,
                 source, run_id, team, person, agent, request, lease_until)
            VALUES (:hold_id, :day, :dollars, :tokens, :endpoint, :model, :tier,
                    :source, :run_id, :team, :user, :agent, :request,
                    clock_timestamp() + make_interval(secs => :lease))
            """
        ),
        {**_plain(held), "lease": lease},
    )
    event(connection, "reserve", held, held.spend.tokens, held.spend.dollars)


def keep_hold(connection: sa.Connection, hold_id: uuid.UUID) -> None:
    """Let it stay until someone settles it: something that is written down answers for it now."""
    connection.execute(
        sa.text("UPDATE sluice.cost_hold SET lease_until = NULL WHERE hold_id = :hold_id"),
        {"hold_id": hold_id},
    )


def end_hold(connection: sa.Connection, hold_id: uuid.UUID) -> bool:
    """Remove a hold; False where it is gone already."""
    return bool(
        connection.execute(
            sa.text("DELETE FROM sluice.cost_hold WHERE hold_id = :hold_id"), {"hold_id": hold_id}
        ).rowcount
    )


def find_hold(connection: sa.Connection, hold_id: uuid.UUID) -> Hold | None:
    """The hold, if it is there."""
    rows = connection.execute(
        sa.text("SELECT * FROM sluice.cost_hold WHERE hold_id = :hold_id"), {"hold_id": hold_id}
    )
    return next((_hold(row) for row in rows), None)


def expired(connection: sa.Connection) -> Hold | None:
    """A hold whose owner died, locked for the caller."""
    rows = connection.execute(
        sa.text(
            "SELECT * FROM sluice.cost_hold WHERE lease_until < clock_timestamp()"
            " ORDER BY lease_until LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
    )
    return next((_hold(row) for row in rows), None)


def event(connection: sa.Connection, kind: str, held: Hold, tokens: int, dollars: Decimal) -> bool:
    """Write a row of the ledger; False: it was settled before."""
    written = connection.execute(
        sa.text(
            """
            INSERT INTO sluice.cost (kind, hold_id, day, dollars, tokens, endpoint, model, tier,
                source, run_id, team, person, agent, request)
            VALUES (:kind, :hold_id, :day, :dollars, :tokens, :endpoint, :model, :tier,
                :source, :run_id, :team, :user, :agent, :request)
            ON CONFLICT DO NOTHING
            """
        ),
        {**_plain(held), "kind": kind, "tokens": tokens, "dollars": dollars},
    )
    return bool(written.rowcount)


def _plain(held: Hold) -> dict[str, object]:
    return {
        "hold_id": held.hold_id,
        "day": held.day,
        **asdict(held.spend),
        **asdict(held.account),
    }


def _hold(row: sa.Row[tuple[object, ...]]) -> Hold:
    plain = row._mapping
    return Hold(
        hold_id=plain["hold_id"],
        day=plain["day"],
        spend=Spend(
            **{name: plain[name] for name in ("endpoint", "model", "tier", "tokens", "dollars")}
        ),
        account=Account(
            user=plain["person"],
            **{name: plain[name] for name in ("source", "run_id", "team", "agent", "request")},
        ),
    )


GROUPS = {
    "source": "coalesce(source, '(questions)')",
    "model": "model",
    "run": "coalesce(run_id, '(questions)')",
    "day": "day::text",
    "month": "to_char(day, 'YYYY-MM')",
    "team": "coalesce(team, '–')",
    "user": "coalesce(person, '–')",
    "agent": "coalesce(agent, '–')",
    "endpoint": "endpoint",
}


def report(connection: sa.Connection, by: str, since: date, until: date) -> list[Cost]:
    """What was spent from ``since`` until before ``until``, by one of :data:`GROUPS` and tier."""
    rows = connection.execute(
        sa.text(
            f"""
            SELECT {GROUPS[by]} AS "group", tier, sum(tokens)::bigint AS tokens,
                sum(dollars) AS dollars
            FROM sluice.cost WHERE kind = 'settle' AND day >= :since AND day < :until
            GROUP BY 1, 2 ORDER BY 4 DESC, 1, 2
            """  # noqa: S608  # one of ours
        ),
        {"since": since, "until": until},
    )
    return [Cost(**row) for row in rows.mappings()]


def spent_by_run(connection: sa.Connection, run_id: str) -> tuple[int, Decimal]:
    """Tokens and dollars that a run was billed for so far."""
    row = connection.execute(
        sa.text(
            "SELECT coalesce(sum(tokens), 0)::bigint AS tokens, coalesce(sum(dollars), 0) AS"
            " dollars FROM sluice.cost WHERE kind = 'settle' AND run_id = :run_id"
        ),
        {"run_id": run_id},
    ).one()
    return row.tokens, row.dollars


def uses(connection: sa.Connection, periods: Sequence[str]) -> dict[Use, Used]:
    """What is gone of every budget that has begun in one of ``periods``."""
    rows = connection.execute(
        sa.text(
            "SELECT level, name, per, period, held, spent FROM sluice.budget_use"
            " WHERE period = ANY(:periods)"
        ),
        {"periods": list(periods)},
    )
    return {
        Use(level=row.level, name=row.name, per=row.per, period=row.period): Used(
            held=row.held, spent=row.spent
        )
        for row in rows
    }
