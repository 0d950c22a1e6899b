"""Great Expectations finds every bad row, says why in words, and writes its pages."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sluice.errors import ConfigurationError, SluiceError
from sluice.model import Draft, LandedAcl, Listing
from sluice.validation import Verdict, validate

SUITES = Path(__file__).resolve().parents[2] / "include" / "suites"
NOW = datetime.now(UTC)
ACLS = {"open": LandedAcl(key="open"), "bad": LandedAcl(key="bad", error="line 3: no such key")}


def draft(key: str, **changes: Any) -> Draft:
    """A good draft, changed."""
    good: dict[str, Any] = {"native_id": key, "title": "T", "text": "hello", "uri": "u"}
    return Draft(key=key, **(good | changes))


def listing(drafts: list[Draft], **acl_keys: str | None) -> Listing:
    """All of them listed and open, except as ``acl_keys`` says."""
    keys = dict.fromkeys([d.key for d in drafts], "open") | acl_keys
    return Listing(acl_keys=keys, acls=ACLS, observed_at=NOW)


def judge(tmp_path: Path, drafts: list[Draft], listed: Listing | None) -> Verdict:
    """Validate as an ingest run does."""
    return validate("desk", drafts, listed, suites=SUITES, docs=tmp_path / "docs")


def test_every_kind_of_bad_row_is_found_with_its_reason(tmp_path: Path) -> None:
    """One row for each rule, and none of the good ones."""
    year = timedelta(days=366)
    cases = {
        "good": ({}, None),
        "bare": ({"uri": None, "created_at": None}, None),
        "times": ({"created_at": NOW - year, "updated_at": NOW}, None),
        "odd 'key'\n\"%\u202e": ({}, None),
        "two clocks": ({"created_at": NOW, "updated_at": NOW - timedelta(seconds=1)}, None),
        "ahead": ({"updated_at": NOW + timedelta(hours=20)}, None),
        "a few lost": ({"text": "x" * 1000 + "\ufffd"}, None),
        "no id": ({"native_id": None}, "has no id"),
        "no text": ({"text": None}, "its text is empty"),
        "blank": ({"text": " \n\t"}, "its text is empty"),
        "no title": ({"title": None}, "has no title"),
        "blank title": ({"title": " "}, "has no title"),
        "future": ({"created_at": NOW + year}, "was created at an impossible time: 2"),
        "before": ({"updated_at": datetime(1950, 1, 1, tzinfo=UTC)}, "was updated at an imp"),
        "year one": ({"created_at": datetime.min.replace(tzinfo=UTC)}, "was created at an imp"),
        "year last": ({"created_at": datetime.max.replace(tzinfo=UTC)}, "was created at an imp"),
        "backwards": ({"created_at": NOW, "updated_at": NOW - year}, "was updated before"),
        "decoded": ({"text": "caf\ufffd"}, "decoded wrongly"),
        "nul": ({"text": "a\0b"}, "NUL"),
        "mapper": ({"text": "", "problems": ("is encrypted", "and old")}, "is encrypted; and old"),
        "no acl": ({}, "has no ACL"),
        "bad acl": ({}, "its ACL cannot be read: line 3: no such key"),
        "unread acl": ({}, "its ACL cannot be read: it was not read"),
    }  # fmt: skip
    drafts = [draft(key, **changes) for key, (changes, _) in cases.items()]
    listed = listing(drafts, **{"no acl": None, "bad acl": "bad", "unread acl": "else"})
    verdict = judge(tmp_path, drafts, listed)
    assert verdict.bad.keys() == {key for key, (_, reason) in cases.items() if reason}
    for key, reasons in verdict.bad.items():
        assert len(reasons) == 1, f"{key}: {reasons}"
        assert (cases[key][1] or "") in reasons[0]
    assert verdict.failures == ()


def test_row_with_two_faults_has_two_reasons(tmp_path: Path) -> None:
    """Whoever mends it sees all there is to mend."""
    drafts = [draft("a", native_id=None, text="")]
    assert judge(tmp_path, drafts, listing(drafts)).bad["a"] == ("has no id", "its text is empty")


def test_rows_that_are_gone_from_the_source_are_not_judged(tmp_path: Path) -> None:
    """A row that the newest listing lacks is no longer anybody's problem."""
    gone = draft("gone", text="")
    assert judge(tmp_path, [gone], listing([])).bad == {}


def test_backfill_judges_everything_but_the_acl(tmp_path: Path) -> None:
    """Without a listing there is no ACL to miss."""
    verdict = judge(tmp_path, [draft("a"), draft("b", text="")], None)
    assert verdict.bad.keys() == {"b"}


def test_no_rows_are_judged_too(tmp_path: Path) -> None:
    """An empty load passes, and has its pages."""
    verdict = judge(tmp_path, [], listing([]))
    assert (verdict.bad, verdict.failures) == ({}, ())
    assert verdict.docs.is_file()


