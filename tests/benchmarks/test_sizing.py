"""docs/scale.md shows what was measured, and what follows from it."""

from __future__ import annotations

import pytest
import sizing
from sizing import Cluster, Line


def test_the_page_shows_what_was_measured() -> None:
    """Its tables are those that the results give: whoever measures anew makes them anew."""
    page = sizing.PAGE.read_text()
    assert page == sizing.rendered(page, sizing.results()), "run benchmarks/sizing.py"


def test_every_table_has_its_place_on_the_page() -> None:
    """A table that no mark asks for would silently be left out."""
    page = sizing.PAGE.read_text()
    made = dict.fromkeys(sizing.TABLES, "| made |")
    assert sizing.rendered(page, made).count("| made |") == len(made)


def test_a_line_goes_through_the_two_largest_sizes() -> None:
    """The smallest, where what is fixed hides what grows, does not count."""
    line = Line.through([(10, 500), (100, 300), (1000, 2100)])
    assert (line.fixed, line.each) == (100, 2)


def test_time_that_grows_with_the_chunks_has_the_power_one() -> None:
    """Ten times the chunks, ten times the time."""
    assert sizing.power([(10, 7), (100, 5), (1000, 50)]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("gigabytes", "copies", "nodes", "kind"),
    [(1, 1, 1, "m7g.large"), (1, 3, 3, "m7g.large"), (30, 3, 3, "m7g.4xlarge")],
)
def test_a_cluster_has_a_node_for_each_copy_and_room_to_grow(
    gigabytes: float, copies: int, nodes: int, kind: str
) -> None:
    """No node is filled beyond its share; among equally dear ones the fewest nodes are taken."""
    cluster = Cluster.for_(gigabytes, disk=0, copies=copies)
    assert (cluster.nodes, cluster.kind) == (nodes, kind)
