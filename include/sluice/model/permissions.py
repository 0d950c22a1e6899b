"""What a source says of its permissions, read apart from its content."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sluice.model.grants import Grant
from sluice.model.loads import LandedAcl
from sluice.model.principals import Membership, Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeAccount:
    """Somebody as the source knows them: ``account:<source>:<native_id>`` in its ACLs."""

    native_id: str
    email: str | None = None
    verified: bool = False  # the source vouches that the address is theirs
    active: bool = True  # one that was deactivated may read nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Permissions:
    """Every permission object, group and account of a source, proven complete.

    A reading that could not see all of them is an error, never a short answer.
    """

    acls: Mapping[str, LandedAcl]  # by ACL key
    memberships: tuple[Membership, ...] = ()
    accounts: tuple[NativeAccount, ...] = ()
    observed_at: datetime  # when the reading began


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who may read what a source cannot tell the readers of, as an operator has decided it.

    ``readers`` are principals by ACL key, or by ``*`` for every object that has no line of its own:
    ``Rules(readers={"*": ("group:company:people",), "#board": ()})``. A line of nobody hides the
    object. What no line speaks of stays hidden too.
    """

    readers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.readers:  # where the file is read, not when somebody asks
            self.grants(key)

    def grants(self, key: str) -> frozenset[Grant] | None:
        """The grants of the object called ``key``; None where nothing was decided."""
        readers = self.readers.get(key, self.readers.get("*"))
        if readers is None:
            return None
        return frozenset(Grant(Principal.parse(each)) for each in readers)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChange:
    """A change that was noted: a doorbell. What became of the row is read when it is drained."""

    change_id: int
    key: str | None  # the row's; None: of all rows, or only their permissions
    op: Literal["upsert", "delete", "all", "acl"]
    changed_at: datetime | None = None  # when it was committed at the source
