"""How any source behind HTTP is spoken to: its limits, its credentials, and what its answers mean.

verdicts   what an answer means, by the dialect of the service; pure
budget     how fast requests may go
session    a requests.Session that waits, signs in and tries again by itself
"""

from sluice.sources.web.budget import Budget, Rate
from sluice.sources.web.session import open_session
from sluice.sources.web.verdicts import Dialect

__all__ = ["Budget", "Dialect", "Rate", "open_session"]
