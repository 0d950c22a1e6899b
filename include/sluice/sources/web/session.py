"""A ``requests.Session`` for one source: it waits, signs in and tries again by itself.

Each attempt is signed anew, at the last moment, on a copy of the request: what callers, redirects,
errors and logs get to see never held a credential. Only reading is done with it, so that every
request may be sent again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from sluice.model import ApiKey, Auth
from sluice.sources.web.budget import Budget, Rate
from sluice.sources.web.credentials import Hiding
from sluice.sources.web.verdicts import Dialect

if TYPE_CHECKING:
    import requests

    from sluice.ports import Kit


def open_session(
    kit: Kit,
    source: str,
    auth: Auth | None,
    rate: Rate | None = None,
    dialect: Dialect = Dialect.GENERIC,
    *,
    origins: Collection[str] = (),
    passing: Collection[int] = (),
) -> requests.Session:
    """Return a session that speaks to the service of ``source``; dlt's RESTClient takes it.

    Args:
        kit: where connections and tokens come from.
        source: its name, for errors.
        auth: how it is signed in to; None: not at all.
        rate: how fast it may be asked; None: as fast as it says itself.
        dialect: how it says what it will not do.
        origins: URLs whose scheme, host and port may get the credential. Empty: whatever is asked
            directly. What another host redirects to never gets it.
        passing: statuses from 400 on that the caller wants to see as answers: 404, 410.

    Its requests raise:
        SourceBusy: it wants a longer wait than ``rate`` has.
        SignInNeeded: a new token, too, was answered with 401.
        SourceRefused: it will not, or refuses the key.
        SourceUnavailable: it does not answer, or not sensibly.
        ConfigurationError: a connection is missing or lacks something.
    """
    from sluice.sources.web.adapter import Adapter, Session

    if isinstance(auth, ApiKey) and auth.place == "query":
        Hiding.install(auth.name)
    adapter = Adapter(
        kit,
        source,
        auth,
        Budget(rate),
        dialect,
        longest=rate.longest_wait if rate else Rate(1, 1).longest_wait,
        origins=origins,
        passing=passing,
    )
    return Session(adapter)
