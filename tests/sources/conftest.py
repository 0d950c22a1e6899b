"""A name of its own for every test's source, since all share one landing database."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def name() -> str:
    """A source name that no other test has."""
    return f"s{uuid.uuid4().hex[:12]}"
