"""A PostgreSQL table that is followed as it changes, by logical replication.

setup     the publication and the slot: made, checked, and how far behind
pgoutput  what the server sends, as changes of keys
stream    reads them, has them noted, and only then confirms them
"""

from sluice.sources.replication.setup import Health, Place, ensure, health, names, place
from sluice.sources.replication.stream import follow

__all__ = ["Health", "Place", "ensure", "follow", "health", "names", "place"]
