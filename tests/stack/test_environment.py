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
    """A project that locks uv and nothing else; its first build fails, its second does not."""
    folder = tmp_path_factory.mktemp("project")
    locked = (PROJECT / "requirements.txt").read_text()
    stanza = re.search(r"^uv==.*\n(?:    --hash=.*\n)+", locked, re.MULTILINE)
    assert stanza is not None
    package = folder / "include" / "sluice"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text("def main():\n    print('it runs')\n")
    lock = folder / "requirements.txt"
    lock.write_text(re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", stanza.group(0)))
    with pytest.raises(Broken, match="cannot be installed"):
        environment.ensure(folder, [])  # not even the installer runs before its hash was checked
    (folder / ".venv" / "rubbish").touch()
    lock.write_text(stanza.group(0))
    for extra in ("dev", "minilm", "more"):
        (folder / f"requirements-{extra}.txt").write_text(stanza.group(0) + f"# {extra}\n")
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
    assert environment.ensure(project, ["requirements-more.txt"])
    assert not environment.ensure(project, [])
    with (project / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert environment.ensure(project, [])
    assert not environment.ensure(project, [])


def test_an_extra_stays_whatever_else_is_installed(project: Path) -> None:
    """Nobody's ``make test`` undoes somebody's embedder; new requirements are for all anew."""
    assert environment.ensure(project, ["requirements-minilm.txt"])
    assert environment.ensure(project, ["requirements-dev.txt"])
    for extras in ([], ["minilm"], ["dev", "minilm"]):
        assert not environment.ensure(project, [f"requirements-{each}.txt" for each in extras])
    with (project / "requirements-minilm.txt").open("a") as lock:
        lock.write("# changed\n")
    assert not environment.ensure(project, ["requirements-dev.txt"])
    assert environment.ensure(project, ["requirements-minilm.txt"])
    with (project / "requirements.txt").open("a") as lock:
        lock.write("# changed\n")
    assert environment.ensure(project, [])
    assert environment.ensure(project, ["requirements-dev.txt"])


def test_a_half_built_environment_was_made_again(project: Path) -> None:
    """A build that failed or was killed leaves no stamp, so nothing of it is trusted."""
    assert not (project / ".venv" / "rubbish").exists()


def test_an_environment_whose_python_is_gone_is_made_again(project: Path) -> None:
    """The Python it was made with may have been upgraded away."""
    (project / ".venv" / "bin" / "python").unlink()
    assert environment.ensure(project, [])
    assert run(project) == "it runs"


def test_a_wrong_python_is_one_clear_line(tmp_path: Path) -> None:
    """The file itself can be read by old versions, or they could not say so."""
    code = (PROJECT / "include/sluice/stack/environment.py").read_text()
    (tmp_path / "old.py").write_text(code.replace("(3, 11), (3, 13)", "(2, 7), (3, 1)"))
    done = subprocess.run(
        [sys.executable, tmp_path / "old.py"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"sluice: needs Python 3\.11, 3\.12 or 3\.13, found 3\.\d+\.\n", done.stderr
    )
