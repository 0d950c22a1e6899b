"""Who somebody is: people, groups, accounts, and the agents that ask for them."""

from __future__ import annotations

import enum
import unicodedata
from dataclasses import dataclass

from sluice.errors import InvalidPrincipal

_MAX_PRINCIPAL = 320  # an e-mail address is at most 254 octets (RFC 5321), a group name gets room


class PrincipalKind(enum.StrEnum):
    """What a principal string names."""

    USER = "user"  # user:<e-mail or login>: one person
    GROUP = "group"  # group:<source>:<name>: people and other groups
    DOMAIN = "domain"  # domain:<dns name>: every person whose e-mail ends in it
    ACCOUNT = "account"  # account:<source>:<native id>: an identity mapped to at most one person
    PUBLIC = "public"  # every signed-in caller


@dataclass(frozen=True, slots=True, order=True)
class Principal:
    """Someone, or some set of people, in canonical spelling. Build it with :meth:`parse`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Principal:
        """Return the canonical principal that ``text`` names.

        E-mail addresses and domains are folded to lower case, since every mail system and
        identity provider we read treats them so; group names and native ids are kept as they are,
        since some sources tell ``Ops`` from ``ops``. Characters that print as nothing or reorder
        text are refused: two principals that look alike must be alike.

        Raises:
            InvalidPrincipal: ``text`` names nothing.
        """
        clean = unicodedata.normalize("NFC", text).strip()
        if not clean or len(clean) > _MAX_PRINCIPAL:
            raise InvalidPrincipal("a principal has 1 to 320 characters", subject=repr(text[:80]))
        if any(unicodedata.category(c) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"} for c in clean):
            raise InvalidPrincipal(
                "a principal has no invisible characters", subject=repr(text[:80])
            )
        if clean == PrincipalKind.PUBLIC:
            return cls(clean)
        kind, _, rest = clean.partition(":")
        source, _, name = rest.partition(":")
        if any(each != each.strip() for each in (kind, source, name)):
            raise InvalidPrincipal("a principal has no space beside a colon", subject=repr(clean))
        match kind:
            case PrincipalKind.USER if rest:
                return cls(f"user:{_folded(rest) if '@' in rest else rest}")
            case PrincipalKind.DOMAIN if rest and "@" not in rest and ":" not in rest:
                return cls(f"domain:{_folded(rest)}")
            case PrincipalKind.GROUP | PrincipalKind.ACCOUNT if source and name:
                return cls(clean)
        raise InvalidPrincipal(
            "not a principal",
            subject=repr(text[:80]),
            cure="write user:<e-mail>, group:<source>:<name>, domain:<name>, "
            "account:<source>:<id> or public",
        )

    @property
    def kind(self) -> PrincipalKind:
        return PrincipalKind(self.text.partition(":")[0])

    @property
    def domain(self) -> Principal | None:
        """The domain of a person's e-mail address, where it has one."""
        if self.kind is not PrincipalKind.USER or "@" not in self.text:
            return None
        return Principal(f"domain:{self.text.rpartition('@')[2]}")

    def __str__(self) -> str:
        return self.text


PUBLIC = Principal("public")


@dataclass(frozen=True, slots=True)
class Membership:
    """``member`` (a person, an account or a group) belongs to ``group``."""

    group: Principal
    member: Principal


@dataclass(frozen=True, slots=True)
class Identity:
    """A source's native ``account`` is ``person``."""

    account: Principal
    person: Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An agent whose key was checked, and whom it may act for."""

    agent: str
    key_id: str | None  # None: an operator at this machine's own command line
    acts_for: frozenset[Principal]  # anyone who comes under one of these; ``public`` is everyone
    team: str | None = None  # that limits and budgets count it to


def _folded(address: str) -> str:
    """Lower case, composed again: a capital may have no composed form and its small letter one."""
    return unicodedata.normalize("NFC", address.lower())
