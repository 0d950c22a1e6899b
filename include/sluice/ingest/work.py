"""What lies in the landing zone and is not live yet: worked out anew by every stage.

Nothing is handed from stage to stage but the run's name, so a stage can be killed, repeated, or
overtaken by another run, and still sees exactly what is left.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sluice import landing
from sluice.catalog import documents, quarantine, runs
from sluice.errors import SourceUnavailable
from sluice.ingest.pipeline import Pipeline
from sluice.model import Grant, LandedRow, Listing
from sluice.ports import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What lies in the landing zone and is not live yet."""

    load_ids: tuple[str, ...]  # oldest first; the last one listed the source
    validated: bool  # the newest load passed, so all before it may go live with it
    rows: tuple[LandedRow, ...]
    listing: Listing
    known: Mapping[str, documents.Known]  # of what is listed and what left; by document id
    live: int  # documents that are live, in all
    rejected: frozenset[str]  # row keys in quarantine


def left_to_do(pipeline: Pipeline, source: Source) -> Work | None:
    """Read what is left to do: rows of unpublished loads, and any that a run could not publish.

    None: another run has published every load meanwhile.

    A row comes back although its load is published when it was quarantined (its cure may lie
    elsewhere: a mended suite, a mended ACL) or when its document is listed but not live (deleted
    and restored without a change, which no cursor shows).
    """
    name, zone = source.name, pipeline.zone
    with pipeline.catalog.begin() as connection:
        published = runs.loads(connection, name, ["published"])
        validated = runs.loads(connection, name, ["validated"])
        rejected = quarantine.keys(connection, name)
    pending = landing.pending(zone, name, published)
    if not pending:
        return None
    listing = landing.listing(zone, name, pending, also=rejected)
    if listing is None:
        raise SourceUnavailable(
            "its newest load holds no complete listing",
            subject=name,
            cure="Run its DAG from the beginning",
        )
    chosen = None if listing.gone is None else listing.acl_keys.keys() | listing.gone
    with pipeline.catalog.begin() as connection:
        known = documents.known(connection, name, chosen)
        count = len(known) if chosen is None else documents.count(connection, name)
    rows = {row.key: row for row in landing.rows(zone, name, pending)}
    live = {each.native_id for each in known.values()}
    again = (rejected | (listing.acl_keys.keys() - live)) - rows.keys()
    rows |= {row.key: row for row in landing.rows_by_key(zone, name, again)}
    return Work(
        load_ids=tuple(pending),
        validated=pending[-1] in validated,
        rows=tuple(rows.values()),
        listing=listing,
        known=known,
        live=count,
        rejected=frozenset(rejected),
    )


def grants(listing: Listing) -> dict[str, frozenset[Grant]]:
    """Each listed object's grants; one that could not be read grants nothing."""
    return {key: frozenset() if each.error else each.grants for key, each in listing.acls.items()}
