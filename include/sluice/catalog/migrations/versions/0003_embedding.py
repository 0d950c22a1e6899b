"""What embedding costs and may cost, and the batches that a provider is working on."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STATEMENTS = """
ALTER TABLE sluice.source ADD COLUMN machines text[];
CREATE TABLE sluice.budget (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    level text NOT NULL CHECK (level IN ('tenant', 'source', 'model', 'team', 'user', 'agent')),
    name text NOT NULL,
    per text NOT NULL CHECK (per IN ('request', 'run', 'day', 'month')),
    dollars numeric NOT NULL CHECK (dollars >= 0),
    PRIMARY KEY (tenant_id, level, name, per)
);
CREATE TABLE sluice.budget_use (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    level text NOT NULL,
    name text NOT NULL,
    per text NOT NULL,
    period text NOT NULL,
    held numeric NOT NULL,
    spent numeric NOT NULL,
    PRIMARY KEY (tenant_id, level, name, per, period)
);
CREATE TABLE sluice.cost_hold (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    hold_id uuid NOT NULL,
    day date NOT NULL,
    dollars numeric NOT NULL,
    tokens bigint NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    tier text NOT NULL CHECK (tier IN ('standard', 'batch')),
    source text,
    run_id text,
    team text,
    person text,
    agent text,
    request text,
    lease_until timestamptz,
    PRIMARY KEY (tenant_id, hold_id)
);
CREATE INDEX cost_hold_by_lease ON sluice.cost_hold (tenant_id, lease_until);
CREATE TABLE sluice.cost (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    event_id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind text NOT NULL CHECK (kind IN ('reserve', 'settle', 'release', 'expire')),
    hold_id uuid NOT NULL,
    day date NOT NULL,
    dollars numeric NOT NULL,
    tokens bigint NOT NULL,
    endpoint text NOT NULL,
    model text NOT NULL,
    tier text NOT NULL,
    source text,
    run_id text,
    team text,
    person text,
    agent text,
    request text,
    PRIMARY KEY (tenant_id, event_id)
);
CREATE UNIQUE INDEX cost_settled ON sluice.cost (tenant_id, hold_id) WHERE kind = 'settle';
CREATE INDEX cost_by_day ON sluice.cost (tenant_id, day) WHERE kind = 'settle';
CREATE INDEX cost_by_run ON sluice.cost (tenant_id, run_id) WHERE kind = 'settle';
CREATE TABLE sluice.batch (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    batch_id uuid NOT NULL,
    embedder text NOT NULL,
    model text NOT NULL,
    source text,
    run_id text,
    state text NOT NULL CHECK (state IN
        ('planned', 'uploading', 'uploaded', 'creating', 'submitted', 'read', 'done')),
    inputs integer NOT NULL,
    tokens bigint NOT NULL,
    hold_id uuid,
    input_file text,
    remote_id text,
    files text[] NOT NULL DEFAULT '{}',
    reads integer NOT NULL DEFAULT 0,
    message text,
    not_before timestamptz,
    planned_at timestamptz NOT NULL DEFAULT now(),
    submitted_at timestamptz,
    done_at timestamptz,
    PRIMARY KEY (tenant_id, batch_id)
);
CREATE INDEX batch_live ON sluice.batch (tenant_id, model) WHERE state <> 'done';
CREATE TABLE sluice.claim (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    model text NOT NULL,
    content_hash bytea NOT NULL,
    batch_id uuid,
    line integer NOT NULL,
    position integer NOT NULL,
    tokens integer NOT NULL,
    text text NOT NULL,
    failures integer NOT NULL DEFAULT 0,
    message text,
    PRIMARY KEY (tenant_id, model, content_hash),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES sluice.batch
);
CREATE INDEX claim_by_batch ON sluice.claim (tenant_id, batch_id, line, position);
"""

BIND = """
DO $$
DECLARE t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['budget', 'budget_use', 'cost_hold', 'cost', 'batch', 'claim'] LOOP
        EXECUTE format('ALTER TABLE sluice.%I ENABLE ROW LEVEL SECURITY', t);
        EXECUTE format('ALTER TABLE sluice.%I FORCE ROW LEVEL SECURITY', t);
        EXECUTE format($p$CREATE POLICY tenant ON sluice.%I
            USING (tenant_id = current_setting('sluice.tenant', true))
            WITH CHECK (tenant_id = current_setting('sluice.tenant', true))$p$, t);
        EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.%I TO sluice_app', t);
    END LOOP;
    REVOKE UPDATE, DELETE ON sluice.cost FROM sluice_app;
    GRANT USAGE ON ALL SEQUENCES IN SCHEMA sluice TO sluice_app;
END $$
"""


def upgrade() -> None:
    """Make the tables, and bind them as all others are."""
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(BIND)


def downgrade() -> None:
    """A catalog is not taken back: restore the backup instead."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
