"""A source's permissions, read apart from its content: all of them, written in one transaction.

Nothing is embedded, indexed or even looked at but who may read what, so it is done every few
minutes. Runs of the content go on meanwhile: a lock and records of their own keep the two apart,
and of an object that both have read, the later reading stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from sluice import identities
from sluice.catalog import accounts, permissions, runs
from sluice.errors import AlreadyRunning, CatalogUnavailable, Incomplete, LoadHeld, SluiceError
from sluice.identities import Register
from sluice.ingest.pipeline import Pipeline, exclusive
from sluice.ingest.plan import lost_fraction
from sluice.ingest.progress import Progress
from sluice.model import Grant, LandedAcl, Membership, Permissions, require_aware
from sluice.ports import Permissioned


def sync_permissions(
    pipeline: Pipeline,
    source: Permissioned,
    run_id: str,
    *,
    accept_loss: bool = False,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Make grants, groups and accounts what ``source`` says now; it counts on the next query.

    Args:
        pipeline: what to work with.
        source: what is read.
        run_id: names the run.
        accept_loss: go on although more objects are gone than the source's policy allows.
        progress: told of every boundary.

    Returns:
        How many objects, memberships and accounts there are; of the accounts, how many are
        somebody's (``mapped``), how many active ones are nobody's (``held``) and how many a table
        of people gives to somebody else than their address does (``contradicted``); and whether
        anything changed.

    Raises:
        SourceUnavailable: not everything could be read; what was known stays, and ages.
        LoadHeld: too many objects are gone at once. Rights that the others lost are taken away.
    """
    progress = progress or Progress()
    kind, policy, part = source.kind, source.policy, runs.PERMISSIONS
    with exclusive(pipeline, source.name, kind, policy, run_id, part=part):
        with _nothing_changed(source.name):
            with progress.stage("read"):
                found = _read(pipeline, source)
            if not accept_loss:
                _hold_or_pass(pipeline, source, found)
            with progress.stage("apply"):
                counts = _write(pipeline, source, found)
        with pipeline.catalog.begin() as connection:
            runs.note(connection, run_id, {**counts, "stages": progress.seconds})
            runs.finish(connection, run_id, "succeeded")
    return counts


def _read(pipeline: Pipeline, source: Permissioned) -> Permissions:
    began = datetime.now(UTC)
    found = source.permissions(pipeline.kit(source.name))
    observed_at = require_aware(found.observed_at, source.name)
    return replace(found, observed_at=min(began, observed_at))  # a clock ahead would outlast others


def _write(pipeline: Pipeline, source: Permissioned, found: Permissions) -> dict[str, int]:
    name = source.name
    with pipeline.catalog.begin() as connection:
        register = accounts.observe(connection, name, found.accounts)
        members = _members(name, found.memberships, register)
        mapped = identities.mapped(name, register)
        changed = permissions.replace_source(
            connection, name, _grants(found.acls), members, mapped, found.observed_at
        )
        contradicted = accounts.contradicted(connection, name)
    return {
        "objects": len(found.acls),
        "memberships": len(members),
        "accounts": len(found.accounts),
        "mapped": len(mapped),
        "held": sum(1 for each in register.accounts.values() if each.active and each.held),
        "contradicted": len(contradicted),
        "changed": int(changed),
    }


def _members(
    name: str, memberships: Collection[Membership], register: Register
) -> list[Membership]:
    """The memberships of all but accounts that are not active."""
    gone = identities.inactive(name, register)
    return [each for each in memberships if each.member not in gone]


def _hold_or_pass(pipeline: Pipeline, source: Permissioned, found: Permissions) -> None:
    """Go on, or hold everything but what became narrower."""
    with pipeline.catalog.begin() as connection:
        known = permissions.granting(connection, source.name)
        gone = len(known - found.acls.keys())
        lost = lost_fraction(gone, len(known))
        if lost <= source.policy.max_loss and (found.acls or not known):
            return
        permissions.narrow(connection, source.name, _grants(found.acls), found.observed_at)
    raise LoadHeld(
        f"{gone} of {len(known)} permission objects are gone from the source ({lost:.0%}; its "
        f"policy allows {source.policy.max_loss:.0%}); they keep what they grant, and nothing new "
        "is given",
        subject=source.name,
        cure="Mend the source and run again; if they were meant to go, trigger the DAG with "
        "accept_loss",
    )


def _grants(acls: Mapping[str, LandedAcl]) -> dict[str, frozenset[Grant]]:
    """Each object's grants; one that could not be read grants nothing."""
    return {key: frozenset() if each.error else each.grants for key, each in acls.items()}


@contextmanager
def _nothing_changed(name: str) -> Iterator[None]:
    """Say of whatever keeps a reading from being whole that nothing came of it."""
    try:
        yield
    except (LoadHeld, AlreadyRunning, CatalogUnavailable):
        raise  # the reading is not to blame
    except SluiceError as error:
        error.happened = _told(error.happened)
        error.subject = error.subject or name
        raise
    except Exception as error:
        raise Incomplete(_told(f"unexpected {type(error).__name__}"), subject=name) from error


def _told(happened: str) -> str:
    return f"its permissions could not be read whole ({happened}); nothing was given or taken away"
