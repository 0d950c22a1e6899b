"""The values that flow through Sluice: frozen, standard library only.

Identity, once and for all:

* ``document_id`` is ``<source>:<the source's own id>``. It never depends on content.
* ``generation`` is a number from one catalog sequence: it names one version of one document, and
  no number is ever used twice. A larger number is newer.
* ``acl_id`` names one permission object of a source (a folder, a queue, a document shared alone).
* a chunk's ``id`` is ``uuid5(tenant ␟ document_id ␟ generation ␟ ordinal)``: writing it twice is
  writing it once.
"""

from __future__ import annotations

import enum
import hashlib
import json
import unicodedata
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sluice.errors import BadInput, InvalidPrincipal

SEPARATOR = "\x1f"  # between the named fields of an id: it may occur in none of them
_CHUNK_NAMESPACE = uuid.UUID("6f1f3c0e-3d0b-5a53-9a55-0c5f2f6f7a11")
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


class Effect(enum.StrEnum):
    """What a grant does. Deny beats allow."""

    ALLOW = "allow"
    DENY = "deny"


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One line of an ACL: ``principal`` is allowed or denied, until ``expires_at`` where given."""

    principal: Principal
    effect: Effect = Effect.ALLOW
    expires_at: datetime | None = None  # aware; the grant is void from this instant on


@dataclass(frozen=True, slots=True)
class Acl:
    """Who may read one permission object (``key``, unique within its source)."""

    key: str
    grants: frozenset[Grant]


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
class Document:
    """One document of a source, as the source shows it now."""

    source: str
    native_id: str
    title: str
    text: str  # Markdown
    uri: str
    acl_key: str
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def id(self) -> str:
        return f"{self.source}:{self.native_id}"

    @property
    def content_hash(self) -> str:
        """SHA-256 of what is searched: title and text. A change means new chunks."""
        return _digest(self.title, self.text)

    @property
    def meta_hash(self) -> str:
        """SHA-256 of what is only shown: uri and times. A change touches the catalog alone."""
        times = (t.isoformat() if t else "" for t in (self.created_at, self.updated_at))
        return _digest(self.uri, *times)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A part of a document that is found as one: at most the embedder's window long."""

    ordinal: int  # 0, 1, 2, … in reading order
    path: tuple[str, ...]  # titles above it: document title, heading, sub-heading
    text: str  # Markdown, without the path

    @property
    def searched(self) -> str:
        """What is embedded and analysed: the title path, then the text."""
        return " > ".join(self.path) + "\n" + self.text if self.path else self.text

    @property
    def content_hash(self) -> str:
        return _digest(self.searched)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedChunk:
    """A chunk as the index holds it."""

    tenant: str
    document_id: str
    generation: int
    acl_id: int
    ordinal: int
    path: tuple[str, ...]
    text: str
    terms: str  # analysed by sluice.index.analysis, joined by single spaces
    vector: tuple[float, ...] | Any  # float32, shape (dimensions,)

    @property
    def id(self) -> str:
        return chunk_id(self.tenant, self.document_id, self.generation, self.ordinal)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What the index found: perhaps stale, perhaps doubled. Only the gate makes it a hit."""

    document_id: str
    generation: int
    acl_id: int
    ordinal: int
    path: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An agent whose key was checked, and whom it may act for."""

    agent: str
    key_id: str | None  # None: an operator at this machine's own command line
    acts_for: frozenset[Principal]  # anyone who comes under one of these; ``public`` is everyone


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a person may read: the grant that allowed it and how the person comes under it."""

    principal: Principal  # the principal that the grant names
    via: tuple[Principal, ...]  # from the person up to ``principal``, both included
    acl_key: str
    expires_at: datetime | None = None

    def __str__(self) -> str:
        chain = " → ".join(str(p) for p in self.via)
        until = f" until {self.expires_at:%Y-%m-%d %H:%M}" if self.expires_at else ""
        return f"{self.acl_key} allows {self.principal}{until} ({chain})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A chunk that one person may read, with all that leads back to where it came from."""

    rank: int  # 1 is best
    document_id: str
    title: str
    uri: str
    path: tuple[str, ...]
    text: str
    ordinal: int
    source: str
    generation: int
    run_id: str  # the run that indexed it
    updated_at: datetime | None
    reason: Reason


