"""``.access.yaml``: who may read a folder.

    allow:                                  # nobody, where it says nothing
      - group:company:engineering
      - {principal: user:nora@example.com, until: 2027-03-31}   # that whole day, UTC
    deny:
      - user:tom@example.com                # beats every allow
    pages:                                  # files of this folder with rules of their own
      salaries.md:
        allow: [group:company:people]

The nearest file above a page decides alone: nothing is inherited from folders further up. A file
that cannot be understood closes its folder; it never falls back to its parent's rules.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sluice.errors import BadInput
from sluice.model import Effect, Grant, LandedAcl
from sluice.sources import strict_yaml
from sluice.sources.grants import grant, merged

NAME = ".access.yaml"
_RULES = {"allow", "deny"}


@dataclass(frozen=True, slots=True)
class Access:
    """What one ``.access.yaml`` says; ``error`` says why it says nothing."""

    grants: frozenset[Grant] = frozenset()
    pages: Mapping[str, frozenset[Grant]] = field(default_factory=dict)
    error: str | None = None


def parse(raw: bytes) -> Access:
    """Read the bytes of an ``.access.yaml``; never raise."""
    try:
        rules = _mapping(strict_yaml.load(raw), _RULES | {"pages"})
        pages: dict[str, frozenset[Grant]] = {}
        for name, page in _pages(rules):
            if pages.setdefault(_page(name), grants := _grants(_mapping(page, _RULES))) != grants:
                raise BadInput("pages: a name is there twice, in two spellings", subject=name)
        return Access(_grants(rules), pages)
    except BadInput as error:
        return Access(error=f"{NAME}: {error}")


def folder_of(path: str) -> str:
    """The folder that holds ``path``; the root is ``""``."""
    return path.rpartition("/")[0]


def governing(path: str, files: Mapping[str, Access]) -> LandedAcl | None:
    """Return the ACL of the page at ``path``, or None where no file governs it.

    Args:
        path: relative to the root.
        files: what each folder's ``.access.yaml`` says, by folder.
    """
    folder = folder_of(path)
    nearest = files.get(folder)
    if nearest and (page := nearest.pages.get(_spelled(path.rpartition("/")[2]))) is not None:
        return LandedAcl(key=path, grants=page)
    while nearest is None and folder:
        folder = folder_of(folder)
        nearest = files.get(folder)
    if nearest is None:
        return None
    return LandedAcl(key=folder or "/", grants=nearest.grants, error=nearest.error)


def _pages(rules: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return _mapping(rules.get("pages"), None).items()


def _page(name: str) -> str:
    if "/" in name:
        raise BadInput("pages: names files of this folder only", subject=name)
    return _spelled(name)


def _spelled(name: str) -> str:
    """One spelling: some file systems write ``ü`` as two characters, and most keyboards as one."""
    return unicodedata.normalize("NFC", name)


def _grants(rules: Mapping[str, Any]) -> frozenset[Grant]:
    lines = [(effect, entry) for effect in Effect for entry in _list(rules.get(effect.value))]
    return merged(_grant(effect, entry) for effect, entry in lines)


def _grant(effect: Effect, entry: Any) -> Grant:
    if not isinstance(entry, dict):
        return grant(entry, effect)
    entry = _mapping(entry, {"principal", "until"})
    if "until" in entry and entry["until"] is None:
        raise BadInput("until: has no date", subject=str(entry.get("principal")))
    return grant(entry.get("principal"), effect, entry.get("until"))


def _mapping(value: Any, allowed: set[str] | None) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(f"expected names and values, found {type(value).__name__}")
    if unknown := sorted(set(value) - allowed if allowed is not None else ()):
        raise BadInput(f"no such key; use {', '.join(sorted(allowed or ()))}", subject=unknown[0])
    return value


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput(f"expected a list of principals, found {type(value).__name__}")
    return value
