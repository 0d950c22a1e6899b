"""What a request is signed with, put on it at the last moment and on no other."""

from __future__ import annotations

import base64
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

from sluice.errors import ConfigurationError
from sluice.model import ApiKey, Auth, Basic, Bearer

if TYPE_CHECKING:
    from requests import PreparedRequest

    from sluice.ports import Kit

_LOGGERS = ("urllib3.connectionpool", "urllib3.util.retry")  # they write the addresses of requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A credential as it travels."""

    header: tuple[str, str] | None = field(default=None, repr=False)
    parameter: tuple[str, str] | None = field(default=None, repr=False)  # of the query
    secrets: tuple[str, ...] = field(default=(), repr=False)  # what must be in no error
    token: str | None = field(default=None, repr=False)  # that expires, and can be got anew

    def put_on(self, request: PreparedRequest) -> None:
        """Sign ``request``, in the place of what it was signed with before."""
        if self.header:
            request.headers[self.header[0]] = self.header[1]
        if self.parameter:
            parts = urlsplit(request.url or "")
            name = self.parameter[0]
            kept = [each for each in parse_qsl(parts.query, True) if each[0] != name]
            query = urlencode([*kept, self.parameter])
            request.url = urlunsplit(parts._replace(query=query))

    def hidden_in(self, text: str) -> str:
        """Return ``text`` without a secret of it, however it is written there."""
        for secret in self.secrets:
            for spelling in {secret, quote(secret, safe=""), quote_plus(secret)}:
                text = text.replace(spelling, "***")
        return text


def credential(kit: Kit, auth: Auth | None, rejected: str | None = None) -> Credential:
    """Return what to sign a request with now.

    Args:
        kit: where connections and tokens come from.
        auth: how the source is signed in to.
        rejected: the token that the source has just answered 401 to.

    Raises:
        ConfigurationError: the connection is not there, or lacks what is used of it.
        SignInNeeded, SourceUnavailable, SourceRefused: as :meth:`Kit.token` does.
    """
    match auth:
        case None:
            return Credential()
        case ApiKey():
            key = _password(kit, auth.connection)
            pair = (auth.name, f"{auth.prefix}{key}")
            if auth.place == "query":
                return Credential(parameter=pair, secrets=(key,))
            return Credential(header=pair, secrets=(key,))
        case Basic():
            password = _password(kit, auth.connection)
            login = kit.connection(auth.connection).login or ""
            encoded = base64.b64encode(f"{login}:{password}".encode()).decode()
            header = ("Authorization", f"Basic {encoded}")
            return Credential(header=header, secrets=(password, encoded))
        case Bearer():
            key = _password(kit, auth.connection)
            return Credential(header=("Authorization", f"Bearer {key}"), secrets=(key,))
    token = kit.token(auth, rejected)
    header = ("Authorization", f"Bearer {token}")
    return Credential(header=header, secrets=(token,), token=token)


class Hiding(logging.Filter):
    """Keeps the value of one query parameter out of what urllib3 logs."""

    def __init__(self, name: str):
        super().__init__(f"sluice.{name}")
        self._begin = f"{quote_plus(name)}="

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without the value."""
        text = record.getMessage()
        if self._begin in text:
            before, *after = text.split(self._begin)
            rest = [_without_value(each) for each in after]
            record.msg, record.args = self._begin.join([before, *rest]), ()
        return True

    @classmethod
    def install(cls, name: str) -> None:
        """Hide the parameter called ``name`` in this process; doing so twice is as once."""
        for logger in map(logging.getLogger, _LOGGERS):
            if not any(isinstance(f, cls) and f.name == f"sluice.{name}" for f in logger.filters):
                logger.addFilter(cls(name))


def _without_value(text: str) -> str:
    ends = [place for place in map(text.find, ("&", " ", "'", '"', "#")) if place >= 0]
    return "***" + (text[min(ends) :] if ends else "")


def _password(kit: Kit, name: str) -> str:
    found = kit.connection(name).password
    if not found:
        raise ConfigurationError(
            "the connection has no password, which is what requests are signed with",
            subject=name,
            cure="Set it in Airflow",
        )
    if not found.isascii() or not found.isprintable():
        raise ConfigurationError(
            "the connection's password has characters that no header can carry",
            subject=name,
            cure="Look for a line break at its end, and set it again in Airflow",
        )
    return found
