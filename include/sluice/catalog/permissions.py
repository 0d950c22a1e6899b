"""Who may read what, as it is written down. ``catalog/scope.py`` reads it.

Grants are written at two moments. ``narrow`` takes rights away as soon as a source is known to
have taken them, and ``introduce`` readies the new objects that documents move under then;
``apply`` makes grants exactly what the source shows, in the transaction that makes its content
live, and ``touch`` those of some objects. Content and permissions are read apart, so that what one
reading saw may be older than what another has written: the later observation of an object stands.
Every transaction that really changes something moves ``acl_version`` by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

import sqlalchemy as sa

from sluice.catalog import acl_version, grants, people
from sluice.errors import AlreadyRunning, BadInput, ConfigurationError
from sluice.model import Grant, Identity, Membership, acl_hash

Grants = Mapping[str, frozenset[Grant]]  # by ACL key


def ensure_acls(connection: sa.Connection, source: str, keys: Collection[str]) -> dict[str, int]:
    """Return the ``acl_id`` of each of a source's permission objects; a new one grants nothing."""
    known = _acl_ids(connection, source)
    missing = set(keys) - known.keys()
    if missing:
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.acl (source, key, hash)
                SELECT :source, key, :hash FROM unnest(CAST(:keys AS text[])) AS w(key)
                ON CONFLICT (tenant_id, source, key) DO NOTHING
                """
            ),
            {"source": source, "keys": sorted(missing), "hash": acl_hash(())},
        )
        known = _acl_ids(connection, source)
    return {key: known[key] for key in keys}


def granting(connection: sa.Connection, source: str) -> set[str]:
    """The keys of the source's permission objects that grant or deny anything."""
    rows = connection.execute(
        sa.text(
            """
            SELECT key FROM sluice.acl a WHERE source = :source
                AND EXISTS (SELECT FROM sluice.acl_grant g WHERE g.acl_id = a.acl_id)
            """
        ),
        {"source": source},
    )
    return set(rows.scalars())


def narrow(connection: sa.Connection, source: str, acls: Grants, observed_at: datetime) -> None:
    """Take away at once what ``source`` has taken away; give nothing.

    Allows go or end sooner, denies come or last longer. An object that is not listed keeps its
    grants until ``apply``: a source that is gone for a moment must not blank what it holds.

    Args:
        connection: inside a transaction.
        source: whose permission objects.
        acls: the grants of the objects that the source lists.
        observed_at: when the reading of them began.
    """
    if _outdated(connection, source, observed_at):
        return
    stays = _newer(connection, source, observed_at)
    acls = {key: each for key, each in acls.items() if key not in stays}
    ids = ensure_acls(connection, source, acls.keys())
    before = grants.held(connection, source)
    after = grants.narrowed(before, grants.shown(acls, ids), set(ids.values()))
    if grants.write(connection, before, after):
        acl_version.count_change(connection)
    _note(connection, source, acls.keys(), observed_at)  # or an older reading would give it back


def introduce(connection: sa.Connection, source: str, acls: Grants, observed_at: datetime) -> None:
    """Give the objects that the catalog does not know yet their grants; leave all others alone.

    Args:
        connection: inside a transaction.
        source: whose permission objects.
        acls: the grants of objects, some of which may be new.
        observed_at: when the reading of them began. Of what is new to the catalog although all of
            the source was read later, nothing is known any more: it grants nothing.
    """
    outdated = _outdated(connection, source, observed_at)
    known = _acl_ids(connection, source)
    fresh = {key: each for key, each in acls.items() if key not in known}
    ids = ensure_acls(connection, source, fresh.keys())
    if outdated:
        return
    if grants.write(connection, {}, grants.shown(fresh, ids)):
        acl_version.count_change(connection)
    _note(connection, source, fresh.keys(), observed_at)


