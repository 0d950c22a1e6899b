"""Chunks are embedded in batches: each once, whatever fails, and whoever is killed when.

Nothing is handed from one call to the next: what is planned, submitted and read stands in the
catalog (``catalog.batches``). :meth:`Bulk.advance` takes every batch as far as it will go and says
what it still waits for; it is called again until it waits for nothing. Vectors end up in the
cache, where whoever publishes finds them. What a batch did not embed is claimed by nobody any more
and is planned again; a chunk that failed :data:`FAILURES` times is left to the standard tier, which
says what is wrong with it.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from sluice.budget import Purse
from sluice.catalog import Catalog, batches, costs, embeddings
from sluice.catalog.batches import Batch, Claim, State
from sluice.embedding.batch import INPUTS_A_LINE, BatchTier, Remote, Result, line, measured
from sluice.embedding.packing import FileLimits, files
from sluice.embedding.remote import RemoteEmbedder
from sluice.errors import (
    AlreadyRunning,
    BudgetExhausted,
    EmbedderUnavailable,
    PlacementRefused,
    SluiceError,
)
from sluice.ingest.progress import Progress
from sluice.ingest.writing import batches as portions
from sluice.ingest.writing import place
from sluice.model import Account
from sluice.ports import Vectors

_log = logging.getLogger(__name__)

FAILURES = 3
_FULL = 300.0  # seconds until a batch is submitted again after the provider had too many tokens
_NO_LIMIT = 10**12  # tokens, where the provider names none
_READS = 5  # of incomplete results; then what is missing is asked for again
_STORED = 64  # lines whose vectors are stored at a time
_AT_THE_PROVIDER = {"uploading", "uploaded", "creating", "submitted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What is not finished."""

    batches: int
    inputs: int
    remote_ids: tuple[str, ...]  # of those that the provider works on

    def __bool__(self) -> bool:
        return self.batches > 0


