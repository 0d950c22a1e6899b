"""A folder of Markdown, HTML, text, PDF and DOCX files.

Every run lists the whole folder and reads again what changed by its fingerprint: size, times and
inode of a local file, the entity tag of an object. A store with neither is read whole and compared
by hash. Permissions come from ``.access.yaml`` files: see ``sluice.sources.access_file``.
"""

from __future__ import annotations

import functools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sluice.errors import SourceUnavailable
from sluice.model import Column, Draft, LandedAcl, LandedRow, Policy, Window
from sluice.sources import access_file, convert
from sluice.sources.access_file import Access
from sluice.sources.reading import PROBLEMS, Row, check_name, four, landed, row_key, storable
from sluice.sources.tree import Entry, Gone, Tree, Unreadable, tree, uri

if TYPE_CHECKING:
    from sluice.ports import Kit  # which imports numpy

_log = logging.getLogger(__name__)

DOCUMENTS = tuple(f"**/*.{e}" for e in ("md", "markdown", "html", "htm", "txt", "pdf", "docx"))
_ACCESS_LIMIT = 4 * 2**20  # bytes
_FINGERPRINT = "fingerprint"


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A folder to keep indexed.

    ``url`` is a local path or any fsspec URL (``s3://bucket/handbook``), ``storage_options`` what
    fsspec needs to open it. ``include`` and ``exclude`` are globs relative to it, in any case:
    ``*`` stays inside a folder, ``**/`` crosses folders. A file of more than ``max_bytes`` is
    quarantined unread.
    """

    name: str
    url: str
    include: tuple[str, ...] = DOCUMENTS
    exclude: tuple[str, ...] = ()
    max_bytes: int = 25 * 2**20
    storage_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    policy: Policy = field(default_factory=Policy)
    kind: str = field(default="files", init=False)

    def __post_init__(self) -> None:
        check_name(self.name)

    def columns(self) -> Sequence[Column] | None:
        """A folder has no schema to drift."""
        return None

    def resources(
        self,
        window: Window | None,
        kit: Kit,  # noqa: ARG002  # it is reached without
        *,
        whole: bool,  # noqa: ARG002  # it always is
    ) -> Sequence[Any]:
        """Return the dlt resources of one reading: see ``sluice.sources.reading``."""
        return four(_Reading(self, window))

    def draft(self, row: LandedRow) -> Draft:
        """Map a landed file; its problems were seen when it was read."""
        record = row.record
        path = record.get("path")
        native_id = row.key if row.key == path else None
        modified = record.get("modified")
        return Draft(
            key=row.key,
            native_id=native_id,
            title=record.get("title"),
            text=record.get("text"),
            uri=uri(self.url, native_id) if native_id else None,
            updated_at=datetime.fromisoformat(modified) if modified else None,
            problems=tuple(record.get(PROBLEMS, ())),
        )

    def wants(self, path: str) -> bool:
        """Whether the globs choose ``path``."""
        return _matches(self.include, path) and not _matches(self.exclude, path)


class _Reading:
    """One pass over the folder."""

    def __init__(self, source: Files, window: Window | None):
        self._source = source
        self._window = window
        self.observed_at = datetime.now(UTC)
        self._tree: Tree = tree(source.url, source.storage_options)
        self._files: dict[str, Entry] = {}  # by row key, what is listed
        self._rules: dict[str, Access] = {}  # by folder, before the first page was read
        self._acls: dict[str, LandedAcl] = {}

    def rows(self, cursor: Any) -> Iterator[Row]:  # noqa: ARG002  # a folder has no cursor
        known = landed(_FINGERPRINT)
        entries = list(self._tree.entries())
        self._rules = self._read_rules(entries)
        for entry in entries:
            if _is_rule(entry) or not self._source.wants(entry.path):
                continue
            key, problem = _key(entry)
            self._files[key] = entry
            if self._unchanged(entry, known.get(key)):
                continue
            try:
                yield Row(key, self._record(entry, problem))
            except Gone:
                del self._files[key]

    def listing(self) -> Mapping[str, str | None]:
        """Name the ACL of each file, by rules that are read now, after the content."""
        self.observed_at = datetime.now(UTC)
        rules = self._read_rules([e for e in self._tree.entries() if _is_rule(e)])
        keys: dict[str, str | None] = {}
        for key, entry in self._files.items():
            acl = None if key != entry.path else access_file.governing(entry.path, rules)
            keys[key] = acl.key if acl else None
            if acl is None:
                continue
            if acl != access_file.governing(entry.path, self._rules):
                self._expect_same(entry)
            if self._acls.setdefault(acl.key, acl) != acl:
                error = "a page and a folder have the same name"
                self._acls[acl.key] = LandedAcl(key=acl.key, error=error)
        return keys

    def acls(self) -> Iterable[LandedAcl]:
        return self._acls.values()

    def _unchanged(self, entry: Entry, fingerprint: str | None) -> bool:
        if self._window is not None:
            moment = entry.modified
            return moment is None or not self._window.start <= moment < self._window.end
        return entry.fingerprint is not None and entry.fingerprint == fingerprint

    def _record(self, entry: Entry, problem: str | None) -> dict[str, Any]:
        """Read and convert one file; whatever is wrong with it is written down."""
        limit = self._source.max_bytes
        converted = convert.Converted("")
        problem = problem or entry.problem
        if problem is None and entry.size > limit:
            problem = f"has {entry.size:,} bytes; at most {limit:,} are read"
        if problem is None:
            try:
                entry, raw = self._tree.read(entry, limit + 1)
                if len(raw) > limit:
                    raise Unreadable(f"has more than {limit:,} bytes, which is the most we read")
                converted = convert.convert(entry.path, raw)
            except (Unreadable, convert.Unconvertible) as error:
                problem = str(error)
        record = {
            "path": entry.path,
            "size": entry.size,
            "modified": entry.modified,
            _FINGERPRINT: entry.fingerprint,
            "title": converted.title or convert.title_from_name(entry.path),
            "text": converted.text,
            PROBLEMS: [problem] if problem else [],
        }
        return dict(storable(record))

    def _read_rules(self, entries: Iterable[Entry]) -> dict[str, Access]:
        """What each ``.access.yaml`` says, by folder."""
        rules: dict[str, Access] = {}
        for entry in filter(_is_rule, entries):
            folder = access_file.folder_of(entry.path)
            try:
                if entry.problem:
                    raise Unreadable(entry.problem)
                rules[folder] = access_file.parse(self._tree.read(entry, _ACCESS_LIMIT + 1)[1])
            except Unreadable as error:
                rules[folder] = Access(error=f"{access_file.NAME} {error}")
            except Gone:
                continue
        return rules

    def _expect_same(self, entry: Entry) -> None:
        """Refuse to put rules that changed during this reading over content that changed too.

        Someone may have blacked out a page and then opened its folder: the page as it was read
        before must not be shown to those who were let in after.
        """
        known = entry.fingerprint
        try:
            now = self._tree.read(entry, 1)[0].fingerprint
        except (Gone, Unreadable):
            now = None
        if known is None or now != known:
            raise SourceUnavailable(
                "a page and its permissions changed while the folder was being read",
                subject=f"{self._source.name}: {entry.path}",
                cure="Nothing was changed; the next run reads both again",
            )


def _is_rule(entry: Entry) -> bool:
    return entry.path.rpartition("/")[2] == access_file.NAME


def _key(entry: Entry) -> tuple[str, str | None]:
    return row_key(entry.path, os.fsencode(entry.path))


def _matches(globs: tuple[str, ...], path: str) -> bool:
    return any(_pattern(glob).fullmatch(path) for glob in globs)


@functools.cache
def _pattern(glob: str) -> re.Pattern[str]:
    from fsspec.utils import glob_translate

    return re.compile(glob_translate(glob), re.IGNORECASE | re.DOTALL)
