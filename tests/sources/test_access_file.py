"""``.access.yaml``: what it means, and that it closes when it is not understood."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

import pytest
from sluice.model import PUBLIC, Effect, Grant, LandedAcl, Principal
from sluice.sources.access_file import Access, governing, parse

ENG = Principal.parse("group:company:eng")
TOM = Principal.parse("user:tom@example.com")
OPEN = Access(grants=frozenset({Grant(PUBLIC)}))
CLOSED = Access(error="broken")


def test_allow_deny_and_until_become_grants() -> None:
    """Each entry is one grant, and a date counts through the end of its day in UTC."""
    access = parse(
        b"""
        allow:
          - group:company:eng
          - {principal: user:Tom@Example.com, until: 2027-03-31}
        deny:
          - {principal: public, until: "2027-03-31T10:00:00+02:00"}
        """
    )
    assert access.error is None
    assert access.grants == {
        Grant(ENG),
        Grant(TOM, Effect.ALLOW, datetime(2027, 4, 1, tzinfo=UTC)),
        Grant(PUBLIC, Effect.DENY, datetime(2027, 3, 31, 8, tzinfo=UTC)),
    }


def test_of_two_entries_for_one_person_the_longer_counts() -> None:
    """A grant without an end outlasts one with an end, in either order."""
    access = parse(
        b"allow: [{principal: user:tom@example.com, until: 2027-01-01}, user:tom@example.com]"
    )
    assert access.grants == {Grant(TOM)}


@pytest.mark.parametrize("raw", [b"", b"# nothing\n", b"allow:\n", b"allow: []\n"])
def test_file_that_names_nobody_lets_nobody_in(raw: bytes) -> None:
    """An empty file is understood: it grants nothing."""
    assert parse(raw) == Access()


@pytest.mark.parametrize(
    "raw",
    [
        b"allow: [group:company:eng\n",
        b"alow: [public]\n",
        b"allow: [public]\nallow: [group:company:eng]\n",
        b"deny: [user:a@x.com]\nallow: [public]\ndeny: []\n",
        b"allow: public\n",
        b"allow: [everyone]\n",
        b"allow: [[public]]\n",
        b"allow: [{principal: public, until: soon}]\n",
        b"allow: [{principal: public, until: }]\n",
        b"allow: [{principal: public, until: 2027-02-31}]\n",
        b"allow: [{principal: public, until: 2027-03-31T10:00:00}]\n",
        b"allow: [{principal: public, untill: 2027-03-31}]\n",
        b"allow: [{until: 2027-03-31}]\n",
        b"- public\n",
        b"public\n",
        b"\xff\xfe\x00binary",
        b'allow: ["user:tom@example.com\\u202e"]\n',
        b"pages: {a.md: {allow: [nobody]}}\n",
        b"pages: {a.md: [public]}\n",
        b"pages: {sub/a.md: {allow: [public]}}\n",
        b"x: " + b"[" * 5000,
        b"a: &a [x, x]\nb: &b [*a, *a]\nallow: [*b, *b]\n",
        b"allow: !!python/object/apply:os.system [ls]\n",
        b"#" * (5 * 2**20),
    ],
)
def test_file_that_is_not_understood_is_an_error_never_a_guess(raw: bytes) -> None:
    """Bad YAML, unknown keys, repeated keys, bad principals and bad dates close the folder."""
    access = parse(raw)
    assert access.error is not None
    assert access.grants == frozenset()
    assert not access.pages


def test_nearest_file_decides_alone() -> None:
    """Nothing is inherited from further up, not even by a nearer file that grants nothing."""
    files = {"": OPEN, "a/b": Access()}
    assert governing("x.md", files).key == "/"
    assert governing("a/x.md", files).key == "/"
    assert governing("a/b/x.md", files).key == "a/b"
    assert governing("a/b/c/d/x.md", files).grants == frozenset()
    assert governing("a/bc/x.md", files).key == "/"


def test_page_with_rules_of_its_own_has_its_own_key() -> None:
    """``pages`` speaks of files of its folder, not of files of that name further down."""
    files = {"a": Access(grants=frozenset({Grant(ENG)}), pages={"x.md": frozenset({Grant(TOM)})})}
    assert governing("a/x.md", files).key == "a/x.md"
    assert governing("a/x.md", files).grants == {Grant(TOM)}
    assert governing("a/sub/x.md", files).grants == {Grant(ENG)}
    assert governing("a/y.md", files).grants == {Grant(ENG)}


def test_broken_file_closes_its_folder_and_never_falls_back() -> None:
    """Below an open root, a broken file still closes what it governs."""
    files = {"": OPEN, "a": CLOSED}
    assert governing("a/x.md", files).error == "broken"
    assert governing("a/b/x.md", files).error == "broken"
    assert governing("x.md", files).error is None


def test_without_any_file_there_is_no_acl() -> None:
    """A page that no file governs has no permission object at all."""
    assert governing("a/x.md", {"b": OPEN}) is None


def test_a_pages_rule_holds_in_either_spelling_of_its_name() -> None:
    """macOS writes ``ä`` as two characters, an editor as one: the page is guarded all the same."""
    one, two = (unicodedata.normalize(form, "gehälter.md") for form in ("NFC", "NFD"))
    assert one != two
    for written, found in ((one, two), (two, one)):
        rules = parse(f"allow: [public]\npages: {{{written}: {{}}}}\n".encode())
        assert governing(found, {"": rules}) == LandedAcl(key=found)


def test_one_name_in_two_spellings_closes_the_folder() -> None:
    """Two rules for one page contradict each other."""
    one, two = (unicodedata.normalize(form, "gehälter.md") for form in ("NFC", "NFD"))
    rules = parse(f"pages: {{{one}: {{allow: [public]}}, {two}: {{}}}}\n".encode())
    assert rules.error is not None
