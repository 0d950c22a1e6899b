"""One pass over an API. A page that cannot be had ends it: a short listing would delete."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sluice.errors import (
    ConfigurationError,
    Incomplete,
    SchemaDrift,
    SignInNeeded,
    SourceBusy,
    SourceRefused,
    SourceUnavailable,
)
from sluice.model import LandedAcl
from sluice.sources.crawl import Item
from sluice.sources.rest.acl import EVERYONE, Container, Everyone, acl_of_list, acl_of_members
from sluice.sources.rest.paging import Offset, Pages, paginator
from sluice.sources.rest.record import at, moment, native, yes
from sluice.sources.web import open_session

if TYPE_CHECKING:
    from sluice.ports import Kit
    from sluice.sources.rest.source import Rest

_KEPT = "Nothing was changed and nothing deleted; the next run reads again"


class RestCrawl:
    """``sources.crawl.Crawl`` over an API."""

    def __init__(self, source: Rest, kit: Kit):
        """Name it; nothing is asked before the first item."""
        self._source = source
        self._kit = kit
        self._listed: dict[str, LandedAcl] = {}  # ACLs that came with records
        self._since: datetime | None = None
        self._newest: datetime | None = None
        self._began = datetime.now(UTC)
        self._opened: Any = None

    @property
    def always(self) -> frozenset[str]:
        """Permission objects that are there whatever is listed."""
        return frozenset({EVERYONE} if isinstance(self._source.acl, Everyone) else ())

    def items(self, since: Any) -> Iterator[Item]:
        """Yield the records that changed at ``since`` or later; None: all of them."""
        asked = self._source.documents
        self._began = datetime.now(UTC)
        self._since = datetime.fromisoformat(since) if since else None
        params: dict[str, Any] = dict(asked.params)
        if asked.since and self._since:
            params[asked.since] = _spoken(self._since - asked.lag, asked.since_as)
        count = nameless = 0
        for record in self._records(asked.path, params, asked.records, asked.pages):
            item = self._item(record)
            count, nameless = count + 1, nameless + (not item.key)
            yield item
        if count and nameless == count:
            raise SchemaDrift(
                f"no record has its key, {asked.key}",
                subject=f"{self._source.name}: {asked.path}",
                cure="Name another field in the DAG file",
            )

    def acls(self, keys: Collection[str]) -> Iterable[LandedAcl]:
        """Return the permission objects called ``keys``."""
        rule = self._source.acl
        if isinstance(rule, Everyone):
            return [rule.acl() for _ in keys]
        if isinstance(rule, Container):
            return [self._members(rule, key) for key in sorted(keys)]
        return [self._listed[key] for key in sorted(keys)]

    def cursor(self) -> Any:
        """The newest time of a change that was seen, never one in the future."""
        newest = min(self._newest, self._began) if self._newest else self._since
        if newest and self._since:
            newest = max(newest, self._since)
        return newest.isoformat() if newest else None

    def at(self, moment: datetime) -> Any:
        """The moment itself."""
        return moment.isoformat()

    def sample(self) -> Item | None:
        """The first record there is, for who wants to see one."""
        return next(self.items(None), None)

    def _item(self, record: Mapping[str, Any]) -> Item:
        asked = self._source.documents
        changed = moment(at(record, asked.updated)) if asked.updated else None
        if changed and (self._newest is None or changed > self._newest):
            self._newest = changed
        key = native(at(record, asked.key))
        if asked.deleted and yes(at(record, asked.deleted)):
            return Item(key, None, None)
        used = {name: at(record, name) for name in sorted(asked.fields)}
        return Item(key, self._acl_key(record), used)

    def _acl_key(self, record: Mapping[str, Any]) -> str | None:
        rule = self._source.acl
        if isinstance(rule, Everyone):
            return EVERYONE
        if isinstance(rule, Container):
            return native(at(record, rule.field)).strip() or None
        acl = acl_of_list(rule, record)
        if acl is None:
            return None
        self._listed[acl.key] = acl
        return acl.key

    def _members(self, rule: Container, key: str) -> LandedAcl:
        if key in {".", ".."}:
            return LandedAcl(key=key, error="no address can be made of its id")
        path = rule.members_path.replace("{}", quote(key, safe=""))
        try:
            members = list(self._records(path, {}, rule.records, rule.pages, objects=False))
        except SourceRefused as error:
            return LandedAcl(key=key, error=f"its members cannot be listed: {error.happened}")
        return acl_of_members(key, members, rule.principal)

    def _records(
        self, path: str, params: dict[str, Any], records: str, pages: Pages, *, objects: bool = True
    ) -> Iterator[Any]:
        """Yield every record of every page.

        Raises:
            Incomplete: a page could not be had, or is none.
            SourceRefused: not even the first one may be had.
        """
        page = count = 0
        before: Any = None
        total: int | None = None
        answers = self._client().paginate(
            path, params=params, paginator=paginator(pages), data_selector=records
        )
        while True:
            page += 1
            try:
                body = next(answers).response.json()
            except StopIteration:
                break
            except (SourceBusy, SignInNeeded, ConfigurationError):
                raise
            except SourceRefused as error:
                if page == 1:
                    raise
                raise self._incomplete(path, page, count, error.happened) from error
            except SourceUnavailable as error:
                raise self._incomplete(path, page, count, error.happened) from error
            except ValueError:
                why = "it is not the JSON that was expected"
                raise self._incomplete(path, page, count, why) from None
            found = self._list(body, records, objects)
            if found is None or (found and found == before):
                why = "the page before came again" if found else f"it has no list at {records}"
                raise self._incomplete(path, page, count, why)
            before, count = found, count + len(found)
            total = _total(body, pages) if isinstance(pages, Offset) else None
            yield from found
        if total is not None and total != count:
            why = f"{total} records were announced: they changed meanwhile"
            raise self._incomplete(path, page, count, why)

    def _list(self, body: Any, records: str, objects: bool) -> list[Any] | None:
        from dlt.common import jsonpath

        found = jsonpath.find_values(records, body)
        if len(found) != 1 or not isinstance(found[0], list):
            return None
        if objects and not all(isinstance(each, dict) for each in found[0]):
            return None
        return list(found[0])

    def _client(self) -> Any:
        from dlt.sources.helpers.rest_client.client import RESTClient

        if self._opened is None:
            source = self._source
            session = open_session(
                self._kit,
                source.name,
                source.auth,
                source.rate,
                source.dialect,
                origins=[source.base_url],
            )
            self._opened = RESTClient(source.base_url, session=session)
        return self._opened

    def _incomplete(self, path: str, page: int, count: int, why: str) -> Incomplete:
        return Incomplete(
            f"page {page} of {path} could not be read, after {count} records: {why}",
            subject=self._source.name,
            cure=_KEPT,
        )


def _spoken(moment: datetime, how: str) -> str:
    if how == "unix":
        return str(int(moment.timestamp()))
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _total(body: Any, pages: Offset) -> int | None:
    from dlt.common import jsonpath

    found = jsonpath.find_values(pages.total, body) if pages.total else []
    try:
        return int(found[0]) if found else None
    except (TypeError, ValueError):
        return None  # it announces nothing that could be counted
