"""``sluice accounts``: whose a source's accounts are, and which of them wait for a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import AsJson, ago, console, plain, print_json
from sluice.cli.session import services

if TYPE_CHECKING:
    from sluice.catalog.accounts import Listed

app = typer.Typer(help="Sources' accounts and their people: list, confirm.", no_args_is_help=True)


@app.command("list")
def list_(
    source: Annotated[str | None, typer.Option(help="Only this source.")] = None,
    held: Annotated[bool, typer.Option("--held", help="Only those that are nobody's.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show every account that sources have listed, whose it is, and if it is nobody's, why."""
    from sluice.catalog import accounts

    with services() as opened, opened.catalog.begin() as connection:
        found = accounts.every(connection, source)
    if held:
        found = [each for each in found if each.person is None]
    if as_json:
        print_json(found)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table("source", "account", "address", "is", "why", "since", box=None)
    for each in found:
        table.add_row(
            each.source,
            Text(plain(each.native_id)),
            Text(plain(each.email or "–")),
            Text(plain(each.person or "nobody")),
            Text(plain(_why(each))),
            ago(each.since),
        )
    console().print(table if found else "There is no such account.")


@app.command()
def confirm(
    source: Annotated[str, typer.Argument(help="As `sluice accounts list` shows it.")],
    native_id: Annotated[str, typer.Argument(metavar="ACCOUNT", help="As the list shows it.")],
    as_json: AsJson = False,
) -> None:
    """Say that an account is the person whose address it has, though another account had it.

    The address is that account's from now on; it counts on the next question.
    """
    from sluice.catalog import accounts

    with services() as opened, opened.catalog.begin() as connection:
        email = accounts.confirm(connection, source, native_id)
    if as_json:
        print_json({"source": source, "account": native_id, "email": email})
    else:
        typer.echo(f"Confirmed: {plain(native_id)} of {plain(source)} has {plain(email)}.")


def _why(account: Listed) -> str:
    if account.directory is None:
        return account.held or "its address"
    if account.email is None or account.person == f"user:{account.email}":
        return f"the table {account.directory}"
    return f"the table {account.directory}, although its address is another's"
