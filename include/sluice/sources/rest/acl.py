"""Who may read the records of an API: three rules, one of which a source names."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as default
from typing import Any

from sluice.errors import BadInput, ConfigurationError
from sluice.model import Grant, LandedAcl
from sluice.sources.grants import grant, merged
from sluice.sources.rest.paging import OnePage, Pages
from sluice.sources.rest.record import at
from sluice.sources.sql_acl import acl_of_principals

EVERYONE = "everyone"  # the key of the one permission object under an operator's rule


@dataclass(frozen=True, slots=True)
class ListedIn:
    """The record's own ``field`` lists who may read it, each a text or an object.

    ``principal`` makes a principal of each: ``user:{}`` of a text, ``user:{email}`` of an object.
    """

    field: str
    principal: str = "user:{}"


@dataclass(frozen=True, slots=True)
class Container:
    """The record's ``field`` names what it is in (a project, a space); its members may read it.

    They are listed at ``members_path``, where ``{}`` is the container; ``records`` is the JSONPath
    of the list there.
    """

    field: str
    members_path: str
    records: str = "$"
    principal: str = "user:{email}"
    pages: Pages = default(default_factory=OnePage)


@dataclass(frozen=True, slots=True)
class Everyone:
    """An operator's rule: ``principals`` may read all of it, whatever the API thinks."""

    principals: tuple[str, ...]

    def __post_init__(self) -> None:
        try:
            self.acl()
        except BadInput as error:
            raise ConfigurationError(str(error), subject="Everyone") from None

    def acl(self) -> LandedAcl:
        """The rule as a permission object."""
        return LandedAcl(key=EVERYONE, grants=merged(map(grant, self.principals)))


Acl = ListedIn | Container | Everyone


def acl_of_list(rule: ListedIn, record: Mapping[str, Any]) -> LandedAcl | None:
    """Return who a record says may read it; None: it does not say."""
    listed = at(record, rule.field)
    if listed is None:
        return None
    listed = [listed] if isinstance(listed, str) else listed
    if not isinstance(listed, list):
        return acl_of_principals(0)  # no list of principals: an error, and shown to nobody
    try:
        return acl_of_principals(_named(listed, rule.principal))
    except BadInput as error:
        return LandedAcl(key=f"unreadable:{rule.field}", error=str(error))


def acl_of_members(key: str, members: Sequence[Any], template: str) -> LandedAcl:
    """Return the permission object of a container with these members."""
    try:
        grants: list[Grant] = [grant(each) for each in _named(members, template)]
    except BadInput as error:
        return LandedAcl(key=key, error=str(error))
    return LandedAcl(key=key, grants=merged(grants))


def _named(members: Sequence[Any], template: str) -> list[str]:
    """The principals of members; one that has no such name may read nothing, the others may.

    Raises:
        BadInput: none of them has, so that it is the template or the API that changed.
    """
    names = [_principal(each, template) for each in members]
    found = [each for each in names if each is not None]
    if members and not found:
        raise BadInput(f"no member has what {template!r} asks for")
    return found


def _principal(member: Any, template: str) -> str | None:
    try:
        return _Filled().vformat(template, (member,), member if isinstance(member, dict) else {})
    except (LookupError, ValueError, AttributeError):
        return None


class _Filled(string.Formatter):
    """Fills only with what names somebody: a null or a blank is no name."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        value = args[0] if field_name in {"", "0"} else at(kwargs, field_name)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise ValueError(field_name)
        return value, field_name
