"""Who may read what, as it is written down. ``catalog/scope.py`` reads it.

Grants are written at two moments. ``narrow`` takes rights away as soon as a source is known to
have taken them, and ``introduce`` readies the new objects that documents move under then;
``apply`` makes grants exactly what the source shows, in the transaction that makes its content
live, and ``touch`` those of some objects. Content and permissions are read apart, so that what one
reading saw may be older than what another has written: the later observation of an object stands.
Every transaction that really changes something moves ``acl_version`` by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import sqlalchemy as sa

from sluice.catalog import grants
from sluice.errors import BadInput, ConfigurationError
from sluice.model import (
    Grant,
    Identity,
    Membership,
    Principal,
    PrincipalKind,
    acl_hash,
)

Grants = Mapping[str, frozenset[Grant]]  # by ACL key
Pairs = set[tuple[str, str]]


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
    stays = _newer(connection, source, observed_at)
    acls = {key: each for key, each in acls.items() if key not in stays}
    ids = _acl_ids(connection, source)
    before = grants.held(connection, source)
    listed = {ids[key] for key in acls if key in ids}
    after = grants.narrowed(before, grants.shown(acls, ids), listed)
    if grants.write(connection, before, after):
        _count_change(connection)


def introduce(connection: sa.Connection, source: str, acls: Grants) -> None:
    """Give the objects that the catalog does not know yet their grants; leave all others alone.

    Args:
        connection: inside a transaction.
        source: whose permission objects.
        acls: the grants of objects, some of which may be new.
    """
    known = _acl_ids(connection, source)
    fresh = {key: each for key, each in acls.items() if key not in known}
    ids = ensure_acls(connection, source, fresh.keys())
    if grants.write(connection, {}, grants.shown(fresh, ids)):
        _count_change(connection)


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
    stays = _newer(connection, source, observed_at)
    listed = _acl_ids(connection, source).keys() | acls.keys()
    return _make(connection, source, acls, listed - stays, observed_at)


def touch(
    connection: sa.Connection, source: str, acls: Grants, observed_at: datetime
) -> frozenset[int]:
    """Make the grants of some objects of ``source`` exactly ``acls``; leave all others alone.

    Arguments and result as in ``apply``; how old the source's permissions are does not change.
    """
    connection.execute(  # one writer at a time, as in ``apply``
        sa.text("SELECT 1 FROM sluice.source WHERE source = :source FOR UPDATE"),
        {"source": source},
    )
    stays = _newer(connection, source, observed_at)
    return _make(connection, source, acls, acls.keys() - stays, observed_at)


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
    _check_directory(belongs, accounts)
    connection.execute(sa.text(_ONE_DIRECTORY_AT_A_TIME))
    if not _observed(connection, directory, observed_at):
        return False
    members = {(str(each.group), str(each.member)) for each in belongs}
    people = {(str(each.account), str(each.person)) for each in accounts}
    changed = [
        _replace(connection, _MEMBERSHIP, directory, members),
        _replace(connection, _IDENTITY, directory, people),
    ]
    twice = connection.execute(sa.text(_MAPPED_TWICE)).scalars().first()
    if twice:
        raise _two_people(twice)
    if any(changed):
        _count_change(connection)
    return any(changed)


_ONE_DIRECTORY_AT_A_TIME = (  # so that no two of them map one account at the same moment
    "SELECT pg_advisory_xact_lock("
    "hashtextextended(current_setting('sluice.tenant') || chr(30) || 'directories', 0))"
)
_MEMBERSHIP = ("sluice.membership", "parent", "member")
_IDENTITY = ("sluice.identity", "account", "person")
_MAPPED_TWICE = """
SELECT account FROM sluice.identity GROUP BY account HAVING count(DISTINCT person) > 1
ORDER BY account LIMIT 1
"""


def _check_directory(belongs: Sequence[Membership], accounts: Sequence[Identity]) -> None:
    for each in belongs:
        if each.group.kind is not PrincipalKind.GROUP:
            raise BadInput("only a group has members", subject=str(each.group))
    people: dict[Principal, Principal] = {}
    for identity in accounts:
        kinds = identity.account.kind, identity.person.kind
        if kinds != (PrincipalKind.ACCOUNT, PrincipalKind.USER):
            raise BadInput("an identity maps an account to a user", subject=str(identity.account))
        if people.setdefault(identity.account, identity.person) != identity.person:
            raise _two_people(str(identity.account))


def _two_people(account: str) -> BadInput:
    return BadInput(
        "the account is mapped to two people", subject=account, cure="Map it to one of them"
    )


def _acl_ids(connection: sa.Connection, source: str) -> dict[str, int]:
    rows = connection.execute(
        sa.text("SELECT key, acl_id FROM sluice.acl WHERE source = :source"), {"source": source}
    )
    return {row.key: int(row.acl_id) for row in rows}


def _replace(
    connection: sa.Connection, where: tuple[str, str, str], directory: str, wanted: Pairs
) -> bool:
    """Make the directory's pairs in one table exactly ``wanted``; say whether they were not."""
    table, one, other = where
    rows = connection.execute(
        sa.text(f"SELECT {one}, {other} FROM {table} WHERE directory = :directory"),  # noqa: S608  # constants
        {"directory": directory},
    )
    held: Pairs = {(row[0], row[1]) for row in rows}
    pairs = f"unnest(CAST(:ones AS text[]), CAST(:others AS text[])) AS w({one}, {other})"
    delete = (
        f"DELETE FROM {table} t USING {pairs}"  # noqa: S608  # constants
        f" WHERE t.directory = :directory AND t.{one} = w.{one} AND t.{other} = w.{other}"
    )
    insert = (
        f"INSERT INTO {table} (directory, {one}, {other})"  # noqa: S608  # constants
        f" SELECT :directory, w.{one}, w.{other} FROM {pairs}"
    )
    for statement, changed in ((delete, sorted(held - wanted)), (insert, sorted(wanted - held))):
        if changed:
            ones, others = zip(*changed, strict=True)
            connection.execute(
                sa.text(statement),
                {"directory": directory, "ones": list(ones), "others": list(others)},
            )
    return held != wanted


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


def _make(
    connection: sa.Connection,
    source: str,
    acls: Grants,
    keys: Collection[str],
    observed_at: datetime,
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
        _count_change(connection)
    connection.execute(
        sa.text(
            "UPDATE sluice.acl SET observed_at = :at WHERE source = :source AND key = ANY(:keys)"
        ),
        {"source": source, "at": observed_at, "keys": list(keys)},
    )
    return _rehash(connection, source, wanted, ids)


def _newer(connection: sa.Connection, source: str, observed_at: datetime) -> set[str]:
    """The objects of which something later than ``observed_at`` has been written."""
    rows = connection.execute(
        sa.text("SELECT key FROM sluice.acl WHERE source = :source AND observed_at > :at"),
        {"source": source, "at": observed_at},
    )
    return set(rows.scalars())


def _count_change(connection: sa.Connection) -> None:
    """Move ``acl_version`` by one, once however much this transaction changes."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.acl_version (version)
            SELECT 1 WHERE current_setting('sluice.acl_counted', true) IS DISTINCT FROM 'yes'
            ON CONFLICT (tenant_id) DO UPDATE SET version = acl_version.version + 1
            """
        )
    )
    connection.execute(sa.text("SELECT set_config('sluice.acl_counted', 'yes', true)"))


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
