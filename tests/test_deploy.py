"""deploy/ is honest: its values are settings and options that exist, its manifests Kubernetes'.

Both charts' values were rendered with these charts, of the versions that are named, by hand.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow_options import as_up_sets_them, options
from cryptography.fernet import Fernet
from kubernetes import client
from sluice import settings
from sluice.settings import Settings
from topology import PROJECT

DEPLOY = PROJECT / "deploy"
OURS = ["retrieval.yaml", "prepare.yaml"]
KINDS = {
    "Deployment": client.V1Deployment,
    "Service": client.V1Service,
    "PodDisruptionBudget": client.V1PodDisruptionBudget,
    "HorizontalPodAutoscaler": client.V2HorizontalPodAutoscaler,
    "Job": client.V1Job,
}
DIFFERENT = {  # from what `sluice up` sets: tests/test_compose.py says why for the same names
    ("core", "executor"): "KubernetesExecutor",
    ("core", "parallelism"): "32",
    ("core", "simple_auth_manager_passwords_file"): "/tmp/login.json",  # noqa: S108  # a container's
    ("api", "base_url"): "https://airflow.example.com",
    ("core", "auth_manager"): "airflow.api_fastapi.auth.managers.simple.simple_auth_manager."
    "SimpleAuthManager",  # the chart's own is FAB
}
BY_CHART = {  # set by the chart itself, right for our image because of airflowHome
    ("core", "dags_folder"),
    ("core", "plugins_folder"),
    ("core", "load_examples"),
    ("core", "executor"),
    ("core", "execution_api_server_url"),
    ("core", "fernet_key"),
    ("database", "sql_alchemy_conn"),
    ("api", "host"),
    ("api", "port"),
    ("api", "secret_key"),
    ("api_auth", "jwt_secret"),
    ("scheduler", "enable_health_check"),
    ("logging", "base_log_folder"),
}


def read(name: str) -> list[dict[str, Any]]:
    """The documents of a file."""
    return list(yaml.safe_load_all((DEPLOY / name).read_text()))


def everything(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping inside a value."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from everything(each)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """Every secret, made as a person makes them."""
    subprocess.run(["sh", DEPLOY / "secrets.sh", tmp_path / "secrets"], check=True)
    return tmp_path / "secrets"


@pytest.mark.parametrize("name", ["airflow.yaml", *OURS])
def test_every_sluice_variable_is_a_setting_of_that_value(
    name: str, secrets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are fields of Settings, and the values can be read."""
    seen = {}
    for each in everything(read(name)):
        if str(each.get("name", "")).startswith("SLUICE_") and "value" in each:
            seen[each["name"]] = each["value"]
    assert seen.pop("SLUICE_SECRETS") == "/run/sluice"
    assert {key.removeprefix("SLUICE_").lower() for key in seen} <= Settings.model_fields.keys()
    for key, value in {**seen, "SLUICE_SECRETS": str(secrets)}.items():
        monkeypatch.setenv(key, value)
    settings.load.cache_clear()
    found = settings.load()
    settings.load.cache_clear()
    assert name == "prepare.yaml" or found.index == "weaviate"


def test_every_airflow_value_is_an_option_and_as_sluice_up_sets_it() -> None:
    """The chart passes on whatever stands under `config`, also what Airflow does not know."""
    (values,) = read("airflow.yaml")
    set_here = {
        (section, option): str(value)
        for section, each in values["config"].items()
        for option, value in each.items()
    }
    assert set_here.keys() <= options().keys()
    by_up = {
        tuple(name.removeprefix("AIRFLOW__").lower().split("__")): value
        for name, value in as_up_sets_them().items()
        if name.startswith("AIRFLOW__")
    }
    for where, value in {**by_up, **DIFFERENT}.items():
        if where not in BY_CHART:
            assert set_here[where] == DIFFERENT.get(where, value), where  # type: ignore[index]  # two words
    variables = {each["name"]: each["value"] for each in values["env"]}
    for name, value in as_up_sets_them().items():
        assert name.startswith("AIRFLOW__") or variables[name] == value


