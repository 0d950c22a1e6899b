"""A folder, local or remote: what is in it, and what the files say.

Links are never followed, wherever they point: they are listed with a problem, so that someone sees
them. Hidden files and folders (a name that starts with a dot) are not there, ``.access.yaml``
excepted.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from sluice.errors import ConfigurationError, SourceUnavailable
from sluice.sources.access_file import NAME as ACCESS_FILE

_TICK = 100_000_000  # ns; a file younger than this can change again within one tick of its clock
_COARSE_TICK = 2_000_000_000  # ns; the same where the file system keeps whole seconds
_ATTEMPTS = 3


class Gone(Exception):
    """The file was deleted since it was listed."""


class Unreadable(Exception):
    """This file cannot be read; the others can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file as it was seen."""

    path: str  # relative to the root, "/" between names
    size: int  # bytes
    fingerprint: str | None  # another content, another fingerprint; None: read it to know
    modified: datetime | None
    problem: str | None = None  # why nobody should read it


class Tree(Protocol):
    """The files below one root."""

    def entries(self) -> Iterator[Entry]:
        """Yield every file that is not hidden.

        Raises:
            SourceUnavailable: some part cannot be listed, so no listing would be complete.
        """

    def read(self, entry: Entry, limit: int) -> tuple[Entry, bytes]:
        """Return at most ``limit`` bytes of a file, and the file as it was at that moment.

        Raises:
            Gone: it was deleted meanwhile.
            Unreadable: it is there, but may not or cannot be read.
            SourceUnavailable: the store does not answer.
        """


def tree(url: str, options: Mapping[str, Any]) -> Tree:
    """Return the tree at ``url``: a local path, a ``file://`` URL or any other fsspec URL."""
    local = _local(url)
    return RemoteTree(url, options) if local is None else LocalTree(local)


def uri(url: str, path: str) -> str:
    """Return where a person would open ``path`` of the tree at ``url``."""
    local = _local(url)
    return f"{url.rstrip('/')}/{path}" if local is None else (local.absolute() / path).as_uri()


class LocalTree:
    """A folder of this machine."""

    def __init__(self, root: Path):
        self._root = Path(os.path.realpath(root))  # a link to the root is what the owner wrote down

    def entries(self) -> Iterator[Entry]:
        """Walk the folder, without recursion and in a stable order."""
        now = time.time_ns()
        folders = [""]
        while folders:
            folder = folders.pop()
            for found in self._scan(folder):
                path = f"{folder}/{found.name}" if folder else found.name
                if found.name.startswith(".") and found.name != ACCESS_FILE:
                    continue
                try:
                    status = found.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _entry(path, status, now)
                elif stat.S_ISLNK(status.st_mode):
                    yield replace(_entry(path, status, now), problem="is a link; put the file here")
                elif found.name == ACCESS_FILE:
                    yield replace(_entry(path, status, now), problem="is not a file")
                elif stat.S_ISDIR(status.st_mode):
                    folders.append(path)

    def read(self, entry: Entry, limit: int) -> tuple[Entry, bytes]:
        """Read a file whole, also while others write it: again, if it changed in between."""
        try:
            for _ in range(_ATTEMPTS):
                now = time.time_ns()
                with os.fdopen(self._open(entry.path), "rb") as file:
                    before = os.fstat(file.fileno())
                    raw = file.read(limit)
                    after = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise Unreadable("is no longer a file")
                if _identity(before) == _identity(after):
                    return _entry(entry.path, after, now), raw
        except FileNotFoundError as error:
            raise Gone(entry.path) from error
        except OSError as error:
            raise Unreadable(f"cannot be read: {error.strerror}") from error
        raise Unreadable("is being written to")

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(self._root / folder) as found:
                return sorted(found, key=lambda each: each.name)
        except FileNotFoundError as error:
            if folder:
                return []  # deleted between the parent's listing and its own
            raise _unlisted(str(self._root), error) from error
        except OSError as error:
            raise _unlisted(str(self._root / folder), error) from error

    def _open(self, path: str) -> int:
        """Open ``path`` step by step, so that no folder on the way is a link either."""
        *folders, name = path.split("/")
        here = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for folder in folders:
                below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=here)
        finally:
            os.close(here)


