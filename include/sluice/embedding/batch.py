"""The batch tier of an endpoint: half the price, within a day.

Files and batches carry a key of ours, so that one which may have been made by somebody who was then
killed is found again instead of being made, and paid, twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Literal

import openai

from sluice.embedding import answers
from sluice.embedding.packing import Line, requests
from sluice.embedding.remote import RemoteEmbedder, open_remote
from sluice.errors import EmbedderRefused, EmbedderUnavailable
from sluice.ports import Vectors

INPUTS_A_LINE = 64  # what one bad text takes with it
KEY = "sluice"  # of the metadata that holds ours
_LONGEST_KEY = "x" * 36  # of a UUID
_SLACK = timedelta(hours=1)  # between the provider's clock and ours
_ENDED = {"completed", "failed", "expired", "cancelled"}

Outcome = Literal["working", "ended", "refused", "full", "gone"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """A batch as the provider sees it."""

    outcome: Outcome  # full: too much is waiting already, and nothing was done
    status: str
    message: str | None = None
    files: tuple[str, ...] = ()  # all that are there, the input too
    results: tuple[str, ...] = ()  # those that hold results, or reasons why there is none
    lines: int = 0  # of its results
    tokens: int | None = None  # that are billed


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one line."""

    line: int
    vectors: Vectors | None  # None: it failed
    tokens: int = 0
    message: str | None = None
    passing: bool = False  # it failed for no fault of its own: expired, cancelled, overloaded


def line(key: str, number: int, embedder: RemoteEmbedder, texts: Sequence[str]) -> bytes:
    """One request as it stands in the file, its newline included."""
    request = {
        "custom_id": f"{key}:{number}",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": embedder.arguments(texts),
    }
    return json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def measured(
    embedder: RemoteEmbedder,
    texts: Sequence[str],
    counts: Sequence[int],
    *,
    inputs: int,
    tokens: int,
) -> Iterator[Line]:
    """Texts packed into lines, which say how long they will be.

    Args:
        embedder: whose limits count.
        texts: to be packed, in order.
        counts: tokens of each.
        inputs: of one line at most.
        tokens: of one line at most.
    """
    known = embedder.limits
    limits = replace(known, inputs=min(inputs, known.inputs), tokens=min(tokens, known.tokens))
    for positions in requests(counts, limits):
        size = len(line(_LONGEST_KEY, 10**6, embedder, [texts[each] for each in positions]))
        yield Line(positions=positions, tokens=sum(counts[each] for each in positions), bytes=size)


