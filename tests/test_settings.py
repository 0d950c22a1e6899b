"""Where a setting comes from, and which place wins."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError
from sluice import settings
from sluice.errors import ConfigurationError
from sluice.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of secrets, as Docker and Kubernetes mount one."""
    made = tmp_path / "secrets"
    made.mkdir()
    monkeypatch.setenv("SLUICE_SECRETS", str(made))
    monkeypatch.setenv("SLUICE_HOME", str(tmp_path))
    settings.load.cache_clear()
    return made


@pytest.fixture(autouse=True)
def forget() -> None:
    """What one test set is nothing to the next."""
    settings.load.cache_clear()


def test_the_environment_wins_over_sluice_env_and_that_over_a_secret(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each place is looked at where the one before it says nothing."""
    for name in ("host", "tenant", "embedder", "scope_cap"):
        (folder / f"sluice_{name}").write_text({"scope_cap": "17\n"}.get(name, "local-static-64\n"))
    (tmp_path / "sluice.env").write_text("SLUICE_HOST=from-env-file\nSLUICE_TENANT=from-env-file\n")
    monkeypatch.setenv("SLUICE_HOST", "from-environment")
    found = settings.load()
    assert found.host == "from-environment"
    assert found.tenant == "from-env-file"
    assert found.embedder == "local-static-64"
    assert found.scope_cap == 17
    assert found.port == 8080


def test_a_secret_is_not_shown(folder: Path) -> None:
    """Printing the settings shows no password that came from a file."""
    (folder / "sluice_catalog_url").write_text("postgresql://sluice_app:pa55@db/sluice\n")
    assert settings.load().require("catalog_url") == "postgresql://sluice_app:pa55@db/sluice"
    assert "pa55" not in repr(settings.load())


def test_an_impossible_secret_is_named(folder: Path) -> None:
    """The message is the one that the same variable would get."""
    (folder / "sluice_port").write_text("many")
    with pytest.raises(ConfigurationError, match="SLUICE_PORT"):
        settings.load()


def test_a_folder_that_is_not_there_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever names a folder means it; without a name there may be none."""
    monkeypatch.setenv("SLUICE_SECRETS", str(folder / "absent"))
    with pytest.raises(ConfigurationError, match="SLUICE_SECRETS"):
        settings.load()


def test_a_sources_address_may_be_a_secret_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that a DAG file names is looked for in the same places."""
    (folder / "desk_url").write_text("sqlite:///from-file\n")
    assert settings.secret("DESK_URL") == "sqlite:///from-file"
    monkeypatch.setenv("DESK_URL", "sqlite:///from-environment")
    assert settings.secret("DESK_URL") == "sqlite:///from-environment"
    assert settings.secret("OTHER_URL") is None


def test_a_scope_that_weaviate_cannot_filter_by_is_refused() -> None:
    """Above 5,000 objects its searches take seconds, unless it is told to batch them."""
    weaviate = {"home": Path("nowhere"), "weaviate_url": "http://weaviate:8080"}
    with pytest.raises(ValidationError, match="QUERY_BATCHED_CONTAINS_ENABLED"):
        Settings(**weaviate, scope_cap=5001)
    assert Settings(**weaviate, scope_cap=5001, weaviate_batched_contains=True).scope_cap == 5001
    assert Settings(home=Path("nowhere"), scope_cap=5001).scope_cap == 5001
