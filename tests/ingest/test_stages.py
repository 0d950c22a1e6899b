"""A source's runs, from the folder to what a reader finds, on real parts."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from sluice import ingest
from sluice.access import Access
from sluice.catalog import runs
from sluice.errors import AlreadyRunning, LoadHeld, NotFound
from sluice.ingest import STAGES, Pipeline, Progress
from sluice.model import PUBLIC, Caller, Policy, Principal, RunSummary, Window
from sluice.settings import Settings
from sluice.sources import Files

CALLER = Caller(agent="test", key_id=None, acts_for=frozenset({PUBLIC}))
ANYONE = Principal.parse("user:anyone@example.com")
ADA = Principal.parse("user:ada@example.com")


def run(pipeline: Pipeline, tree: Path, run_id: str, **options: object) -> RunSummary:
    """Run the tree's source."""
    return ingest.run(pipeline, source(tree), run_id, **options)  # type: ignore[arg-type]  # passed on


def source(tree: Path) -> Files:
    """The tree as a source; a load that loses more than half of it is held."""
    return Files(name="pages", url=str(tree), policy=Policy(max_loss=0.5))


def text(pipeline: Pipeline, page: str, person: Principal = ANYONE) -> str:
    """What ``person`` gets when fetching a page."""
    return Access(pipeline.catalog, cap=5000).document(CALLER, person, f"pages:{page}").text


def index_matches_catalog(pipeline: Pipeline) -> None:
    """The index holds every live generation whole, and nothing else."""
    with pipeline.catalog.begin() as connection:
        rows = connection.execute(
            sa.text(
                "SELECT generation, chunk_count FROM sluice.placement"
                " JOIN sluice.generation USING (generation) WHERE state = 'live'"
            )
        )
        live: Mapping[int, int] = {row.generation: row.chunk_count for row in rows}
    assert pipeline.collections.serving().index.generations() == live.keys()
    assert pipeline.collections.serving().index.count(list(live)) == live


def test_a_first_run_makes_every_page_readable(pipeline: Pipeline, tree: Path) -> None:
    """One new page, one chunk, one embedding, and its text can be fetched."""
    summary = run(pipeline, tree, "r1")
    assert (summary.new, summary.embedded, summary.quarantined) == (1, 1, 0)
    assert "kettle" in text(pipeline, "welcome.md")
    index_matches_catalog(pipeline)


def test_a_second_run_does_nothing(pipeline: Pipeline, tree: Path) -> None:
    """Nothing changed: nothing embedded, nothing written."""
    run(pipeline, tree, "r1")
    before = pipeline.collections.serving().index.generations()
    summary = run(pipeline, tree, "r2")
    assert (summary.new, summary.changed, summary.unchanged, summary.embedded) == (0, 0, 1, 0)
    assert pipeline.collections.serving().index.generations() == before


def test_an_edit_replaces_the_page(pipeline: Pipeline, tree: Path) -> None:
    """The new text is served and the old generation is gone from the index."""
    run(pipeline, tree, "r1")
    (tree / "welcome.md").write_text("# Welcome\n\nThe kettle moved to the first floor.\n")
    summary = run(pipeline, tree, "r2")
    assert (summary.changed, summary.embedded) == (1, 1)
    assert "first floor" in text(pipeline, "welcome.md")
    index_matches_catalog(pipeline)


def test_a_move_is_a_new_page_that_costs_no_embedding(pipeline: Pipeline, tree: Path) -> None:
    """The same title path and text under another name: vectors come from the cache."""
    (tree / "stays.md").write_text("# Stays\n\nStill here.\n")
    run(pipeline, tree, "r1")
    (tree / "welcome.md").rename(tree / "hello.md")
    summary = run(pipeline, tree, "r2")
    assert (summary.new, summary.deleted, summary.embedded) == (1, 1, 0)
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")
    assert "kettle" in text(pipeline, "hello.md")
    index_matches_catalog(pipeline)


def test_a_folders_new_readers_cost_nothing(pipeline: Pipeline, tree: Path) -> None:
    """An ACL change embeds nothing, writes no index, and is enforced at once."""
    run(pipeline, tree, "r1")
    before = pipeline.collections.serving().index.generations()
    (tree / ".access.yaml").write_text("allow: ['user:ada@example.com']\n")
    summary = run(pipeline, tree, "r2")
    assert (summary.acl_only, summary.unchanged, summary.embedded) == (1, 0, 0)
    assert pipeline.collections.serving().index.generations() == before
    assert "kettle" in text(pipeline, "welcome.md", ADA)
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")


