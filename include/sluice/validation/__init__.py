"""Great Expectations tells good rows from bad; what it found is shown as Data Docs.

The expectations are JSON in ``include/suites``: ``documents.json`` holds for every source, and
``<source>.json`` beside it, if there is one, for that source too. An expectation's ``meta.reason``
is what the quarantine list says of a row that fails it; ``{value}`` in it becomes the value.
"""

from sluice.validation.drift import compare_columns
from sluice.validation.suite import Verdict, validate

__all__ = ["Verdict", "compare_columns", "validate"]
