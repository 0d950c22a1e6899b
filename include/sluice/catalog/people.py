"""Groups, and whose accounts are whose, as directories and sources tell of them.

Each tells its own part, and replaces no other's. Of accounts an explicit table, a directory's,
counts before what a source's e-mail addresses say; and nobody is an account that its source has
deactivated, whoever says so.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from sluice.catalog import acl_version
from sluice.errors import BadInput
from sluice.model import Identity, Membership, Principal, PrincipalKind

Pairs = set[tuple[str, str]]


def check(memberships: Sequence[Membership], identities: Sequence[Identity]) -> None:
    """Refuse what cannot be.

    Raises:
        BadInput: a membership of something that is no group, or an account of two people.
    """
    for each in memberships:
        if each.group.kind is not PrincipalKind.GROUP:
            raise BadInput("only a group has members", subject=str(each.group))
    people: dict[Principal, Principal] = {}
    for identity in identities:
        kinds = identity.account.kind, identity.person.kind
        if kinds != (PrincipalKind.ACCOUNT, PrincipalKind.USER):
            raise BadInput("an identity maps an account to a user", subject=str(identity.account))
        if people.setdefault(identity.account, identity.person) != identity.person:
            raise _two_people(str(identity.account))


def lock(connection: sa.Connection) -> None:
    """Let nobody else map accounts until this transaction ends: no two map one at a time."""
    connection.execute(
        sa.text(
            "SELECT pg_advisory_xact_lock("
            "hashtextextended(current_setting('sluice.tenant') || chr(30) || 'directories', 0))"
        )
    )


def replace(
    connection: sa.Connection,
    origin: str,
    memberships: Sequence[Membership],
    identities: Sequence[Identity],
) -> bool:
    """Make what ``origin``, a directory or a source, says exactly this; say whether it differed.

    Args:
        connection: inside a transaction that holds :func:`lock`.
        origin: who says it.
        memberships: all that it knows.
        identities: all that it knows.

    Raises:
        BadInput: an account of two people, by this directory and another.
    """
    members = {(str(each.group), str(each.member)) for each in memberships}
    regrouped = _replace(connection, _MEMBERSHIP, origin, members)
    if regrouped:
        acl_version.count_change(connection)
    return identify(connection, origin, identities) or regrouped


def identify(connection: sa.Connection, origin: str, identities: Sequence[Identity]) -> bool:
    """Make whose accounts are whose, as ``origin`` says, exactly this; as :func:`replace` does.

    Which of all identities count is worked out anew: those of tables before others, and none of an
    account that is not active.
    """
    people = {(str(each.account), str(each.person)) for each in identities}
    changed = _replace(connection, _IDENTITY, origin, people)
    twice = connection.execute(sa.text(_MAPPED_TWICE)).scalars().first()
    if twice:
        raise _two_people(twice)
    settled = connection.execute(sa.text(_SETTLE)).rowcount > 0
    if changed or settled:
        acl_version.count_change(connection)
    return changed or settled


_MEMBERSHIP = ("sluice.membership", "parent", "member")
_IDENTITY = ("sluice.identity", "account", "person")
_EXPLICIT = """
SELECT e.account, e.person, e.directory FROM sluice.identity e
JOIN sluice.source d ON d.source = e.directory AND d.kind = 'directory'
"""
_MAPPED_TWICE = f"""
SELECT account FROM ({_EXPLICIT}) x GROUP BY account HAVING count(DISTINCT person) > 1
ORDER BY account LIMIT 1
"""  # noqa: S608  # constants
_SETTLE = f"""
UPDATE sluice.identity i SET counts = w.counts
FROM (SELECT i.account, i.directory,
             (s.kind = 'directory' OR NOT i.account IN (SELECT account FROM ({_EXPLICIT}) x))
             AND NOT i.account IN (SELECT 'account:' || source || ':' || native_id
                                   FROM sluice.account WHERE NOT active) AS counts
      FROM sluice.identity i JOIN sluice.source s ON s.source = i.directory) w
WHERE i.account = w.account AND i.directory = w.directory AND i.counts <> w.counts
"""  # noqa: S608  # constants


def _two_people(account: str) -> BadInput:
    return BadInput(
        "the account is mapped to two people", subject=account, cure="Map it to one of them"
    )


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
