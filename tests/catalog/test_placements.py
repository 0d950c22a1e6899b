"""What a collection lacks is found in time, whatever the planner believes."""

from __future__ import annotations

import sqlalchemy as sa
from sluice.catalog import Catalog, collections, connect, permissions, placements, samples
from world import a_collection

MANY = 20_000


def test_what_is_missing_is_found_in_time_in_a_collection_that_has_just_been_filled(
    catalog: Catalog, database: str
) -> None:
    """Its statistics are of before: a plan that trusts them compares each with each."""
    owner = connect(database)
    with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE sluice.generation, sluice.placement"))
    owner.dispose()
    with catalog.begin() as connection:
        made = collections.register(connection, a_collection())
        assert made is not None
        number = made.collection_id
        connection.execute(
            sa.text(
                """
                INSERT INTO sluice.generation
                    (document_id, source, native_id, run_id, state, recipe, title, text, uri,
                     acl_key, content_hash, meta_hash)
                SELECT 's:' || n, 's', n, 'r', 'live', 'r', 't', 'text', '', 'k', '', ''
                FROM generate_series(1, :many) AS n
                """
            ),
            {"many": MANY},
        )
        acl_id = permissions.ensure_acls(connection, "s", ["k"])["k"]
    with catalog.begin() as connection:
        live = placements.missing(connection, number, limit=MANY)
        assert len(live) == placements.lacking(connection, number) == MANY
        assert samples.characters_lacking(connection, number) == MANY * len("ttext")
        placements.place(connection, number, dict.fromkeys(live[:-3], 1))
    with catalog.begin() as connection:
        connection.execute(sa.text("SET LOCAL statement_timeout = '8s'"))
        assert placements.missing(connection, number, limit=2) == live[-3:-1]
        assert placements.missing(connection, number, limit=9, source="other") == []
        assert placements.lacking(connection, number) == 3
        assert sorted(samples.some_missing(connection, number, 9)) == live[-3:]
        assert samples.characters_lacking(connection, number) == 3 * len("ttext")
        assert placements.settled(connection, number) == MANY - 3
        assert len(placements.probe(connection, number, 100)) > 100
        assert len(placements.page(connection, number, after=0, limit=MANY)) == MANY - 3
        assert len(samples.some_held(connection, number, 50)) == 50
        assert len(placements.still_held(connection, number, live)) == MANY - 3
        assert samples.by_acl(connection, number) == {acl_id: MANY - 3}
        assert len(samples.under(connection, number, [acl_id])) == MANY - 3
        assert placements.newest(connection, number, 2) == live[-4:-6:-1]
        assert len(placements.expected(connection, number, "s")) == MANY - 3
