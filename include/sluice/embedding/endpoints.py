"""Where remote models are: endpoints that speak OpenAI's API, with their prices and limits.

``openai`` is known (``openai.toml`` beside this file); others are described in the same form in a
file that ``SLUICE_ENDPOINTS`` names: Azure, vLLM, TEI, a gateway of one's own. An embedder is
called ``<endpoint>/<model>``, with ``@<dimensions>`` where a model's vectors are shortened.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sluice.errors import ConfigurationError
from sluice.model import Tier

NAME = re.compile(r"(?P<endpoint>[a-z0-9][a-z0-9_-]*)/(?P<model>[^@\s]+?)(@(?P<dimensions>\d+))?")
_OURS = Path(__file__).with_name("openai.toml")

Positive = Annotated[int, Field(gt=0)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Price(_Table):
    """Dollars for a million tokens, from a day on."""

    since: date = Field(alias="from")
    standard: Annotated[Decimal, Field(ge=0)]
    batch: Annotated[Decimal, Field(ge=0)] | None = None  # None: as much as the standard tier


class Model(_Table):
    """What an endpoint serves under a name."""

    dimensions: Positive
    shortens: bool = False  # takes `dimensions`, fewer than it has
    window: Positive = 8192  # tokens of one input
    vocabulary: Literal["cl100k_base", "o200k_base", "bytes"] = "cl100k_base"
    dense_weight: Annotated[float, Field(ge=0, le=1)] = 0.5  # of its list in rank fusion
    prices: tuple[Price, ...] = ()  # none: it is free

    def price(self, tier: Tier, day: date) -> Decimal:
        """Dollars for a million tokens on ``day``, or as first known; 0 where none is."""
        if not self.prices:
            return Decimal(0)
        first = min(each.since for each in self.prices)
        known = [each for each in self.prices if each.since <= max(day, first)]
        price = max(known, key=lambda each: each.since)
        return price.batch if tier == "batch" and price.batch is not None else price.standard


class Endpoint(_Table):
    """One server, and what it may be asked for."""

    base_url: Annotated[str, Field(pattern=r"^https?://[^@\s]+$")]
    api_key: str | None = None  # the variable, or the secret, that holds it; never the key itself
    ca: Path | None = None  # a PEM file to trust instead of the public authorities
    timeout: Annotated[float, Field(gt=0)] = 60.0  # seconds of one request
    same_vectors_as: str | None = None  # an endpoint whose models of the same names are the same
    requests_per_minute: Positive | None = None  # None: no limit
    tokens_per_minute: Positive | None = None
    inputs_a_request: Positive = 2048
    tokens_a_request: Positive = 300_000
    batch: bool = False  # whether it has a batch tier
    batch_tokens: Positive | None = None  # waiting in batches at a time
    models: Mapping[str, Model]

    @property
    def host(self) -> str:
        """The machine that texts are sent to."""
        return urlsplit(self.base_url).hostname or ""


Endpoints = Mapping[str, Endpoint]


@functools.cache
def read(further: Path | None) -> Endpoints:
    """Every endpoint that is known: ours, and those of the file ``further``, which may replace it.

    Raises:
        ConfigurationError: the file cannot be read, or says something impossible.
    """
    found = _parsed(_OURS)
    return found | _parsed(further) if further else found


def _parsed(path: Path) -> dict[str, Endpoint]:
    cure = "See docs/embed.md for what an endpoint has"
    try:
        tables = tomllib.loads(path.read_text(), parse_float=Decimal)
        return {name: Endpoint.model_validate(table) for name, table in tables.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(str(error), subject=str(path), cure=cure) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{where}: {first['msg']}", subject=str(path), cure=cure) from None
