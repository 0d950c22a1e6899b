"""What stands between a request and a provider: its turn first, then its price."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sluice.budget import Purse
from sluice.catalog import Catalog
from sluice.limits import Limiter
from sluice.model import Account, Limit, Quota, Spend
from sluice.ports import Charge


class Metered:
    """``ports.Meter``: everything is asked and paid by one account."""

    def __init__(self, catalog: Catalog, account: Account):
        """``account`` is a run of a source, whose requests queue, or a caller, whose do not."""
        self._purse = Purse(catalog)
        self._limiter = Limiter(catalog)
        self._account = account

    @contextmanager
    def paying(self, spend: Spend, limit: Limit) -> Iterator[Charge]:
        """Wait for a turn, and hold the price while the body works."""
        if self._account.request is None:
            self._limiter.queue(spend, self._account, limit)
        else:
            self._limiter.now(spend, self._account, limit)
        with self._purse.paying(spend, self._account) as charge:
            yield charge

    def heard(self, endpoint: str, quota: Quota) -> None:
        """Note what an endpoint says of its limits."""
        self._limiter.heard(endpoint, quota)
