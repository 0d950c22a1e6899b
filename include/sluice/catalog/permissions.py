"""Who may read what, as it is written down. ``catalog/scope.py`` reads it.

Grants are written at two moments. ``narrow`` takes rights away as soon as a source is known to
have taken them; ``apply`` makes them exactly what the source shows, in the transaction that makes
its content live. Every transaction that really changes something moves ``acl_version`` by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from sluice.errors import BadInput, ConfigurationError
from sluice.model import (
    Grant,
    Identity,
    Membership,
    Principal,
    PrincipalKind,
    acl_hash,
    settle,
)

Grants = Mapping[str, frozenset[Grant]]  # by ACL key

_WANTED = """
WITH wanted AS (
    SELECT a.acl_id, w.principal, w.effect, w.expires_at
    FROM unnest(CAST(:keys AS text[]), CAST(:principals AS text[]), CAST(:effects AS text[]),
                CAST(:expiries AS timestamptz[])) AS w(key, principal, effect, expires_at)
    JOIN sluice.acl a ON a.source = :source AND a.key = w.key
)
"""
_DROP_LOST = (
    _WANTED
    + """
DELETE FROM sluice.acl_grant g USING sluice.acl a
WHERE a.acl_id = g.acl_id AND a.source = :source
  AND g.effect = 'allow' AND a.key = ANY(CAST(:listed AS text[]))
  AND NOT EXISTS (SELECT FROM wanted w WHERE w.acl_id = g.acl_id AND w.principal = g.principal
                  AND w.effect = g.effect)
"""
)
_SHORTEN_ALLOWS = (
    _WANTED
    + """
UPDATE sluice.acl_grant g SET expires_at = w.expires_at FROM wanted w
WHERE g.acl_id = w.acl_id AND g.principal = w.principal AND g.effect = 'allow'
  AND w.effect = 'allow' AND w.expires_at < coalesce(g.expires_at, 'infinity')
"""
)
_LENGTHEN_DENIES = (
    _WANTED
    + """
INSERT INTO sluice.acl_grant AS g (acl_id, principal, effect, expires_at)
SELECT acl_id, principal, effect, expires_at FROM wanted WHERE effect = 'deny'
ON CONFLICT (tenant_id, acl_id, principal, effect) DO UPDATE SET expires_at = excluded.expires_at
    WHERE coalesce(excluded.expires_at, 'infinity') > g.expires_at
"""
)
_DROP_OTHERS = (
    _WANTED
    + """
DELETE FROM sluice.acl_grant g USING sluice.acl a
WHERE a.acl_id = g.acl_id AND a.source = :source
  AND NOT EXISTS (SELECT FROM wanted w WHERE w.acl_id = g.acl_id AND w.principal = g.principal
                  AND w.effect = g.effect)
"""
)
_SET = (
    _WANTED
    + """
INSERT INTO sluice.acl_grant AS g (acl_id, principal, effect, expires_at)
SELECT acl_id, principal, effect, expires_at FROM wanted
ON CONFLICT (tenant_id, acl_id, principal, effect) DO UPDATE SET expires_at = excluded.expires_at
    WHERE g.expires_at IS DISTINCT FROM excluded.expires_at
