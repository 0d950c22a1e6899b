"""The files and batches of ``openai_server.py``.

How a batch goes is told by an :class:`Outcome`; which one it gets, by ``Batches.fate``. Finished
lines are charged, whatever becomes of the rest.
"""

from __future__ import annotations

import base64
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request

MOST_REQUESTS = MOST_INPUTS = 50_000
MOST_BYTES = 200_000_000
_LIVE = {"validating", "in_progress", "finalizing"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What becomes of a batch."""

    status: str = "completed"  # or expired, cancelled, failed
    done: float = 1.0  # the share of lines that are worked on
    polls: int = 1  # looks at it until it has ended
    errors: float = 0.0  # the share of lines that end in the error file, with a server error
    code: str = "token_limit_exceeded"  # of one that failed
    spoil: str | None = None  # duplicated, cut, nan, reordered or missing: of some lines


@dataclass(slots=True)
class Batch:
    """One batch and what it has done."""

    id: str
    lines: list[dict[str, Any]]
    outcome: Outcome
    shown: dict[str, Any]
    texts: frozenset[tuple[str, str]]
    looks: int = 0


@dataclass(slots=True)
class Batches:
    """All batches of a server."""

    server: Any
    fate: Callable[[int], Outcome] = lambda _number: Outcome()
    enqueued: int | None = None  # tokens that may wait
    alone: bool = False  # a batch is worked on from its creation, whether or not anybody looks
    every: dict[str, Batch] = field(default_factory=dict)
    doubled: Counter[str] = field(default_factory=Counter)  # texts that were in two live batches

    def live(self) -> list[Batch]:
        """Those that are being worked on."""
        return [each for each in self.every.values() if each.shown["status"] in _LIVE]

    def create(self, body: dict[str, Any]) -> dict[str, Any]:
        """Take a batch on; what is wrong with its file shows when it is looked at."""
        from openai_server import Problem

        server, file = self.server, self.server.files.get(body.get("input_file_id"))
        if file is None:
            raise Problem(404, f"No such File object: {body.get('input_file_id')}")
        if body.get("completion_window") != "24h" or body.get("endpoint") != "/v1/embeddings":
            raise Problem(400, "Invalid value for 'completion_window' or 'endpoint'.")
        number = len(self.every)
        errors, lines = checked(file.content)
        texts = frozenset((x["body"]["model"], t) for x in lines for t in x["body"]["input"])
        batch_id = f"batch_{uuid.uuid4().hex}"
        outcome = self.fate(number)
        if errors:
            outcome = Outcome(status="failed", code=errors[0]["code"])
        elif self.enqueued is not None and outcome.status != "failed":
            waiting = sum(_tokens(x.lines) for x in self.live()) + _tokens(lines)
            if waiting > self.enqueued:
                outcome = Outcome(status="failed")
        if outcome.status == "failed" and not errors:
            errors = [{"code": outcome.code, "message": "refused", "line": None, "param": None}]
        shown = {
            "id": batch_id,
            "object": "batch",
            "endpoint": "/v1/embeddings",
            "errors": {"object": "list", "data": errors} if errors else None,
            "input_file_id": body["input_file_id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(time.time()),
            "request_counts": {"total": len(lines), "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
        }
        with server.lock:
            for each in self.live():
                if each.outcome.status != "failed" and outcome.status != "failed":
                    self.doubled.update(text for _, text in each.texts & texts)
            self.every[batch_id] = batch = Batch(batch_id, lines, outcome, shown, texts)
        if self.alone:
            threading.Thread(target=self._end, args=(batch,), daemon=True).start()
        return dict(shown)

    def look(self, batch_id: str) -> dict[str, Any]:
        """How far it is; looking makes it go on, unless it does so by itself."""
        from openai_server import Problem

        with self.server.lock:
            batch = self.every.get(batch_id)
            if batch is None:
                raise Problem(404, f"No batch found with id '{batch_id}'.")
            batch.looks += 1
            if batch.shown["status"] in _LIVE:
                batch.shown["status"] = "in_progress"
                if not self.alone and batch.looks >= batch.outcome.polls:
                    self._end(batch)
            return dict(batch.shown)

    def _end(self, batch: Batch) -> None:
        outcome, shown = batch.outcome, batch.shown
        if outcome.status == "failed":
            shown["status"] = outcome.status
            return
        chance = random.Random(batch.id)
        lines = chance.sample(batch.lines, len(batch.lines))
        worked = round(outcome.done * len(lines))
        good, bad, tokens = list[str](), list[str](), 0
        for each in lines[:worked]:
            entry, used = self._line(each, failing=chance.random() < outcome.errors)
            tokens += used
            (good if entry["response"]["status_code"] == 200 else bad).append(json.dumps(entry))
        for each in lines[worked:]:
            error = {"code": f"batch_{outcome.status}", "message": "This request was not done."}
            bad.append(
                json.dumps({"custom_id": each["custom_id"], "response": None, "error": error})
            )
        for name, content in (("output", _spoilt(good, outcome.spoil, chance)), ("error", bad)):
            if content:
                shown[f"{name}_file_id"] = self.keep(
                    f"{batch.id}_{name}.jsonl", "batch_output", "\n".join(content).encode() + b"\n"
                )
        shown["request_counts"] |= {"completed": len(good), "failed": len(bad)}
        shown["usage"] = {
            "input_tokens": tokens,
            "output_tokens": 0,
            "total_tokens": tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }
        with self.server.lock:
            shown["status"] = outcome.status

    def _line(self, line: dict[str, Any], *, failing: bool) -> tuple[dict[str, Any], int]:
        from openai_server import Problem

        status, tokens = 200, 0
        try:
            if failing:
                raise Problem(500, "The server had an error while processing your request.")
            body = self.server.embeddings(line["body"], "batch")
            tokens = body["usage"]["prompt_tokens"]
        except Problem as problem:
            status, body = problem.status, {"error": problem.error}
        response = {"status_code": status, "request_id": uuid.uuid4().hex, "body": body}
        entry = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": line["custom_id"]}
        return {**entry, "response": response, "error": None}, tokens

    def keep(self, filename: str, purpose: str, content: bytes) -> str:
        """Store a file; return its number."""
        from openai_server import Stored

        file_id = f"file-{uuid.uuid4().hex[:20]}"
        with self.server.lock:
            self.server.files[file_id] = Stored(content, filename, purpose, int(time.time()))
        return file_id


def checked(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What is wrong with a file, and its requests."""
    errors, lines, seen = list[dict[str, Any]](), list[dict[str, Any]](), set[str]()

    def wrong(code: str, message: str, line: int | None = None) -> None:
        errors.append({"code": code, "message": message, "line": line, "param": None})

    for number, raw in enumerate(content.splitlines(), start=1):
        try:
            entry = json.loads(raw)
        except ValueError:
            wrong("invalid_json_line", "This line is not parseable as valid JSON.", number)
            continue
        if not entry.get("custom_id"):
            wrong("missing_required_parameter", "Missing required parameter: 'custom_id'.", number)
        elif entry["custom_id"] in seen:
            wrong("duplicate_custom_id", "The custom_id for this request is a duplicate.", number)
        elif (entry.get("method"), entry.get("url")) != ("POST", "/v1/embeddings"):
            wrong("invalid_url", "The URL provided for this request does not match.", number)
        seen.add(entry.get("custom_id", ""))
        lines.append(entry)
    if not lines:
        wrong("empty_file", "The batch file is empty.")
    if len({each["body"]["model"] for each in lines}) > 1:
        wrong("mismatched_model", "All requests must be of one model.")
    if len(lines) > MOST_REQUESTS or sum(len(x["body"]["input"]) for x in lines) > MOST_INPUTS:
        wrong("too_many_tasks", f"The batch has more than {MOST_INPUTS} tasks.")
    return errors, lines


def _tokens(lines: list[dict[str, Any]]) -> int:
    from sluice.embedding.vocabulary import count

    return sum(count("cl100k_base", text) for each in lines for text in each["body"]["input"])


def _spoilt(good: list[str], how: str | None, chance: random.Random) -> list[str]:
    """The lines of an output file, some of them not as they should be."""
    if not good or how is None:
        return good
    at = chance.randrange(len(good))
    if how == "duplicated":
        return [*good, good[at]]
    if how == "cut":
        return [*good[:at], good[at][: len(good[at]) // 2], *good[at + 1 :]]
    if how == "missing":
        return good[:at] + good[at + 1 :]
    entry = json.loads(good[at])
    data = entry["response"]["body"]["data"]
    if how == "reordered":
        data.reverse()
    else:
        size = len(base64.b64decode(data[0]["embedding"])) // 4
        data[0]["embedding"] = [float("nan")] * size
    return [*good[:at], json.dumps(entry), *good[at + 1 :]]


def _upload(server: Any, request: Request, body: Any) -> dict[str, Any]:
    from openai_server import Problem

    filename, purpose, content = body
    if purpose != "batch" or not filename.endswith(".jsonl"):
        raise Problem(400, "Invalid file format for Batch API. Must be .jsonl")
    if len(content) > MOST_BYTES:
        raise Problem(413, "File is too large.")
    return _shown(server, server.batches.keep(filename, purpose, content))


def _shown(server: Any, file_id: str) -> dict[str, Any]:
    from openai_server import Problem

    file = server.files.get(file_id)
    if file is None:
        raise Problem(404, f"No such File object: {file_id}", None, "id")
    return {
        "id": file_id,
        "object": "file",
        "bytes": len(file.content),
        "created_at": file.created_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }


def _page(server: Any, request: Request, every: list[dict[str, Any]]) -> dict[str, Any]:
    """A page of a list, the newest first."""
    newest = every[::-1]
    after = request.query_params.get("after")
    if after:
        ids = [each["id"] for each in newest]
        newest = newest[ids.index(after) + 1 :] if after in ids else []
    limit = int(request.query_params.get("limit", 20))
    shown = newest[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(newest) > limit,
    }


def _files(server: Any, request: Request, body: Any) -> dict[str, Any]:
    purpose = request.query_params.get("purpose")
    every = [_shown(server, each) for each in list(server.files)]
    return _page(server, request, [x for x in every if purpose in {None, x["purpose"]}])


def _delete(server: Any, request: Request, body: Any) -> dict[str, Any]:
    file_id = request.path_params["file_id"]
    _shown(server, file_id)
    with server.lock:
        del server.files[file_id]
    return {"id": file_id, "object": "file", "deleted": True}


def _content(server: Any, request: Request, body: Any) -> bytes:
    file_id = request.path_params["file_id"]
    _shown(server, file_id)
    return bytes(server.files[file_id].content)


ROUTES = (
    ("/v1/files", "POST", _upload),
    ("/v1/files", "GET", _files),
    ("/v1/files/{file_id}", "DELETE", _delete),
    ("/v1/files/{file_id}/content", "GET", _content),
    ("/v1/batches", "POST", lambda server, request, body: server.batches.create(body)),
    (
        "/v1/batches",
        "GET",
        lambda server, request, body: _page(
            server, request, [each.shown for each in server.batches.every.values()]
        ),
    ),
    (
        "/v1/batches/{batch_id}",
        "GET",
        lambda server, request, body: server.batches.look(request.path_params["batch_id"]),
    ),
)
