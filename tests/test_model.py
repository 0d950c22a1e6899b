"""Principals: one spelling for one person, and none for what is written wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sluice.errors import InvalidPrincipal
from sluice.model import Principal

KINDS = ("user:", "domain:", "group:", "account:")


@pytest.mark.parametrize(
    "written",
    ["user: tom@x.org", "user:\u00a0tom@x.org", "group: c:ops", "group:c: ops", "group:c :ops"],
)
def test_space_beside_a_colon_is_refused(written: str) -> None:
    """A deny for ``user: tom@x.org`` would deny nobody, and nobody would notice."""
    with pytest.raises(InvalidPrincipal):
        Principal.parse(written)


def test_names_may_hold_spaces_and_colons() -> None:
    """Groups are called as their source calls them."""
    assert str(Principal.parse(" group:chat:Team Ops: on call ")) == "group:chat:Team Ops: on call"


@given(st.sampled_from(KINDS), st.text(min_size=1, max_size=20))
def test_what_was_parsed_parses_to_itself(kind: str, rest: str) -> None:
    """Canonical means that there is nothing left to change, in any script."""
    for text in (kind + rest, kind + rest + "@x.org"):
        try:
            once = Principal.parse(text)
        except InvalidPrincipal:
            continue
        assert Principal.parse(str(once)) == once


def test_a_capital_without_a_composed_form_is_folded_to_its_composed_small_letter() -> None:
    """``J̌`` has two characters, ``ǰ`` has one: they are the same letter."""
    assert Principal.parse("user:J\u030c@x.org") == Principal.parse("user:\u01f0@x.org")