def test_a_page_moved_under_other_readers_keeps_its_vectors(pipeline: Pipeline, tree: Path) -> None:
    """Sharing one page on its own gives it another object: no embedding, other readers."""
    run(pipeline, tree, "r1")
    (tree / ".access.yaml").write_text(
        "allow: [public]\npages:\n  welcome.md: {allow: ['user:ada@example.com']}\n"
    )
    summary = run(pipeline, tree, "r2")
    assert (summary.acl_only, summary.embedded) == (1, 0)
    assert "kettle" in text(pipeline, "welcome.md", ADA)
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")
    index_matches_catalog(pipeline)


def test_a_broken_access_file_hides_and_a_mended_one_shows(pipeline: Pipeline, tree: Path) -> None:
    """Unknown permission means no, also for what was readable before; the cure needs no edit."""
    run(pipeline, tree, "r1")
    (tree / ".access.yaml").write_text("allow: [public\n")
    (tree / "second.md").write_text("# Second\n\nArrived meanwhile.\n")
    summary = run(pipeline, tree, "r2")
    assert summary.quarantined in {1, 2}  # a page as fresh as the other may be read again
    for page in ("welcome.md", "second.md"):
        with pytest.raises(NotFound):
            text(pipeline, page)
    (tree / ".access.yaml").write_text("allow: [public]\n")
    run(pipeline, tree, "r3")
    assert "kettle" in text(pipeline, "welcome.md")
    assert "meanwhile" in text(pipeline, "second.md")


def test_a_mass_deletion_is_held_and_the_old_content_serves(pipeline: Pipeline, tree: Path) -> None:
    """More than half is gone: nothing is deleted until somebody accepts it."""
    for n in range(3):
        (tree / f"p{n}.md").write_text(f"# P{n}\n\nPage number {n}.\n")
    run(pipeline, tree, "r1")
    for n in range(3):
        (tree / f"p{n}.md").unlink()
    with pytest.raises(LoadHeld, match=r"3 of 4 documents are gone"):
        run(pipeline, tree, "r2")
    assert "number 1" in text(pipeline, "p1.md")
    summary = run(pipeline, tree, "r3", accept_loss=True)
    assert summary.deleted == 3
    with pytest.raises(NotFound):
        text(pipeline, "p1.md")


def test_a_vanished_source_blanks_nothing(pipeline: Pipeline, tree: Path) -> None:
    """A folder that is gone with its access file keeps serving what it held, as it guarded it."""
    run(pipeline, tree, "r1")
    (tree / "welcome.md").unlink()
    (tree / ".access.yaml").unlink()
    with pytest.raises(LoadHeld):
        run(pipeline, tree, "r2")
    assert "kettle" in text(pipeline, "welcome.md")


def test_a_revocation_does_not_wait_for_a_held_load(pipeline: Pipeline, tree: Path) -> None:
    """Losing documents holds the load; losing readers does not."""
    for n in range(3):
        (tree / f"p{n}.md").write_text(f"# P{n}\n\nPage number {n}.\n")
    run(pipeline, tree, "r1")
    for n in range(3):
        (tree / f"p{n}.md").unlink()
    (tree / ".access.yaml").write_text("allow: ['user:ada@example.com']\n")
    with pytest.raises(LoadHeld):
        run(pipeline, tree, "r2")
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")


def test_a_wider_acl_waits_for_the_content_it_was_read_with(pipeline: Pipeline, tree: Path) -> None:
    """Opened to all only after a secret was edited out: the old text is never shown to all."""
    (tree / ".access.yaml").write_text("allow: ['user:ada@example.com']\n")
    (tree / "welcome.md").write_text("# Welcome\n\nThe code is 4711.\n")
    run(pipeline, tree, "r1")
    (tree / "welcome.md").write_text("# Welcome\n\nThe code is at the desk.\n")
    (tree / ".access.yaml").write_text("allow: [public]\n")
    ingest.extract(pipeline, source(tree), "r2")
    ingest.validate(pipeline, source(tree), "r2")
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")
    ingest.publish(pipeline, source(tree), "r2")
    assert "at the desk" in text(pipeline, "welcome.md")


