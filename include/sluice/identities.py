"""Whose a source's accounts are, by the e-mail addresses that the source vouches for.

An account is the person whose verified address it has. Three rules keep an address that went from
one person to another from taking the old rights along:

* an address belongs to the first account that had it in this source;
* once another account comes with it, it is nobody's, until an operator says whose it is;
* what became of an account is not forgotten when the source no longer lists it.

Unmapped, an account is nobody: whoever it belongs to reads what is public. Decisions only: the
catalog keeps the register, and explicit tables of people win over everything that is said here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sluice.errors import BadInput, Incomplete, InvalidPrincipal, NotFound
from sluice.model import Identity, NativeAccount, Principal

GONE = "gone from the source"
DEACTIVATED = "deactivated at the source"
NO_ADDRESS = "it has no e-mail address"
UNVERIFIED = "the source does not vouch for its address"
UNREADABLE = "its address is none"
SHARED = "another active account has the same address"
REUSED = "another account has had its address; an operator has to say whose it is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of one account."""

    email: str | None  # canonical, and vouched for by the source
    active: bool
    held: str | None  # why it is nobody's; None: it is ``user:<email>``


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Whose an address is, and every account that ever had it."""

    owner: str | None  # a native id; None: more than one account had it
    claimants: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Register:
    """Every account and every address that a source has ever shown."""

    accounts: Mapping[str, Standing] = field(default_factory=dict)  # by native id
    addresses: Mapping[str, Address] = field(default_factory=dict)  # by canonical address


def observe(before: Register, source: str, listed: Sequence[NativeAccount]) -> Register:
    """Return the register once ``source`` lists these accounts, and no others.

    An account with an id that no grant could name is left out: it has no rights to give.

    Raises:
        Incomplete: an account is there twice, in two states: it changed while it was read.
    """
    facts = _facts(source, listed)
    addresses = _claimed(before.addresses, facts)
    accounts = {each: _judged(each, standing, facts, addresses) for each, standing in facts.items()}
    for each, standing in before.accounts.items():
        accounts.setdefault(each, replace(standing, active=False, held=GONE))
    return Register(accounts=accounts, addresses=addresses)


def confirm(before: Register, native_id: str) -> Register:
    """Return the register once an operator has said that an account's address is its own.

    Raises:
        NotFound: no such account was ever listed.
        BadInput: there is nothing to confirm, or more is wrong than an operator can confirm.
    """
    account = before.accounts.get(native_id)
    if account is None:
        raise NotFound("no such account", subject=native_id, cure="See `sluice accounts list`")
    if account.held is None:
        raise BadInput("it is mapped already", subject=native_id)
    if account.held != REUSED or account.email is None:
        raise BadInput(
            f"cannot be confirmed: {account.held}",
            subject=native_id,
            cure="Mend it at the source, or name the account in a table of people",
        )
    address = replace(before.addresses[account.email], owner=native_id)
    return Register(
        accounts={**before.accounts, native_id: replace(account, held=None)},
        addresses={**before.addresses, account.email: address},
    )


def mapped(source: str, register: Register) -> list[Identity]:
    """Every account that is somebody, with the person."""
    return [
        Identity(Principal(f"account:{source}:{native_id}"), Principal(f"user:{each.email}"))
        for native_id, each in sorted(register.accounts.items())
        if each.active and each.held is None
    ]


def inactive(source: str, register: Register) -> frozenset[Principal]:
    """The accounts that were deactivated, or are gone."""
    return frozenset(
        Principal(f"account:{source}:{native_id}")
        for native_id, each in register.accounts.items()
        if not each.active
    )


def _facts(source: str, listed: Sequence[NativeAccount]) -> dict[str, Standing]:
    """Each listed account by its canonical id, as if no other had ever had its address."""
    facts: dict[str, Standing] = {}
    for each in listed:
        native_id = _canonical_id(source, each.native_id)
        if native_id is None:
            continue
        email = _canonical(each.email) if each.verified and each.email else None
        standing = Standing(email=email, active=each.active, held=_wrong(each, email))
        if facts.setdefault(native_id, standing) != standing:
            raise Incomplete(f"the account {native_id} changed while it was read", subject=source)
    return facts


def _wrong(account: NativeAccount, email: str | None) -> str | None:
    """What is wrong with an account by itself."""
    if not account.active:
        return DEACTIVATED
    if not account.email:
        return NO_ADDRESS
    if not account.verified:
        return UNVERIFIED
    return None if email else UNREADABLE


def _claimed(known: Mapping[str, Address], facts: Mapping[str, Standing]) -> dict[str, Address]:
    """Whose each address is, now that these accounts have come with theirs.

    A deactivated account claims its address too: who comes with it later is somebody else.
    """
    claims: defaultdict[str, set[str]] = defaultdict(set)
    for native_id, each in facts.items():
        if each.email is not None:
            claims[each.email].add(native_id)
    addresses = dict(known)
    for email, claimants in claims.items():
        address = known.get(email)
        if address is None:
            owner = next(iter(claimants)) if len(claimants) == 1 else None
            addresses[email] = Address(owner=owner, claimants=frozenset(claimants))
            continue
        strange = claimants - address.claimants
        rivals = {each for each in claimants - {address.owner} if facts[each].active}
        addresses[email] = Address(
            owner=None if strange or rivals else address.owner,
            claimants=address.claimants | claimants,
        )
    return addresses


def _judged(
    native_id: str,
    standing: Standing,
    facts: Mapping[str, Standing],
    addresses: Mapping[str, Address],
) -> Standing:
    """The account's standing in the light of who else has or had its address."""
    if standing.held is not None or standing.email is None:
        return standing
    if addresses[standing.email].owner == native_id:
        return standing
    having = Counter(each.email for each in facts.values() if each.active)
    return replace(standing, held=SHARED if having[standing.email] > 1 else REUSED)


def _canonical_id(source: str, native_id: str) -> str | None:
    prefix = f"account:{source}:"
    try:
        return str(Principal.parse(prefix + native_id)).removeprefix(prefix)
    except InvalidPrincipal:
        return None


def _canonical(email: str) -> str | None:
    """The address as principals spell it; None where it is none."""
    name, _, domain = email.rpartition("@")
    if not name.strip() or not domain.strip():
        return None
    try:
        return str(Principal.parse(f"user:{email.strip()}")).removeprefix("user:")
    except InvalidPrincipal:
        return None
