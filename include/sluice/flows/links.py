"""The button on a task that leads to its Data Docs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class DataDocsLink(BaseOperatorLink):
    """Great Expectations' page about one run of ``source``, served by our plugin."""

    name = "Data Docs"

    def __init__(self, source: str):
        self.source = source

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return the path that the page is served under."""
        run = quote(f"{self.source}:{ti_key.run_id}", safe="")
        return f"/sluice/data-docs/{self.source}/{run}/index.html"
