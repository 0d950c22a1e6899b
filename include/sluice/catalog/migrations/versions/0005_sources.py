"""How sources are signed in to, what they said has changed, and whose their accounts are."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE sluice.source
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN paused_until timestamptz,
    ADD COLUMN sign_in text,
    ADD COLUMN objective interval,
    ADD COLUMN changed_at timestamptz,
    ADD COLUMN indexed_at timestamptz,
    ADD COLUMN reconciled_at timestamptz;
ALTER TABLE sluice.acl ADD COLUMN observed_at timestamptz;
CREATE TABLE sluice.data_key (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    version integer NOT NULL,
    key_id text NOT NULL,
    wrapped bytea NOT NULL,
    wrapped_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source, version)
);
CREATE TABLE sluice.token (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    key_version integer NOT NULL,
    sealed bytea NOT NULL,
    expires_at timestamptz,
    scopes text[] NOT NULL DEFAULT '{}',
    rotations bigint NOT NULL DEFAULT 0,
    rotated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source)
);
CREATE TABLE sluice.consent (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    state_hash bytea NOT NULL,
    source text NOT NULL,
    key_version integer NOT NULL,
    sealed bytea NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, state_hash)
);
CREATE TABLE sluice.account (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    native_id text NOT NULL,
    email text,
    active boolean NOT NULL,
    held text,
    since timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source, native_id)
);
CREATE TABLE sluice.address (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    email text NOT NULL,
    owner text,
    claimants text[] NOT NULL,
    PRIMARY KEY (tenant_id, source, email)
);
ALTER TABLE sluice.identity ADD COLUMN counts boolean NOT NULL DEFAULT true;
CREATE TABLE sluice.change (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    change_id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    key text,
    op text NOT NULL CHECK (op IN ('upsert', 'delete', 'all', 'acl')),
    position text,
    changed_at timestamptz,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    load_id text,
    PRIMARY KEY (tenant_id, change_id)
);
CREATE INDEX change_by_source ON sluice.change (tenant_id, source, change_id);
CREATE TABLE sluice.stream (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    position text NOT NULL,
    behind bigint,
    trouble text,
    seen_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source)
);
CREATE TABLE sluice.delivery (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    source text NOT NULL,
    delivery_id text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, source, delivery_id)
)
"""

BIND = """
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['data_key', 'token', 'consent', 'account', 'address', 'change',
                             'stream', 'delivery'] LOOP
        EXECUTE format('ALTER TABLE sluice.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sluice.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$CREATE POLICY tenant ON sluice.%I
            USING (tenant_id = current_setting('sluice.tenant', true))
            WITH CHECK (tenant_id = current_setting('sluice.tenant', true))$p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.%I TO sluice_app', t);
    END LOOP;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA sluice TO sluice_app;
END $$
"""


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(BIND)


def downgrade() -> None:
    """A catalog is not taken back: restore the backup instead."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
