"""The value that a file in ``dags/`` writes down for an API, and the mapping of its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from sluice.errors import ConfigurationError
from sluice.model import Auth, Column, Draft, LandedRow, Permissions, Policy, Window
from sluice.sources.reading import PROBLEMS, check_name
from sluice.sources.rest.acl import Acl, Everyone
from sluice.sources.rest.paging import OnePage, Pages
from sluice.sources.rest.record import at, fields_of, filled, moment, text
from sluice.sources.web.budget import Rate
from sluice.sources.web.verdicts import Dialect

if TYPE_CHECKING:
    from sluice.ports import Kit  # which imports numpy
    from sluice.sources.rest.crawl import RestCrawl


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Where an API lists what becomes documents, and what of each record is used.

    * ``records`` is the JSONPath of the list in a page: ``$`` where the page is the list itself.
    * ``text``: the first field bare, each further one under its name. ``a.b`` is a field inside a
      field, here and everywhere below.
    * ``since`` is the query parameter that asks for what changed at a time or later; without it,
      every run reads all. The time is that of ``updated``, less ``lag``.
    * ``deleted`` is a field that is set on records that are gone.
    * ``uri`` is filled with the record: ``https://desk.example/tickets/{id}``.

    No other field is landed: one that comes, goes or changes its type changes no document.
    """

    path: str
    title: str
    text: tuple[str, ...]
    uri: str
    key: str = "id"
    records: str = "$"
    pages: Pages = field(default_factory=OnePage)
    params: Mapping[str, str] = field(default_factory=dict)  # of every request for a page
    created: str | None = None
    updated: str | None = None
    since: str | None = None
    since_as: Literal["iso", "unix"] = "iso"
    lag: timedelta = timedelta(minutes=5)
    deleted: str | None = None

    @property
    def fields(self) -> frozenset[str]:
        """What is landed of a record."""
        times = filter(None, (self.created, self.updated))
        return frozenset({self.key, self.title, *self.text, *times, *fields_of(self.uri)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """An API to keep indexed. ``acl`` says who may read; there is no source without."""

    name: str
    base_url: str
    documents: Documents
    acl: Acl
    auth: Auth | None = None
    rate: Rate | None = None
    dialect: Dialect = Dialect.GENERIC
    policy: Policy = field(default_factory=Policy)
    kind: str = field(default="rest", init=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        wrong = _impossible(self.base_url, self.documents)
        if wrong:
            raise ConfigurationError(wrong, subject=self.name)

    def columns(self) -> Sequence[Column] | None:
        """None: an API has no schema that could be asked for."""
        return None

    def resources(self, window: Window | None, kit: Kit, *, whole: bool) -> Sequence[Any]:
        """Return the dlt resources of one reading: see ``sluice.sources.reading``."""
        from sluice.sources.crawl import crawled

        return crawled(self._crawl(kit), window, whole=whole or self.documents.since is None)

    def permissions(self, kit: Kit) -> Permissions:
        """Everything that the API says now of who may read what.

        It costs a listing of all records, except under an operator's rule.

        Raises:
            Incomplete: a page of it could not be had.
        """
        crawl = self._crawl(kit)
        observed_at = datetime.now(UTC)
        items = () if isinstance(self.acl, Everyone) else crawl.items(None)
        keys = {each.acl_key for each in items if each.record is not None}
        wanted = {key for key in keys if key is not None} | crawl.always
        acls = {acl.key: acl for acl in crawl.acls(wanted)}
        return Permissions(acls=acls, observed_at=observed_at)

    def draft(self, row: LandedRow) -> Draft:
        """Map a landed row; what is wrong with it goes into ``problems``."""
        asked, record = self.documents, row.record
        problems = list(record.get(PROBLEMS, ()))
        has_id = not row.key.startswith("missing:") or str(record.get(asked.key)) == row.key
        title = text(record.get(asked.title))
        return Draft(
            key=row.key,
            native_id=row.key if has_id else None,
            title=" ".join(title.split()) or None,
            text=_markdown(asked.text, record),
            uri=_uri(asked.uri, record, problems) if has_id else None,
            created_at=_time(asked.created, record, problems),
            updated_at=_time(asked.updated, record, problems),
            problems=tuple(problems),
        )

    def _crawl(self, kit: Kit) -> RestCrawl:
        from sluice.sources.rest.crawl import RestCrawl

        return RestCrawl(self, kit)


def _impossible(base_url: str, documents: Documents) -> str | None:
    if not base_url.startswith(("https://", "http://")):
        return "base_url: write it with https://"
    if not (documents.text and isinstance(documents.text, tuple)):
        return "text: name at least one field, in a tuple"
    if "*" in documents.records:
        return "records: name the list itself, without [*]: an empty one must be told from none"
    if documents.since and not documents.updated:
        return "since: name the field `updated`, which the next reading goes on from"
    return None


def _markdown(names: Sequence[str], record: Mapping[str, Any]) -> str:
    first, *rest = names
    parts = [text(record.get(first))]
    for name in rest:
        if body := text(record.get(name)):
            heading = " ".join(name.rpartition(".")[2].split("_")).strip().capitalize()
            parts.append(f"## {heading or name}\n\n{body}")
    return "\n\n".join(part for part in parts if part)


def _uri(template: str, record: Mapping[str, Any], problems: list[str]) -> str | None:
    try:
        return filled(template, record)
    except LookupError as error:
        problems.append(f"uri cannot be filled: it has no {error.args[0]}")
        return None


def _time(name: str | None, record: Mapping[str, Any], problems: list[str]) -> datetime | None:
    value = at(record, name) if name else None
    found = moment(value)
    if value is not None and found is None:
        problems.append(f"{name} is not a time: {str(value)[:40]!r}")
    return found
