"""What is read: the values that a file in ``dags/`` writes down.

    Files      a folder, local or behind any fsspec URL
    SqlTable   a table of any SQLAlchemy database, which PostgreSQL can tell the changes of
    Rest       an API that lists JSON records over HTTP, and the parts of its description
    People     the directory: a YAML file of people, groups and accounts

A source says how it is read; ``sluice.landing`` reads it. Importing this package loads neither dlt
nor a database driver, so that Airflow parses DAG files quickly.
"""

from sluice.sources.directory import People
from sluice.sources.files import Files
from sluice.sources.rest import (
    Container,
    Cursor,
    Documents,
    Everyone,
    LinkHeader,
    ListedIn,
    NextLink,
    Offset,
    OnePage,
    PageNumber,
    Rest,
)
from sluice.sources.sql_table import Replication, SqlTable
from sluice.sources.web import Dialect, Rate

__all__ = [
    "Container",
    "Cursor",
    "Dialect",
    "Documents",
    "Everyone",
    "Files",
    "LinkHeader",
    "ListedIn",
    "NextLink",
    "Offset",
    "OnePage",
    "PageNumber",
    "People",
    "Rate",
    "Replication",
    "Rest",
    "SqlTable",
]
