"""``sluice status``: what is there, how fresh it is, what is stuck."""

from __future__ import annotations

from sluice.cli.output import AsJson
from sluice.errors import SluiceError


def status(as_json: AsJson = False) -> None:
    """Show the catalog, the index, the embedder and every source."""
    raise SluiceError("not built yet")
