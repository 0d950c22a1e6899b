"""The sources that DAG files declare, for who is not Airflow."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import DAG

from sluice.errors import ConfigurationError
from sluice.flows.waiting import PatientOperator
from sluice.model import AuthorizationCode

if TYPE_CHECKING:
    from sluice.ports import Source


def declared(folder: Path) -> dict[str, Source]:
    """Every source of the DAG files in ``folder``, by its name.

    Raises:
        ConfigurationError: a file cannot be read.
    """
    found = {}
    for path in sorted(folder.glob("*.py")):
        for each in _dags(path):
            for task in each.tasks:
                if isinstance(task, PatientOperator) and task.source is not None:
                    found[task.source.name] = task.source
    return found


def consented(name: str) -> AuthorizationCode:
    """How the source called ``name`` in Airflow's DAG folder is signed in to by a person.

    Raises:
        ConfigurationError: no file there declares it, or nobody's consent is asked for.
    """
    from airflow.sdk.configuration import conf

    source = declared(Path(conf.get("core", "dags_folder"))).get(name)
    auth = getattr(source, "auth", None)
    if not isinstance(auth, AuthorizationCode):
        raise ConfigurationError(
            "is no source that somebody consents to",
            subject=name,
            cure="`sluice sources list` shows the sources; only those with AuthorizationCode "
            "are connected here",
        )
    return auth


def _dags(path: Path) -> list[DAG]:
    spec = importlib.util.spec_from_file_location(f"declared_{path.stem}", path)
    if spec is None or spec.loader is None:
        return []
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigurationError(
            f"it cannot be read: {error}", subject=str(path), cure="Mend the DAG file"
        ) from error
    return [each for each in vars(module).values() if isinstance(each, DAG)]
