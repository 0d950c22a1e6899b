"""Data Docs: for the signed-in alone, inside their folder alone, and without anybody's scripts."""

from __future__ import annotations

from pathlib import Path

import pytest
from sluice.api.data_docs import data_docs
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

PAGE = "<html><head></head><body><script>steal()</script>&lt;b&gt;</body></html>"
RESULTS = "validations/documents/run/landing-rows.html"


async def signed_in(token: str) -> bool:
    """Airflow's part: one token is good."""
    return token == "good"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    """The app over one run's pages, with a secret beside the folder."""
    run = tmp_path / "docs" / "desk" / "desk:manual__2026-01-01T00:00:00+00:00"
    (run / RESULTS).parent.mkdir(parents=True)
    for page in (run / "index.html", run / RESULTS):
        page.write_text(PAGE)
    (run / "static.css").write_text("p {}")
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "docs" / "link.txt").symlink_to(tmp_path / "secret.txt")
    app = Starlette(routes=[Mount("/", data_docs(tmp_path / "docs", signed_in))])
    return TestClient(app)


RUN = "/desk/desk%3Amanual__2026-01-01T00%3A00%3A00%2B00%3A00"


@pytest.mark.parametrize("path", [f"{RUN}/index.html", f"{RUN}/static.css", "/", "/nothing"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer bad"},
        {"Authorization": "Basic good"},
        {"Cookie": "_token=bad"},
    ],
)
def test_a_stranger_gets_nothing(client: TestClient, path: str, headers: dict[str, str]) -> None:
    """Without Airflow's login every path looks alike, whether it exists or not."""
    answer = client.get(path, headers=headers)
    assert answer.status_code == 401
    assert "steal" not in answer.text


def test_a_bad_bearer_is_not_rescued_by_a_good_cookie(client: TestClient) -> None:
    """Which of the two counts must not depend on which of them is good."""
    headers = {"Authorization": "Bearer bad", "Cookie": "_token=good"}
    assert client.get(f"{RUN}/index.html", headers=headers).status_code == 401


@pytest.mark.parametrize("by", ["header", "cookie"])
def test_the_signed_in_are_led_to_the_results(client: TestClient, by: str) -> None:
    """One page of results is shown at once; its scripts may neither run nor load anything."""
    if by == "cookie":
        client.cookies.set("_token", "good")
    else:
        client.headers["Authorization"] = "Bearer good"
    answer = client.get(f"{RUN}/index.html")
    assert str(answer.url).endswith(RESULTS)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "<style>" in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_several_pages_of_results_are_listed(client: TestClient, tmp_path: Path) -> None:
    """Where a source has a suite of its own there are two pages, and a list of them."""
    (run,) = (tmp_path / "docs" / "desk").iterdir()
    (run / RESULTS).with_name("a<b>.html").write_text(PAGE)
    answer = client.get(f"{RUN}/index.html", headers={"Cookie": "_token=good"})
    assert answer.text.count("<li>") == 2
    assert "a&lt;b&gt;.html" in answer.text


def test_pages_that_lie_on_another_machine_are_said_to(client: TestClient) -> None:
    """A worker that shares no folder with this server keeps them; the button says where."""
    answer = client.get("/desk/elsewhere/index.html", headers={"Cookie": "_token=good"})
    assert answer.status_code == 404 and "SLUICE_HOME of the worker" in answer.text


OUTSIDE = (
    "/../secret.txt",
    "/%2e%2e/secret.txt",
    "/desk/..%2f..%2fsecret.txt",
    "/..%5csecret.txt",
    "//etc/passwd",
    "/link.txt",
    "/desk",
    "/%00",
    "/" + "a" * 5000,
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_outside_the_folder_is_served(client: TestClient, path: str) -> None:
    """Dots, slashes in any spelling, links out of the folder, folders: absent, all of them."""
    answer = client.get(path, headers={"Authorization": "Bearer good"})
    assert answer.status_code == 404
    assert "secret" not in answer.text
