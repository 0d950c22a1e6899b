"""What a reading takes along, composed of the catalog, the tokens and Airflow's connections."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sluice.auth import Tokens
from sluice.catalog import Catalog, changes
from sluice.errors import ConfigurationError
from sluice.model import Auth, Connection, SourceChange

Connections = Callable[[str], Connection]  # by name; raises ConfigurationError


def no_connections(name: str) -> Connection:
    """The connections of who has none: a test, or a command that reads no source.

    Raises:
        ConfigurationError: always.
    """
    raise ConfigurationError(
        "there is no such connection",
        subject=name,
        cure=f"Add it in Airflow: airflow connections add {name} …",
    )


class Kit:
    """The kit of one source."""

    def __init__(
        self,
        catalog: Catalog,
        source: str,
        connections: Connections,
        tokens: Callable[[], Tokens],
    ):
        """``tokens`` is asked for when it is needed: most sources have none."""
        self._catalog = catalog
        self._source = source
        self._connections = connections
        self._tokens = tokens
        self._heard: list[int] = []

    def connection(self, name: str) -> Connection:
        """What an operator stored under ``name``."""
        return self._connections(name)

    def token(self, auth: Auth, rejected: str | None = None) -> str:
        """An access token that is good for a while yet."""
        return self._tokens().access(self._source, auth, self.connection(auth.connection), rejected)

    def changes(self) -> Sequence[SourceChange]:
        """The changes that no load has heard of; this reading's load is the one that does."""
        with self._catalog.begin() as connection:
            found = changes.waiting(connection, self._source)
        self._heard = [each.change_id for each in found]
        return found

    def landed(self, load_id: str) -> None:
        """Note that a committed load has heard of the changes that were handed out."""
        if self._heard:
            with self._catalog.begin() as connection:
                changes.landed(connection, self._source, self._heard, load_id)
