"""Airflow's connections, from whichever secrets backend it has, as sources are signed in to by."""

from __future__ import annotations

from typing import Any

from sluice.errors import ConfigurationError
from sluice.model import Connection


def connection(name: str) -> Connection:
    """Return the Airflow connection called ``name``.

    Inside a task it is asked of the execution API; elsewhere of the environment, the secrets
    backend and Airflow's database.

    Raises:
        ConfigurationError: there is none, or its extra is not JSON.
    """
    try:
        found = _found(name)
        extra = found.extra_dejson
    except Exception as error:  # noqa: BLE001  # each backend has exceptions of its own
        raise ConfigurationError(
            f"Airflow has no such connection ({type(error).__name__})",
            subject=name,
            cure=f"Add it: airflow connections add {name} --conn-type http …, or set "
            f"AIRFLOW_CONN_{name.upper()}",
        ) from None
    return Connection(
        name=name,
        host=found.host or None,
        login=found.login or None,
        password=found.password or None,
        extra=dict(extra) if isinstance(extra, dict) else {},
    )


def _found(name: str) -> Any:
    from airflow.sdk import Connection as Stored

    return Stored.get(name)
