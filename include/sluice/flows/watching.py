"""Watching a source from Airflow's triggerer: an event is a doorbell, and says nothing else."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
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

    def __init__(self, url_env: str, **names: Any):
        """``names`` are those of :func:`sluice.sources.replication.names`."""
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.url_env = url_env
        self.names = names

    @classmethod
    def of(cls, source: SqlTable) -> StreamTrigger:
        """The trigger that follows ``source``."""
        from sluice.sources import replication

        return cls(str(source.url_env), **replication.names(source))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how to make it again, elsewhere."""
        return f"{StreamTrigger.__module__}.{StreamTrigger.__qualname__}", {
            "url_env": self.url_env,
            **self.names,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Ring after each batch of changes, for as long as the triggerer lives."""
        loop, bell, stop = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        thread = threading.Thread(
            target=self._watch,
            args=[lambda: loop.call_soon_threadsafe(bell.set), stop],
            name=f"follows {self.names['source']}",
            daemon=True,
        )
        thread.start()
        try:
            while True:
                await bell.wait()
                bell.clear()
                yield TriggerEvent({"source": self.names["source"]})  # type: ignore[no-untyped-call]
                await asyncio.sleep(_QUIET)
        finally:
            stop.set()

    def _watch(self, ring: Any, stop: threading.Event) -> None:
        from sluice import settings
        from sluice.catalog import Catalog
        from sluice.ingest.watching import look_after, watch
        from sluice.sources.replication import place
        from sluice.sources.sql_table import address_of

        while not stop.is_set():
            try:
                found = settings.load()
                catalog = Catalog(found.require("catalog_url"), found.tenant)
                where = place(address_of(self.url_env, self.names["source"]), self.names)
                break
            except Exception:  # nobody is here to mend it
                log.exception("cannot follow %s", self.names["source"])
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