"""
)


def ensure_acls(connection: sa.Connection, source: str, keys: Collection[str]) -> dict[str, int]:
    """Return the ``acl_id`` of each of a source's permission objects; a new one grants nothing."""
    chosen = {"source": source, "keys": list(keys), "hash": acl_hash(())}
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.acl (source, key, hash)
            SELECT :source, w.key, :hash FROM unnest(CAST(:keys AS text[])) AS w(key)
            WHERE NOT EXISTS (SELECT FROM sluice.acl a WHERE a.source = :source AND a.key = w.key)
            ON CONFLICT (tenant_id, source, key) DO NOTHING
            """
        ),
        chosen,
    )
    rows = connection.execute(
        sa.text(
            "SELECT key, acl_id FROM sluice.acl WHERE source = :source"
            " AND key = ANY(CAST(:keys AS text[]))"
        ),
        chosen,
    )
    return {row.key: int(row.acl_id) for row in rows}


def narrow(connection: sa.Connection, source: str, acls: Grants) -> None:
    """Take away at once what ``source`` has taken away; give nothing.

    Allows go or end sooner, denies come or last longer. An object that is not listed keeps its
    grants until ``apply``: a source that is gone for a moment must not blank what it holds.

    Args:
        connection: inside a transaction.
        source: whose permission objects.
        acls: the grants of the objects that the source lists.
    """
    _change(connection, (_DROP_LOST, _SHORTEN_ALLOWS, _LENGTHEN_DENIES), _wanted(source, acls))


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
    ensure_acls(connection, source, acls.keys())
    _change(connection, (_DROP_OTHERS, _SET), _wanted(source, acls))
    return _rehash(connection, source, acls)


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
    wanted: dict[str, Any] = {
        "directory": directory,
        "parents": [str(each.group) for each in belongs],
        "members": [str(each.member) for each in belongs],
        "accounts": [str(each.account) for each in accounts],
        "people": [str(each.person) for each in accounts],
    }
    changed = _change(connection, _REPLACE, wanted)
    twice = connection.execute(sa.text(_MAPPED_TWICE)).scalars().first()
    if twice:
        raise BadInput(
            "the account is mapped to two people", subject=twice, cure="Map it to one of them"
        )
    return changed


_ONE_DIRECTORY_AT_A_TIME = (  # so that no two of them map one account at the same moment
    "SELECT pg_advisory_xact_lock("
    "hashtextextended(current_setting('sluice.tenant') || chr(30) || 'directories', 0))"
)
_MEMBERS = "unnest(CAST(:parents AS text[]), CAST(:members AS text[])) AS w(parent, member)"
_ACCOUNTS = "unnest(CAST(:accounts AS text[]), CAST(:people AS text[])) AS w(account, person)"
_REPLACE = (
    f"""
    DELETE FROM sluice.membership m WHERE m.directory = :directory AND NOT EXISTS
        (SELECT FROM {_MEMBERS} WHERE w.parent = m.parent AND w.member = m.member)
    """,  # noqa: S608  # constants
    f"""
    INSERT INTO sluice.membership (directory, parent, member)
    SELECT :directory, w.parent, w.member FROM {_MEMBERS}
    ON CONFLICT (tenant_id, directory, parent, member) DO NOTHING
    """,  # noqa: S608  # constants
    f"""
    DELETE FROM sluice.identity i WHERE i.directory = :directory AND NOT EXISTS
        (SELECT FROM {_ACCOUNTS} WHERE w.account = i.account AND w.person = i.person)
    """,  # noqa: S608  # constants
    f"""
    INSERT INTO sluice.identity (account, person, directory)
    SELECT w.account, w.person, :directory FROM {_ACCOUNTS}
    ON CONFLICT (tenant_id, account, directory) DO NOTHING
    """,  # noqa: S608  # constants
)
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
            raise BadInput(
                "the account is mapped to two people",
                subject=str(identity.account),
                cure="Map it to one of them",
            )


def _wanted(source: str, acls: Grants) -> dict[str, Any]:
    flat = [(key, grant) for key, grants in acls.items() for grant in settle(grants)]
    return {
        "source": source,
        "listed": list(acls),
        "keys": [key for key, _ in flat],
        "principals": [str(grant.principal) for _, grant in flat],
        "effects": [grant.effect.value for _, grant in flat],
        "expiries": [grant.expires_at for _, grant in flat],
    }


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


def _change(
    connection: sa.Connection, statements: Iterable[str], wanted: Mapping[str, Any]
) -> bool:
    """Run ``statements``; where any changed a row, count the change, once a transaction."""
    counts = [connection.execute(sa.text(each), wanted).rowcount for each in statements]
    if not any(counts):
        return False
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
    return True


def _rehash(connection: sa.Connection, source: str, acls: Grants) -> frozenset[int]:
    """Store what each object means now; return those that meant something else."""
    rows = connection.execute(
        sa.text(
            """
            UPDATE sluice.acl a SET hash = coalesce(w.hash, :nothing), changed_at = now()
            FROM sluice.acl b
            LEFT JOIN unnest(CAST(:keys AS text[]), CAST(:hashes AS text[])) AS w(key, hash)
                ON w.key = b.key
            WHERE a.acl_id = b.acl_id AND b.source = :source
              AND a.hash <> coalesce(w.hash, :nothing)
            RETURNING a.acl_id
            """
        ),
        {
            "source": source,
            "keys": list(acls),
            "hashes": [acl_hash(grants) for grants in acls.values()],
            "nothing": acl_hash(()),
        },
    )
    return frozenset(int(row.acl_id) for row in rows)
