"""The number of the last change of permissions: what answers say, and callers may demand."""

from __future__ import annotations

import sqlalchemy as sa


def count_change(connection: sa.Connection) -> None:
    """Move ``acl_version`` by one, once however much this transaction changes."""
    connection.execute(
        sa.text(
            """
            INSERT INTO sluice.acl_version (version)
            SELECT 1 WHERE current_setting('sluice.acl_counted', true) IS DISTINCT FROM 'yes'
            ON CONFLICT (tenant_id) DO UPDATE SET version = acl_version.version + 1
            """
        )
    )
    connection.execute(sa.text("SELECT set_config('sluice.acl_counted', 'yes', true)"))
