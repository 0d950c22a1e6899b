"""The proof of every read: written before the answer leaves, or there is no answer.

The row is written in one transaction with a last look at the key, which cannot be revoked in
between. So once a revocation has returned, nothing is answered for that key any more.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from sqlalchemy.exc import SQLAlchemyError

from sluice.catalog import Catalog, keys
from sluice.catalog import audit as rows
from sluice.errors import CatalogUnavailable, Unauthenticated
from sluice.model import SEPARATOR, Caller, Principal

ANSWERED = "answered"
DEGRADED = "degraded"  # answered, by keywords alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One read on someone's behalf, and how it ended."""

    trace_id: str
    caller: Caller
    person: Principal
    action: str  # search or fetch
    asked: str  # the question, or the id of the document; a digest of it is kept
    outcome: str = ANSWERED  # or the name of the error that refused it
    scope_hash: str | None = None
    acl_version: int | None = None
    denied: int = 0
    returned: tuple[tuple[str, int], ...] = ()  # document and generation of each hit, in order


class Audit:
    """Writes the audit log."""

    def __init__(self, catalog: Catalog):
        self._catalog = catalog

    def record(self, read: Read) -> None:
        """Commit one row about ``read``.

        Raises:
            Unauthenticated: the caller's key was revoked or expired meanwhile; that is recorded,
                and nothing may be answered.
            CatalogUnavailable: the row cannot be written, and nothing may be answered.
        """
        try:
            with self._catalog.begin() as connection:
                key_id = read.caller.key_id
                live = key_id is None or keys.hold(connection, key_id)
                if not live:
                    read = replace(read, outcome=Unauthenticated.__name__, returned=())
                rows.insert(connection, self._row(read))
        except SQLAlchemyError as error:
            raise CatalogUnavailable(
                "the audit log cannot be written, so nothing is answered",
                cure="See the server's log and docs/audit.md",
            ) from error
        if not live:
            raise Unauthenticated("this key opens nothing any more", cure="Ask for a new one")

    def _row(self, read: Read) -> rows.AuditRow:
        return rows.AuditRow(
            trace_id=read.trace_id,
            agent=read.caller.agent,
            key_id=read.caller.key_id,
            person=str(read.person),
            action=read.action,
            outcome=read.outcome,
            question_hash=_digest(self._catalog.tenant, read.asked),
            scope_hash=read.scope_hash,
            acl_version=read.acl_version,
            returned=len(read.returned),
            denied=read.denied,
            generations=[generation for _, generation in read.returned],
            documents=[document_id for document_id, _ in read.returned],
        )


def _digest(tenant: str, asked: str) -> str:
    """SHA-256, salted by the tenant: equal questions of one tenant can be told to be equal.

    It hides the question from a glance at the log, not from someone who can guess it.
    """
    return hashlib.sha256(
        f"{tenant}{SEPARATOR}{asked}".encode("utf-8", "surrogatepass")
    ).hexdigest()
