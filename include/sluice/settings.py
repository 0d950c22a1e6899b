"""Configuration, read once into one frozen, typed object.

Every field is an environment variable ``SLUICE_<NAME>``; ``sluice up`` writes those it decided on
(the two database URLs and their passwords) to ``$SLUICE_HOME/sluice.env``, which is read too, and
so is a file of the same name in lower case in the folder ``SLUICE_SECRETS``, as Docker and
Kubernetes hand secrets over. The environment wins over ``sluice.env``, and that over a secret.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from sluice.errors import ConfigurationError

_CURES = {"master_keys": "Set it to what `sluice keys master` prints"}
SCOPE_CAP = 5000  # permission objects; beyond it not every backend filters in good time


class Settings(BaseSettings):
    """What can be set, with its default and its unit."""

    model_config = SettingsConfigDict(env_prefix="SLUICE_", frozen=True, extra="ignore")

    home: Path = Field(Path(".sluice"), description="Where everything Sluice writes lives.")
    tenant: str = Field(
        "main",
        min_length=1,
        max_length=64,
        pattern=r"^[a-z0-9_-]+$",
        description="The tenant that this process works for.",
    )
    database_url: SecretStr | None = Field(
        None,
        description="An external PostgreSQL, as an administrator. Unset: `sluice up` starts one.",
    )
    catalog_url: SecretStr | None = Field(
        None, description="The catalog, as the role that serves and ingests (not the owner)."
    )
    landing_url: SecretStr | None = Field(
        None, description="The same database, as the role that owns the landing schemas."
    )
    master_keys: SecretStr | None = Field(
        None,
        description="Keys that seal the tokens of sources, <id>:<base64 of 32 bytes>, separated by "
        "commas. The first one seals, all open. `sluice keys master` makes one.",
    )
    public_url: str | None = Field(
        None,
        pattern=r"^https?://[^?#\s]+$",
        description="Where browsers reach Airflow: consents come back to it. "
        "Unset: http://host:port.",
    )
    host: str = Field("127.0.0.1", description="The address that servers listen on.")
    port: int = Field(8080, ge=1, le=65535, description="Airflow's port, and ours inside it.")
    serve_port: int = Field(8090, ge=1, le=65535, description="The port of `sluice serve`.")
    embedder: str = Field(
        "local-static",
        pattern=r"^(local-static(-128|-64)?|local-minilm|[a-z0-9][a-z0-9_-]*/[^@\s]+(@[0-9]+)?)$",
        description="The embedding model of the first collection: local-static, local-minilm, "
        "or endpoint/model. Later: `sluice index migrate`.",
    )
    endpoints: Path | None = Field(
        None, description="A TOML file of endpoints that speak OpenAI's API, beside OpenAI's own."
    )
    index: Literal["lance", "weaviate"] = Field(
        "lance",
        description="The backend of the first collection. Later: `sluice index migrate`.",
    )
    weaviate_url: str | None = Field(
        None,
        pattern=r"^https?://[^/@\s]+/?$",
        description="Weaviate's HTTP endpoint. With https both endpoints use TLS.",
    )
    weaviate_grpc: str | None = Field(
        None,
        pattern=r"^[^/@\s]+:\d+$",
        description="Its gRPC endpoint, host:port. Unset: port 50051 of the same host.",
    )
    weaviate_api_key: SecretStr | None = Field(None, description="Its API key, if it asks for one.")
    weaviate_ca: Path | None = Field(
        None, description="A PEM file to trust for TLS instead of the public authorities."
    )
    weaviate_timeout: float = Field(
        5.0,
        gt=0,
        description="Seconds that a search waits for Weaviate; a write waits 12 times that.",
    )
    weaviate_multi_tenancy: bool = Field(
        False,
        description="Many small tenants: a Weaviate tenant each in a shared collection, always one "
        "shard. Unset: a collection for each tenant, which can be sharded.",
    )
    weaviate_shards: int | None = Field(
        None, ge=1, description="Shards of a new collection. Unset: one for each node."
    )
    weaviate_replicas: int = Field(1, ge=1, description="Copies of each shard; 3 outlive a node.")
    weaviate_quantization: Literal["none", "rq", "sq", "bq"] = Field(
        "rq", description="How vectors are compressed in memory; results are ranked by full ones."
    )
    weaviate_flat_cutoff: int | None = Field(
        None,
        ge=0,
        description="Permitted sets of fewer chunks are searched exactly; larger ones by ACORN. "
        "Unset: 200000 at 256 dimensions, fewer at more, never below 40000.",
    )
    weaviate_async_indexing: bool = Field(
        False,
        description="Weaviate runs with ASYNC_INDEXING, which no collection can choose: a write "
        "then waits, seconds, until its vectors can be found.",
    )
    weaviate_batched_contains: bool = Field(
        False,
        description="Weaviate runs with QUERY_BATCHED_CONTAINS_ENABLED, so SLUICE_SCOPE_CAP may be "
        "above 5000.",
    )
    cache_mb: int | None = Field(
        None,
        ge=0,
        description="Megabytes of vectors that are kept so that no text is embedded twice; those "
        "not used for longest go first. Unset: all are kept.",
    )
    dense_weight: float | None = Field(
        None,
        ge=0.0,
        le=1.0,
        description="The vector list's weight in rank fusion; the keyword list has the rest. "
        "Unset: as suits the model.",
    )
    scope_cap: int = Field(
        SCOPE_CAP, ge=1, description="The most permission objects that one search is filtered by."
    )
    max_question: int = Field(4000, ge=1, description="The longest question, in characters.")
    max_hits: int = Field(100, ge=1, description="The most hits one search returns.")
    suites: Path = Field(
        Path(__file__).resolve().parents[1] / "suites",
        description="Where the expectation suites are.",
    )

    @field_validator("scope_cap")
    @classmethod
    def _weaviate_can(cls, cap: int, others: ValidationInfo) -> int:
        """Refuse a cap at which Weaviate's searches would take seconds."""
        known = others.data
        if (
            cap > SCOPE_CAP
            and known.get("weaviate_url")
            and not known.get("weaviate_batched_contains")
        ):
            raise ValueError(
                f"above {SCOPE_CAP}, Weaviate needs QUERY_BATCHED_CONTAINS_ENABLED, and "
                "SLUICE_WEAVIATE_BATCHED_CONTAINS to say that it has it"
            )
        return cap

    @property
    def callback(self) -> str:
        """Where consents come back to; the service that is signed in to has to know it."""
        return f"{(self.public_url or '').rstrip('/') or f'http://{self.host}:{self.port}'}/sluice/connect/callback"

    @property
    def index_path(self) -> Path:
        return self.home / "index"

    @property
    def data_docs_path(self) -> Path:
        return self.home / "data_docs"

    def require(self, name: str) -> str:
        """Return the secret or URL called ``name``, or say how to get one."""
        value = getattr(self, name)
        if value is None:
            raise ConfigurationError(
                f"SLUICE_{name.upper()} is not set",
                cure=_CURES.get(name, "Start the stack with `sluice up`, or set a PostgreSQL URL"),
            )
        return str(value.get_secret_value())


