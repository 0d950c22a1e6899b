"""What an operator decides where a source cannot tell, and only there."""

from __future__ import annotations

import pytest
from sluice.errors import InvalidPrincipal
from sluice.model import Grant, LandedAcl, Principal, Rules
from sluice.sources.rules import ruled

ADA = "user:ada@x.org"


def readers(key: str, rules: Rules) -> set[str] | None:
    """Who may read an object that could not be read, by these rules; None: it is hidden still."""
    acl = ruled(LandedAcl(key=key, error="no sharing settings"), rules)
    return None if acl.error else {str(each.principal) for each in acl.grants}


def test_an_object_has_the_rule_of_its_key_before_that_of_all() -> None:
    """``*`` is for those without one; a rule of nobody is a rule."""
    rules = Rules(readers={"a": ("user:Ada@X.org", "group:co:board"), "b": (), "*": ("public",)})
    assert readers("a", rules) == {ADA, "group:co:board"}
    assert readers("b", rules) == set()
    assert readers("c", rules) == {"public"}


def test_without_a_rule_it_stays_hidden() -> None:
    """And says why."""
    assert readers("c", Rules(readers={"a": (ADA,)})) is None
    assert readers("c", Rules()) is None


def test_what_could_be_read_is_never_loosened() -> None:
    """Also if it allows nobody."""
    rules = Rules(readers={"*": ("public",)})
    for grants in (frozenset(), frozenset({Grant(Principal.parse(ADA))})):
        acl = LandedAcl(key="a", grants=grants)
        assert ruled(acl, rules) == acl


def test_a_rule_that_names_nobody_is_refused_where_it_is_written() -> None:
    """Not when somebody asks."""
    with pytest.raises(InvalidPrincipal):
        Rules(readers={"*": ("everyone",)})
