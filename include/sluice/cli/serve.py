"""``sluice serve``: the retrieval API alone, without Airflow."""

from __future__ import annotations

from sluice.errors import SluiceError


def serve() -> None:
    """Serve the retrieval API until Ctrl-C."""
    raise SluiceError("not built yet")
