"""The accounts that sources have shown, and whose each is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import sqlalchemy as sa

from sluice import identities
from sluice.catalog import people
from sluice.identities import Address, Register, Standing
from sluice.model import NativeAccount

_Kept = TypeVar("_Kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One account, as ``sluice accounts list`` shows it."""

    source: str
    native_id: str
    email: str | None  # that the source vouches for
    person: str | None  # whose it is; None: nobody's
    directory: str | None  # whose table says so; None: the address does, or nothing
    held: str | None  # what keeps it from being whose its address says
    since: datetime


def observe(connection: sa.Connection, source: str, listed: Sequence[NativeAccount]) -> Register:
    """Write down that ``source`` lists these accounts, and no others; return what follows.

    Whether they count is for :func:`sluice.catalog.permissions.replace_source` to write, in the
    same transaction.
    """
    people.lock(connection)
    before = _register(connection, source)
    after = identities.observe(before, source, listed)
    _store(connection, source, before, after)
    return after


def confirm(connection: sa.Connection, source: str, native_id: str) -> str:
    """Let an account be whose its address says, although another had it; return the address.

    Raises:
        NotFound: no such account.
        BadInput: there is nothing to confirm, or it cannot be.
    """
    people.lock(connection)
    before = _register(connection, source)
    after = identities.confirm(before, native_id)
    _store(connection, source, before, after)
    people.identify(connection, source, identities.mapped(source, after))
    return str(after.accounts[native_id].email)


def every(connection: sa.Connection, source: str | None = None) -> list[Listed]:
    """Every account that sources have shown, by source and id; those of ``source`` alone."""
    rows = connection.execute(
        sa.text(
            """
            SELECT a.source, a.native_id, a.email, a.held, a.since, i.person,
                   CASE WHEN s.kind = 'directory' THEN i.directory END AS directory
            FROM sluice.account a
            LEFT JOIN sluice.identity i ON i.counts
                AND i.account = 'account:' || a.source || ':' || a.native_id
            LEFT JOIN sluice.source s ON s.source = i.directory
            WHERE CAST(:source AS text) IS NULL OR a.source = :source
            ORDER BY a.source, a.native_id, i.directory
            """
        ),
        {"source": source},
    )
    return list({(row.source, row.native_id): Listed(**row._mapping) for row in rows}.values())


def contradicted(connection: sa.Connection, source: str) -> list[str]:
    """The accounts of ``source`` that a table gives to somebody else than their address does."""
    rows = connection.execute(
        sa.text(
            """
            SELECT DISTINCT a.native_id FROM sluice.account a
            JOIN sluice.identity i ON i.account = 'account:' || a.source || ':' || a.native_id
            WHERE a.source = :source AND a.held IS NULL AND i.counts
              AND i.person <> 'user:' || a.email
            ORDER BY a.native_id
            """
        ),
        {"source": source},
    )
    return list(rows.scalars())


def _register(connection: sa.Connection, source: str) -> Register:
    chosen = {"source": source}
    accounts = connection.execute(
        sa.text("SELECT native_id, email, active, held FROM sluice.account WHERE source = :source"),
        chosen,
    )
    addresses = connection.execute(
        sa.text("SELECT email, owner, claimants FROM sluice.address WHERE source = :source"), chosen
    )
    return Register(
        accounts={
            row.native_id: Standing(email=row.email, active=row.active, held=row.held)
            for row in accounts
        },
        addresses={
            row.email: Address(owner=row.owner, claimants=frozenset(row.claimants))
            for row in addresses
        },
    )


def _store(connection: sa.Connection, source: str, before: Register, after: Register) -> None:
    """Write what is new in ``after``: nothing is ever forgotten."""
    accounts = _new(before.accounts, after.accounts)
    addresses = _new(before.addresses, after.addresses)
    if accounts:
        connection.execute(
            sa.text(_STORE_ACCOUNT),
            [
                {
                    "source": source,
                    "native_id": native_id,
                    "email": each.email,
                    "active": each.active,
                    "held": each.held,
                }
                for native_id, each in accounts.items()
            ],
        )
    if addresses:
        connection.execute(
            sa.text(_STORE_ADDRESS),
            [
                {
                    "source": source,
                    "email": email,
                    "owner": each.owner,
                    "claimants": sorted(each.claimants),
                }
                for email, each in addresses.items()
            ],
        )


_STORE_ACCOUNT = """
INSERT INTO sluice.account (source, native_id, email, active, held)
VALUES (:source, :native_id, :email, :active, :held)
ON CONFLICT (tenant_id, source, native_id) DO UPDATE SET email = excluded.email,
    active = excluded.active, held = excluded.held, since = now()
"""
_STORE_ADDRESS = """
INSERT INTO sluice.address (source, email, owner, claimants)
VALUES (:source, :email, :owner, :claimants)
ON CONFLICT (tenant_id, source, email) DO UPDATE SET owner = excluded.owner,
    claimants = excluded.claimants
"""


def _new(before: Mapping[str, _Kept], after: Mapping[str, _Kept]) -> dict[str, _Kept]:
    return {key: each for key, each in after.items() if before.get(key) != each}
