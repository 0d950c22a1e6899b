"""``sluice costs`` and ``sluice budget``: what embedding has cost, and what it may cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, TypeVar, get_args

import typer

from sluice.cli.output import AsJson, console, print_json
from sluice.cli.session import services
from sluice.errors import BadInput, NotFound

if TYPE_CHECKING:
    from sluice.catalog.costs import Budget, Level

app = typer.Typer(help="Budgets: list, set, remove.", no_args_is_help=True)

T = TypeVar("T")

_MONTH = timedelta(days=31)
LevelName = Annotated[
    str, typer.Argument(metavar="LEVEL", help="tenant, source, model, team, user or agent.")
]
Name = Annotated[str, typer.Argument(help="Of the source, the model …; * is each of them.")]
Period = Annotated[str, typer.Option("--per", help="request, run, day or month (UTC).")]


def costs(
    by: Annotated[
        str, typer.Option(help="source, model, run, day, month, team, user, agent or endpoint.")
    ] = "source",
    since: Annotated[str | None, typer.Option(help="The first day. Unset: 31 days ago.")] = None,
    until: Annotated[str | None, typer.Option(help="The last day. Unset: today, in UTC.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what providers were paid for embedding, to the last digit."""
    from sluice.catalog import costs as rows
    from sluice.catalog import runs

    if by not in rows.GROUPS:
        raise BadInput("no such group", subject=by, cure=f"Write one of {', '.join(rows.GROUPS)}")
    today = datetime.now(UTC).date()
    last = _day(until) or today
    first = _day(since) or last - _MONTH
    with services() as opened, opened.catalog.begin() as connection:
        found = rows.report(connection, by, first, last + timedelta(days=1))
        if by == "run":
            foreseen = runs.forecasts(connection, [each.group for each in found])
            found = [replace(each, forecast=foreseen.get(each.group)) for each in found]
    if as_json:
        print_json(found)
        return
    from rich.table import Table

    table = Table(by, "tier", box=None, pad_edge=False)
    table.add_column("tokens", justify="right")
    table.add_column("dollars", justify="right")
    table.add_column("forecast" if by == "run" else "", justify="right")
    for each in found:
        forecast = "" if each.forecast is None else f"{each.forecast:.6f}"
        table.add_row(each.group, each.tier, f"{each.tokens:,}", f"{each.dollars:.6f}", forecast)
    if len(found) > 1:
        total = sum((each.dollars for each in found), Decimal(0))
        table.add_row("all", "", f"{sum(each.tokens for each in found):,}", f"{total:.6f}")
    console().print(table if found else f"Nothing was paid from {first} to {last}.")


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show every budget, and how much of it is gone in the period that is now."""
    from sluice.catalog import costs as rows

    today = datetime.now(UTC).date()
    with services() as opened, opened.catalog.begin() as connection:
        known = rows.budgets(connection)
        gone = rows.uses(connection, [today.isoformat(), f"{today:%Y-%m}"])
    if as_json:
        print_json(known)
        return
    from rich.table import Table

    table = Table("level", "name", "per", "dollars", "spent now", "held now", box=None)
    for each in known:
        now = [
            used
            for use, used in gone.items()
            if (use.level, use.per) == (each.level, each.per) and each.name in {use.name, rows.EACH}
        ]
        spent = f"{max((used.spent for used in now), default=Decimal(0)):f}"
        held = f"{max((used.held for used in now), default=Decimal(0)):f}"
        table.add_row(each.level, each.name, each.per, f"{each.dollars:f}", spent, held)
    console().print(table if known else "There is no budget: anything may be spent.")


@app.command("set")
def set_(
    level: LevelName,
    name: Name,
    dollars: Annotated[str, typer.Option(help="The most that may be spent, such as 12.50.")],
    per: Period = "day",
    as_json: AsJson = False,
) -> None:
    """Allow so much from now on. What was spent in the period so far counts."""
    from sluice.catalog import costs as rows

    budget = rows.Budget(
        level=level_of(level),
        name=name_of(level, name),
        per=_one_of(get_args(rows.Per), per, "period"),
        dollars=_dollars(dollars),
    )
    with services() as opened, opened.catalog.begin() as connection:
        rows.set_budget(connection, budget)
    if as_json:
        print_json(budget)
    else:
        typer.echo(f"Allowed: {_said(budget)}.")


@app.command()
def remove(level: LevelName, name: Name, per: Period = "day", as_json: AsJson = False) -> None:
    """Allow anything again."""
    from sluice.catalog import costs as rows

    chosen = level_of(level), name_of(level, name), _one_of(get_args(rows.Per), per, "period")
    with services() as opened, opened.catalog.begin() as connection:
        if not rows.remove_budget(connection, *chosen):
            raise NotFound(
                "no such budget",
                subject=f"{level} {name} per {per}",
                cure="See `sluice budget list`",
            )
    if as_json:
        print_json({"removed": [level, name, per]})
    else:
        typer.echo(f"Removed: {level} {name} per {per}.")


def _said(budget: Budget) -> str:
    return f"${budget.dollars:f} a {budget.per} for {whose(budget.level, budget.name)}"


def whose(level: str, name: str) -> str:
    """Whose budget or limit it is, in words."""
    if name != "*":
        return f"the {level} {name}"
    return "the tenant" if level == "tenant" else f"each {level}"


def level_of(text: str) -> Level:
    """The level that is called so.

    Raises:
        BadInput: none is.
    """
    from sluice.catalog.costs import Level

    return _one_of(get_args(Level), text, "level")


def name_of(level: str, text: str) -> str:
    """Whose budget or limit it is.

    Raises:
        BadInput: a tenant is named, other than the one that settings choose.
    """
    if level == "tenant" and text != "*":
        raise BadInput("a tenant's name is *", subject=text, cure="Set SLUICE_TENANT to choose one")
    return text


def _one_of(known: tuple[T, ...], text: str, what: str) -> T:
    for each in known:
        if text == each:
            return each
    names = ", ".join(map(str, known))
    raise BadInput(f"no such {what}", subject=text, cure=f"Write one of {names}")


def _dollars(text: str) -> Decimal:
    try:
        found = Decimal(text)
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite() or found < 0:
        raise BadInput("is no amount of dollars", subject=text, cure="Write such as 12.50")
    return found


def _day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise BadInput("is no day", subject=text, cure="Write such as 2026-01-31") from None
