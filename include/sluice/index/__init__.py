"""Where candidates are found: term analysis, rank fusion, and the stores behind ``ports.Index``."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re

from sluice.index import rows
from sluice.index.analysis import ANALYSIS
from sluice.model import Collection
from sluice.ports import Index
from sluice.settings import Settings

# Read when lancedb is imported. Its warnings are about its own partitions, and nobody can act on
# them; what goes wrong reaches us as an exception.
os.environ.setdefault("LANCEDB_LOG", "error")


def open_index(
    settings: Settings,
    collection: Collection,
    *,
    loop: asyncio.AbstractEventLoop | None = None,
) -> Index:
    """Return the store that holds ``collection``. Nothing is connected to, or made, yet.

    Args:
        settings: say where the backends are, and how a new collection is made.
        collection: what to open.
        loop: the running event loop of a server, on which its one asynchronous client then works
            for all of its threads. None: a synchronous client of the caller's own.

    Raises:
        ConfigurationError: the settings do not say where the backend is.
    """
    if collection.backend == "weaviate":
        from sluice.index.weaviate import open_weaviate

        return open_weaviate(settings, collection, loop=loop)
    from sluice.index.lance import LanceIndex  # 3.5 s of imports

    return LanceIndex(
        settings.index_path,
        name=collection.name,
        model=collection.model,
        dimensions=collection.dimensions,
        tenant=settings.tenant,
    )


def name_for(
    settings: Settings, model: str, dimensions: int, number: int, installation: str
) -> str:
    """Name a tenant's ``number``-th collection (from 1) in the backend that the settings choose.

    Args:
        settings: name the backend and the tenant.
        model: whose vectors it will hold.
        dimensions: of each.
        number: counts the tenant's collections of all kinds.
        installation: hexadecimal digits that tell this catalog from others that use the same
            Weaviate: generation numbers mean nothing outside their catalog.
    """
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model)
    if settings.index == "lance":  # a directory for each tenant, named as before there was a count
        first = f"chunks-{slug}-{dimensions}-a{ANALYSIS}-v{rows.VERSION}"
        return first if number == 1 else f"{first}-{number}"
    shared = settings.weaviate_multi_tenancy
    tenant = "" if shared else "_" + hashlib.sha256(settings.tenant.encode()).hexdigest()[:8]
    return f"Sluice_{installation}{tenant}_{slug.replace('-', '_')}_{dimensions}_{number}"
