"""``sluice search``: ask as a person, from a terminal."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli.output import AsJson, console, plain, print_json
from sluice.cli.session import services

if TYPE_CHECKING:
    from sluice.model import Caller, Hit


def search(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    person: Annotated[
        str,
        typer.Option("--as", help="Whose rights count: user:ada@example.com.", metavar="PERSON"),
    ],
    k: Annotated[int, typer.Option("--k", "-k", help="At most this many answers.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Ask a question as a person, and see why each answer was allowed.

    This is the operator's own tool: it needs no key, and is audited under your login name.
    """
    from sluice.model import Principal

    with services() as opened:
        answer = opened.retriever.search(_operator(), Principal.parse(person), question, k)
    if as_json:
        from sluice.api.shapes import SearchAnswer

        print_json(SearchAnswer.of(answer).model_dump(mode="json"))
        return
    if answer.degraded:
        typer.echo(answer.degraded, err=True)
    for hit in answer.hits:
        _show(hit)
    if not answer.hits:
        console().print("Nothing that this person may read answers that.")


def _operator() -> Caller:
    from sluice.model import PUBLIC, Caller

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = str(os.getuid())
    return Caller(agent=f"cli:{name}", key_id=None, acts_for=frozenset({PUBLIC}))


def _show(hit: Hit) -> None:
    from rich.padding import Padding
    from rich.text import Text

    out = console()
    out.print(Text(f"{hit.rank}. {plain(' › '.join(hit.path) or hit.title)}", style="bold"))
    out.print(Padding(Text(plain(hit.text.strip())), (0, 0, 0, 3)))
    out.print(Padding(Text(plain(f"{hit.document_id}  {hit.uri}"), style="dim"), (0, 0, 0, 3)))
    out.print(Padding(Text(plain(f"allowed: {hit.reason}"), style="green"), (0, 0, 1, 3)))
