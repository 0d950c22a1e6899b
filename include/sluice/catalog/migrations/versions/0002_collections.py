"""Collections: where chunks live, and which generation lives in which of them.

A catalog of before has one collection without knowing it: LanceDB's table for the only embedding
model there was. It is written down here, so that it serves on as if nothing had happened.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STATEMENTS = """
CREATE TABLE sluice.collection (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    collection_id bigint GENERATED ALWAYS AS IDENTITY,
    backend text NOT NULL CHECK (backend IN ('lance', 'weaviate')),
    name text NOT NULL,
    embedder text NOT NULL,
    model text NOT NULL,
    dimensions integer NOT NULL,
    recipe text NOT NULL,
    state text NOT NULL CHECK (state IN ('building', 'serving', 'kept', 'dropped')),
    created_at timestamptz NOT NULL DEFAULT now(),
    served_at timestamptz,
    PRIMARY KEY (tenant_id, collection_id),
    UNIQUE (tenant_id, backend, name)
);
CREATE UNIQUE INDEX collection_serving ON sluice.collection (tenant_id) WHERE state = 'serving';
CREATE UNIQUE INDEX collection_building ON sluice.collection (tenant_id) WHERE state = 'building';
CREATE TABLE sluice.placement (
    tenant_id text NOT NULL DEFAULT current_setting('sluice.tenant'),
    collection_id bigint NOT NULL,
    generation bigint NOT NULL,
    chunk_count integer NOT NULL,
    PRIMARY KEY (tenant_id, collection_id, generation),
    FOREIGN KEY (tenant_id, collection_id) REFERENCES sluice.collection,
    FOREIGN KEY (tenant_id, generation) REFERENCES sluice.generation ON DELETE CASCADE
);
CREATE INDEX placement_by_generation ON sluice.placement (tenant_id, generation);
CREATE INDEX generation_live ON sluice.generation (tenant_id, generation) WHERE state = 'live';
INSERT INTO sluice.collection
    (tenant_id, backend, name, embedder, model, dimensions, recipe, state, served_at)
SELECT DISTINCT tenant_id, 'lance', 'chunks-wordllama-l2-supercat-256-256-a1-v1', 'local-static',
    'wordllama-l2-supercat-256', 256, 'structure-1/a1/wordllama-l2-supercat-256', 'serving', now()
FROM sluice.generation;
INSERT INTO sluice.placement (tenant_id, collection_id, generation, chunk_count)
SELECT tenant_id, collection_id, generation, chunk_count
FROM sluice.generation JOIN sluice.collection USING (tenant_id)
WHERE generation.state IN ('live', 'retired');
ALTER TABLE sluice.generation DROP COLUMN chunk_count;
ALTER TABLE sluice.collection ENABLE ROW LEVEL SECURITY;
ALTER TABLE sluice.collection FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sluice.collection
    USING (tenant_id = current_setting('sluice.tenant', true))
    WITH CHECK (tenant_id = current_setting('sluice.tenant', true));
ALTER TABLE sluice.placement ENABLE ROW LEVEL SECURITY;
ALTER TABLE sluice.placement FORCE ROW LEVEL SECURITY;
CREATE POLICY tenant ON sluice.placement
    USING (tenant_id = current_setting('sluice.tenant', true))
    WITH CHECK (tenant_id = current_setting('sluice.tenant', true));
GRANT SELECT, INSERT, UPDATE, DELETE ON sluice.collection, sluice.placement TO sluice_app;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA sluice TO sluice_app;
"""

# A Weaviate may serve several catalogs, whose generation numbers say nothing to each other.
INSTALLATION = """
DO $$ BEGIN
    EXECUTE format(
        'CREATE FUNCTION sluice.installation() RETURNS text IMMUTABLE LANGUAGE sql AS %L',
        'SELECT ' || quote_literal(left(gen_random_uuid()::text, 8)));
END $$
"""


def upgrade() -> None:
    """Make the tables, and write down the collection that is there."""
    # The owner is bound by row level security as everyone is, and the rows of every tenant move.
    op.execute("ALTER TABLE sluice.generation NO FORCE ROW LEVEL SECURITY")
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute("ALTER TABLE sluice.generation FORCE ROW LEVEL SECURITY")
    op.execute(INSTALLATION)


def downgrade() -> None:
    """A catalog is not taken back: restore the backup instead."""
    raise NotImplementedError("restore the backup that was made before the upgrade")
