"""Agents' keys: shown once, stored as a digest, ended at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sluice.audit import Audit, Read
from sluice.catalog import Catalog, keys
from sluice.errors import BadInput, InvalidPrincipal, NotFound, Unauthenticated
from sluice.keys import Keys, acts_for, person_for
from sluice.model import PUBLIC, Caller, Principal
from world import ADA, BEN

FUTURE = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def ring(catalog: Catalog) -> Keys:
    """The tenant's keys: none."""
    return Keys(catalog)


def test_a_key_opens_for_whom_it_was_made(ring: Keys) -> None:
    """The caller carries the agent's name and whom it may act for."""
    key = ring.create("helper", acts_for(["user:Ada@x.org", "anyone"]), FUTURE)
    caller = ring.authenticate(key)
    assert caller.agent == "helper"
    assert caller.acts_for == {ADA, PUBLIC}
    assert caller.key_id is not None and caller.key_id in key


def test_the_secret_is_not_kept(catalog: Catalog, ring: Keys) -> None:
    """Neither the key nor its secret is anywhere in the row."""
    secret = ring.create("helper", [ADA]).rpartition("_")[2]
    with catalog.begin() as connection:
        row = str(connection.execute(sa.text("SELECT k::text FROM sluice.api_key k")).scalar_one())
    assert secret not in row and secret.encode().hex() not in row


def test_no_two_keys_are_alike(ring: Keys) -> None:
    """Each has its own id and 43 characters of secret, which is 256 bits."""
    made = {ring.create("helper", [ADA]) for _ in range(20)}
    assert len(made) == 20 and len({key.split("_")[1] for key in made}) == 20
    assert all(len(key.split("_", 2)[2]) == 43 for key in made)


@pytest.mark.parametrize(
    "forge",
    [
        lambda key: "",
        lambda key: key[:-1],
        lambda key: key + "a",
        lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
        lambda key: key.replace("slc_", "slc_f", 1)[:-1],
        lambda key: "slc_" + "0" * 16 + key[20:],
        lambda key: key.upper(),
        lambda key: key + "\n",
        lambda key: key.replace("_", "\0", 1),
        lambda key: "slc_" + "٠" * 16 + key[20:],
        lambda key: "' OR 1=1 --",
    ],
)
def test_a_forged_key_opens_nothing(ring: Keys, forge: Callable[[str], str]) -> None:
    """Anything but the very key is refused, in the same words."""
    key = ring.create("helper", [ADA])
    with pytest.raises(Unauthenticated, match="opens nothing"):
        ring.authenticate(forge(key))


def test_a_revoked_and_an_expired_key_open_nothing(catalog: Catalog, ring: Keys) -> None:
    """Both are refused as a forged one is."""
    revoked, expired = ring.create("a", [ADA]), ring.create("b", [ADA], FUTURE)
    ring.revoke(revoked.split("_")[1])
    with catalog.begin() as connection:
        connection.execute(
            sa.text("UPDATE sluice.api_key SET expires_at = now() WHERE agent = 'b'")
        )
    for key in (revoked, expired):
        with pytest.raises(Unauthenticated, match="opens nothing"):
            ring.authenticate(key)


def test_another_tenants_key_opens_nothing(ring: Keys, new_catalog: Callable[[], Catalog]) -> None:
    """A key belongs to the tenant that made it."""
    key = ring.create("helper", [ADA])
    with pytest.raises(Unauthenticated):
        Keys(new_catalog()).authenticate(key)


def test_keys_are_listed_oldest_first(ring: Keys) -> None:
    """The list tells what each is for and whether it has ended."""
    first, second = ring.create("a", [ADA, BEN]), ring.create("b", [PUBLIC], FUTURE)
    ring.revoke(second.split("_")[1])
    ring.revoke(second.split("_")[1])
    listed = ring.every()
    assert [each.key_id for each in listed] == [key.split("_")[1] for key in (first, second)]
    assert listed[0].acts_for == (ADA, BEN) and listed[0].revoked_at is None
    assert listed[1].expires_at == FUTURE and listed[1].revoked_at is not None


def test_revoking_what_is_not_there_is_said(ring: Keys) -> None:
    """A mistyped id does not look like a revocation."""
    with pytest.raises(NotFound, match="no such key"):
        ring.revoke("0" * 16)


@pytest.mark.parametrize("agent", ["", " ", "cli:root", "a b", "a" * 65, "é", "a\n"])
def test_an_agents_name_is_plain(ring: Keys, agent: str) -> None:
    """A name in the audit log can be read, and is never taken for an operator's."""
    with pytest.raises(BadInput, match="agent's name"):
        ring.create(agent, [ADA])


def test_a_key_for_nobody_is_refused(ring: Keys) -> None:
    """A key needs someone to act for, and a name that names someone."""
    with pytest.raises(BadInput, match="nobody"):
        ring.create("helper", [])
    with pytest.raises(InvalidPrincipal):
        acts_for(["everyone"])
    with pytest.raises(BadInput, match="zone"):
        ring.create("helper", [ADA], datetime(2030, 1, 1))  # noqa: DTZ001  # that is the point


def test_a_key_bound_to_one_person_need_not_name_them() -> None:
    """With exactly one user it is clear for whom; otherwise it must be said."""

    def caller(*names: Principal) -> Caller:
        return Caller(agent="a", key_id="k", acts_for=frozenset(names))

    assert person_for(caller(ADA), None) == ADA
    assert person_for(caller(ADA), "user:BEN@x.org") == BEN
    for names in ((ADA, BEN), (PUBLIC,), (Principal.parse("group:co:all"),)):
        with pytest.raises(BadInput, match="for whom"):
            person_for(caller(*names), None)


def test_a_revocation_waits_for_the_answer_that_is_leaving(catalog: Catalog, ring: Keys) -> None:
    """Once ``revoke`` has returned, no answer of the key is committed any more."""
    key_id = ring.create("helper", [ADA]).split("_")[1]
    order: list[str] = []
    with catalog.begin() as connection:
        assert keys.hold(connection, key_id)
        revoking = threading.Thread(target=lambda: (ring.revoke(key_id), order.append("revoked")))
        revoking.start()
        revoking.join(0.3)
        order.append("answered")
    revoking.join(10)
    assert order == ["answered", "revoked"]
    caller = Caller(agent="helper", key_id=key_id, acts_for=frozenset({ADA}))
    with pytest.raises(Unauthenticated):
        Audit(catalog).record(
            Read(trace_id="0" * 32, caller=caller, person=ADA, action="search", asked="?")
        )
