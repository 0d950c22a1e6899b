"""Any API that lists JSON records over HTTP, as a value: see the README beside this file."""

from sluice.sources.rest.acl import Container, Everyone, ListedIn
from sluice.sources.rest.paging import Cursor, LinkHeader, NextLink, Offset, OnePage, PageNumber
from sluice.sources.rest.source import Documents, Rest

__all__ = [
    "Container",
    "Cursor",
    "Documents",
    "Everyone",
    "LinkHeader",
    "ListedIn",
    "NextLink",
    "Offset",
    "OnePage",
    "PageNumber",
    "Rest",
]
