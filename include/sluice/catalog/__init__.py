"""The catalog: what is true, in PostgreSQL.

``Catalog.begin()`` opens the only kind of transaction there is: one that belongs to a tenant. Row
level security compares every row with it and every insert takes its ``tenant_id`` from it, so the
modules beside this one never mention tenants, and cannot forget to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from sluice.errors import CatalogUnavailable, ConfigurationError
from sluice.settings import Settings

Isolation = Literal["READ COMMITTED", "REPEATABLE READ"]


class Catalog:
    """A tenant's door to the catalog. Safe to share between threads, never across a fork."""

    def __init__(self, url: str, tenant: str):
        self.tenant = tenant
        self._engine = connect(url)

    @contextmanager
    def begin(self, isolation: Isolation = "READ COMMITTED") -> Iterator[sa.Connection]:
        """Open a transaction that sees this tenant's rows alone; commit it on a clean exit.

        ``REPEATABLE READ`` gives every statement the same snapshot, for reads that must agree.

        Raises:
            CatalogUnavailable: the server cannot be reached, or went away meanwhile.
        """
        try:
            with (
                self._engine.connect().execution_options(isolation_level=isolation) as connection,
                connection.begin(),
            ):
                connection.execute(
                    sa.text("SELECT set_config('sluice.tenant', :tenant, true)"),
                    {"tenant": self.tenant},
                )
                yield connection
        except (OperationalError, InterfaceError) as error:
            raise unavailable(error) from error
        except PoolTimeout as error:
            raise CatalogUnavailable(
                "every connection to the catalog is in use", cure="Try again in a moment"
            ) from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise unavailable(error) from error
            raise

    def check(self) -> None:
        """Refuse to work as a role that row level security does not bind.

        Raises:
            ConfigurationError: the role is a superuser, may bypass, or owns the tables.
            CatalogUnavailable: the server cannot be reached.
        """
        with self.begin() as connection:
            bypasses = connection.execute(sa.text(_BYPASSES)).scalar_one()
        if bypasses:
            raise ConfigurationError(
                "the catalog role owns its tables or bypasses row level security",
                subject="SLUICE_CATALOG_URL",
                cure="Use the application role that `sluice up` creates",
            )

    def close(self) -> None:
        """Give every pooled connection back."""
        self._engine.dispose()


def open_catalog(settings: Settings) -> Catalog:
    """The catalog that the settings name, as a role that row level security binds.

    Raises:
        ConfigurationError: its URL is not set, or its role would bypass the tenants' walls.
        CatalogUnavailable: it does not answer.
    """
    catalog = Catalog(settings.require("catalog_url"), settings.tenant)
    try:
        catalog.check()
    except Exception:
        catalog.close()
        raise
    return catalog


_BYPASSES = """
SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
    SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'sluice' AND c.relkind = 'r'
      AND pg_has_role(current_user, c.relowner, 'MEMBER'))
FROM pg_roles r WHERE r.rolname = current_user
"""


def connect(url: str) -> sa.Engine:
    """Return an engine for a PostgreSQL ``url`` of any spelling.

    Raises:
        ConfigurationError: it is no URL. It is not repeated: it may hold a password.
    """
    try:
        parsed = sa.make_url(url).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            "a database URL cannot be read", cure="Write postgresql://user:password@host:5432/name"
        ) from None
    return sa.create_engine(
        parsed,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=20,
        pool_timeout=10,
        connect_args={"connect_timeout": 5, "application_name": "sluice"},
    )


def unavailable(error: DBAPIError) -> CatalogUnavailable:
    """Say in one line what the driver said in many."""
    reason = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    return CatalogUnavailable(
        f"the catalog does not answer: {reason}",
        cure="Check that PostgreSQL runs (`sluice status`) and try again",
    )
