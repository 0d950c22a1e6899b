"""``$SLUICE_HOME``: what lies where, and the secrets that are made once and kept.

stack.json      every secret, mode 0600; no service reads it
sluice.env      what services read, mode 0600; lines that you add stay, and reach Airflow's tasks
postgres/       the embedded server's data
airflow/        airflow.cfg, mode 0600, and the login
index/          LanceDB
data_docs/      Great Expectations' pages
logs/           one file per program, and Airflow's task logs
runs/           records of the programs that run
up.lock         held by the one `sluice up` of this home
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

import sluice
from sluice.errors import StackError

PROJECT = Path(sluice.__file__).resolve().parents[2]
_LEAST_FREE = 1 << 30  # bytes


def _password() -> str:
    return secrets.token_urlsafe(24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What must stay the same for as long as the home lives."""

    administrator: str = field(default_factory=_password)  # of the embedded PostgreSQL
    app: str = field(default_factory=_password)
    landing: str = field(default_factory=_password)
    airflow: str = field(default_factory=_password)
    helpdesk: str = field(default_factory=_password)
    login: str = field(default_factory=lambda: secrets.token_urlsafe(9))  # people type this one
    jwt: str = field(default_factory=_password)
    fernet: str = field(
        default_factory=lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    )
    master: str = field(
        default_factory=lambda: "first:" + base64.b64encode(secrets.token_bytes(32)).decode()
    )
    agent_key: str | None = None  # of the sample agent, once it is made
    database: str | None = None  # which one the home was set up with
    postgres_port: int = 0  # of the embedded server, once it ran
    done: Mapping[str, str] = field(default_factory=dict)  # what need not be done again


@dataclass(frozen=True, slots=True)
class Home:
    """One stack's folder."""

    path: Path

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def airflow(self) -> Path:
        return self.path / "airflow"

    @property
    def env_file(self) -> Path:
        return self.path / "sluice.env"

    def open(self) -> Secrets:
        """Make the folder if need be; return its secrets.

        Raises:
            StackError: it cannot be written, is nearly full, or holds something that is not ours.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._require_disk()
            if not self._secrets.exists():
                self.save(Secrets())
            return self._read()
        except OSError as error:
            raise StackError(
                f"cannot be used: {error.strerror}",
                subject=str(self.path),
                cure="Set SLUICE_HOME to a folder that you may write",
            ) from None

    def save(self, kept: Secrets) -> None:
        """Keep the secrets."""
        write_private(self._secrets, json.dumps(asdict(kept), indent=2) + "\n")

    def mark_done(self, step: str, version: str) -> None:
        """Remember that a step need not be taken again for this version."""
        kept = self._read()
        self.save(replace(kept, done={**kept.done, step: version}))

    def is_ours(self) -> bool:
        """Whether `sluice up` made this folder."""
        return self._secrets.is_file()

    def write_env(self, ours: Mapping[str, str]) -> None:
        """Set our own lines of ``sluice.env``; the others stay as they are."""
        lines = self.env_file.read_text().splitlines() if self.env_file.exists() else []
        kept = [line for line in lines if line.partition("=")[0].strip() not in ours]
        text = "\n".join([*kept, *(f"{name}={value}" for name, value in ours.items())])
        write_private(self.env_file, text + "\n")

    def read_env(self) -> dict[str, str]:
        """All of ``sluice.env``."""
        lines = self.env_file.read_text().splitlines() if self.env_file.exists() else []
        pairs = (line.partition("=") for line in lines if "=" in line and line[:1] != "#")
        return {name.strip(): value.strip().strip("\"'") for name, _, value in pairs}

    def holder(self) -> int | None:
        """The pid of the `sluice up` that runs here; None if none does."""
        try:
            with (self.path / "up.lock").open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int((self.path / "up.lock").read_text() or 0)
        except OSError:
            pass
        return None

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Be the only `sluice up` of this home; the lock goes with the process, however it ends.

        Raises:
            StackError: another one runs.
        """
        with (self.path / "up.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise StackError(
                    f"Sluice already runs here (process {lock.read()})",
                    subject=str(self.path),
                    cure="`sluice down` stops it",
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def delete(self) -> None:
        """Remove the folder and all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _secrets(self) -> Path:
        return self.path / "stack.json"

    def _read(self) -> Secrets:
        try:
            found = json.loads(self._secrets.read_text())
            return Secrets(**{f.name: found[f.name] for f in fields(Secrets) if f.name in found})
        except (ValueError, TypeError):
            raise StackError(
                "cannot be read", subject=str(self._secrets), cure="`sluice reset` starts afresh"
            ) from None

    def _require_disk(self) -> None:
        free = shutil.disk_usage(self.path).free
        if free < _LEAST_FREE:
            raise StackError(
                f"only {free / 1e6:.0f} MB of disk are free and at least 1 GB is needed",
                subject=str(self.path),
                cure="Free some, or set SLUICE_HOME to a folder on another disk",
            )


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, whole or not at all."""
    half = path.with_name(path.name + ".half")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as output:
        output.write(text)
    half.replace(path)
