"""Every error Sluice raises, in one tree.

    SluiceError
    ├── ConfigurationError        a setting is missing or impossible
    ├── BadInput                  the caller sent something we cannot read
    │   └── InvalidPrincipal      a principal that is not one
    ├── Refused                   the caller may not
    │   ├── Unauthenticated       no key, a wrong key, a revoked key
    │   ├── NotPermitted          a good key, used for someone it may not act for
    │   ├── NotFound              absent or forbidden: the caller cannot tell which
    │   ├── ScopeTooLarge         the person may read more objects than can be filtered by
    │   └── TooStale              fresher permissions were demanded than we have
    ├── SourceError               a source cannot be read
    │   ├── SourceUnavailable     not now; the next run may succeed
    │   │   ├── SourceBusy        its rate limit is used up, and it said until when
    │   │   └── Incomplete        a listing ended half-way; nothing is given or taken away
    │   ├── SourceRefused         it understood, and will not: a scope or a right is missing
    │   ├── SignInNeeded          its grant is gone; somebody has to consent again
    │   └── SchemaDrift           a column the source cannot do without is gone
    ├── LoadHeld                  a load looks wrong as a whole; the old content serves
    ├── AlreadyRunning            another run of this source holds the lock
    ├── EmbeddingError            texts cannot be embedded
    │   ├── EmbedderUnavailable   not now; the next try may succeed
    │   ├── EmbedderBusy          its limits are used up; nothing was sent
    │   ├── EmbedderRefused       not like this: key, model, answer or text are wrong
    │   ├── PlacementRefused      a sensitive source may not be sent to that machine
    │   └── StillEmbedding        a provider works on it; run again in a while
    ├── BudgetExhausted           it would cost more than somebody allowed
    ├── LimitExceeded             somebody asks for more in a minute than an operator allows
    ├── Overloaded                more at a time than can be answered; refused at once
    ├── IndexUnavailable          the index cannot be read or written
    ├── ComparisonFailed          a new collection is not as it should be; the old one serves
    ├── CatalogUnavailable        the catalog cannot be reached
    └── StackError                the local stack cannot start

``str(error)`` says what happened, to what, and the cure, in one line fit for a person.
"""

from __future__ import annotations


class SluiceError(Exception):
    """What happened, to what (``subject``), and the ``cure``."""

    def __init__(self, happened: str, *, subject: str | None = None, cure: str | None = None):
        self.happened = happened
        self.subject = subject
        self.cure = cure
        super().__init__(happened, subject, cure)

    def __str__(self) -> str:
        head = f"{self.subject}: {self.happened}" if self.subject else self.happened
        return f"{head}. {self.cure}" if self.cure else head


class ConfigurationError(SluiceError):
    """A setting is missing or impossible."""


class BadInput(SluiceError):
    """The caller sent something that cannot be read."""


class InvalidPrincipal(BadInput):
    """A string that names no principal."""


class Refused(SluiceError):
    """The caller may not have what it asked for."""


class Unauthenticated(Refused):
    """No key, an unknown key, or one that was revoked or has expired."""


class NotPermitted(Refused):
    """A good key, used on behalf of someone it may not act for."""


class NotFound(Refused):
    """Absent or forbidden. The two must stay indistinguishable, in text and in status."""


class ScopeTooLarge(Refused):
    """The person may read more permission objects than one search can be filtered by."""


class TooStale(Refused):
    """The caller demanded fresher permissions than the catalog holds."""


class SourceError(SluiceError):
    """A source cannot be read."""


class SourceUnavailable(SourceError):
    """A source does not answer now; nothing was changed, and the next run may succeed."""


class SourceBusy(SourceUnavailable):
    """Its rate limit is used up for ``after`` seconds: whoever waits holds no worker meanwhile."""

    def __init__(
        self,
        happened: str,
        *,
        subject: str | None = None,
        cure: str | None = None,
        after: float,
    ):
        self.after = after
        super().__init__(happened, subject=subject, cure=cure)


class Incomplete(SourceUnavailable):
    """A listing ended half-way. Nothing is given and nothing is taken away on the word of it."""


class SourceRefused(SourceError):
    """The source understood and will not: a scope, a right or the thing itself is missing."""


class SignInNeeded(SourceError):
    """The grant is gone: revoked, expired, or never given. Somebody has to consent again."""


class SchemaDrift(SourceError):
    """A column without which the source cannot be read is gone or unusable."""


class LoadHeld(SluiceError):
    """A load looks wrong as a whole. Nothing of it was published; the old content serves."""


class AlreadyRunning(SluiceError):
    """Another run of the same source is in progress."""


class EmbeddingError(SluiceError):
    """Texts cannot be embedded."""


class EmbedderUnavailable(EmbeddingError):
    """The embedder does not answer now, or not sensibly. It wants ``after`` seconds, if it says."""

    def __init__(
        self,
        happened: str,
        *,
        subject: str | None = None,
        cure: str | None = None,
        after: float | None = None,
    ):
        self.after = after
        super().__init__(happened, subject=subject, cure=cure)


class EmbedderBusy(EmbeddingError):
    """As much is asked of the embedder as it allows; nothing was sent."""


class EmbedderRefused(EmbeddingError):
    """The embedder will never do this: the key, the model, its answer or a text is wrong."""


class PlacementRefused(EmbeddingError):
    """A sensitive source's texts may not be sent to the machine that embeds them."""


class StillEmbedding(EmbeddingError):
    """A provider works on some chunks. Nothing failed: whoever waits holds no worker meanwhile."""

    def __init__(
        self,
        happened: str,
        *,
        subject: str | None = None,
        cure: str | None = None,
        remote_ids: tuple[str, ...] = (),
    ):
        self.remote_ids = remote_ids
        super().__init__(happened, subject=subject, cure=cure)


class BudgetExhausted(SluiceError):
    """It would cost more than somebody allowed. Nothing of it was spent."""


class _Later(SluiceError):
    """Not now: ``after`` seconds are best."""

    def __init__(
        self,
        happened: str,
        *,
        subject: str | None = None,
        cure: str | None = None,
        after: float = 1.0,
    ):
        self.after = after
        super().__init__(happened, subject=subject, cure=cure or f"Ask again in {after:.0f} s")


class LimitExceeded(_Later):
    """Somebody asks for more in a minute than an operator allows them. Refused at once."""


class Overloaded(_Later):
    """More is asked at a time than can be answered. Refused at once."""


class IndexUnavailable(SluiceError):
    """The index cannot be read or written."""


class ComparisonFailed(SluiceError):
    """A new collection is not what it should be. It does not serve; the old one does."""


class CatalogUnavailable(SluiceError):
    """The catalog cannot be reached; nothing is answered without it."""


class StackError(SluiceError):
    """The local stack cannot start or stop."""
