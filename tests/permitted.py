"""A source that can tell its permissions apart from its content, and what people read by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa
from sluice.access import Access
from sluice.catalog import Catalog
from sluice.model import (
    Grant,
    LandedAcl,
    Membership,
    NativeAccount,
    Permissions,
    Policy,
    Principal,
)
from sluice.ports import Kit
from world import ANYONE, SOURCE


@dataclass
class Office:
    """A service with objects, groups and accounts; ``meanwhile`` happens while it is read."""

    acls: dict[str, LandedAcl] = field(default_factory=dict)
    groups: dict[str, Sequence[str]] = field(default_factory=dict)
    accounts: list[NativeAccount] = field(default_factory=list)
    name: str = SOURCE
    kind: str = "office"
    policy: Policy = field(default_factory=Policy)
    meanwhile: Callable[[], object] = lambda: None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)

    def share(self, key: str, *grants: Grant, error: str | None = None) -> None:
        """Let an object have these grants."""
        self.acls[key] = LandedAcl(key=key, grants=frozenset(grants), error=error)

    def permissions(self, kit: Kit) -> Permissions:
        """All of it, as of when the reading begins."""
        observed_at, acls = self.clock(), dict(self.acls)
        self.meanwhile()
        return Permissions(
            acls=acls,
            memberships=tuple(
                Membership(Principal.parse(group), Principal.parse(member))
                for group, members in self.groups.items()
                for member in members
            ),
            accounts=tuple(self.accounts),
            observed_at=observed_at,
        )


def account(native_id: str, email: str | None = None, **what: bool) -> NativeAccount:
    """An account whose address, if it has one, the source vouches for."""
    return NativeAccount(native_id=native_id, email=email, **{"verified": True, **what})


def reads(catalog: Catalog, person: str) -> set[str]:
    """The keys of the objects that a person may read now."""
    scope = Access(catalog, cap=1000).scope(ANYONE, Principal.parse(person))
    return keys(catalog, scope.acl_ids)


def keys(catalog: Catalog, acl_ids: Iterable[int]) -> set[str]:
    """The keys of permission objects."""
    with catalog.begin() as connection:
        rows = connection.execute(
            sa.text("SELECT key FROM sluice.acl WHERE acl_id = ANY(:ids)"), {"ids": list(acl_ids)}
        )
        return set(rows.scalars())


def column(catalog: Catalog, query: str, **values: object) -> list[object]:
    """What the catalog says."""
    with catalog.begin() as connection:
        return list(connection.execute(sa.text(query), values).scalars())


def grants_of(catalog: Catalog, source: str = SOURCE) -> Mapping[str, set[tuple[str, str]]]:
    """Principal and effect of every line, by the key of its object."""
    found: dict[str, set[tuple[str, str]]] = {}
    with catalog.begin() as connection:
        for row in connection.execute(
            sa.text(
                "SELECT key, principal, effect FROM sluice.acl a LEFT JOIN sluice.acl_grant g"
                " ON g.acl_id = a.acl_id WHERE source = :source"
            ),
            {"source": source},
        ):
            lines = found.setdefault(row.key, set())
            if row.principal is not None:
                lines.add((row.principal, row.effect))
    return found
