"""What is known of sources."""

from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from sluice.catalog import Catalog, runs
from sluice.errors import ConfigurationError
from sluice.model import Policy


def test_a_directory_cannot_take_a_sources_name(catalog: Catalog) -> None:
    """Else its policy would lift the age limit of the source's permissions, or the other way."""
    hour = timedelta(hours=1)
    with catalog.begin() as connection:
        runs.ensure_source(connection, "wiki", "files", Policy(max_acl_age=hour))
        runs.ensure_source(connection, "people", "directory", Policy(max_acl_age=hour))
        runs.ensure_source(connection, "wiki", "sql_table", Policy(max_acl_age=hour))
    for name, kind in (("wiki", "directory"), ("people", "files")):
        with pytest.raises(ConfigurationError, match="same name"), catalog.begin() as connection:
            runs.ensure_source(connection, name, kind, Policy())
    with catalog.begin() as connection:
        found = connection.execute(sa.text("SELECT kind, max_acl_age FROM sluice.source"))
        assert set(map(tuple, found)) == {
            ("sql_table", hour),
            ("directory", hour),
        }