def test_images_are_pinned() -> None:
    """One version of ours in all files, and whole versions of everyone else's."""
    (airflow,), (weaviate,) = read("airflow.yaml"), read("weaviate.yaml")
    ours = {f"{airflow['defaultAirflowRepository']}:{airflow['defaultAirflowTag']}"}
    for name in OURS:
        ours |= {each["image"] for each in everything(read(name)) if "image" in each}
    assert len(ours) == 1
    tags = [
        weaviate["image"]["tag"],
        weaviate["initContainers"]["sysctlInitContainer"]["image"]["tag"],
    ]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", str(tag)) for tag in tags)
    compose = (PROJECT / "docker-compose.yml").read_text()
    assert f"semitechnologies/weaviate:{weaviate['image']['tag']}" in compose
    lock = (PROJECT / "requirements.txt").read_text()
    assert f"apache-airflow=={airflow['airflowVersion']} " in lock


@pytest.mark.parametrize("name", OURS)
def test_manifests_are_kubernetes_own(name: str) -> None:
    """Every field is one of the API's, at every depth: Kubernetes drops what it does not know."""
    for manifest in read(name):
        assert unknown(manifest, KINDS[manifest["kind"]].__name__) == []


def unknown(value: Any, kind: str, path: str = "") -> list[str]:
    """The fields in a manifest that a type of the API does not have."""
    inner = re.fullmatch(r"(?:list\[|dict\(str, )(.*)[\])]", kind)
    if inner:
        parts = value.items() if isinstance(value, dict) else enumerate(value)
        return [found for key, each in parts for found in unknown(each, inner[1], f"{path}.{key}")]
    model = getattr(client, kind, None)
    if model is None or not isinstance(value, dict):
        return []
    fields = {name: model.openapi_types[key] for key, name in model.attribute_map.items()}
    return [f"{path}.{key}" for key in value if key not in fields] + [
        found
        for key, each in value.items()
        if key in fields
        for found in unknown(each, fields[key], f"{path}.{key}")
    ]


def test_what_is_mounted_is_what_the_readme_creates() -> None:
    """Every Secret that a file names is made by a command in the README, with the right keys."""
    readme = (DEPLOY / "README.md").read_text().replace("\\\n", " ")
    made = {
        name: set(re.findall(r"--from-file (?:[\w.-]+=)?(\w+)", rest))
        for name, rest in re.findall(r"create secret generic (\S+)(.*)", readme)
    }
    (airflow,), (weaviate,) = read("airflow.yaml"), read("weaviate.yaml")
    named = {airflow["data"]["metadataSecretName"], weaviate["envSecrets"].popitem()[1]}
    for name in ["airflow.yaml", *OURS]:
        named |= {each["secretName"] for each in everything(read(name)) if "secretName" in each}
    assert named == made.keys()
    script = (DEPLOY / "secrets.sh").read_text()
    for names in made.values():
        assert all(re.search(rf"\b{each}\b", script) for each in names)
    assert made["sluice-retrieval"] == {"sluice_catalog_url", "sluice_weaviate_api_key"}
    assert "sluice_database_url" not in made["sluice-ingest"]


def test_secrets_are_made_once_and_kept(secrets: Path) -> None:
    """A second run changes none; the folder is its owner's alone; no two are alike."""
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run(["sh", DEPLOY / "secrets.sh", secrets], check=True)
    assert {path.name: path.read_text() for path in secrets.iterdir()} == before
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert all(not text.endswith("\n") for text in before.values())  # Kubernetes keeps it
    assert len(set(before.values())) == len(before)
    assert before["postgres_password"] in before["sluice_database_url"]
    assert before["redis_password"] in before["airflow_broker_url"]
    assert json.loads(before["airflow_login"]).keys() == {"admin"}
    Fernet(before["airflow_fernet_key"])


class Answers(http.server.BaseHTTPRequestHandler):
    """Airflow's report on its programs, and an address that is not well."""

    def do_GET(self) -> None:
        """Answer as the path says."""
        self.send_response(200 if self.path.startswith(("/well", "/api/v2/monitor")) else 503)
        self.end_headers()
        report = {"scheduler": {"status": "healthy"}, "triggerer": {"status": "unhealthy"}}
        self.wfile.write(json.dumps(report).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server that is well and unwell."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("asked", "well"),
    [("/well", True), ("/unwell", False), ("scheduler", True), ("triggerer", False)],
)
def test_a_health_check_tells_well_from_unwell(url: str, asked: str, well: bool) -> None:
    """The exit code is all that Docker looks at."""
    done = subprocess.run(
        [sys.executable, DEPLOY / "health.py", url + asked if asked[0] == "/" else asked],
        env={**os.environ, "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode == 0) == well
