"""Who may read the rows of a table: by an ACL query, or by a column that lists principals."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from sluice.errors import BadInput
from sluice.model import Effect, Grant, LandedAcl
from sluice.sources.grants import grant, merged
from sluice.sources.reading import row_key, storable


def object_key(value: Any) -> str | None:
    """Return the ACL key of the object called ``value``; None where a row names no object."""
    if value is None:
        return None
    name = str(storable(value))
    return row_key(name, name.encode())[0] if name.strip() else None


def acls_of_query(lines: Iterable[Sequence[Any]], wanted: Iterable[str]) -> Iterator[LandedAcl]:
    """Yield the ACL of each ``wanted`` object, from rows (object, principal, effect, until).

    ``effect`` and ``until`` may be left out. A row that means nothing makes its object unreadable,
    and so does the lack of any row: nothing is known then, and unknown means no.
    """
    grants: dict[str | None, list[Grant]] = defaultdict(list)
    errors: dict[str | None, str] = {}
    for line in lines:
        key = object_key(line[0])
        try:
            grants[key].append(_grant(line))
        except BadInput as problem:
            errors.setdefault(key, str(problem))
    for key in wanted:
        error = errors.get(key) or (None if key in grants else "acl_query says nothing about it")
        yield LandedAcl(key=key, grants=merged(grants.get(key, ())), error=error)


def acl_of_principals(value: Any) -> LandedAcl | None:
    """Return the ACL that a cell spells out: an array, a JSON array, or text with commas.

    Its key is a digest of the principals, so that rows open to the same people share one ACL.
    None where the cell is null or blank.
    """
    try:
        names = _names(value)
    except BadInput as error:
        return LandedAcl(key=_digest([repr(value)]), error=str(error))
    if names is None:
        return None
    try:
        grants = frozenset(grant(name) for name in names)
    except BadInput as error:
        return LandedAcl(key=_digest(names), error=str(error))
    return LandedAcl(key=_digest(sorted(str(g.principal) for g in grants)), grants=grants)


def by_key(acls: Iterable[LandedAcl]) -> Mapping[str, LandedAcl]:
    """ACLs by key; equal keys come from equal principals."""
    return {acl.key: acl for acl in acls}


def _grant(line: Sequence[Any]) -> Grant:
    _, principal, *rest = line
    effect = rest[0] if rest else Effect.ALLOW
    until = rest[1] if len(rest) > 1 else None
    return grant(principal, effect, None if until == "infinity" else until, zone=UTC)


def _names(value: Any) -> list[str] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise BadInput("not a JSON list of principals") from None
    if isinstance(value, str):
        value = [name for name in value.split(",") if name.strip()] or None
    if value is None:
        return None
    if not isinstance(value, list | tuple | set) or not all(isinstance(v, str) for v in value):
        raise BadInput("not a list of principals", subject=repr(value)[:80])
    return sorted({name.strip() for name in value})


def _digest(names: Sequence[str]) -> str:
    text = json.dumps(list(names))
    return f"principals:{hashlib.sha256(text.encode()).hexdigest()[:32]}"
