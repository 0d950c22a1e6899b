"""What is taken of a record: fields by name, or by a path with dots."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

_NO = {"", "0", "false", "no", "null"}
_MILLISECONDS = 1e11  # a larger number of seconds is the year 5138


def at(record: Mapping[str, Any], path: str) -> Any:
    """Return what lies at ``path``: a field, or fields inside fields. None: nothing does."""
    if path in record:
        return record[path]
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def fields_of(template: str) -> set[str]:
    """The fields that a template is filled with."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def native(value: Any) -> str:
    """Return an id as text; empty where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return str(value)


def yes(value: Any) -> bool:
    """Whether a flag is set, in whichever of the ways that APIs have; a moment is one."""
    return bool(value) and str(value).strip().lower() not in _NO


def moment(value: Any) -> datetime | None:
    """Return the time that ``value`` is: ISO 8601, or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, str) and not value.strip().isdigit():
            found = datetime.fromisoformat(value.strip())
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        number = float(value)
        return datetime.fromtimestamp(number / 1000 if number > _MILLISECONDS else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def text(value: Any) -> str:
    """Return any value as text: what is nested, as JSON."""
    if value is None or isinstance(value, str):
        return (value or "").strip()
    return json.dumps(value, ensure_ascii=False, indent=2)


def filled(template: str, record: Mapping[str, Any]) -> str:
    """Return ``template`` filled with the record's fields, each fit for a URL.

    Raises:
        LookupError: it has no such field.
    """
    parts = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name:
            value = at(record, name)
            if value is None:
                raise LookupError(name)
            parts.append(quote(str(value), safe=""))
    return "".join(parts)