class Bulk:
    """The batches of one embedder and tenant."""

    def __init__(
        self,
        catalog: Catalog,
        embedder: RemoteEmbedder,
        name: str,
        *,
        limits: FileLimits | None = None,
        progress: Progress | None = None,
    ):
        """Bind them.

        Args:
            catalog: keeps them.
            embedder: whose batch tier is used.
            name: of the embedder, as settings have it.
            limits: of one file; None: the provider's.
            progress: told of every boundary.
        """
        self._catalog = catalog
        self._embedder = embedder
        self._name = name
        self._tier = BatchTier(embedder)
        self._purse = Purse(catalog)
        self._enqueued = embedder.endpoint.batch_tokens or _NO_LIMIT
        self._limits = limits or FileLimits(tokens=self._enqueued)
        self._reached = (progress or Progress()).reached

    def plan(self, texts: Mapping[str, str], account: Account) -> int:
        """Claim for new batches what has no vector and is in none; return of how many chunks.

        Args:
            texts: by content hash.
            account: who pays.

        Raises:
            BadInput: a text is empty, or longer than the model's window.
            AlreadyRunning: another run is at work on the same model's batches.
        """
        model = self._embedder.model
        with self._catalog.begin() as connection:
            if not batches.lock(connection, model):
                raise AlreadyRunning(
                    "another run is at work on this model's batches",
                    subject=model,
                    cure="Nothing is lost; try again in a moment",
                )
            failures = batches.claimed(connection, model, texts.keys())
            free = [each for each in texts if 0 <= failures.get(each, 0) < FAILURES]
            known = embeddings.known(connection, model, free)
            wanted = [each for each in free if each not in known]
            # What failed before is alone in its line, so that it takes nothing with it.
            fresh = [each for each in wanted if not failures.get(each)]
            again = [each for each in wanted if failures.get(each)]
            for claims in self._packed(texts, fresh, again):
                batches.plan(
                    connection,
                    embedder=self._name,
                    model=model,
                    source=account.source,
                    run_id=account.run_id,
                    claims=claims,
                )
        self._reached("batch: planned")
        return len(wanted)

    def _packed(
        self, texts: Mapping[str, str], fresh: Sequence[str], again: Sequence[str]
    ) -> Iterator[list[Claim]]:
        """The claims of each file."""
        for hashes, inputs in ((fresh, INPUTS_A_LINE), (again, 1)):
            some = [texts[each] for each in hashes]
            counts = [self._embedder.count_tokens(each) for each in some]
            lines = measured(
                self._embedder, some, counts, inputs=inputs, tokens=self._limits.tokens
            )
            for packed in files(lines, self._limits):
                yield [
                    Claim(
                        content_hash=hashes[at],
                        line=number,
                        position=position,
                        tokens=counts[at],
                        text=some[at],
                    )
                    for number, each in enumerate(packed)
                    for position, at in enumerate(each.positions)
                ]

    def waiting(self, content_hashes: Collection[str]) -> Waiting:
        """The batches that some of these chunks are in."""
        model = self._embedder.model
        with self._catalog.begin() as connection:
            chosen = batches.holding(connection, model, content_hashes)
            found = [each for each in batches.live(connection, model) if each.batch_id in chosen]
        return Waiting(
            batches=len(found),
            inputs=sum(each.inputs for each in found),
            remote_ids=tuple(each.remote_id for each in found if each.remote_id),
        )

    def advance(self, account: Account) -> None:
        """Take every batch as far as it goes now. Whoever finds another at it leaves it to them.

        Args:
            account: whose run asks. What others cannot pay for is given up, and is their concern.

        Raises:
            BudgetExhausted: a batch would cost more than somebody allowed; it is given up.
            PlacementRefused: its source became sensitive before it was sent; it is given up.
            EmbedderUnavailable: the provider does not answer now.
            EmbedderRefused: the provider wants nothing of us.
        """
        model, stopped = self._embedder.model, list[SluiceError]()
        with self._catalog.begin() as alone:
            if not batches.lock(alone, model):
                return
            with self._catalog.begin() as connection:
                found = batches.live(connection, model)
            there = sum(each.tokens for each in found if each.state in _AT_THE_PROVIDER)
            for batch in found:
                new = batch.state == "planned"
                if new and (batch.waits or there + batch.tokens > self._enqueued):
                    continue
                there += batch.tokens * new
                try:
                    self._take(batch)
                except (BudgetExhausted, PlacementRefused) as error:
                    if batch.run_id == account.run_id:
                        stopped.append(error)
        if stopped:
            raise stopped[0]

    def _take(self, batch: Batch) -> None:
        """Step by step, until it has to wait."""
        steps = {
            "planned": self._upload,
            "uploading": self._find_file,
            "uploaded": self._create,
            "creating": self._find,
            "submitted": self._look,
            "read": self._discard,
        }
        now: Batch | None = batch
        while now is not None and now.state in steps:
            now = steps[now.state](now)
            self._reached(f"batch: {now.state if now else 'waits'}")

    def _upload(self, batch: Batch) -> Batch:
        batch = self._pay(batch)
        self._reached("batch: uploading")
        return self._send(batch)

    def _find_file(self, batch: Batch) -> Batch:
        """Whoever was to send the file was killed, or was not told whether it arrived."""
        file = self._tier.find_file(str(batch.batch_id), batch.planned_at)
        return self._uploaded(batch, file) if file else self._send(batch)

    def _send(self, batch: Batch) -> Batch:
        key = str(batch.batch_id)
        with self._catalog.begin() as connection:
            found = list(batches.claims(connection, batch.batch_id))
        lines = (
            line(key, number, self._embedder, [each.text for each in claims])
            for number, claims in groupby(found, key=lambda each: each.line)
        )
        return self._uploaded(batch, self._tier.upload(key, lines))

    def _uploaded(self, batch: Batch, file: str) -> Batch:
        return self._note(batch, "uploaded", input_file=file, files=(file,))

    def _create(self, batch: Batch) -> Batch | None:
        if batch.waits:
            return None
        batch = self._note(batch, "creating")
        self._reached("batch: creating")
        return self._submit(batch)

    def _find(self, batch: Batch) -> Batch:
        """Whoever was to create the batch was killed, or was not told whether it began."""
        remote = self._tier.find(str(batch.batch_id), batch.planned_at)
        return self._note(batch, "submitted", remote_id=remote) if remote else self._submit(batch)

    def _submit(self, batch: Batch) -> Batch:
        remote = self._tier.create(str(batch.batch_id), batch.input_file or "")
        return self._note(batch, "submitted", remote_id=remote)

    def _look(self, batch: Batch) -> Batch | None:
        remote = self._tier.look(batch.remote_id or "")
        if remote.outcome == "working":
            return None
        if remote.outcome == "full":  # nothing was done, nothing is billed, the file is still there
            _log.warning("%s: %s: tried again later", self._embedder.subject, remote.message)
            return self._note(batch, "uploaded", message=remote.message, wait=_FULL)
        billed = batch.tokens if remote.outcome == "gone" else self._read(batch, remote)
        self._settle(batch, billed)
        if remote.outcome != "ended":
            _log.warning("%s: batch %s: %s", self._embedder.subject, remote.status, remote.message)
        with self._catalog.begin() as connection:
            if remote.outcome == "refused":
                batches.failed(connection, batch.batch_id, remote.message or remote.status)
            batches.give_up(connection, batch.batch_id)
        return self._note(batch, "read", files=remote.files or batch.files, message=remote.message)

    def _read(self, batch: Batch, remote: Remote) -> int:
        """Keep every vector that came; return the tokens that are billed."""
        with self._catalog.begin() as connection:
            found = list(batches.claims(connection, batch.batch_id))
        wanted = {
            number: list(claims) for number, claims in groupby(found, key=lambda each: each.line)
        }
        sizes = {number: len(claims) for number, claims in wanted.items()}
        billed: dict[int, int] = {}  # by every line that was seen
        results = self._tier.results(str(batch.batch_id), remote, sizes)
        for some in portions(results, _STORED):
            for each in some:
                billed[each.line] = max(each.tokens, billed.get(each.line, 0))
            self._keep(batch, [each for each in some if each.line in wanted], wanted)
            self._reached("batch: kept")
        if len(billed) < remote.lines and batch.reads < _READS:  # a proxy's page, a cut connection
            self._note(replace(batch, reads=batch.reads + 1), batch.state)
            raise EmbedderUnavailable(
                f"{len(billed)} of {remote.lines} results of a batch can be read",
                subject=self._embedder.subject,
                cure="Nothing is lost; it is read again",
            )
        return sum(billed.values()) if remote.tokens is None else remote.tokens

    def _keep(
        self, batch: Batch, results: Sequence[Result], wanted: dict[int, list[Claim]]
    ) -> None:
        """Store what came, in one transaction with the end of its claims."""
        model, vectors = self._embedder.model, dict[str, Vectors]()
        failed = dict[int, str]()
        for each in results:
            if each.vectors is not None and each.line in wanted:
                claims = wanted.pop(each.line)
                vectors |= {claim.content_hash: each.vectors[claim.position] for claim in claims}
            elif each.vectors is None and not each.passing:
                failed[each.line] = each.message or ""
        with self._catalog.begin() as connection:
            embeddings.store(connection, model, vectors)
            batches.embedded(connection, batch, vectors.keys())
            for number in failed.keys() & wanted.keys():
                _log.warning("%s: line %s: %s", batch.batch_id, number, failed[number])
                batches.failed(connection, batch.batch_id, failed[number], number)

    def _discard(self, batch: Batch) -> Batch:
        self._tier.discard(batch.files)
        return self._note(batch, "done")

    def _pay(self, batch: Batch) -> Batch:
        """Set its price aside; one that is too dear, or must not be sent any more, is given up."""
        account = Account(source=batch.source, run_id=batch.run_id)
        spend = self._embedder.spend(batch.tokens, "batch")
        try:
            place(self._catalog, self._embedder, batch.source)
            held = self._purse.reserve(spend, account)
        except (BudgetExhausted, PlacementRefused) as error:
            with self._catalog.begin() as connection:
                batches.give_up(connection, batch.batch_id)
            self._note(batch, "done", message=error.happened)
            raise
        paid = replace(batch, state="uploading", hold_id=held.hold_id)
        with self._catalog.begin() as connection:
            batches.reach(connection, paid, None)
            costs.keep_hold(connection, held.hold_id)
        return paid

    def _settle(self, batch: Batch, tokens: int) -> None:
        with self._catalog.begin() as connection:
            held = costs.find_hold(connection, batch.hold_id) if batch.hold_id else None
        if held is not None:  # else whoever was killed here had settled it
            self._purse.settle(held, tokens, self._embedder.dollars(tokens, "batch"))

    def _note(
        self,
        batch: Batch,
        state: State,
        *,
        input_file: str | None = None,
        remote_id: str | None = None,
        files: tuple[str, ...] | None = None,
        message: str | None = None,
        wait: float | None = None,
    ) -> Batch:
        """Write down how far it is."""
        now = replace(
            batch,
            state=state,
            input_file=input_file or batch.input_file,
            remote_id=remote_id or batch.remote_id,
            files=batch.files if files is None else files,
            message=message or batch.message,
            waits=wait is not None,
        )
        with self._catalog.begin() as connection:
            batches.reach(connection, now, wait)
        return now
