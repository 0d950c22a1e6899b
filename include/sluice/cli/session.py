"""What commands open, and give back when they end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sluice.api.services import Services


@contextmanager
def services() -> Iterator[Services]:
    """The question side, as the settings describe it; nothing is opened before it is used."""
    from sluice.api.services import Services
    from sluice.settings import load

    opened = Services(load())
    try:
        yield opened
    finally:
        opened.close()
