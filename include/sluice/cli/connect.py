"""``sluice connect``: sign in to a source, once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sluice.cli.output import AsJson, print_json
from sluice.errors import ConfigurationError, SignInNeeded

if TYPE_CHECKING:
    from sluice.ingest import Pipeline
    from sluice.ports import Source

_LOOK = 1.0  # seconds between two looks
_PATIENCE = 600.0  # seconds that a link is good for


def connect(
    name: Annotated[str, typer.Argument(help="The source, as its file in dags/ calls it.")],
    folder: Annotated[Path, typer.Option("--dags", help="Where the DAG files are.")] = Path("dags"),
    wait: Annotated[
        bool, typer.Option(help="Wait until somebody has consented, up to 10 minutes.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Sign in to a source: print the link to consent at, or fetch a first token and say so.

    For a table that is followed: make its publication and slot, and say how they are.
    Consents come back to SLUICE_PUBLIC_URL/sluice/connect/callback, which the service has to know.
    """
    from sluice.flows.connections import connection
    from sluice.flows.declared import declared
    from sluice.ingest import open_pipeline
    from sluice.settings import load

    source = declared(folder).get(name)
    if source is None:
        raise ConfigurationError(
            "no file there declares such a source", subject=f"{folder}: {name}", cure="See --dags"
        )
    pipeline = open_pipeline(load(), connection)
    try:
        said = _connect(pipeline, source, wait=wait)
    finally:
        pipeline.close()
    if as_json:
        print_json({"source": name, "state": said})
    else:
        typer.echo(f"{name}: {said}")


def _connect(pipeline: Pipeline, source: Source, *, wait: bool) -> str:
    from sluice.ingest.pipeline import register
    from sluice.model import ApiKey, AuthorizationCode, Basic, Bearer

    auth = getattr(source, "auth", None)
    if getattr(source, "changes", None):
        return _followed(pipeline, source)
    if auth is None or isinstance(auth, ApiKey | Basic | Bearer):
        return "nothing to sign in to; `sluice source check` tries what it is reached by"
    register(pipeline, source)
    if isinstance(auth, AuthorizationCode):
        return _consent(pipeline, source.name, auth, wait=wait)
    pipeline.kit(source.name).token(auth)
    return "connected"


def _followed(pipeline: Pipeline, source: Any) -> str:
    from sluice.catalog import streams
    from sluice.sources import replication

    def renewing() -> None:
        with pipeline.catalog.begin() as transaction:
            streams.begin_anew(transaction, source.name)

    where = replication.place(source.address, replication.names(source))
    made = replication.ensure(where, renewing)
    found = replication.health(where)
    trouble = f"; {found.trouble}" if found.trouble else ""
    slot = f"slot {where.slot} {'was made' if made else 'is there'}, {found.behind:,} bytes behind"
    return f"connected: publication {where.publication}, {slot}{trouble}"


def _consent(pipeline: Pipeline, name: str, auth: object, *, wait: bool) -> str:
    from sluice.catalog import tokens
    from sluice.flows.connections import connection
    from sluice.ingest.pipeline import open_consent
    from sluice.model import AuthorizationCode

    assert isinstance(auth, AuthorizationCode)  # noqa: S101  # the caller looked
    consent = open_consent(pipeline.settings, connection)
    with pipeline.catalog.begin() as transaction:
        before = tokens.stamp(transaction, name)
    typer.echo(consent.begin(name, auth, pipeline.settings.callback))
    if not wait:
        return "open the link within 10 minutes"
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        with pipeline.catalog.begin() as transaction:
            if tokens.stamp(transaction, name) != before:
                return "connected"
    raise SignInNeeded(
        "nobody consented within 10 minutes", subject=name, cure="Run it again for a new link"
    )
