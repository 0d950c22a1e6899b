"""A tenant of its own for every test, and a shell to ask about it."""

from __future__ import annotations

import io
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Done, Run
from sluice import settings
from sluice.api.services import Services
from sluice.cli import main
from sluice.settings import Settings
from world import World, allow


@pytest.fixture
def world(tmp_path: Path, catalog_url: str) -> Iterator[World]:
    """A tenant in which Ada may read one page, which tries to clear her screen."""
    settings = Settings(home=tmp_path, tenant=f"t-{uuid.uuid4().hex[:12]}", catalog_url=catalog_url)
    services = Services(settings)
    (serving,) = services.collections.receiving()
    world = World(services.catalog)
    world.grant({"ada": [allow("user:ada@x.org")]})
    world.index(serving.index, world.publish("page", "ada", "The [bold]kettle\x1b[2J boils."))
    yield world
    services.close()


@pytest.fixture
def environment(world: World, tmp_path: Path, catalog_url: str) -> dict[str, str]:
    """What a shell would have exported."""
    return {
        **os.environ,
        "SLUICE_HOME": str(tmp_path),
        "SLUICE_TENANT": world.catalog.tenant,
        "SLUICE_CATALOG_URL": catalog_url,
    }


@pytest.fixture
def run(
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run ``sluice`` as a shell would, without starting another Python."""

    def command(*arguments: str, typed: str = "", **changed: str) -> Done:
        settings.load.cache_clear()
        with monkeypatch.context() as shell:
            for name, value in (environment | changed).items():
                shell.setenv(name, value)
            shell.setattr(sys, "argv", ["sluice", *arguments])
            shell.setattr(sys, "stdin", io.StringIO(typed))
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    yield command
    settings.load.cache_clear()


@pytest.fixture
def services(world: World, tmp_path: Path, catalog_url: str) -> Services:
    """The same tenant, as a server that runs meanwhile has it open."""
    settings = Settings(home=tmp_path, tenant=world.catalog.tenant, catalog_url=catalog_url)
    return Services(settings)
