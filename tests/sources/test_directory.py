"""The people file: who is who, and what is refused."""

from __future__ import annotations

from pathlib import Path

import fsspec
import pytest
from sluice.errors import SourceError, SourceUnavailable
from sluice.model import Identity, Membership, Principal
from sluice.sources import People

SAMPLE = Path(__file__).resolve().parents[2] / "include" / "sample" / "people.yaml"


def read(tmp_path: Path, text: str) -> tuple[list[Membership], list[Identity]]:
    """Read a people file that says ``text``."""
    path = tmp_path / "people.yaml"
    path.write_text(text)
    memberships, identities = People(name="people", url=str(path)).read()
    return list(memberships), list(identities)


def test_people_groups_and_accounts_are_read(tmp_path: Path) -> None:
    """Memberships and identities come in canonical spelling; ids stay text."""
    memberships, identities = read(
        tmp_path,
        """
        people:
          - {id: user:Ada@Example.com, title: CEO, accounts: {desk: 0101, chat: [U1, U2]}}
          - {id: user:bob@example.com}
        groups:
          - {id: group:c:leads, members: [user:ada@example.com, group:c:board, account:desk:7]}
          - {id: group:c:board}
        """,
    )
    ada = Principal.parse("user:ada@example.com")
    assert {str(i.account): i.person for i in identities} == {
        "account:desk:0101": ada,
        "account:chat:U1": ada,
        "account:chat:U2": ada,
    }
    assert {str(m.member) for m in memberships} == {str(ada), "group:c:board", "account:desk:7"}


def test_circles_of_groups_are_fine(tmp_path: Path) -> None:
    """Groups may contain each other; whoever expands them copes."""
    memberships, _ = read(
        tmp_path,
        "groups: [{id: group:c:a, members: [group:c:b]}, {id: group:c:b, members: [group:c:a]}]",
    )
    assert len(memberships) == 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("people: [{id: user:a@x.com}, {id: user:A@X.com}]", "user:a@x.com: a second"),
        ("groups: [{id: group:c:a}, {id: group:c:a}]", "group:c:a: a second"),
        (
            "people: [{id: user:a@x.com, accounts: {d: x}}, {id: user:b@x.com, accounts: {d: x}}]",
            "account:d:x: a second account",
        ),
        (
            "people: [{id: user:a@x.com, accounts: {d: ['1', '1']}}]",
            "account:d:1: a second account",
        ),
        (
            "groups: [{id: group:c:a, members: [user:a@x.com, user:a@x.com]}]",
            "user:a@x.com in group",
        ),
        ("people: [{id: ada}]", "'ada'"),
        ("people: [{id: group:c:a}]", "group:c:a"),
        ("groups: [{id: user:a@x.com}]", "user:a@x.com"),
        ("groups: [{id: group:c:a, members: [public]}]", "public"),
        ("groups: [{id: group:c:a, members: ['domain:x.com']}]", "domain:x.com"),
        ("groups: [{id: group:c:a, members: user:a@x.com}]", "group:c:a: members"),
        ("groups: [{id: group:c:a, members: [[x]]}]", "['x']"),
        ("people: [{id: user:a@x.com, acounts: {d: '1'}}]", "acounts"),
        ("people: [{id: user:a@x.com, accounts: {d: }}]", "account:d:"),
        ("people: [{id: user:a@x.com, accounts: [x]}]", "user:a@x.com: accounts"),
        ("people: [{name: Ada}]", "entry 1 has no id"),
        ("people: [ada]", "entry 1 has no id"),
        ("people: {id: user:a@x.com}", "people: expected a list"),
        ("persons: []", "at the top"),
        ("- x", "at the top"),
        ("", "at the top"),
        ("people: [\n", "not YAML"),
        ("people: []\npeople: []\n", "'people' is there twice"),
    ],
)
def test_file_that_contradicts_itself_is_refused_and_named(
    tmp_path: Path, text: str, named: str
) -> None:
    """Nothing of it is taken, and the message names the culprit in one line."""
    with pytest.raises(SourceError) as caught:
        read(tmp_path, text)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_problems_are_told_at_once(tmp_path: Path) -> None:
    """A long list is cut, and says how much more there is."""
    people = ", ".join(f"{{id: p{number}}}" for number in range(9))
    with pytest.raises(SourceError, match="and 4 more"):
        read(tmp_path, f"people: [{people}]")


def test_file_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """What was known stays: absence is not an empty company."""
    for url in (str(tmp_path / "none.yaml"), "memory://none.yaml"):
        with pytest.raises(SourceUnavailable):
            People(name="people", url=url).read()


def test_file_may_be_remote() -> None:
    """Any fsspec URL will do."""
    fsspec.filesystem("memory").pipe(
        "/org/people.yaml", b"groups: [{id: group:c:a, members: [group:c:b]}]"
    )
    assert len(People(name="people", url="memory://org/people.yaml").read()[0]) == 1


def test_sample_company_is_sound() -> None:
    """The people file that comes with Sluice reads without a complaint."""
    memberships, identities = People(name="people", url=str(SAMPLE)).read()
    assert len(memberships) >= 40
    assert len(identities) >= 25
