"""Which errors Airflow tries again after, and which it does not."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from sluice import errors
from sluice.flows.dags import retried_only_if_it_helps

PASSES = {
    errors.SourceUnavailable,
    errors.SourceBusy,
    errors.Incomplete,
    errors.EmbedderUnavailable,
    errors.Overloaded,
    errors.StillEmbedding,
    errors.IndexUnavailable,
    errors.CatalogUnavailable,
    errors.AlreadyRunning,
}
ALL = [each for each in vars(errors).values() if isinstance(each, type)]


def a(kind: type[errors.SluiceError], happened: str, **more: Any) -> errors.SluiceError:
    """One of these errors; the one that must say when to come again says so."""
    if kind is errors.SourceBusy:
        return errors.SourceBusy(happened, after=60, **more)
    return kind(happened, **more)


@pytest.mark.parametrize("kind", sorted(PASSES, key=lambda each: each.__name__))
def test_what_passes_is_tried_again(kind: type[errors.SluiceError]) -> None:
    """A source, index or catalog that does not answer now may answer in a minute."""
    with pytest.raises(kind), retried_only_if_it_helps():
        raise a(kind, "it does not answer")


@pytest.mark.parametrize(
    "kind", sorted((each for each in ALL if each not in PASSES), key=lambda each: each.__name__)
)
def test_what_a_person_must_mend_fails_at_once_in_one_line(kind: type[errors.SluiceError]) -> None:
    """A held load, a wrong setting, a column that is gone: the next try would meet it again."""
    with pytest.raises(AirflowFailException) as caught, retried_only_if_it_helps():
        raise a(kind, "it is so", subject="desk", cure="Do this")
    assert str(caught.value) == "desk: it is so. Do this"
    assert caught.value.__cause__ is None


def test_a_bug_is_tried_again_and_keeps_its_traceback() -> None:
    """What nobody foresaw is not dressed up as something else."""
    with pytest.raises(ZeroDivisionError), retried_only_if_it_helps():
        _ = 1 / 0