class RemoteTree:
    """A folder behind an fsspec URL, such as ``s3://bucket/handbook``."""

    def __init__(self, url: str, options: Mapping[str, Any]):
        import fsspec

        protocol = url.partition("://")[0]
        self._url = url
        try:
            self._fs = fsspec.filesystem(
                protocol, skip_instance_cache=True, use_listings_cache=False, **options
            )
        except (ValueError, ImportError) as error:
            raise ConfigurationError(
                f"no store is reached by this address: {error}",
                subject=url,
                cure="Correct it in the DAG file, or install what reads it",
            ) from error
        self._root = self._fs._strip_protocol(url).rstrip("/")

    def entries(self) -> Iterator[Entry]:
        """List everything below the root, in a stable order."""
        try:
            found = self._fs.find(self._root, detail=True)
        except Exception as error:  # every store has exceptions of its own
            raise _unlisted(self._url, error) from error
        for name, about in sorted(found.items()):
            path = name.removeprefix(self._root).removeprefix("/")
            if name.startswith(self._root) and path and not _hidden(path):
                yield _remote_entry(path, about)

    def read(self, entry: Entry, limit: int) -> tuple[Entry, bytes]:
        """Read an object. Its fingerprint is the listing's: a newer content is read again."""
        if not entry.size:
            return entry, b""  # S3 has no first byte of nothing to give
        try:
            return entry, self._fs.cat_file(f"{self._root}/{entry.path}", start=0, end=limit)
        except FileNotFoundError as error:
            raise Gone(entry.path) from error
        except PermissionError as error:
            raise Unreadable("may not be read") from error
        except Exception as error:  # as above
            raise _unlisted(f"{self._url}/{entry.path}", error) from error


def _local(url: str) -> Path | None:
    """The path that ``url`` names, if it is one of this machine."""
    protocol, separator, path = url.partition("://")
    if not separator:
        return Path(url)
    return Path(path) if protocol in {"file", "local"} else None


def _entry(path: str, status: os.stat_result, now: int) -> Entry:
    tick = _TICK if status.st_ctime_ns % 1_000_000_000 else _COARSE_TICK
    settled = status.st_ctime_ns < now - tick
    return Entry(
        path=path,
        size=status.st_size,
        fingerprint=":".join(map(str, _identity(status))) if settled else None,
        modified=_moment(status.st_mtime),
    )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _remote_entry(path: str, about: Mapping[str, Any]) -> Entry:
    known = {key.lower(): value for key, value in about.items()}
    tag = known.get("etag") or known.get("md5hash") or known.get("content_md5")
    modified = known.get("lastmodified") or known.get("last_modified") or known.get("updated")
    link = known.get("islink") or known.get("type") == "link"
    return Entry(
        path=path,
        size=int(known.get("size") or 0),
        fingerprint=f"{known.get('size')}:{tag}" if tag else None,
        modified=modified if isinstance(modified, datetime) and modified.tzinfo else None,
        problem="is a link; put the file here" if link else None,
    )


def _hidden(path: str) -> bool:
    *folders, name = path.split("/")
    dotted = any(folder.startswith(".") for folder in folders)
    return dotted or not name or (name.startswith(".") and name != ACCESS_FILE)


def _unlisted(subject: str, error: Exception) -> SourceUnavailable:
    reason = getattr(error, "strerror", None) or str(error).strip() or type(error).__name__
    return SourceUnavailable(
        f"cannot be read: {reason.splitlines()[0]}",
        subject=subject,
        cure="Nothing was changed; check the address and the rights, then run again",
    )