def apply(
    connection: sa.Connection, source: str, acls: Grants, observed_at: datetime
) -> frozenset[int]:
    """Make the grants of ``source`` exactly ``acls``, in place.

    What was observed before something already applied is out of date, and changes nothing.

    Args:
        connection: inside the transaction that makes the guarded content live.
        source: whose permission objects.
        acls: the grants of every object that the source lists.
        observed_at: when the reading of them began.

    Returns:
        The objects that mean something else than when they were last applied, ``narrow`` included.
    """
    if not _observed(connection, source, observed_at):
        return frozenset()
    return _make_all(connection, source, acls, observed_at)


def touch(
    connection: sa.Connection, source: str, acls: Grants, observed_at: datetime
) -> frozenset[int]:
    """Make the grants of some objects of ``source`` exactly ``acls``; leave all others alone.

    Arguments and result as in ``apply``; how old the source's permissions are does not change.
    """
    if _outdated(connection, source, observed_at):
        ensure_acls(connection, source, acls.keys())  # documents move under them all the same
        return frozenset()
    stays = _newer(connection, source, observed_at)
    changed = _make(connection, source, acls, acls.keys() - stays)
    _note(connection, source, acls.keys(), observed_at)
    return changed


def confirm(connection: sa.Connection, source: str, observed_at: datetime) -> None:
    """Note that everything that is written of ``source`` was still so at ``observed_at``."""
    _observed(connection, source, observed_at)


def replace_source(
    connection: sa.Connection,
    source: str,
    acls: Grants,
    memberships: Iterable[Membership],
    identities: Iterable[Identity],
    observed_at: datetime,
) -> bool:
    """Make everything that ``source`` says of who may read what exactly this; return whether it
    was anything else.

    Args:
        connection: inside a transaction.
        source: one whose permissions are read apart from its content.
        acls: the grants of every object that it lists.
        memberships: of its own groups.
        identities: of its own accounts.
        observed_at: when the reading began. What content runs saw of an object later stands.

    Raises:
        BadInput: a membership of something that is no group of its own, or an account of two
            people. Nothing is changed: a guess could hide a deny.
        AlreadyRunning: a later reading has been written meanwhile.
    """
    belongs, accounts = list(memberships), list(identities)
    for each in belongs:
        if not str(each.group).startswith(f"group:{source}:"):
            raise BadInput("a source speaks of its own groups alone", subject=str(each.group))
    people.check(belongs, accounts)
    people.lock(connection)
    if not _observed(connection, source, observed_at):
        raise AlreadyRunning(
            "another run has written a later reading of its permissions",
            subject=source,
            cure="Nothing is lost; the next run reads them again",
        )
    regranted = _make_all(connection, source, acls, observed_at)
    changed = people.replace(connection, source, belongs, accounts)
    return changed or bool(regranted)


def replace_directory(
    connection: sa.Connection,
    directory: str,
    memberships: Iterable[Membership],
    identities: Iterable[Identity],
    observed_at: datetime,
) -> bool:
    """Make what ``directory`` says exactly this; it counts on the next query.

    Returns:
        Whether anything changed.

    Raises:
        BadInput: a membership of something that is no group, or an account of two people. Nothing
            is changed: a guess could hide a deny.
    """
    belongs, accounts = list(memberships), list(identities)
    people.check(belongs, accounts)
    people.lock(connection)
    if not _observed(connection, directory, observed_at):
        return False
    return people.replace(connection, directory, belongs, accounts)


def _acl_ids(connection: sa.Connection, source: str) -> dict[str, int]:
    rows = connection.execute(
        sa.text("SELECT key, acl_id FROM sluice.acl WHERE source = :source"), {"source": source}
    )
    return {row.key: int(row.acl_id) for row in rows}


