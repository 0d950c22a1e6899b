"""The API over a real socket: answers, refusals, and what must never differ."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
import sqlalchemy as sa
from serving import Site, serving
from sluice.catalog import connect
from sluice.settings import Settings
from world import ADA, BEN, DIRECTORY

ASK = {"query": "kettle", "as": "user:ada@x.org"}


def search(site: Site, **fields: object) -> httpx.Response:
    """Ask as Ada, unless the fields say otherwise."""
    return site.agent.post("/v1/search", json={**ASK, **fields})


def refused(response: httpx.Response, status: int, code: str) -> dict[str, str]:
    """Check that a response is an error of the one shape; return its content."""
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    error = response.json()["error"]
    assert set(error) == {"code", "message", "cure", "trace_id"}
    assert error["code"] == code
    assert "Traceback" not in response.text and "sluice/" not in response.text
    return dict(error)


def test_a_question_is_answered_with_what_the_person_may_read(site: Site) -> None:
    """Hits carry all that leads back to where they came from, and no score."""
    response = search(site)
    assert response.status_code == 200
    assert response.headers["cache-control"] == "no-store"
    (hit,) = response.json()["hits"]
    assert set(hit) == {
        *("rank", "document_id", "title", "uri", "path", "text", "ordinal"),
        *("source", "generation", "run_id", "updated_at", "reason"),
    }
    assert (hit["rank"], hit["document_id"]) == (1, "wiki:for ada")
    assert hit["reason"] == {
        "principal": "user:ada@x.org",
        "via": ["user:ada@x.org"],
        "acl_key": "ada",
        "expires_at": None,
    }
    (other,) = search(site, **{"as": "USER:ben@x.org".lower()}).json()["hits"]
    assert other["document_id"] == "wiki:b/ü?#"


def test_a_person_is_one_whatever_the_case(site: Site) -> None:
    """``user:ADA@X.org`` and ``user:ada@x.org`` read the same."""
    first, second = search(site).json(), search(site, **{"as": "user:ADA@X.org"}).json()
    assert first["hits"] == second["hits"]


def test_a_document_is_fetched_whole(site: Site) -> None:
    """An id with slashes, spaces and letters of any language finds its way through the path."""
    path = f"/v1/documents/{quote('wiki:b/ü?#')}"
    response = site.agent.get(path, headers={"X-Sluice-On-Behalf-Of": str(BEN)})
    assert response.status_code == 200
    assert response.json()["text"] == "Tea"
    assert response.json()["document_id"] == "wiki:b/ü?#"


HOSTILE = [
    "wiki:b/ü?#",  # there is one, and it is Ben's
    "wiki:never",
    "",
    "wiki:'; DROP TABLE sluice.document; --",
    "wiki:%",
    "wiki:\0",
    "wiki:\u202efor ada",
    "wiki:for ada\u200b",
    "../../etc/passwd",
    "wiki:" + "a" * 5000,
]


@pytest.mark.parametrize("document_id", HOSTILE, ids=range(len(HOSTILE)))
def test_absent_and_forbidden_are_the_same_404(site: Site, document_id: str) -> None:
    """Whatever the id, the answer differs in its trace id alone."""
    path = f"/v1/documents/{quote(document_id, safe='')}"
    response = site.agent.get(path, headers={"X-Sluice-On-Behalf-Of": str(ADA)})
    error = refused(response, 404, "not_found")
    assert error["message"] == "no such document"
    assert error["cure"] == "Check its id, and whom you ask for"


def test_a_broken_utf_8_path_is_a_404(site: Site) -> None:
    """Bytes that are no text name no document."""
    headers = {"X-Sluice-On-Behalf-Of": str(ADA)}
    refused(site.agent.get("/v1/documents/wiki:%ff%fe", headers=headers), 404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer slc_nonsense"},
        {"Authorization": "Basic dTpw"},
        {"Authorization": "Bearer slc_0123456789abcdef_" + "a" * 43},
        {"Authorization": "", "X-API-Key": "slc_0123456789abcdef_" + "a" * 43},
        {"Authorization": "", "Cookie": "_token=abc"},
    ],
)
def test_without_a_live_key_nothing_is_answered(site: Site, headers: dict[str, str]) -> None:
    """No key, a malformed one, a forged one, someone else's login: all the same 401."""
    response = site.agent.post("/v1/search", json=ASK, headers=headers)
    refused(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"] == "Bearer"
    refused(site.agent.get("/v1/documents/wiki:x", headers=headers), 401, "unauthenticated")


def test_a_key_is_also_taken_from_its_own_header(site: Site) -> None:
    """Where a proxy keeps ``Authorization`` to itself, ``X-API-Key`` does."""
    key = site.agent.headers["Authorization"].removeprefix("Bearer ")
    headers = {"Authorization": "", "X-API-Key": key}
    assert site.agent.post("/v1/search", json=ASK, headers=headers).status_code == 200


def test_a_key_acts_only_for_its_own(site: Site) -> None:
    """Bound to Ben it answers for Ben, named or not, and for nobody else."""
    key = site.services.keys.create("bens", [BEN])
    headers = {"Authorization": f"Bearer {key}"}

    def ask(fields: dict[str, str]) -> httpx.Response:
        return site.agent.post("/v1/search", json={"query": "tea", **fields}, headers=headers)

    assert len(ask({}).json()["hits"]) == 1
    assert len(ask({"as": "user:BEN@x.org"}).json()["hits"]) == 1
    refused(ask({"as": "user:ada@x.org"}), 403, "not_permitted")
    refused(ask({"as": "user:nobody@x.org"}), 403, "not_permitted")


def test_for_whom_may_be_said_in_a_header(site: Site) -> None:
    """The header does for ``as``; two different people are one too many."""

    def ask(person: str, *headers: str) -> httpx.Response:
        fields = {"query": "kettle", **({"as": person} if person else {})}
        pairs = [("X-Sluice-On-Behalf-Of", each) for each in headers]
        return site.agent.post("/v1/search", json=fields, headers=pairs)

    assert len(ask("", str(ADA)).json()["hits"]) == 1
    assert len(ask(str(ADA), str(ADA)).json()["hits"]) == 1
    refused(ask(str(BEN), str(ADA)), 422, "bad_input")
    refused(ask("", str(ADA), str(BEN)), 422, "bad_input")
    refused(ask(""), 422, "bad_input")


@pytest.mark.parametrize(
    "fields",
    [
        {"query": ""},
        {"query": "   "},
        {"query": "a" * 4001},
        {"query": "a\0b"},
        {"query": 7},
        {"query": None},
        {"query": ["kettle"]},
        {"k": 0},
        {"k": -1},
        {"k": 10_000},
        {"k": 10**30},
        {"k": "5"},
        {"k": 1.5},
        {"k": True},
        {"k": None},
        {"page": 2},
        {"filter": "acl_id > 0"},
        {"tenant": "main"},
        {"as_": "user:ben@x.org"},
        {"as": ""},
        {"as": "ada@x.org"},
        {"as": "public"},
        {"as": "group:co:all"},
        {"as": "user:ada@x.org\0"},
        {"as": "user:\u202egro.x@ada"},
        {"as": "user:a\u200bda@x.org"},
        {"as": ["user:ada@x.org"]},
        {"min_acl_version": -1},
        {"max_staleness_seconds": -1},
        {"max_staleness_seconds": 1e300},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_bad_input_is_a_422(site: Site, fields: dict[str, object]) -> None:
    """Whatever is out of bounds, of another type or unknown is said to be so."""
    refused(search(site, **fields), 422, "bad_input")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"kettle"',
        b"{}",
        b"\xff\xfe",
        b'{"query": "\\ud800", "as": "user:ada@x.org"}',
        b'{"query": "kettle", "as": "user:\\ud800@x.org"}',
        b'{"query": "kettle", "as": "user:ada@x.org", "k": 1' + b"0" * 5000 + b"}",
        b'{"query": "kettle", "as": "user:ada@x.org", "max_staleness_seconds": NaN}',
        b'{"query": "kettle", "as": "user:ada@x.org", "as": "user:ben@x.org"}',
        b'{"query": "kettle", "as": "user:ada@x.org", "\\u0061s": "user:ada@x.org"}',
        b"[" * 60_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_is_no_question_is_a_422(site: Site, body: bytes) -> None:
    """Broken JSON, other JSON, broken text, absurd numbers and endless nesting do no harm."""
    headers = {"Content-Type": "application/json"}
    refused(site.agent.post("/v1/search", content=body, headers=headers), 422, "bad_input")


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "json"]
)
def test_another_content_type_is_a_415(site: Site, kind: str) -> None:
    """A browser's form cannot ask."""
    response = site.agent.post(
        "/v1/search", content=json.dumps(ASK), headers={"Content-Type": kind}
    )
    refused(response, 415, "not_json")


def test_a_content_type_may_name_its_charset(site: Site) -> None:
    """``application/json; charset=utf-8`` is JSON."""
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = site.agent.post("/v1/search", content=json.dumps(ASK), headers=headers)
    assert response.status_code == 200


def test_a_long_body_is_a_413(site: Site) -> None:
    """Announced or in chunks, it is refused as soon as it is too long."""
    headers = {"Content-Type": "application/json"}
    body = b'{"query": "' + b"a" * 70_000 + b'"}'
    refused(site.agent.post("/v1/search", content=body, headers=headers), 413, "too_long")

    def chunks() -> Iterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    refused(site.agent.post("/v1/search", content=chunks(), headers=headers), 413, "too_long")


def test_a_lie_about_the_length_does_no_harm(site: Site) -> None:
    """A length that is no number is refused by the server; the next request is served."""
    host, port = urlsplit(site.url).hostname, urlsplit(site.url).port
    with socket.create_connection((host, port), timeout=10) as connection:
        connection.sendall(
            b"POST /sluice/v1/search HTTP/1.1\r\nHost: x\r\nContent-Length: nine\r\n\r\n"
        )
        assert b" 400 " in connection.recv(4096)
    assert search(site).status_code == 200


def test_unknown_paths_and_methods_have_the_same_shape(site: Site) -> None:
    """Also outside of the mount."""
    refused(site.agent.get("/v1/nothing"), 404, "not_found")
    refused(site.agent.get("/v1/search"), 405, "method_not_allowed")
    refused(site.agent.get("/docs"), 404, "not_found")
    root = httpx.get(site.url.removesuffix("/sluice") + "/", trust_env=False)
    refused(root, 404, "not_found")


def test_a_trace_id_is_taken_over_and_given_back(site: Site) -> None:
    """In answers and in errors."""
    headers = {"traceparent": f"00-{'cd' * 16}-{'1' * 16}-01"}
    answer = site.agent.post("/v1/search", json=ASK, headers=headers)
    assert answer.json()["trace_id"] == "cd" * 16
    error = site.agent.post("/v1/search", json={}, headers=headers)
    assert error.json()["error"]["trace_id"] == "cd" * 16


def test_demands_on_freshness_are_met_or_refused(site: Site) -> None:
    """An answer's own version is new enough; the next one is not there yet."""
    version = search(site).json()["acl_version"]
    assert search(site, min_acl_version=version).status_code == 200
    refused(search(site, min_acl_version=version + 1), 409, "too_stale")


def test_a_late_directory_is_not_named_to_agents(site: Site) -> None:
    """What it is called and how it is mended is for the operator, in the log."""
    site.world.people({})
    site.world.age(DIRECTORY, timedelta(hours=1), timedelta(hours=2))
    try:
        error = refused(search(site), 409, "too_stale")
        assert DIRECTORY not in str(error) and "DAG" not in str(error)
    finally:
        site.world.age(DIRECTORY, None, timedelta(0))
    assert search(site).status_code == 200


def test_health_is_told_without_a_key(site: Site) -> None:
    """Alive, and ready with all three."""
    with httpx.Client(base_url=site.url, trust_env=False) as anyone:
        assert anyone.get("/healthz").json() == {"status": "alive"}
        ready = anyone.get("/healthz/ready")
        assert ready.status_code == 200
        assert ready.json() == {
            "ready": True,
            "catalog": True,
            "index": True,
            "embedder": True,
            "culprit": None,
        }


def test_openapi_describes_every_route_and_every_error(site: Site) -> None:
    """The description is public, needs no key, and names what may happen."""
    described = httpx.get(site.url + "/openapi.json", trust_env=False).json()
    assert set(described["paths"]) == {
        "/v1/search",
        "/v1/documents/{document_id}",
        "/healthz",
        "/healthz/ready",
    }
    assert described["servers"] == [{"url": "/sluice"}]
    post = described["paths"]["/v1/search"]["post"]
    assert {"401", "403", "404", "409", "413", "415", "422", "503"} <= set(post["responses"])
    assert post["security"]
    assert set(described["components"]["schemas"]["SearchRequest"]["properties"]) == {
        *("query", "k", "as", "min_acl_version", "max_staleness_seconds")
    }


def test_no_other_site_may_read_an_answer(site: Site) -> None:
    """There is no CORS: a browser on another page gets nothing."""
    response = site.agent.post("/v1/search", json=ASK, headers={"Origin": "https://evil.example"})
    assert not [name for name in response.headers if name.startswith("access-control")]
    preflight = site.agent.options(
        "/v1/search",
        headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"},
    )
    refused(preflight, 405, "method_not_allowed")


def test_many_agents_are_answered_at_once(site: Site) -> None:
    """More requests at once than there are threads or connections: each gets its own answer."""

    def ask(number: int) -> tuple[int, set[str]]:
        person = str(ADA if number % 2 else BEN)
        response = search(site, **{"as": person, "query": "kettle tea"})
        hits = response.json().get("hits", [])
        return response.status_code, {hit["reason"]["principal"] for hit in hits} - {person}

    with ThreadPoolExecutor(60) as agents:
        assert set(map(str, agents.map(ask, range(120)))) == {"(200, set())"}


def test_an_unwritable_audit_is_a_503(site: Site, database: str) -> None:
    """No record, no answer, and nothing about why in public."""
    admin = connect(database)
    with admin.begin() as connection:
        connection.execute(sa.text("REVOKE INSERT ON sluice.audit_event FROM sluice_app"))
    try:
        error = refused(search(site), 503, "catalog_unavailable")
        assert "permission" not in str(error)
    finally:
        with admin.begin() as connection:
            connection.execute(sa.text("GRANT INSERT ON sluice.audit_event TO sluice_app"))
        admin.dispose()
    assert search(site).status_code == 200


def test_an_index_that_goes_away_is_a_503_and_comes_back(site: Site) -> None:
    """Without its index nothing is searched; readiness says so; documents are still read."""
    folder = site.services.settings.index_path
    folder.rename(folder.with_name("elsewhere"))
    try:
        error = refused(search(site), 503, "index_unavailable")
        assert str(folder) not in str(error)
        assert search(site).headers["Retry-After"] == "5"
        ready = site.agent.get("/healthz/ready")
        assert (ready.status_code, ready.json()["index"]) == (503, False)
        assert ready.json()["culprit"] == "index"
        assert site.agent.get("/healthz").status_code == 200
        headers = {"X-Sluice-On-Behalf-Of": str(ADA)}
        assert site.agent.get("/v1/documents/wiki:for ada", headers=headers).status_code == 200
    finally:
        folder.with_name("elsewhere").rename(folder)
    assert search(site).status_code == 200


def test_an_index_thrown_away_is_not_ready_until_it_is_filled_again(site: Site) -> None:
    """Made anew under a running server it is empty, which is not ready; filled it is, at once."""
    assert search(site).status_code == 200
    folder = site.services.settings.index_path
    folder.rename(folder.with_name("old"))
    try:
        site.services.collections.receiving()
        ready = site.agent.get("/healthz/ready")
        assert (ready.status_code, ready.json()["index"]) == (503, False)
        assert ready.json()["catalog"] is True
    finally:
        shutil.rmtree(folder)
        folder.with_name("old").rename(folder)
    assert site.agent.get("/healthz/ready").status_code == 200
    assert len(search(site).json()["hits"]) == 1


def test_a_server_that_is_not_set_up_says_so(tmp_path: Path) -> None:
    """Without a catalog's URL it lives, is not ready, and answers 503."""
    with (
        serving(Settings(home=tmp_path)) as url,
        httpx.Client(base_url=url, trust_env=False) as anyone,
    ):
        assert anyone.get("/healthz").status_code == 200
        assert anyone.get("/healthz/ready").json()["catalog"] is False
        headers = {"X-API-Key": "slc_0123456789abcdef_" + "a" * 43}
        refused(anyone.post("/v1/search", json=ASK, headers=headers), 503, "configuration_error")


def test_an_owner_of_the_tables_is_not_served_with(database: str, tmp_path: Path) -> None:
    """A catalog URL whose role bypasses row level security answers nothing."""
    settings = Settings(home=tmp_path, catalog_url=database)
    with serving(settings) as url, httpx.Client(base_url=url, trust_env=False) as anyone:
        headers = {"X-API-Key": "slc_0123456789abcdef_" + "a" * 43}
        refused(anyone.post("/v1/search", json=ASK, headers=headers), 503, "configuration_error")
