"""``sluice serve``: the retrieval API alone, without Airflow."""

from __future__ import annotations

import socket
import sys
from typing import Annotated

import typer

from sluice.errors import SluiceError

# Seconds that a thread which computes keeps others waiting: a refusal must not wait for answers.
_SWITCH = 0.0005


def serve(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on, instead of SLUICE_HOST.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port, instead of SLUICE_SERVE_PORT; 0 takes a free one."),
    ] = None,
) -> None:
    """Serve the retrieval API at /sluice until Ctrl-C.

    It has no --json: its address is the first line on stderr, and what it logs follows, in lines.
    """
    import uvicorn

    from sluice.api.app import PREFIX, standalone
    from sluice.settings import load

    settings = load()
    settings.require("catalog_url")
    listening = _listen(
        settings.host if host is None else host, settings.serve_port if port is None else port
    )
    address, actual = listening.getsockname()[:2]
    sys.setswitchinterval(_SWITCH)
    typer.echo(f"http://{address}:{actual}{PREFIX}/openapi.json", err=True)
    uvicorn.Server(uvicorn.Config(standalone(settings))).run(sockets=[listening])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise SluiceError(
            f"cannot listen there: {getattr(error, 'strerror', None) or error}".rstrip("."),
            subject=f"{host}:{port}",
            cure="Stop what listens there, or choose another --port",
        ) from None