def test_a_page_restored_unchanged_comes_back(pipeline: Pipeline, tree: Path) -> None:
    """Deleted, then put back byte for byte: no cursor shows it, the listing does."""
    (tree / "stays.md").write_text("# Stays\n\nStill here.\n")
    run(pipeline, tree, "r1")
    content = (tree / "welcome.md").read_text()
    (tree / "welcome.md").unlink()
    run(pipeline, tree, "r2")
    (tree / "welcome.md").write_text(content)
    summary = run(pipeline, tree, "r3")
    assert (summary.new, summary.embedded) == (1, 0)
    assert "kettle" in text(pipeline, "welcome.md")
    index_matches_catalog(pipeline)


def test_a_bad_new_version_leaves_the_old_one_serving(pipeline: Pipeline, tree: Path) -> None:
    """An emptied page is quarantined; its last good text stays."""
    run(pipeline, tree, "r1")
    (tree / "welcome.md").write_text("")
    summary = run(pipeline, tree, "r2")
    assert summary.quarantined == 1
    assert "kettle" in text(pipeline, "welcome.md")


def test_a_backfill_reads_again_and_changes_nothing_that_is_right(
    pipeline: Pipeline, tree: Path
) -> None:
    """The window's pages are read once more; nothing is embedded, nothing is lost."""
    run(pipeline, tree, "r1")
    now = datetime.now(UTC)
    window = Window(now - timedelta(hours=1), now + timedelta(hours=1))
    summary = run(pipeline, tree, "r2", window=window)
    assert (summary.unchanged, summary.embedded, summary.deleted) == (1, 0, 0)
    assert "kettle" in text(pipeline, "welcome.md")


def test_a_backfill_can_come_first(pipeline: Pipeline, tree: Path) -> None:
    """A source that never ran may begin with a window of its past."""
    now = datetime.now(UTC)
    summary = run(pipeline, tree, "r1", window=Window(now - timedelta(hours=1), now))
    assert summary.new == 1


def test_two_tenants_may_name_a_source_alike(
    pipeline: Pipeline, settings: Settings, tree: Path
) -> None:
    """Each has a landing zone, an index and a catalog of its own; neither sees the other's."""
    run(pipeline, tree, "r1")
    other = Pipeline(settings.model_copy(update={"tenant": f"{settings.tenant}-other"}), batch=8)
    with pytest.raises(NotFound):
        text(other, "welcome.md")
    assert run(other, tree, "r1").new == 1
    assert run(pipeline, tree, "r2").unchanged == 1
    index_matches_catalog(pipeline)
    index_matches_catalog(other)
    other.close()


def test_a_run_that_was_overtaken_publishes_nothing(pipeline: Pipeline, tree: Path) -> None:
    """Its lock went, and another run published the load meanwhile: what it planned is old."""
    load_id = ingest.extract(pipeline, source(tree), "r1")
    ingest.validate(pipeline, source(tree), "r1")

    def overtake(boundary: str) -> None:
        if boundary == "flip: begin":
            with pipeline.catalog.begin() as connection:
                runs.mark_loads(connection, "pages", [load_id], "published")

    with pytest.raises(AlreadyRunning, match="published this load meanwhile"):
        ingest.publish(pipeline, source(tree), "r1", progress=Progress(overtake))
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")
    assert run(pipeline, tree, "r2").new == 1
    index_matches_catalog(pipeline)


def test_stages_are_told_in_the_order_they_happen(pipeline: Pipeline, tree: Path) -> None:
    """A person reads them from top to bottom."""
    assert tuple(run(pipeline, tree, "r1").stages) == STAGES


def test_a_lost_index_is_rebuilt_without_embedding(pipeline: Pipeline, tree: Path) -> None:
    """Somebody deletes the index's folder: the next run puts everything back from the catalog."""
    run(pipeline, tree, "r1")
    shutil.rmtree(pipeline.settings.index_path)
    again = Pipeline(pipeline.settings, batch=8)
    summary = run(again, tree, "r2")
    assert (summary.unchanged, summary.embedded, summary.chunks) == (1, 0, 1)
    index_matches_catalog(again)
    again.close()


def test_two_runs_of_one_source_take_turns(pipeline: Pipeline, tree: Path) -> None:
    """Stages of two runs, interleaved as two DAG runs would: nothing lost, nothing doubled."""
    ingest.extract(pipeline, source(tree), "a")
    (tree / "late.md").write_text("# Late\n\nBetween two extracts.\n")
    ingest.extract(pipeline, source(tree), "b")
    ingest.validate(pipeline, source(tree), "a")
    ingest.validate(pipeline, source(tree), "b")
    ingest.publish(pipeline, source(tree), "b")
    ingest.publish(pipeline, source(tree), "a")
    assert "kettle" in text(pipeline, "welcome.md")
    assert "Between" in text(pipeline, "late.md")
    index_matches_catalog(pipeline)