@functools.cache
def load() -> Settings:
    """Read the environment, once per process.

    Raises:
        ConfigurationError: a value is impossible, or a secret cannot be read; the message names it.
    """
    home = Path(os.environ.get("SLUICE_HOME", ".sluice")).resolve()
    try:
        return Settings(home=home, _env_file=home / "sluice.env", _secrets_dir=_secrets())  # type: ignore[call-arg]  # pydantic's own
    except ValidationError as error:
        first = error.errors()[0]
        name = "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(
            f"SLUICE_{name}: {first['msg']}", cure="See docs/configuration.md"
        ) from None
    except OSError as error:
        raise _unreadable(error) from None


def secret(name: str) -> str | None:
    """Return what the environment holds under ``name``, else the secret of that name, or None.

    Raises:
        ConfigurationError: the secret is there and cannot be read.
    """
    folder = _secrets()
    if name in os.environ or folder is None:
        return os.environ.get(name)
    path = folder / name.lower()
    try:
        return path.read_text().strip() if path.is_file() else None
    except OSError as error:
        raise _unreadable(error) from None


def _secrets() -> Path | None:
    """The folder whose files are secrets, one each; None where there is none."""
    named = os.environ.get("SLUICE_SECRETS")
    folder = Path(named or "/run/secrets")
    if folder.is_dir():
        return folder
    if named:
        raise ConfigurationError(
            "is no folder", subject="SLUICE_SECRETS", cure="Mount it, or unset"
        )
    return None


def _unreadable(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot be read: {error.strerror}",
        subject=str(error.filename),
        cure="Let the user that this process runs as read it",
    )