def chunk_id(tenant: str, document_id: str, generation: int, ordinal: int) -> str:
    """The deterministic id of a chunk (RFC 9562 UUID version 5)."""
    name = SEPARATOR.join((tenant, document_id, str(generation), str(ordinal)))
    return str(uuid.uuid5(_CHUNK_NAMESPACE, name))


def settle(grants: Iterable[Grant]) -> frozenset[Grant]:
    """One grant for each principal and effect: of several, the one that lasts longest."""
    longest: dict[tuple[Principal, Effect], Grant] = {}
    for grant in grants:
        rival = longest.setdefault((grant.principal, grant.effect), grant)
        if rival.expires_at and (not grant.expires_at or grant.expires_at > rival.expires_at):
            longest[grant.principal, grant.effect] = grant
    return frozenset(longest.values())


def acl_hash(grants: Iterable[Grant]) -> str:
    """SHA-256 of what an ACL means, whatever the order and the time zone it is written in."""
    lines = sorted(
        (
            str(g.principal),
            g.effect.value,
            g.expires_at.astimezone(UTC).isoformat() if g.expires_at else "",
        )
        for g in settle(grants)
    )
    return _digest(json.dumps(lines))


def storable(text: str) -> bool:
    """Whether PostgreSQL can hold ``text`` at all: it has no NUL and no lone surrogate."""
    return "\0" not in text and not any("\ud800" <= each <= "\udfff" for each in text)


def require_aware(moment: datetime, subject: str) -> datetime:
    """Return ``moment``; a time without a zone is refused, since it names no instant."""
    if moment.tzinfo is None:
        raise BadInput("a time without a zone names no instant", subject=subject)
    return moment


def _folded(address: str) -> str:
    """Lower case, composed again: a capital may have no composed form and its small letter one."""
    return unicodedata.normalize("NFC", address.lower())


def _digest(*parts: str) -> str:
    """SHA-256 over length-prefixed parts, so that no two different tuples collide."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary:
    """What one run of one source did, as people see it in Airflow and in ``sluice status``."""

    source: str
    run_id: str
    load_ids: tuple[str, ...] = ()
    new: int = 0
    changed: int = 0
    acl_only: int = 0
    metadata_only: int = 0
    unchanged: int = 0
    deleted: int = 0
    quarantined: int = 0
    chunks: int = 0
    embedded: int = 0  # chunks that no cache held
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds by stage, in order


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open stretch of time, ``[start, end)``: what a backfill reads again."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedRow:
    """One row as it lies in ``landing_<source>.rows``."""

    key: str  # the source's own id, or ``missing:<digest>`` where the source gave none
    load_id: str
    record: Mapping[str, Any]  # the source's columns, as JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class LandedAcl:
    """One permission object as the source showed it; ``error`` says why it could not be read."""

    key: str
    grants: frozenset[Grant] = frozenset()
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Every id that the source holds, with its permission object, proven complete."""

    acl_keys: Mapping[str, str | None]  # by row key; None: the source gave no ACL
    acls: Mapping[str, LandedAcl]  # by ACL key
    observed_at: datetime  # when the reading of the ACLs began: never before the content's


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One committed dlt load of a source."""

    source: str
    load_id: str
    rows: int
    listing: Listing | None  # None: the tables do not hold what the load's mark counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a source's mapper makes of a landed row, before anyone has judged it.

    Anything may be missing or wrong here; ``problems`` holds what the mapper itself saw, in words
    fit for the quarantine list.
    """

    key: str
    native_id: str | None
    title: str | None
    text: str | None
    uri: str | None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a source's owner decides about it."""

    max_loss: float = 0.3  # fraction of documents a load may lose before it is held, 0 to 1
    max_acl_age: timedelta | None = None  # older permissions hide every document of the source


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a source as it is now."""

    name: str
    type: str
    required: bool  # without it the source cannot be read
