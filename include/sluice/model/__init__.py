"""The values that flow through Sluice: frozen, standard library only.

Identity, once and for all:

* ``document_id`` is ``<source>:<the source's own id>``. It never depends on content.
* ``generation`` is a number from one catalog sequence: it names one version of one document, and
  no number is ever used twice. A larger number is newer.
* ``acl_id`` names one permission object of a source (a folder, a queue, a document shared alone).
* a chunk's ``id`` is ``uuid5(tenant ␟ document_id ␟ generation ␟ ordinal)``: writing it twice is
  writing it once.
"""

from sluice.model.answers import Candidate, Hit, Reason, SourceFreshness
from sluice.model.collections import Backend, Collection, CollectionState
from sluice.model.connections import (
    ApiKey,
    Auth,
    AuthorizationCode,
    Basic,
    Bearer,
    ClientCredentials,
    Connection,
    GitHubApp,
    JwtBearer,
    Token,
)
from sluice.model.costs import Account, Limit, Quota, Spend, Tier
from sluice.model.documents import Chunk, Document, IndexedChunk, chunk_id
from sluice.model.grants import Effect, Grant, acl_hash, settle
from sluice.model.loads import (
    Column,
    Draft,
    LandedAcl,
    LandedRow,
    Listing,
    Load,
    Policy,
    RunSummary,
    Window,
)
from sluice.model.permissions import NativeAccount, Permissions, Rules, SourceChange
from sluice.model.principals import PUBLIC, Caller, Identity, Membership, Principal, PrincipalKind
from sluice.model.text import SEPARATOR, require_aware, storable

__all__ = [
    "PUBLIC",
    "SEPARATOR",
    "Account",
    "ApiKey",
    "Auth",
    "AuthorizationCode",
    "Backend",
    "Basic",
    "Bearer",
    "Caller",
    "Candidate",
    "Chunk",
    "ClientCredentials",
    "Collection",
    "CollectionState",
    "Column",
    "Connection",
    "Document",
    "Draft",
    "Effect",
    "GitHubApp",
    "Grant",
    "Hit",
    "Identity",
    "IndexedChunk",
    "JwtBearer",
    "LandedAcl",
    "LandedRow",
    "Limit",
    "Listing",
    "Load",
    "Membership",
    "NativeAccount",
    "Permissions",
    "Policy",
    "Principal",
    "PrincipalKind",
    "Quota",
    "Reason",
    "Rules",
    "RunSummary",
    "SourceChange",
    "SourceFreshness",
    "Spend",
    "Tier",
    "Token",
    "Window",
    "acl_hash",
    "chunk_id",
    "require_aware",
    "settle",
    "storable",
]