class BatchTier:
    """Batches of one endpoint. Every call may be made again after a kill."""

    def __init__(self, embedder: RemoteEmbedder):
        """``embedder`` says where, which model, and with which key."""
        self._embedder = embedder

    def upload(self, key: str, lines: Iterable[bytes]) -> str:
        """Send a file; return its number."""
        content = BytesIO(b"".join(lines))
        with self._translating():
            made = self._embedder.client.files.create(
                file=(_name(key), content, "application/jsonl"), purpose="batch"
            )
        return made.id

    def find_file(self, key: str, since: datetime) -> str | None:
        """The number of a file that was perhaps sent."""
        with self._translating():
            for each in self._embedder.client.files.list(purpose="batch", order="desc"):
                if each.filename == _name(key):
                    return each.id
                if each.created_at < (since - _SLACK).timestamp():
                    return None
        return None

    def create(self, key: str, file_id: str) -> str:
        """Let the provider begin; return the batch's number."""
        with self._translating():
            made = self._embedder.client.batches.create(
                input_file_id=file_id,
                endpoint="/v1/embeddings",
                completion_window="24h",
                metadata={KEY: key},
            )
        return made.id

    def find(self, key: str, since: datetime) -> str | None:
        """The number of a batch that was perhaps created."""
        with self._translating():
            for each in self._embedder.client.batches.list(limit=100):
                if (each.metadata or {}).get(KEY) == key and each.status != "failed":
                    return each.id
                if each.created_at < (since - _SLACK).timestamp():
                    return None
        return None

    def look(self, remote_id: str) -> Remote:
        """How far a batch is."""
        try:
            with self._translating():
                found = self._embedder.client.batches.retrieve(remote_id)
        except EmbedderRefused as error:
            if isinstance(error.__cause__, openai.NotFoundError):
                return Remote(outcome="gone", status="gone", message=error.happened)
            raise
        results = tuple(each for each in (found.output_file_id, found.error_file_id) if each)
        errors = (found.errors.data if found.errors else None) or []
        first = errors[0] if errors else None
        full = first is not None and first.code == "token_limit_exceeded"
        counts = found.request_counts
        outcome: Outcome = "working"
        if found.status == "failed":
            outcome = "full" if full else "refused"
        elif found.status in _ENDED:
            outcome = "ended"
        return Remote(
            outcome=outcome,
            status=found.status,
            message=f"{first.message} (line {first.line})" if first else None,
            files=(found.input_file_id, *results),
            results=results,
            lines=counts.completed + counts.failed if counts else 0,
            tokens=found.usage.input_tokens if found.usage else None,
        )

    def results(self, key: str, remote: Remote, sizes: Mapping[int, int]) -> Iterator[Result]:
        """What became of each line that anything is known of, in the provider's order.

        Args:
            key: of the batch.
            remote: as it ended.
            sizes: how many texts each line has that has no vectors yet.
        """
        for file_id in remote.results:
            with self._translating():
                content = self._embedder.client.files.content(file_id)
                for each in content.iter_lines():
                    if each.strip() and (found := self._result(key, each, sizes)):
                        yield found

    def _result(self, key: str, said: str, sizes: Mapping[int, int]) -> Result | None:
        """None for what is no result of ours, or cut off: it counts as missing."""
        subject = self._embedder.subject
        try:
            entry = answers.parsed(said, subject)
            ours, _, number = str(entry.get("custom_id")).rpartition(":")
            at = int(number)
        except (EmbedderUnavailable, ValueError):
            return None
        if ours != key:
            return None
        response = entry.get("response") or {}
        body = response.get("body") or {}
        if response.get("status_code") != 200:
            error = entry.get("error") or body.get("error") or {}
            passing = bool(entry.get("error")) or response.get("status_code", 500) >= 429
            return Result(
                line=at, vectors=None, message=str(error.get("message", "?")), passing=passing
            )
        tokens = answers.usage(body, 0)
        if at not in sizes:  # it was read before somebody was killed
            return Result(line=at, vectors=None, tokens=tokens, passing=True)
        try:
            found = answers.vectors(body, sizes[at], self._embedder.dimensions, subject)
        except EmbedderUnavailable as error:
            return Result(line=at, vectors=None, tokens=tokens, message=error.happened)
        return Result(line=at, vectors=found, tokens=tokens)

    def discard(self, files: Iterable[str]) -> None:
        """Delete files; one that is gone is no error."""
        for each in files:
            try:
                with self._translating():
                    self._embedder.client.files.delete(each)
            except EmbedderRefused as error:
                if not isinstance(error.__cause__, openai.NotFoundError):
                    raise

    def _translating(self) -> AbstractContextManager[None]:
        return answers.translating(self._embedder.subject)


def _name(key: str) -> str:
    return f"sluice-{key}.jsonl"


def ended(name: str, endpoints: Path | None, remote_ids: Sequence[str]) -> bool:
    """Whether one of these batches needs no waiting for any more.

    Args:
        name: of the embedder.
        endpoints: the file that describes further endpoints.
        remote_ids: the provider's numbers.

    Raises:
        EmbedderUnavailable, EmbedderRefused: they cannot be looked at.
    """
    tier = BatchTier(open_remote(name, endpoints))
    return any(tier.look(each).outcome != "working" for each in remote_ids)
