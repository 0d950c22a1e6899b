"""What lies in the landing zone, put together as an ingest run would see it."""

from __future__ import annotations

from dataclasses import dataclass

from sluice import landing
from sluice.landing import Zone
from sluice.model import Draft, Grant, Load
from sluice.ports import Source

BROKEN = "its ACL cannot be read"


@dataclass(frozen=True)
class Seen:
    """One document: what it says, what is wrong with it, who may read it."""

    title: str | None
    text: str | None
    problems: tuple[str, ...]
    acl: frozenset[Grant] | str | None  # grants, or BROKEN, or None: no ACL


def state(zone: Zone, source: Source, load: Load) -> dict[str, Seen]:
    """Everything the source holds as of ``load``, by row key."""
    listing = landing.listing(zone, source.name, [load.load_id])
    assert listing is not None
    drafts = drafts_of(zone, source, list(listing.acl_keys))
    assert drafts.keys() == listing.acl_keys.keys(), "listed and landed are not the same"
    seen = {}
    for key, draft in drafts.items():
        acl_key = listing.acl_keys[key]
        acl = listing.acls[acl_key] if acl_key is not None else None
        readers = None if acl is None else BROKEN if acl.error else acl.grants
        seen[key] = Seen(draft.title, draft.text, draft.problems, readers)
    return seen


def drafts_of(zone: Zone, source: Source, keys: list[str]) -> dict[str, Draft]:
    """The drafts of the newest landed rows called ``keys``."""
    return {row.key: source.draft(row) for row in landing.rows_by_key(zone, source.name, keys)}
