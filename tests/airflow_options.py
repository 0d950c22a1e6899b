"""What Airflow can be told, and what `sluice up` tells it."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

from sluice.settings import Settings
from sluice.stack import airflow
from sluice.stack.database import Databases
from sluice.stack.home import Home, Secrets

Options = Mapping[tuple[str, str], bool]  # section and option, to whether it may be a command

_ASK = """
import json
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager
ProvidersManager().initialize_providers_configuration()
secret = conf.sensitive_config_values
print(json.dumps([
    [section, option, (section, option) in secret]
    for section, each in conf.configuration_description.items() for option in each["options"]
]))
"""


@functools.cache
def options() -> Options:
    """Every option of the installed Airflow and its executors."""
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [sys.executable, "-c", _ASK],
            env={**os.environ, "AIRFLOW_HOME": home},
            capture_output=True,
            text=True,
            check=True,
        )
    found = json.loads(done.stdout.splitlines()[-1])
    return {(section, option): by_command for section, option, by_command in found}


def split(variable: str) -> tuple[str, str, bool]:
    """The section and option that a variable sets, and whether it names a command instead."""
    found = re.fullmatch(r"AIRFLOW__(\w+?)__(\w+?)(_CMD)?", variable)
    assert found, variable
    return found[1].lower(), found[2].lower(), found[3] is not None


def as_up_sets_them() -> dict[str, str]:
    """The variables that would say what `sluice up` writes into airflow.cfg and the environment."""
    url = "postgresql://nobody@localhost/nothing"
    settings, home = Settings(), Home(Path("/home"))
    databases = Databases(url, url, url, url, url)
    said = {
        f"AIRFLOW__{section}__{option}".upper(): value
        for section, values in airflow._sections(settings, home, Secrets(), databases).items()
        for option, value in values.items()
    }
    with mock.patch.dict(os.environ, clear=True):
        variables = airflow.environment(settings, home, databases)
    tied = {"AIRFLOW_HOME", "SLUICE_HOME", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"}
    return said | {name: value for name, value in variables.items() if name not in tied}
