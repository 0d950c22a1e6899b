"""What must be done so that the index shows the source as it is now: a pure decision.

A document is compared with what the catalog knows of it. Content and permissions are compared
apart, so that a change of one never costs the work of the other:

=============  ==========================================  ==================================
change         when                                        what it costs
=============  ==========================================  ==================================
new            never seen, or deleted before               chunks, vectors, index writes
changed        title or text differ                        chunks, vectors, index writes
acl_only       another permission object guards it         index writes, vectors from the cache
metadata_only  uri or times differ                         a catalog row
unchanged      none of these                               nothing
deleted        the complete listing lacks it               a tombstone
=============  ==========================================  ==================================

(A permission object whose own grants change is not a document's business: see ``publish``.)
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from sluice.catalog.documents import Known
from sluice.model import Document


class Change(enum.StrEnum):
    """How a document differs from what the catalog knows."""

    NEW = "new"
    CHANGED = "changed"
    ACL_ONLY = "acl_only"
    METADATA_ONLY = "metadata_only"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A document that needs a new generation; ``document`` is None where the catalog has it."""

    document_id: str
    acl_key: str
    document: Document | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything one publish will do, by document id."""

    changes: Mapping[str, Change]
    builds: tuple[Build, ...]
    guard: Mapping[str, str | None]  # catalog-only moves between permission objects
    describe: tuple[Document, ...]
    deleted: frozenset[str]

    def count(self, change: Change) -> int:
        """How many documents changed in this way."""
        return sum(1 for each in self.changes.values() if each is change)


def plan(
    known: Mapping[str, Known],
    incoming: Mapping[str, Document],
    listed: Mapping[str, str | None],
    *,
    lost: Collection[int],
) -> Plan:
    """Compare the catalog with the source.

    Args:
        known: live documents, by document id; those that are not listed have left.
        incoming: documents read and found good, by document id; a listed document that is not
            among them is as the catalog has it.
        listed: every document id that the source holds now, with the key of its permission
            object, or None where the source gave none.
        lost: the live generations that the index no longer holds whole. Their documents are built
            again from the catalog, whatever the change.
    """
    changes: dict[str, Change] = {}
    builds: list[Build] = []
    guard: dict[str, str | None] = {}
    describe: list[Document] = []
    for document_id, acl_key in listed.items():
        before, document = known.get(document_id), incoming.get(document_id)
        if before is None and (document is None or acl_key is None):
            continue  # never published, and not publishable now: quarantined or unguarded
        if document is not None and acl_key is not None:
            document = replace(document, acl_key=acl_key)
        change = _change(before, document, acl_key)
        changes[document_id] = change
        if acl_key is None:
            guard[document_id] = None  # hidden at once; its content waits for a permission
        elif (
            change in {Change.NEW, Change.CHANGED}
            or _moves_in_index(before, acl_key)
            or (before is not None and before.generation in lost)
        ):
            builds.append(Build(document_id=document_id, acl_key=acl_key, document=document))
        elif change is Change.ACL_ONLY:
            guard[document_id] = acl_key
            if document is not None:
                describe.append(document)
        elif change is Change.METADATA_ONLY and document is not None:
            describe.append(document)
    deleted = frozenset(known.keys() - listed.keys())
    changes.update(dict.fromkeys(deleted, Change.DELETED))
    return Plan(
        changes=changes,
        builds=tuple(builds),
        guard=guard,
        describe=tuple(describe),
        deleted=deleted,
    )


def _change(before: Known | None, document: Document | None, acl_key: str | None) -> Change:
    if before is None:
        return Change.NEW
    if document is not None and document.content_hash != before.content_hash:
        return Change.CHANGED
    if acl_key != before.acl_key or (acl_key is not None and _moves_in_index(before, acl_key)):
        return Change.ACL_ONLY
    if document is not None and document.meta_hash != before.meta_hash:
        return Change.METADATA_ONLY
    return Change.UNCHANGED


def _moves_in_index(before: Known | None, acl_key: str) -> bool:
    return before is not None and before.indexed_acl_key != acl_key


def lost_fraction(gone: int, known: int) -> float:
    """The fraction of known documents that the source no longer lists, 0 to 1."""
    return gone / known if known else 0.0
