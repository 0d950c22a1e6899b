"""Runs the suites over one batch of drafts."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sluice.errors import ConfigurationError, SluiceError
from sluice.model import Draft, Listing
from sluice.validation.frame import frame

if TYPE_CHECKING:
    import great_expectations as gx
    import pandas as pd

EVERY_SOURCE = "documents"
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
_TOLERANCE = timedelta(days=1)  # how far a source's clock may be ahead of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What validation found."""

    bad: Mapping[str, tuple[str, ...]]  # reasons by row key
    failures: tuple[str, ...]  # failed expectations about the batch as a whole, which blame no row
    docs: Path  # the Data Docs' index.html


def validate(
    source: str,
    drafts: Sequence[Draft],
    listing: Listing | None,
    *,
    suites: Path,
    docs: Path,
    quiet: bool = False,
) -> Verdict:
    """Judge ``drafts`` by the suites that hold for ``source``.

    Drafts that the listing lacks are gone from the source, and are not judged.

    Args:
        source: the source's name.
        drafts: what is judged; none is fine too.
        listing: names each row's ACL; None for a backfill, which brings none.
        suites: the folder that holds the suites.
        docs: an own folder for this run's Data Docs; made anew.
        quiet: write them only if something is wrong.

    Raises:
        ConfigurationError: a suite cannot be read, or asks for what is not there.
    """
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    batch, chosen = frame(drafts, listing), _suites(suites, source)
    results = list(_run(batch, chosen, None if quiet else docs))
    if quiet and not all(result.success for result in results):
        results = list(_run(batch, _suites(suites, source), docs))
    bad: dict[str, list[str]] = {}
    failures: list[str] = []
    for result in results:
        if result.exception_info and _raised(result.exception_info):
            raise ConfigurationError(
                f"an expectation of its suites cannot be evaluated: {_name(result)}",
                subject=source,
                cure=f"Correct it in {suites}",
            )
        rows = result.result.get("unexpected_index_list") or []
        if not result.success and not rows:
            failures.append(_reason(result, None))
        for row in rows if not result.success else []:
            reasons = bad.setdefault(row["row_key"], [])
            reason = _reason(result, row)
            if reason not in reasons:
                reasons.append(reason)
    return Verdict(
        bad={key: tuple(reasons) for key, reasons in bad.items()},
        failures=tuple(failures),
        docs=docs / "index.html",
    )


def _suites(folder: Path, source: str) -> list[gx.ExpectationSuite]:
    """The suite of every source, and the source's own where there is one."""
    import great_expectations as gx

    found = []
    for name in (EVERY_SOURCE, source):
        path = folder / f"{name}.json"
        if name != EVERY_SOURCE and not path.exists():
            continue
        try:
            written = json.loads(path.read_text("utf-8"))
            suite = gx.ExpectationSuite(**written)
            if len(suite.expectations) != len(written["expectations"]):
                raise ValueError("it holds an expectation that does not exist")  # GX only logs it
            found.append(suite)
        except Exception as error:
            raise ConfigurationError(
                f"the expectation suite cannot be read: {error or type(error).__name__}",
                subject=str(path),
                cure="It is JSON as ExpectationSuite.to_json_dict() writes it",
            ) from error
    return found


def _run(
    batch: pd.DataFrame, suites: Sequence[gx.ExpectationSuite], docs: Path | None
) -> Iterator[Any]:
    """Check ``batch``, write the Data Docs if wanted, and yield each expectation's result."""
    import great_expectations as gx
    from great_expectations.checkpoint.actions import UpdateDataDocsAction
    from great_expectations.data_context.types.base import (
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    if docs is not None:
        _clear(docs)
    context = gx.get_context(
        mode="ephemeral",
        project_config=DataContextConfig(
            store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
            data_docs_sites={"run": _site(docs)} if docs is not None else {},
            progress_bars=ProgressBarsConfig(globally=False),
        ),
    )
    asset = context.data_sources.add_pandas("landing").add_dataframe_asset("rows")
    definition = asset.add_batch_definition_whole_dataframe("load")
    checkpoint = gx.Checkpoint(
        name="load",
        validation_definitions=[
            context.validation_definitions.add(
                gx.ValidationDefinition(
                    name=suite.name, data=definition, suite=context.suites.add(suite)
                )
            )
            for suite in suites
        ],
        actions=[UpdateDataDocsAction(name="docs", site_names=["run"])] if docs else [],
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["row_key"],
        },
    )
    try:
        outcome = context.checkpoints.add(checkpoint).run(
            batch_parameters={"dataframe": batch},
            expectation_parameters={
                "earliest": _EARLIEST.replace(tzinfo=None),  # as the frame's times: UTC, unsaid
                "latest": (datetime.now(UTC) + _TOLERANCE).replace(tzinfo=None),
            },
        )
    except OSError as error:
        raise _unwritten(error, docs or Path()) from error
    if docs is not None:
        _slim(docs)
    for each in outcome.run_results.values():
        yield from each.results


def _clear(docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    try:
        docs.mkdir(parents=True)
    except OSError as error:
        raise _unwritten(error, docs) from error


def _unwritten(error: OSError, docs: Path) -> SluiceError:
    return SluiceError(
        f"the Data Docs cannot be written: {error.strerror or error}",
        subject=str(docs),
        cure="Mend the folder or free some disk space, and run again",
    )


def _site(docs: Path) -> Any:
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "show_how_to_buttons": False,
        "store_backend": {
            "class_name": "TupleFilesystemStoreBackend",
            "base_directory": str(docs.absolute()),
        },
    }


def _slim(docs: Path) -> None:
    """Leave out the tour's pictures and the fonts: 4 MB in every run's folder."""
    shutil.rmtree(docs / "static" / "fonts", ignore_errors=True)
    for picture in (docs / "static").rglob("*.gif"):
        picture.unlink()


def _raised(info: Mapping[str, Any]) -> bool:
    """GX nests the flag by metric where several were computed."""
    nested = [each for each in info.values() if isinstance(each, dict)]
    return bool(info.get("raised_exception")) or any(n.get("raised_exception") for n in nested)


def _reason(result: Any, row: Mapping[str, Any] | None) -> str:
    reason = (result.expectation_config.meta or {}).get("reason") or f"fails {_name(result)}"
    column = result.expectation_config.kwargs.get("column")
    value = row.get(column) if row is not None else result.result.get("observed_value")
    return str(reason).replace("{value}", str(value))


def _name(result: Any) -> str:
    config = result.expectation_config
    columns = [str(v) for k, v in config.kwargs.items() if k.startswith("column")]
    return f"{config.type}({', '.join(columns)})"
