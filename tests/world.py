"""A small world to ask about: a tenant's catalog with one source, its people and its documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sluice.catalog import Catalog, collections, documents, permissions, placements, runs
from sluice.embedding import open_embedder
from sluice.index.analysis import analyse
from sluice.model import (
    PUBLIC,
    Caller,
    Candidate,
    Collection,
    Document,
    Effect,
    Grant,
    Identity,
    IndexedChunk,
    Membership,
    Policy,
    Principal,
)
from sluice.ports import Index

SOURCE = "wiki"
DIRECTORY = "people"
ADA = Principal.parse("user:ada@x.org")
BEN = Principal.parse("user:ben@x.org")
ANYONE = Caller(agent="tests", key_id=None, acts_for=frozenset({PUBLIC}))


def allow(principal: str, expires_at: datetime | None = None) -> Grant:
    """A grant that allows."""
    return Grant(Principal.parse(principal), Effect.ALLOW, expires_at)


def deny(principal: str, expires_at: datetime | None = None) -> Grant:
    """A grant that denies."""
    return Grant(Principal.parse(principal), Effect.DENY, expires_at)


class World:
    """Says things to the catalog as an ingest would."""

    def __init__(self, catalog: Catalog):
        self.catalog = catalog
        with catalog.begin() as connection:
            runs.ensure_source(connection, SOURCE, "files", Policy())
            runs.ensure_source(connection, DIRECTORY, "directory", Policy())
            runs.begin(connection, "run-1", SOURCE)

    def grant(self, acls: Mapping[str, Sequence[Grant]], at: datetime | None = None) -> None:
        """Make these the grants of the source's permission objects, and of no others."""
        with self.catalog.begin() as connection:
            permissions.apply(
                connection,
                SOURCE,
                {key: frozenset(grants) for key, grants in acls.items()},
                at or datetime.now(UTC),
            )

    def people(
        self, groups: Mapping[str, Sequence[str]], accounts: Mapping[str, str] | None = None
    ) -> None:
        """Make these the groups, with their members, and the accounts, with their people."""
        with self.catalog.begin() as connection:
            permissions.replace_directory(
                connection,
                DIRECTORY,
                [
                    Membership(Principal.parse(group), Principal.parse(member))
                    for group, members in groups.items()
                    for member in members
                ],
                [
                    Identity(Principal.parse(account), Principal.parse(person))
                    for account, person in (accounts or {}).items()
                ],
                datetime.now(UTC),
            )

    def publish(self, native_id: str, acl_key: str, text: str = "Some text.") -> Candidate:
        """Make a document live, and return what an index would find of it."""
        document = Document(
            source=SOURCE,
            native_id=native_id,
            title=native_id,
            text=text,
            uri=f"file:///{native_id}",
            acl_key=acl_key,
        )
        with self.catalog.begin() as connection:
            acl_id = permissions.ensure_acls(connection, SOURCE, [acl_key])[acl_key]
            (generation,) = documents.allocate(connection, 1)
            building = documents.Building(generation=generation, document=document)
            documents.register(connection, "run-1", "test", [building])
            documents.flip(connection, [generation])
        return Candidate(
            document_id=document.id,
            generation=generation,
            acl_id=acl_id,
            ordinal=0,
            path=(document.title,),
            text=text,
        )

    def index(self, index: Index, *candidates: Candidate) -> None:
        """Write to ``index`` what it is to find."""
        texts = [each.text for each in candidates]
        vectors = open_embedder("local-static").embed(texts)
        index.upsert(
            [
                IndexedChunk(
                    tenant=self.catalog.tenant,
                    document_id=each.document_id,
                    generation=each.generation,
                    acl_id=each.acl_id,
                    ordinal=each.ordinal,
                    path=each.path,
                    text=each.text,
                    terms=analyse(each.text),
                    vector=vector,
                )
                for each, vector in zip(candidates, vectors, strict=True)
            ]
        )
        with self.catalog.begin() as connection:
            if opened := collections.serving(connection):
                placed = {each.generation: 1 for each in candidates}
                placements.place(connection, opened.collection_id, placed)

    def delete(self, document_id: str) -> None:
        """Make a document's tombstone."""
        with self.catalog.begin() as connection:
            documents.delete(connection, [document_id])

    def acl_id(self, key: str) -> int:
        """The number of a permission object."""
        with self.catalog.begin() as connection:
            return permissions.ensure_acls(connection, SOURCE, [key])[key]

    def age(self, source: str, max_acl_age: timedelta | None, age: timedelta) -> None:
        """Give a source a policy, and permissions that are ``age`` old."""
        with self.catalog.begin() as connection:
            connection.execute(
                sa.text(
                    "UPDATE sluice.source SET max_acl_age = :most, acl_observed_at = now() - :age"
                    " WHERE source = :source"
                ),
                {"most": max_acl_age, "age": age, "source": source},
            )


def a_collection(**what: Any) -> Collection:
    """A collection as the catalog knows one; ``what`` matters is said, the rest is made up."""
    made_up: dict[str, Any] = {
        "collection_id": 0,
        "backend": "lance",
        "name": "chunks",
        "embedder": "e",
        "model": "m",
        "dimensions": 2,
        "recipe": "r",
        "state": "serving",
    }
    return Collection(**(made_up | what))
