"""A real server on loopback, one for the tests of a module."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from serving import Site, open_site
from sluice.catalog.migrate import APP_ROLE
from sluice.settings import Settings


@pytest.fixture(scope="module")
def settings_for(database: str) -> Callable[[Path], Settings]:
    """Settings of a new tenant in the session's database."""
    url = sa.make_url(database).set(username=APP_ROLE).render_as_string(False)

    def make(home: Path) -> Settings:
        return Settings(home=home, tenant=f"t-{uuid.uuid4().hex[:12]}", catalog_url=url)

    return make


@pytest.fixture(scope="module")
def site(
    settings_for: Callable[[Path], Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """One server for the tests that break nothing."""
    with open_site(settings_for(tmp_path_factory.mktemp("home"))) as opened:
        yield opened
