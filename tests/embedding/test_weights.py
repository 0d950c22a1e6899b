"""Files of models: exactly those of this release, and nobody else's code."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from sluice.embedding.weights import Pinned
from sluice.errors import ConfigurationError

WEIGHTS = Pinned(
    package="made_up_weights",
    path="deep/weights.bin",
    sha256=hashlib.sha256(b"weights").hexdigest(),
    cure="Install it",
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that must not be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / WEIGHTS.package
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise AssertionError('imported')\n")
    (folder / WEIGHTS.path).write_bytes(b"weights")
    return folder


def test_a_file_is_read_without_importing_its_package(package: Path) -> None:
    """Its own loader might go online."""
    assert WEIGHTS.read() == b"weights"


def test_what_is_missing_or_altered_is_refused_with_the_cure(package: Path) -> None:
    """Vectors of another table would look like ours."""
    with pytest.raises(ConfigurationError, match=r"^nowhere: is not installed\. Install it$"):
        replace(WEIGHTS, package="nowhere").read()
    with pytest.raises(ConfigurationError, match=r"^made_up_weights: .*weights\.bin'\. Install it"):
        replace(WEIGHTS, path="weights.bin").read()
    (package / WEIGHTS.path).write_bytes(b"weightz")
    with pytest.raises(ConfigurationError, match=r"^made_up_weights/deep/weights\.bin: not the we"):
        WEIGHTS.read()
