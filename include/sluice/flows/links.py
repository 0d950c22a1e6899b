"""The button on a task that leads to its Data Docs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


def data_docs(source: str, run_id: str) -> str:
    """The path under which our plugin serves the pages about one run; ``run_id`` is Airflow's."""
    return f"/sluice/data-docs/{source}/{quote(f'{source}:{run_id}', safe='')}/index.html"


class DataDocsLink(BaseOperatorLink):
    """Great Expectations' page about one run of ``source``, served by our plugin."""

    name = "Data Docs"

    def __init__(self, source: str):
        self.source = source

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:  # noqa: ARG002
        """Return where the page is served."""
        return data_docs(self.source, ti_key.run_id)
