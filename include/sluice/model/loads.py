"""What one run reads, lands and judges, and what it did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sluice.model.grants import Grant


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of time, ``[start, end)``: what a backfill reads again."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a source's owner decides about it."""

    max_loss: float = 0.3  # fraction of documents a load may lose before it is held, 0 to 1
    max_acl_age: timedelta | None = None  # older permissions hide every document of the source
    reconcile: timedelta = timedelta(days=1)  # how often every id is compared, not only changes
    objective: timedelta | None = None  # a change that is not live by then is an alarm
    sensitive: bool = False  # its texts leave this machine only for those that are named:
    machines: frozenset[str] = frozenset()  # hosts of endpoints
    batch_from: int | None = (
        500_000  # tokens that go to the batch tier, at half the price; None: never
    )
    patience: timedelta = timedelta(hours=24)  # that new content may take; batches take up to 24 h


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a source as it is now."""

    name: str
    type: str
    required: bool  # without it the source cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedRow:
    """One row as it lies in ``landing_<source>.rows``."""

    key: str  # the source's own id, or ``missing:<digest>`` where the source gave none
    load_id: str
    record: Mapping[str, Any]  # the source's columns, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedAcl:
    """One permission object as the source showed it; ``error`` says why it could not be read."""

    key: str
    grants: frozenset[Grant] = frozenset()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The ids that a source holds, with their permission objects, proven complete.

    All of them, or those that changed and those that left: see ``gone``.
    """

    acl_keys: Mapping[str, str | None]  # by row key; None: the source gave no ACL
    acls: Mapping[str, LandedAcl]  # by ACL key
    observed_at: datetime  # when the reading of the ACLs began: never before the content's
    whole: bool = True  # ``acls`` are all of the source's; otherwise those of what changed
    current: bool = True  # no object that is not in ``acls`` has changed by ``observed_at``
    gone: frozenset[str] | None = None  # what left; None: everything that ``acl_keys`` lacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One committed dlt load of a source."""

    source: str
    load_id: str
    rows: int
    listing: Listing | None  # None: the tables do not hold what the load's mark counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a source's mapper makes of a landed row, before anyone has judged it.

    Anything may be missing or wrong here; ``problems`` holds what the mapper itself saw, in words
    fit for the quarantine list.
    """

    key: str
    native_id: str | None
    title: str | None
    text: str | None
    uri: str | None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What one run of one source did, as people see it in Airflow and in ``sluice status``."""

    source: str
    run_id: str
    load_ids: tuple[str, ...] = ()
    new: int = 0
    changed: int = 0
    acl_only: int = 0
    metadata_only: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0
    chunks: int = 0
    embedded: int = 0  # chunks that no cache held
    tokens: int = 0  # that a provider billed
    dollars: str = "0"  # for them, to the last digit
    forecast: str = "0"  # dollars that were foreseen, before anything was spent
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds by stage, in order
