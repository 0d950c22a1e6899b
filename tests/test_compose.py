"""docker-compose.yml is honest: what it sets exists, what it runs is pinned, no secret is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from sluice.settings import Settings

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def services() -> dict[str, Any]:
    """The services that the file describes."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    return found


def test_every_sluice_variable_is_a_setting(services: dict[str, Any]) -> None:
    """A misspelt variable would be ignored in silence."""
    for service in services.values():
        for name in service["environment"]:
            if name.startswith("SLUICE_"):
                assert name.removeprefix("SLUICE_").lower() in Settings.model_fields


def test_images_are_pinned(services: dict[str, Any]) -> None:
    """No image floats: a tag with at least two numbers, in the compose file and the Dockerfile."""
    images = [each["image"] for each in services.values() if "image" in each]
    base = (ROOT / "Dockerfile").read_text().split("FROM ")[1].split()[0]
    for image in [*images, base]:
        assert image.partition(":")[2].count(".") >= 1, image


def test_no_password_is_written_down(services: dict[str, Any]) -> None:
    """Passwords come from files that are not in the repository."""
    for service in services.values():
        for name, value in service["environment"].items():
            assert "PASSWORD" not in name or value.startswith("/run/secrets/")


def test_only_loopback_is_published(services: dict[str, Any]) -> None:
    """A laptop on a café's network offers nothing to its neighbours."""
    for service in services.values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