def _observed(connection: sa.Connection, source: str, observed_at: datetime) -> bool:
    """Note the observation, unless a later one was noted before it."""
    noted = connection.execute(
        sa.text(
            """
            UPDATE sluice.source SET acl_observed_at = :at WHERE source = :source
                AND (acl_observed_at IS NULL OR acl_observed_at <= :at)
            """
        ),
        {"source": source, "at": observed_at},
    ).rowcount
    if noted:
        return True
    known = connection.execute(
        sa.text("SELECT 1 FROM sluice.source WHERE source = :source"), {"source": source}
    ).scalar()
    if not known:
        raise ConfigurationError("no such source is registered", subject=source)
    return False


def _outdated(connection: sa.Connection, source: str, observed_at: datetime) -> bool:
    """Whether all of the source was read later than that and written down.

    Row-locks the source: one writer of its permissions at a time.
    """
    last = connection.execute(
        sa.text("SELECT acl_observed_at FROM sluice.source WHERE source = :source FOR UPDATE"),
        {"source": source},
    ).scalar()
    return last is not None and last > observed_at


def _make_all(
    connection: sa.Connection, source: str, acls: Grants, observed_at: datetime
) -> frozenset[int]:
    """Make the grants of the source exactly ``acls``, but of what was seen later."""
    stays = _newer(connection, source, observed_at)
    listed = _acl_ids(connection, source).keys() | acls.keys()
    return _make(connection, source, acls, listed - stays)


def _make(
    connection: sa.Connection, source: str, acls: Grants, keys: Collection[str]
) -> frozenset[int]:
    """Make the grants of the objects called ``keys`` what ``acls`` says; of the rest of them, none.

    Returns:
        Those that mean something else than when this was last done.
    """
    wanted = {key: acls[key] for key in keys if key in acls}
    ensure_acls(connection, source, wanted.keys())
    ids = {key: each for key, each in _acl_ids(connection, source).items() if key in keys}
    chosen = set(ids.values())
    held = grants.held(connection, source)
    before = {line: until for line, until in held.items() if line[0] in chosen}
    if grants.write(connection, before, grants.shown(wanted, ids)):
        acl_version.count_change(connection)
    return _rehash(connection, source, wanted, ids)


def _note(
    connection: sa.Connection, source: str, keys: Collection[str], observed_at: datetime
) -> None:
    """Note of single objects when they were seen; of all of them, the source's row says it."""
    connection.execute(
        sa.text(
            """
            UPDATE sluice.acl SET observed_at = :at WHERE source = :source AND key = ANY(:keys)
                AND (observed_at IS NULL OR observed_at < :at)
            """
        ),
        {"source": source, "at": observed_at, "keys": list(keys)},
    )


def _newer(connection: sa.Connection, source: str, observed_at: datetime) -> set[str]:
    """The objects of which something later than ``observed_at`` has been written."""
    rows = connection.execute(
        sa.text("SELECT key FROM sluice.acl WHERE source = :source AND observed_at > :at"),
        {"source": source, "at": observed_at},
    )
    return set(rows.scalars())


def _rehash(
    connection: sa.Connection, source: str, acls: Grants, ids: Mapping[str, int]
) -> frozenset[int]:
    """Store what each of the objects ``ids`` means now; return those that meant something else."""
    nothing = acl_hash(())
    rows = connection.execute(
        sa.text("SELECT acl_id, key, hash FROM sluice.acl WHERE source = :s AND key = ANY(:keys)"),
        {"s": source, "keys": list(ids)},
    )
    now = {key: acl_hash(each) for key, each in acls.items()}
    changed = {
        int(row.acl_id): now.get(row.key, nothing)
        for row in rows
        if row.hash != now.get(row.key, nothing)
    }
    if changed:
        connection.execute(
            sa.text(
                """
                UPDATE sluice.acl a SET hash = w.hash, changed_at = now()
                FROM unnest(CAST(:ids AS bigint[]), CAST(:hashes AS text[])) AS w(acl_id, hash)
                WHERE a.acl_id = w.acl_id
                """
            ),
            {"ids": list(changed), "hashes": list(changed.values())},
        )
    return frozenset(changed)
