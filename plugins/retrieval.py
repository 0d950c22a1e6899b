"""Mounts Sluice's API, and the Data Docs of its runs, into Airflow's API server at ``/sluice``."""

from __future__ import annotations

from functools import cache, cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin


class Sluice(AirflowPlugin):
    """What Airflow looks for, in each of its programs; only the API server asks for the app."""

    name = "sluice"

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # made when asked for
        """The app to mount, and where."""
        from sluice import settings
        from sluice.api.app import create_app
        from sluice.api.connect import connect_app
        from sluice.api.data_docs import data_docs
        from sluice.flows.connections import connection
        from sluice.flows.declared import consented
        from sluice.flows.login import may_edit, signed_in
        from sluice.ingest.pipeline import open_consent

        found = settings.load()
        app = create_app(found)
        app.mount("/data-docs", data_docs(found.data_docs_path, signed_in))
        consent = cache(lambda: open_consent(found, connection))
        app.mount("/connect", connect_app(consent, consented, may_edit, found.callback))
        return [{"app": app, "url_prefix": "/sluice", "name": "Sluice"}]
