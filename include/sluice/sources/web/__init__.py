"""How a service is spoken to over HTTP: signed in, no faster than it allows, and patiently.

verdicts   what an answer means, in each service's own words
budget     how many requests may be sent, and when
session    a ``requests`` session that does all of it, under whatever library sends
"""

from sluice.sources.web.budget import Rate
from sluice.sources.web.session import open_session
from sluice.sources.web.verdicts import Dialect

__all__ = ["Dialect", "Rate", "open_session"]
