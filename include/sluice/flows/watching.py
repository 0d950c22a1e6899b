"""Watching a source from Airflow's triggerer: an event is a doorbell, and says nothing else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from sluice.sources import SqlTable

log = logging.getLogger(__name__)

_QUIET = 0.2  # seconds between two events: a burst is one
_CHECKUP = 30.0  # seconds between two looks at the slot


class StreamTrigger(BaseEventTrigger):
    """Follows a table by logical replication, and rings when changes were noted.

    Its arguments are stored for all to read: they name where the URL is, and hold none.
    """

    def __init__(
        self,
        source: str,
        url_env: str,
        table: str,
        schema: str,
        key: str,
        slot: str,
        publication: str,
        acl_tables: Sequence[str] = (),
    ):
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.arguments: dict[str, Any] = {
            "source": source,
            "url_env": url_env,
            "table": table,
            "schema": schema,
            "key": key,
            "slot": slot,
            "publication": publication,
            "acl_tables": list(acl_tables),
        }

    @classmethod
    def of(cls, source: SqlTable) -> StreamTrigger:
        """The trigger that follows ``source``."""
        name, changes = f"sluice_{source.name}", source.changes
        return cls(
            source=source.name,
            url_env=str(source.url_env),
            table=source.table,
            schema=source.schema or "public",
            key=source.key,
            slot=(changes and changes.slot) or name,
            publication=(changes and changes.publication) or name,
            acl_tables=changes.acl_tables if changes else (),
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how to make it again, elsewhere."""
        return f"{StreamTrigger.__module__}.{StreamTrigger.__qualname__}", dict(self.arguments)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ring after each batch of changes, for as long as the triggerer lives."""
        loop, bell, stop = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        thread = threading.Thread(
            target=self._watch,
            args=[lambda: loop.call_soon_threadsafe(bell.set), stop],
            name=f"follows {self.arguments['source']}",
            daemon=True,
        )
        thread.start()
        try:
            while True:
                await bell.wait()
                bell.clear()
                yield TriggerEvent({"source": self.arguments["source"]})  # type: ignore[no-untyped-call]
                await asyncio.sleep(_QUIET)
        finally:
            stop.set()

    def _watch(self, ring: Any, stop: threading.Event) -> None:
        from sluice import settings
        from sluice.catalog import Catalog
        from sluice.ingest.watching import look_after, watch
        from sluice.sources.replication import Place

        place = {name: each for name, each in self.arguments.items() if name != "url_env"}
        while not stop.is_set():
            try:
                found = settings.load()
                catalog = Catalog(found.require("catalog_url"), found.tenant)
                where = Place(**place, url=_postgres(self.arguments["url_env"]))
                break
            except Exception:  # nobody is here to mend it
                log.exception("cannot follow %s", self.arguments["source"])
                stop.wait(_CHECKUP)
        else:
            return

        def check_up() -> None:
            while not stop.wait(_CHECKUP):
                look_after(catalog, where)

        threading.Thread(target=check_up, daemon=True).start()
        try:
            watch(catalog, where, ring, stop)
        finally:
            catalog.close()


def _postgres(url_env: str) -> str:
    import sqlalchemy as sa

    from sluice.errors import ConfigurationError
    from sluice.settings import secret

    found = secret(url_env)
    if found is None:
        raise ConfigurationError(f"the environment has no {url_env}")
    url = sa.make_url(found).set(drivername="postgresql")
    return url.render_as_string(hide_password=False)
