"""Quarantine: one open entry a row, its reasons, its way back."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa
from sluice.catalog import Catalog, quarantine
from sluice.model import LandedRow


def row(key: str, load: str = "1", **record: object) -> LandedRow:
    """A landed row."""
    return LandedRow(key=key, load_id=load, record=record)


def asked_for(connection: sa.Connection, source: str) -> list[str]:
    """The row keys that somebody asked to be judged again."""
    return sorted(e.row_key for e in quarantine.entries(connection, source) if e.replay_at)


def test_row_is_set_aside_with_its_reasons_and_record(catalog: Catalog) -> None:
    """What was put is what is listed."""
    with catalog.begin() as connection:
        quarantine.put(connection, "desk", [row("k'\"%", text="a\u202eb")], {"k'\"%": ("x", "y")})
        [entry] = quarantine.entries(connection)
        assert (entry.source, entry.row_key, entry.load_id) == ("desk", "k'\"%", "1")
        assert (entry.reasons, entry.record) == (("x", "y"), {"text": "a\u202eb"})
        assert quarantine.keys(connection, "desk") == {"k'\"%"}
        quarantine.put(connection, "desk", [], {})


def test_newer_bad_version_replaces_the_open_entry(catalog: Catalog) -> None:
    """A row waits once, as it is now; the same version again changes nothing."""
    with catalog.begin() as connection:
        quarantine.put(connection, "desk", [row("k", v=1)], {"k": ("old",)})
    with catalog.begin() as connection:
        [first] = quarantine.entries(connection)
        quarantine.put(connection, "desk", [row("k", v=1)], {"k": ("old",)})
        assert quarantine.entries(connection) == [first]
        quarantine.put(connection, "desk", [row("k", "2", v=2)], {"k": ("new",)})
        [second] = quarantine.entries(connection)
    assert (second.id, second.reasons, second.record) == (first.id, ("new",), {"v": 2})
    assert second.quarantined_at > first.quarantined_at


def test_good_version_resolves_and_a_later_bad_one_opens_anew(catalog: Catalog) -> None:
    """History stays; only open entries are listed."""
    with catalog.begin() as connection:
        quarantine.put(connection, "desk", [row("a"), row("b")], {"a": ("x",), "b": ("x",)})
        [old] = [e for e in quarantine.entries(connection) if e.row_key == "a"]
        quarantine.resolve(connection, "desk", ["a", "never seen"])
        assert quarantine.keys(connection, "desk") == {"b"}
        quarantine.put(connection, "desk", [row("a", "2")], {"a": ("y",)})
        [new] = [e for e in quarantine.entries(connection) if e.row_key == "a"]
    assert new.id != old.id


def test_replay_is_asked_for_by_id_or_by_source(catalog: Catalog) -> None:
    """Asking says which sources must run; judging again, and failing, ends the request."""
    with catalog.begin() as connection:
        for source in ("desk", "wiki"):
            quarantine.put(connection, source, [row("a"), row("b")], {"a": ("x",), "b": ("x",)})
        a = next(e for e in quarantine.entries(connection, "desk") if e.row_key == "a")
        assert quarantine.request_replay(connection, ids=[a.id, -1]) == {"desk": 1}
        assert asked_for(connection, "desk") == ["a"]
        assert quarantine.request_replay(connection, source="wiki") == {"wiki": 2}
        assert asked_for(connection, "wiki") == ["a", "b"]
        assert quarantine.request_replay(connection, source="nobody") == {}
        quarantine.put(connection, "wiki", [row("a")], {"a": ("x",)})
        assert asked_for(connection, "wiki") == ["b"]
        quarantine.resolve(connection, "wiki", ["b"])
        assert asked_for(connection, "wiki") == []


def test_tenants_do_not_see_each_other(new_catalog: Callable[[], Catalog]) -> None:
    """Nor can they replay or resolve each other's rows."""
    ours, theirs = new_catalog(), new_catalog()
    with ours.begin() as connection:
        quarantine.put(connection, "desk", [row("a")], {"a": ("x",)})
        [entry] = quarantine.entries(connection)
    with theirs.begin() as connection:
        assert quarantine.entries(connection) == []
        assert quarantine.request_replay(connection, ids=[entry.id], source="desk") == {}
        quarantine.resolve(connection, "desk", ["a"])
    with ours.begin() as connection:
        assert quarantine.entries(connection) == [entry]
