"""The virtual environment heals itself: what is missing, old or half built is made again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from sluice.stack import environment
from sluice.stack.environment import Broken

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that locks uv and nothing else, with its environment built."""
    folder = tmp_path_factory.mktemp("project")
    locked = (PROJECT / "requirements.txt").read_text()
    stanza = re.search(r"^uv==.*\n(?:    --hash=.*\n)+", locked, re.MULTILINE)
    assert stanza is not None
    (folder / "requirements.txt").write_text(stanza.group(0))
    (folder / "requirements-dev.txt").write_text(stanza.group(0) + "# more\n")
    package = folder / "include" / "sluice"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("def main():\n    print('it runs')\n")
    assert environment.ensure(folder, [])
    return folder


def run(project: Path) -> str:
    """What the project's own command prints."""
    command = [project / ".venv" / "bin" / "sluice"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_a_built_environment_is_left_alone_and_runs_the_project(project: Path) -> None:
    """The second time costs nothing, and ``.venv/bin/sluice`` is the project's own code."""
    assert not environment.ensure(project, [])
    assert run(project) == "it runs"


def test_other_requirements_are_installed(project: Path) -> None:
    """The larger set includes the smaller; a changed lock counts as not installed."""
    assert environment.ensure(project, ["requirements-dev.txt"])
    assert not environment.ensure(project, [])
    with (project / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert environment.ensure(project, [])
    assert not environment.ensure(project, [])


@pytest.mark.parametrize("damage", ["no stamp", "no python"])
def test_a_half_built_environment_is_made_again(project: Path, damage: str) -> None:
    """A build that was killed, or whose Python was upgraded away, is not trusted."""
    home = project / ".venv"
    path = home / ("installed.txt" if damage == "no stamp" else "bin/python")
    path.unlink()
    (home / "rubbish").touch()
    assert environment.ensure(project, [])
    assert not (home / "rubbish").exists()
    assert run(project) == "it runs"


def test_a_lock_whose_hash_is_wrong_is_refused(project: Path, tmp_path: Path) -> None:
    """Not even the installer is run before its own hash was checked."""
    other = tmp_path / "other"
    other.mkdir()
    locked = (project / "requirements.txt").read_text()
    (other / "requirements.txt").write_text(re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", locked))
    with pytest.raises(Broken, match="cannot be installed"):
        environment.ensure(other, [])


def test_a_wrong_python_is_one_clear_line(tmp_path: Path) -> None:
    """The file itself can be read by old versions, or they could not say so."""
    code = (PROJECT / "include/sluice/stack/environment.py").read_text()
    (tmp_path / "old.py").write_text(code.replace("(3, 11), (3, 13)", "(2, 7), (3, 1)"))
    done = subprocess.run(
        [sys.executable, tmp_path / "old.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(r"sluice: needs Python 3\.11, 3\.12 or 3\.13, found 3\.\d+\.\n", done.stderr)
