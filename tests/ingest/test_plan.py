"""The plan: what each kind of change costs, and what must never be decided."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sluice.catalog.documents import Known
from sluice.ingest.plan import Change, lost_fraction, plan
from sluice.model import Document


def document(
    native_id: str = "a", text: str = "text", *, uri: str = "u", acl: str = "/"
) -> Document:
    """A document of the source ``s``."""
    return Document(source="s", native_id=native_id, title="T", text=text, uri=uri, acl_key=acl)


def as_known(each: Document, *, guard: str | None = "same") -> Known:
    """What the catalog knows once ``each`` is live."""
    return Known(
        document_id=each.id,
        native_id=each.native_id,
        generation=1,
        content_hash=each.content_hash,
        meta_hash=each.meta_hash,
        acl_key=each.acl_key if guard == "same" else guard,
        indexed_acl_key=each.acl_key,
    )


def test_an_unknown_document_is_built() -> None:
    """A document never seen before is new, and costs a generation."""
    made = plan({}, {"s:a": document()}, {"s:a": "/"}, lost=())
    assert made.changes == {"s:a": Change.NEW}
    assert [each.document_id for each in made.builds] == ["s:a"]


def test_an_unchanged_document_costs_nothing() -> None:
    """The same content under the same object is no work at all, read again or not."""
    known = {"s:a": as_known(document())}
    for incoming in ({}, {"s:a": document()}):
        made = plan(known, incoming, {"s:a": "/"}, lost=())
        assert made.changes == {"s:a": Change.UNCHANGED}
        assert not (made.builds or made.guard or made.describe or made.deleted)


def test_a_document_moved_to_another_object_is_rebuilt_without_its_text() -> None:
    """Its chunks must carry the new acl_id; its text and vectors are already ours."""
    made = plan({"s:a": as_known(document())}, {}, {"s:a": "/private"}, lost=())
    assert made.changes == {"s:a": Change.ACL_ONLY}
    assert [(b.acl_key, b.document) for b in made.builds] == [("/private", None)]


def test_a_document_that_lost_its_acl_is_hidden_without_index_work() -> None:
    """No ACL means nobody: one catalog row, at once."""
    made = plan({"s:a": as_known(document())}, {}, {"s:a": None}, lost=())
    assert made.guard == {"s:a": None}
    assert not made.builds


def test_a_hidden_document_whose_acl_returns_is_shown_without_index_work() -> None:
    """Its chunks still carry the right acl_id."""
    made = plan({"s:a": as_known(document(), guard=None)}, {}, {"s:a": "/"}, lost=())
    assert made.changes == {"s:a": Change.ACL_ONLY}
    assert made.guard == {"s:a": "/"}
    assert not made.builds


def test_a_new_document_without_acl_is_not_published() -> None:
    """It waits in quarantine; the plan leaves it alone."""
    made = plan({}, {"s:a": document()}, {"s:a": None}, lost=())
    assert not made.changes


def test_another_uri_touches_the_catalog_alone() -> None:
    """What is only shown costs a row."""
    made = plan({"s:a": as_known(document())}, {"s:a": document(uri="v")}, {"s:a": "/"}, lost=())
    assert made.changes == {"s:a": Change.METADATA_ONLY}
    assert [each.uri for each in made.describe] == ["v"]
    assert not made.builds


def test_an_unlisted_document_is_deleted() -> None:
    """The complete listing lacks it: a tombstone."""
    made = plan({"s:a": as_known(document())}, {}, {}, lost=())
    assert made.deleted == {"s:a"}


def test_a_quarantined_version_leaves_the_old_one_alone() -> None:
    """Listed, but its new row was rejected: nothing comes in, so nothing changes."""
    made = plan({"s:a": as_known(document())}, {}, {"s:a": "/"}, lost=())
    assert not (made.builds or made.deleted)


def test_a_document_that_the_index_lost_is_built_again() -> None:
    """The catalog has its text: a lost index folder costs work, not content."""
    made = plan({"s:a": as_known(document())}, {}, {"s:a": "/"}, lost={1})
    assert made.changes == {"s:a": Change.UNCHANGED}
    assert [(b.acl_key, b.document) for b in made.builds] == [("/", None)]


ids = st.sampled_from("abcdef")
documents = st.dictionaries(
    ids, st.tuples(st.sampled_from("xyz"), st.sampled_from("/pq"), st.booleans())
)


@given(before=documents, now=documents)
def test_following_the_plan_always_reaches_the_source(
    before: dict[str, tuple[str, str, bool]], now: dict[str, tuple[str, str, bool]]
) -> None:
    """Whatever was live and whatever the source holds, the steps lead from one to the other."""
    known = {f"s:{i}": as_known(document(i, text, acl=acl)) for i, (text, acl, _) in before.items()}
    target = {i: (text, acl if guarded else None) for i, (text, acl, guarded) in now.items()}
    incoming = {f"s:{i}": document(i, text) for i, (text, _, _) in now.items()}
    made = plan(known, incoming, {f"s:{i}": acl for i, (_, acl) in target.items()}, lost=())

    reached = {i: (k.content_hash, k.acl_key) for i, k in known.items() if i not in made.deleted}
    for build in made.builds:
        content = (
            build.document.content_hash if build.document else known[build.document_id].content_hash
        )
        reached[build.document_id] = (content, build.acl_key)
    for document_id, acl_key in made.guard.items():
        reached[document_id] = (reached[document_id][0], acl_key)

    visible = {i: v for i, v in reached.items() if v[1] is not None}
    assert visible == {
        f"s:{i}": (document(i, text).content_hash, acl)
        for i, (text, acl) in target.items()
        if acl is not None
    }


def test_the_lost_fraction_counts_known_documents_alone() -> None:
    """New documents do not make up for lost ones; an empty catalog loses nothing."""
    assert lost_fraction(1, 2) == 0.5
    assert lost_fraction(0, 0) == 0.0
