"""How an API divides a list into pages: always said, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dlt.sources.helpers.rest_client.paginators import BasePaginator


@dataclass(frozen=True, slots=True)
class OnePage:
    """All of it comes at once."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The answer has, at JSONPath ``path``, what the next request sends as ``param``."""

    path: str
    param: str


@dataclass(frozen=True, slots=True)
class NextLink:
    """The answer has the address of the next page at JSONPath ``path``."""

    path: str


@dataclass(frozen=True, slots=True)
class LinkHeader:
    """The ``Link`` header (RFC 8288) has the address of the next page."""

    rel: str = "next"


@dataclass(frozen=True, slots=True)
class PageNumber:
    """Pages are numbered from ``first``; the last is empty, or ``total`` says how many."""

    param: str = "page"
    first: int = 1
    total: str | None = None  # JSONPath of the number of pages


@dataclass(frozen=True, slots=True)
class Offset:
    """Each request asks for ``limit`` records from a place on; the last page is empty.

    With ``total``, the JSONPath of the number of records, a listing that others changed while it
    was read is noticed.
    """

    limit: int
    param: str = "offset"
    limit_param: str = "limit"
    total: str | None = None


Pages = OnePage | Cursor | NextLink | LinkHeader | PageNumber | Offset


def paginator(pages: Pages) -> BasePaginator:
    """Return dlt's paginator for ``pages``, at the first."""
    from dlt.sources.helpers.rest_client import paginators as dlt

    match pages:
        case Cursor():
            return dlt.JSONResponseCursorPaginator(pages.path, pages.param)
        case NextLink():
            return dlt.JSONLinkPaginator(pages.path)
        case LinkHeader():
            return dlt.HeaderLinkPaginator(pages.rel)
        case PageNumber():
            return dlt.PageNumberPaginator(
                base_page=pages.first, page_param=pages.param, total_path=pages.total
            )
        case Offset():
            return dlt.OffsetPaginator(
                pages.limit,
                offset_param=pages.param,
                limit_param=pages.limit_param,
                total_path=pages.total,
            )
    return dlt.SinglePagePaginator()
