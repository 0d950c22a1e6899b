"""Waiting for a provider's batches without holding a worker: the triggerer looks at them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from sluice.errors import StillEmbedding

if TYPE_CHECKING:
    from airflow.sdk import Context

    from sluice.ports import Source

log = logging.getLogger(__name__)

_FIRST, _LAST, _GROWTH = 10.0, 300.0, 1.5  # seconds between two looks


class BatchesTrigger(BaseTrigger):
    """Fires when one of some batches has ended; if there are none, after a while.

    It keeps nothing: a triggerer that starts anew looks again. That it cannot look is no reason to
    fail: the provider works on meanwhile.
    """

    def __init__(self, embedder: str, remote_ids: Sequence[str]):
        """``embedder`` is one of the settings' names."""
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's
        self.embedder = embedder
        self.remote_ids = list(remote_ids)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Say how to make it again, elsewhere."""
        path = f"{BatchesTrigger.__module__}.{BatchesTrigger.__qualname__}"
        return path, {"embedder": self.embedder, "remote_ids": self.remote_ids}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, less and less often."""
        pause = _FIRST
        while True:
            await asyncio.sleep(pause)
            if not self.remote_ids or await asyncio.to_thread(self._ended):
                yield TriggerEvent({"looked_at": self.remote_ids})  # type: ignore[no-untyped-call]
                return
            pause = min(pause * _GROWTH, _LAST)

    def _ended(self) -> bool:
        from sluice import settings
        from sluice.embedding.batch import ended

        try:
            return ended(self.embedder, settings.load().endpoints, self.remote_ids)
        except Exception:  # nobody is here to mend it; the task will say what is wrong
            log.warning("cannot look at %s", self.remote_ids, exc_info=True)
            return False


class PatientOperator(BaseOperator):
    """Works; where a provider has to be waited for, it goes on when that is done."""

    def __init__(self, *, work: Callable[[], Any], source: Source | None = None, **kwargs: Any):
        """``work`` may raise :class:`StillEmbedding`; called again, it goes on where it was.

        ``source`` is whose work it is, for whoever reads the DAG file.
        """
        super().__init__(**kwargs)
        self.work = work
        self.source = source

    def execute(self, context: Context) -> Any:  # noqa: ARG002
        """Work, or wait."""
        try:
            return self.work()
        except StillEmbedding as waiting:
            log.info("%s", waiting)
            self.defer(
                trigger=BatchesTrigger(str(waiting.subject), waiting.remote_ids),
                method_name="resume",
            )

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Go on: something has ended."""
        log.info("looked at: %s", ", ".join(event["looked_at"]) or "nothing of ours")
        return self.execute(context)
