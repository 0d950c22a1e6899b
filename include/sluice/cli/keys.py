"""``sluice keys``: who may ask, and on whose behalf; and what seals the tokens of sources."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import AsJson, console, print_json
from sluice.cli.session import services
from sluice.errors import BadInput

if TYPE_CHECKING:
    from sluice.catalog.keys import Key
    from sluice.model import Principal

app = typer.Typer(
    help="Agents' API keys: create, list, revoke. Master keys: master, rotate.",
    no_args_is_help=True,
)


@app.command()
def create(
    agent: Annotated[str, typer.Option(help="What the audit log will call the agent.")],
    names: Annotated[
        list[str],
        typer.Option(
            "--for",
            help="On whose behalf it may ask: user:…, group:…, domain:… or anyone. "
            "May be given again.",
            metavar="WHOM",
        ),
    ],
    expires: Annotated[
        str | None,
        typer.Option(help="When it ends: 2027-01-31 or 2027-01-31T18:00+01:00 (UTC if no zone)."),
    ] = None,
    team: Annotated[
        str | None, typer.Option(help="Whose limits and budgets the agent counts to.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it. It is shown once; only a digest of it is kept."""
    from sluice.keys import acts_for

    with services() as opened:
        key = opened.keys.create(agent, acts_for(names), _moment(expires), team)
    if as_json:
        print_json({"key": key, "key_id": key.split("_")[1], "agent": agent})
    else:
        typer.echo(key)
        typer.echo("Keep it: it is not shown again.", err=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Show all keys, without their secrets."""
    with services() as opened:
        keys = opened.keys.every()
    if as_json:
        print_json(keys)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("key id", "agent", "team", "acts for", "created", "expires", "state", box=None)
    for each in keys:
        table.add_row(
            each.key_id,
            each.agent,
            each.team or "–",
            Text(", ".join(_whom(who) for who in each.acts_for)),
            f"{each.created_at:%Y-%m-%d %H:%M}",
            f"{each.expires_at:%Y-%m-%d %H:%M}" if each.expires_at else "never",
            _state(each),
        )
    console().print(table)


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="As `sluice keys list` shows it.")],
    as_json: AsJson = False,
) -> None:
    """End a key at once, also for requests under way."""
    with services() as opened:
        opened.keys.revoke(key_id)
    if as_json:
        print_json({"revoked": key_id})
    else:
        typer.echo(f"Revoked: {key_id}")


@app.command()
def master(
    name: Annotated[str, typer.Argument(help="What it is called, such as 2027-01.")],
) -> None:
    """Print a new master key, to be put first in SLUICE_MASTER_KEYS. Nothing is changed."""
    from sluice.crypto import new_master

    typer.echo(new_master(name))
    typer.echo(
        "Put it first in SLUICE_MASTER_KEYS, before a comma and the old one; restart; then "
        "`sluice keys rotate`.",
        err=True,
    )


@app.command()
def rotate(as_json: AsJson = False) -> None:
    """Seal the keys of every source's tokens with the first master key. Nothing stops meanwhile.

    After it the other master keys are needed no more.
    """
    from sluice.ingest.pipeline import open_vault

    with services() as opened:
        wrapped = open_vault(opened.settings, opened.catalog).rewrap()
    if as_json:
        print_json({"rewrapped": wrapped})
    else:
        typer.echo(f"Sealed anew: the keys of {wrapped} sources.")


def _whom(principal: Principal) -> str:
    return "anyone" if principal.kind == "public" else str(principal)


def _state(key: Key) -> str:
    if key.revoked_at:
        return "revoked"
    if key.expires_at and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "live"


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput("not a date", subject=repr(text), cure="Write 2027-01-31") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if aware <= datetime.now(UTC):
        raise BadInput("the key would have ended already", subject=text)
    return aware
