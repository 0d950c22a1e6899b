"""What may be asked in a minute, and by whom; whose vectors are whose, and how old."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE sluice.api_key ADD COLUMN team text;
ALTER TABLE sluice.batch ADD COLUMN embedded integer NOT NULL DEFAULT 0;
ALTER TABLE sluice.embedding ADD COLUMN used_on date NOT NULL DEFAULT current_date;
ALTER TABLE sluice.generation ADD COLUMN content_hashes bytea NOT NULL DEFAULT '';
CREATE TABLE sluice.embedding_under_way (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    model text NOT NULL,
    content_hash bytea NOT NULL,
    run_id text NOT NULL,
    until timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, model, content_hash)
);
CREATE TABLE sluice.rate_limit (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    level text NOT NULL CHECK (level IN ('tenant', 'source', 'model', 'team', 'user', 'agent')),
    name text NOT NULL,
    requests integer CHECK (requests > 0),
    tokens integer CHECK (tokens > 0),
    PRIMARY KEY (tenant_id, level, name)
);
CREATE TABLE sluice.rate_bucket (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    name text NOT NULL,
    requests_full float8 NOT NULL DEFAULT 0,
    tokens_full float8 NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant_id, name)
);
CREATE TABLE sluice.pace (
    endpoint text PRIMARY KEY,
    requests integer,
    tokens integer,
    requests_full float8 NOT NULL DEFAULT 0,
    tokens_full float8 NOT NULL DEFAULT 0,
    paused_until float8 NOT NULL DEFAULT 0,
    turn bigint NOT NULL DEFAULT 0
);
CREATE TABLE sluice.share (
    endpoint text NOT NULL,
    source text NOT NULL,
    served bigint NOT NULL,
    PRIMARY KEY (endpoint, source)
);
CREATE TABLE sluice.waiting (
    ticket uuid PRIMARY KEY,
    endpoint text NOT NULL,
    source text NOT NULL,
    looked float8 NOT NULL
);
CREATE INDEX waiting_by_endpoint ON sluice.waiting (endpoint, source);
GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.pace, sluice.share, sluice.waiting TO sluice_app
"""

BIND = """
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['embedding_under_way', 'rate_limit', 'rate_bucket'] LOOP
        EXECUTE format('ALTER TABLE sluice.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sluice.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$CREATE POLICY tenant ON sluice.%I
            USING (tenant_id = current_setting('sluice.tenant', true))
            WITH CHECK (tenant_id = current_setting('sluice.tenant', true))$p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.%I TO sluice_app', t);
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Make the tables. Those of endpoints belong to no tenant: their limits are of a key."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(BIND)


def downgrade() -> None:
    """A catalog is not taken back: restore the backup instead."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
