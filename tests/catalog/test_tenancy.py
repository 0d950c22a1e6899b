"""A tenant's transaction sees that tenant's rows, whatever the statement says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import sqlalchemy as sa
from sluice.catalog import Catalog
from sluice.errors import CatalogUnavailable, ConfigurationError

NewCatalog = Callable[[], Catalog]


def test_another_tenants_rows_are_invisible(new_catalog: NewCatalog) -> None:
    """A statement without any tenant in it returns the rows of its own tenant alone."""
    ours, theirs = new_catalog(), new_catalog()
    with theirs.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO sluice.source (source, kind) VALUES ('s', 'files')")
        )
    with ours.begin() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sluice.source")).scalar() == 0


def test_a_row_cannot_be_written_for_another_tenant(catalog: Catalog) -> None:
    """Naming another tenant in an insert is refused by the database itself."""
    with pytest.raises(sa.exc.ProgrammingError, match="row-level security"), catalog.begin() as c:
        c.execute(
            sa.text(
                "INSERT INTO sluice.source (tenant_id, source, kind) VALUES ('other', 's', 'files')"
            )
        )


def test_a_pooled_connection_forgets_its_tenant(catalog: Catalog) -> None:
    """After the transaction the connection belongs to nobody, and sees nothing."""
    with catalog.begin() as connection:
        connection.execute(
            sa.text("INSERT INTO sluice.source (source, kind) VALUES ('s', 'files')")
        )
    with catalog._engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM sluice.source")).scalar() == 0


def test_audit_events_cannot_be_changed_by_the_application(catalog: Catalog) -> None:
    """The role that writes the audit log may neither edit nor delete what it wrote."""
    for statement in ("DELETE FROM sluice.audit_event", "UPDATE sluice.audit_event SET agent = ''"):
        with (
            pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
            catalog.begin() as c,
        ):
            c.execute(sa.text(statement))


def test_the_application_role_is_bound(catalog: Catalog) -> None:
    """The start-up check passes for the application's own role."""
    catalog.check()


def test_an_owner_is_refused_as_application_role(database: str) -> None:
    """A role that bypasses row level security is not served with."""
    with pytest.raises(ConfigurationError, match="bypasses"):
        Catalog(database, "main").check()


def test_an_absent_server_is_one_clear_line() -> None:
    """Nobody listening is an error that names the cure, not a traceback of the driver's."""
    gone = Catalog("postgresql://nobody@127.0.0.1:1/none", "main")
    with pytest.raises(CatalogUnavailable, match="does not answer"), gone.begin():
        pass