def test_all_of_ten_thousand_rows_are_found(tmp_path: Path) -> None:
    """No list of failures is cut short."""
    drafts = [draft(f"k{n}", text="" if n % 7 == 0 else "x" * 200) for n in range(12_000)]
    verdict = judge(tmp_path, drafts, listing(drafts))
    assert verdict.bad.keys() == {f"k{n}" for n in range(0, 12_000, 7)}


def test_data_docs_are_written_for_each_run(tmp_path: Path) -> None:
    """The page shows what failed, stays small, and is made anew when a run is repeated."""
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "stale.html").write_text("old")
    drafts = [draft("k", text="")]
    verdict = judge(tmp_path, drafts, listing(drafts))
    assert verdict.docs == docs / "index.html"
    assert not (docs / "stale.html").exists()
    [page] = docs.glob("validations/**/*.html")
    assert "native_id" in page.read_text()
    assert sum(f.stat().st_size for f in docs.rglob("*") if f.is_file()) < 1_000_000


def own_suite(folder: Path, **expectation: Any) -> Path:
    """A folder of suites with one of the source's own beside the common one."""
    (folder / "documents.json").write_text((SUITES / "documents.json").read_text())
    suite = {"name": "desk", "expectations": [expectation]}
    (folder / "desk.json").write_text(json.dumps(suite))
    return folder


def test_suite_of_the_source_holds_beside_the_common_one(tmp_path: Path) -> None:
    """Its own reason is used, or the expectation's name where it gives none."""
    suites = own_suite(
        tmp_path,
        type="expect_column_values_to_not_match_regex",
        kwargs={"column": "title", "regex": "(?i)draft"},
        meta={"reason": "is still called {value}"},
    )
    drafts = [draft("a", title="Draft {x}"), draft("b"), draft("c", text="")]
    verdict = validate("desk", drafts, listing(drafts), suites=suites, docs=tmp_path / "d")
    assert verdict.bad == {"a": ("is still called Draft {x}",), "c": ("its text is empty",)}
    assert validate("other", drafts, listing(drafts), suites=suites, docs=tmp_path / "d").bad == {
        "c": ("its text is empty",)
    }


def test_expectation_about_the_whole_load_fails_the_load(tmp_path: Path) -> None:
    """A row count that is off blames no row, and is not swallowed."""
    suites = own_suite(
        tmp_path, type="expect_table_row_count_to_be_between", kwargs={"min_value": 5}
    )
    drafts = [draft("a")]
    verdict = validate("desk", drafts, listing(drafts), suites=suites, docs=tmp_path / "d")
    assert verdict.bad == {}
    assert verdict.failures == ("fails expect_table_row_count_to_be_between()",)


@pytest.mark.parametrize(
    "suite",
    [
        "{",
        "[]",
        '{"name": "desk", "expectations": [{"type": "expect_magic", "kwargs": {}}]}',
        json.dumps(
            {
                "name": "desk",
                "expectations": [
                    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}}
                ],
            }
        ),
    ],
)
def test_suite_that_cannot_be_run_stops_the_run(tmp_path: Path, suite: str) -> None:
    """A broken suite must not let everything through."""
    own_suite(tmp_path)
    (tmp_path / "desk.json").write_text(suite)
    drafts = [draft("a")]
    with pytest.raises(ConfigurationError):
        validate("desk", drafts, listing(drafts), suites=tmp_path, docs=tmp_path / "d")


texts = st.sampled_from([None, "", " ", "x", "\ufffd", "a\0", "long " * 50])
moments = st.sampled_from([None, NOW - timedelta(days=9), NOW, NOW + timedelta(days=9)])


@given(
    rows=st.lists(
        st.tuples(texts, texts, moments, moments, st.sampled_from(["open", "bad", None])),
        max_size=12,
    )
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_verdict_is_that_of_the_rules_applied_one_by_one(tmp_path: Path, rows: list[Any]) -> None:
    """A row is bad exactly where a plain reading of the rules says so."""
    drafts, acl_keys, bad = [], {}, set()
    for number, (title, text, created, updated, acl_key) in enumerate(rows):
        key = f"k{number}"
        drafts.append(draft(key, title=title, text=text, created_at=created, updated_at=updated))
        acl_keys[key] = acl_key
        late = NOW + timedelta(days=5)
        fine = (
            (title or "").strip()
            and (text or "").strip()
            and "\0" not in text
            and text.count("\ufffd") / len(text) <= 0.005
            and not (created and created > late)
            and not (updated and updated > late)
            and not (created and updated and updated < created)
            and acl_key == "open"
        )
        if not fine:
            bad.add(key)
    verdict = judge(tmp_path, drafts, listing(drafts, **acl_keys))
    assert set(verdict.bad) == bad


def test_data_docs_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    """A file where the folder should be, as a full disk or a missing right: what, where, cure."""
    (tmp_path / "docs").write_text("in the way")
    with pytest.raises(SluiceError, match=r"Data Docs cannot be written.*run again"):
        judge(tmp_path, [draft("1")], None)