def test_a_held_load_still_takes_readers_away_by_new_rules(pipeline: Pipeline, tree: Path) -> None:
    """A new rule nearer to a page, a broken one, a page's own: each counts, held load or not."""
    folders = ("closed", "broken")
    for folder in folders:
        (tree / folder).mkdir()
        (tree / folder / "page.md").write_text("# Page\n\nFor few.\n")
    (tree / "own.md").write_text("# Own\n\nFor few.\n")
    (tree / "edited.md").write_text("# Edited\n\nFor few.\n")
    for number in range(8):
        (tree / f"{number}.md").write_text(f"# Page {number}\n\nNothing.\n")
    run(pipeline, tree, "r1")
    (tree / "closed" / ".access.yaml").write_text("allow: ['user:ada@example.com']\n")
    (tree / "broken" / ".access.yaml").write_text("allow: [[\n")
    own = "{allow: ['user:ada@example.com']}"
    (tree / ".access.yaml").write_text(
        f"allow: [public]\npages:\n  own.md: {own}\n  edited.md: {own}\n"
    )
    (tree / "edited.md").write_text("# Edited\n\nFor few, and new.\n")
    for number in range(8):
        (tree / f"{number}.md").unlink()
    with pytest.raises(LoadHeld):
        run(pipeline, tree, "r2")
    for page in ("closed/page.md", "broken/page.md", "own.md", "edited.md"):
        with pytest.raises(NotFound):
            text(pipeline, page)
    assert "For few" in text(pipeline, "closed/page.md", ADA)
    assert "For few" in text(pipeline, "own.md", ADA)
    with pytest.raises(NotFound):
        text(pipeline, "edited.md", ADA)
    summary = run(pipeline, tree, "r3", accept_loss=True)
    assert (summary.acl_only, summary.changed, summary.deleted) == (3, 1, 8)
    assert "and new" in text(pipeline, "edited.md", ADA)
    index_matches_catalog(pipeline)


def test_an_unguarded_page_is_hidden_although_its_load_is_held(
    pipeline: Pipeline, tree: Path
) -> None:
    """The rules are gone, and so is most of the folder: nothing says who may read what is left."""
    for number in range(8):
        (tree / f"{number}.md").write_text(f"# Page {number}\n\nNothing.\n")
    run(pipeline, tree, "r1")
    (tree / ".access.yaml").unlink()
    for number in range(8):
        (tree / f"{number}.md").unlink()
    with pytest.raises(LoadHeld):
        run(pipeline, tree, "r2")
    with pytest.raises(NotFound):
        text(pipeline, "welcome.md")
    (tree / ".access.yaml").write_text("allow: [public]\n")
    run(pipeline, tree, "r3", accept_loss=True)
    assert "kettle" in text(pipeline, "welcome.md")


def test_a_page_of_which_nothing_can_be_seen_stops_no_other(pipeline: Pipeline, tree: Path) -> None:
    """Nothing but invisible characters is no text: it is set aside, and the rest goes live."""
    (tree / "unseen.md").write_text("\u200b\u2060\n")
    summary = run(pipeline, tree, "r1")
    assert (summary.new, summary.quarantined) == (1, 1)
    assert "kettle" in text(pipeline, "welcome.md")


def test_a_run_that_something_unforeseen_ended_does_not_look_running(
    pipeline: Pipeline, tree: Path
) -> None:
    """The record says that it failed, and by what name; what was read is not quoted."""

    @dataclass(frozen=True, slots=True)
    class Mistaken:
        name: str = "pages"
        kind: str = "files"
        policy: Policy = field(default_factory=Policy)

        def columns(self) -> None:
            raise ZeroDivisionError("some secret text")

    with pytest.raises(ZeroDivisionError):
        ingest.extract(pipeline, Mistaken(), "r1")  # type: ignore[arg-type]  # a source with a bug
    with pipeline.catalog.begin() as connection:
        ended = connection.execute(sa.text("SELECT state, message FROM sluice.run")).one()
    assert ended.state == "failed"
    assert "ZeroDivisionError" in ended.message and "secret" not in ended.message
