"""Envelope encryption: what is secret is sealed by a data key, and data keys by a master key.

AES-256 in Galois/counter mode (NIST SP 800-38D) with a random 96-bit nonce, which is written before
the ciphertext. What a sealed value belongs to is authenticated with it, so that it opens nowhere
else: not for another tenant, not for another source.

Master keys come from ``SLUICE_MASTER_KEYS``: ``<id>:<base64 of 32 bytes>``, separated by commas.
The first one seals; all of them open. So a new one is put first, ``sluice keys rotate`` wraps every
data key anew, and the old one can go.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sluice.errors import ConfigurationError
from sluice.model import SEPARATOR

_NONCE = 12  # bytes
_KEY = 32  # bytes
_ID = re.compile(r"[A-Za-z0-9._-]{1,40}")
_CURE = "Write <id>:<base64 of 32 bytes>; `sluice keys master` makes one"


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A data key as it is stored: only master key ``key_id`` opens it."""

    key_id: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class MasterKeys:
    """The master keys by id; the first one seals."""

    keys: dict[str, bytes] = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> MasterKeys:
        """Read what ``SLUICE_MASTER_KEYS`` holds.

        Raises:
            ConfigurationError: it holds no keys; it is not repeated.
        """
        keys: dict[str, bytes] = {}
        for part in filter(None, (each.strip() for each in text.split(","))):
            key_id, _, encoded = part.partition(":")
            try:
                key = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if not _ID.fullmatch(key_id) or len(key) != _KEY or key_id in keys:
                raise _unreadable("one of its keys cannot be read, or is there twice")
            keys[key_id] = key
        if not keys:
            raise _unreadable("it holds no key")
        return cls(keys)

    @property
    def current(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def wrap(self, data_key: bytes, belongs_to: str) -> Wrapped:
        """Seal a data key with the current master key."""
        return Wrapped(self.current, seal(self.keys[self.current], data_key, belongs_to))

    def unwrap(self, wrapped: Wrapped, belongs_to: str) -> bytes:
        """Open a data key.

        Raises:
            ConfigurationError: its master key is not among these.
        """
        key = self.keys.get(wrapped.key_id)
        if key is None:
            raise ConfigurationError(
                f"has no key called {wrapped.key_id}, and something was sealed with it",
                subject="SLUICE_MASTER_KEYS",
                cure="Put it back after the new one, run `sluice keys rotate`, then remove it",
            )
        return unseal(key, wrapped.sealed, belongs_to)


def new_key() -> bytes:
    """Return a random key."""
    return secrets.token_bytes(_KEY)


def new_master(key_id: str) -> str:
    """Return a new master key as ``SLUICE_MASTER_KEYS`` holds it."""
    return f"{key_id}:{base64.b64encode(new_key()).decode()}"


def belonging(*names: str) -> str:
    """What a sealed value is bound to, spelled so that no two things share a spelling."""
    return SEPARATOR.join(names)


def seal(key: bytes, plain: bytes, belongs_to: str) -> bytes:
    """Return nonce and ciphertext of ``plain``."""
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, belongs_to.encode())


def unseal(key: bytes, sealed: bytes, belongs_to: str) -> bytes:
    """Return what was sealed.

    Raises:
        ConfigurationError: another key sealed it, for something else, or it was tampered with.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], belongs_to.encode())
    except (InvalidTag, ValueError):
        raise ConfigurationError(
            "does not open what was sealed: another key did that, or it was changed since",
            subject="SLUICE_MASTER_KEYS",
            cure="Put the right key back, or sign in anew: `sluice connect <source>`",
        ) from None


def _unreadable(why: str) -> ConfigurationError:
    return ConfigurationError(why, subject="SLUICE_MASTER_KEYS", cure=_CURE)
