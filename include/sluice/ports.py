"""The seams: what Sluice asks of the outside world, one small Protocol each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sluice.model import (
    Auth,
    Candidate,
    Column,
    Connection,
    Draft,
    Identity,
    IndexedChunk,
    LandedRow,
    Limit,
    Membership,
    Permissions,
    Policy,
    Quota,
    SourceChange,
    Spend,
    Tier,
    Window,
)

Vectors = NDArray[np.float32]
Charge = Callable[[int], None]  # says how many tokens were billed


class Meter(Protocol):
    """Lets requests to a provider go: as fast as limits allow, and never past a budget."""

    def paying(self, spend: Spend, limit: Limit) -> AbstractContextManager[Charge]:
        """Wait for a turn at the endpoint, which allows ``limit``; hold the price meanwhile.

        The body says what was really billed; if it does not, nothing was. Documents wait as long
        as it takes, questions hardly.

        Raises:
            BudgetExhausted: it would cost more than somebody allowed. The body does not run.
            LimitExceeded: whoever asks a question has asked too much.
            EmbedderBusy: the endpoint takes no more questions at the moment.
        """

    def heard(self, endpoint: str, quota: Quota) -> None:
        """Note what an endpoint says of its limits, for everybody who asks it."""


class Embedder(Protocol):
    """Turns texts into vectors. The same text gives the same vector, alone or in a batch."""

    @property
    def model(self) -> str:
        """Names the vector space: vectors of two models are never compared."""

    @property
    def dimensions(self) -> int: ...

    @property
    def window(self) -> int:
        """The longest text, in this embedder's own tokens, of which nothing is cut off."""

    @property
    def host(self) -> str | None:
        """The machine that texts are sent to; None: they stay in this process."""

    @property
    def parallel(self) -> int:
        """How many calls of :meth:`embed` at a time make it faster."""

    @property
    def dense_weight(self) -> float:
        """The vector list's weight in rank fusion that suits this model, 0 to 1."""

    def dollars(self, tokens: int, tier: Tier = "standard") -> Decimal:
        """What a provider asks for so many tokens today; 0 for a model that runs here."""

    def count_tokens(self, text: str) -> int: ...

    def embed(self, texts: Sequence[str], meter: Meter | None = None) -> Vectors:
        """Return unit-length rows, shape ``(len(texts), dimensions)``.

        What a provider is asked for is paid by way of ``meter``; without one it is not asked.
        """

    def ask(self, question: str, meter: Meter | None = None) -> Vectors:
        """Return the vector of a question, shape ``(dimensions,)``: soon, or an error."""


class Index(Protocol):
    """Finds candidates, nothing more: it may be stale, doubled or resurrected.

    ``scope`` is a set of ``acl_id``; an empty one finds nothing without asking the store. There is
    no way to search without a scope, and no way to pass a filter of one's own.
    """

    def ensure(self) -> None:
        """Create what is missing; refuse a store whose schema is not ours."""

    def upsert(self, chunks: Sequence[IndexedChunk]) -> None:
        """Write chunks, in one commit; writing the same ids again changes nothing."""

    def search_terms(self, terms: str, scope: Collection[int], limit: int) -> list[Candidate]:
        """The best ``limit`` permitted chunks by BM25 over analysed ``terms``, best first."""

    def search_vector(self, vector: Vectors, scope: Collection[int], limit: int) -> list[Candidate]:
        """The nearest ``limit`` permitted chunks by cosine, nearest first."""

    def count(self, generations: Collection[int]) -> Mapping[int, int]:
        """Chunks held of each generation; one that is absent counts 0."""

    def delete(self, generations: Collection[int]) -> None:
        """Remove every chunk of these generations."""

    def generations(self) -> frozenset[int]:
        """Every generation of which the store holds at least one chunk. Reads all of it."""

    def size(self) -> int:
        """Chunks held in all. Cheap."""

    def fetch(self, generations: Collection[int]) -> list[IndexedChunk]:
        """Every chunk of these generations, whole, by document and ordinal: to compare, not to
        serve. Vectors are as the store has them.
        """

    def optimize(self) -> None:
        """Fold new data into the indexes and drop dead files. Off the hot path."""

    def wants_optimizing(self) -> bool:
        """Whether enough has changed since the last fold to be worth another."""

    def ping(self) -> None:
        """Return if the store can be read, and its schema is still ours.

        Raises:
            IndexUnavailable: it cannot, or is not.
        """

    def impediment(self) -> str | None:
        """What keeps the store from being written although it can be read; None if nothing does.

        Raises:
            IndexUnavailable: it cannot be asked.
        """

    def announce(self) -> None:
        """Point the alias that people look for here, where the store has such. No code reads it."""

    def drop(self) -> None:
        """Remove all of it, the table too. One that is not there is no error."""

    def close(self) -> None:
        """Give connections back."""


class Kit(Protocol):
    """What a reading of one source takes along."""

    def connection(self, name: str) -> Connection:
        """What an operator stored under ``name``.

        Raises:
            ConfigurationError: nothing.
        """

    def token(self, auth: Auth, rejected: str | None = None) -> str:
        """Return an access token that is good for a while yet, got anew where it must be.

        Args:
            auth: how the source is signed in to.
            rejected: the token that the source has just answered 401 to.

        Raises:
            SignInNeeded: the grant is gone.
            SourceUnavailable: whoever gives tokens does not answer.
        """

    def changes(self) -> Sequence[SourceChange]:
        """The changes that were noted and that no load has heard of, oldest first.

        Each was committed at the source before it was noted: whatever is read from now on shows
        it. The load of this reading counts as having heard of them.
        """


class Source(Protocol):
    """One place that documents come from. The value a file in ``dags/`` writes down."""

    @property
    def name(self) -> str:
        """Lower-case letters, digits and ``_``: names the DAG, the schema and every document."""

    @property
    def kind(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def columns(self) -> Sequence[Column] | None:
        """The columns as they are now, to tell drift by; None where there is no schema to drift.

        Raises:
            SourceUnavailable: the source does not answer.
        """

    def resources(self, window: Window | None, kit: Kit, *, whole: bool) -> Sequence[Any]:
        """Return the dlt resources ``rows``, ``listing``, ``acls`` and ``marks``, in that order.

        ``sluice.landing`` documents their columns.

        Args:
            window: read the ``rows`` again that changed inside it, and leave the cursor alone.
            kit: what it takes along.
            whole: name every row there is, so that what is gone can be told. Otherwise a source
                that knows what changed since may name that alone.
        """

    def draft(self, row: LandedRow) -> Draft:
        """Map a landed row; never raise: what is wrong goes into ``problems``."""


@runtime_checkable
class Permissioned(Protocol):
    """A source whose permissions are read apart from its content, and more often."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def permissions(self, kit: Kit) -> Permissions:
        """Everything the source says now of who may read what.

        Raises:
            Incomplete: some of it could not be read; nothing may be concluded from the rest.
            SourceUnavailable: it does not answer.
        """


class Directory(Protocol):
    """Where people, groups and native accounts come from."""

    @property
    def name(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def read(self) -> tuple[Sequence[Membership], Sequence[Identity]]:
        """Everything the directory says now.

        Raises:
            SourceUnavailable: it does not answer; what was known stays, and ages.
        """
