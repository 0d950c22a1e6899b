"""A folder as a source: what is found, what is not read twice, and what never gets through."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fsspec
import pytest
from landed import BROKEN, drafts_of, state
from sluice import landing
from sluice.documents import to_document
from sluice.errors import ConfigurationError, SourceUnavailable
from sluice.landing import Zone
from sluice.model import PUBLIC, Grant, Load, Principal, Window
from sluice.sources import Files

EVERYONE = frozenset({Grant(PUBLIC)})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that everyone may read, with one page in it."""
    folder = tmp_path / "root"
    folder.mkdir()
    (folder / ".access.yaml").write_text("allow: [public]\n")
    (folder / "a.md").write_text("# A\n\nfirst\n")
    return folder


@pytest.fixture
def files(root: Path, name: str) -> Files:
    """That folder as a source."""
    return Files(name=name, url=str(root))


def settle() -> None:
    """Wait until no file is so young that it could change again within one tick of the clock."""
    time.sleep(0.15)


def test_folder_becomes_drafts_with_their_acls(root: Path, files: Files, zone: Zone) -> None:
    """Files land with title, text, address and time; hidden ones and other kinds do not."""
    (root / "sub dir").mkdir()
    (root / "sub dir" / "b 100% \"q\" 'é'.txt").write_text("just text")
    (root / "c.HTML").write_text("<title>C</title><p>see</p>")
    for ignored in (".hidden.md", "code.py", ".git/x.md", "sub dir/.obsidian/y.md"):
        (root / ignored).parent.mkdir(exist_ok=True)
        (root / ignored).write_text("no")
    load = landing.land(files, zone)
    seen = state(zone, files, load)
    odd = "sub dir/b 100% \"q\" 'é'.txt"
    assert seen.keys() == {"a.md", "c.HTML", odd}
    assert (seen["a.md"].title, seen["c.HTML"].title, seen[odd].text) == ("A", "C", "just text")
    assert all(each.acl == EVERYONE and not each.problems for each in seen.values())
    draft = drafts_of(zone, files, [odd])[odd]
    assert draft.uri == (root / odd).as_uri()
    assert draft.updated_at is not None and abs(draft.updated_at - datetime.now(UTC)) < timedelta(
        minutes=1
    )
    assert to_document(draft, files.name, "/").id == f"{files.name}:{odd}"


def test_second_run_lands_nothing(files: Files, zone: Zone) -> None:
    """A folder that nobody touched gives no rows, and is listed all the same."""
    settle()
    assert landing.land(files, zone).rows == 1
    again = landing.land(files, zone)
    assert again.rows == 0
    assert again.listing is not None and again.listing.acl_keys == {"a.md": "/"}


def test_edit_of_same_size_with_its_old_time_restored_is_found(
    root: Path, files: Files, zone: Zone
) -> None:
    """The change time of the inode gives away what size and modification time hide."""
    settle()
    landing.land(files, zone)
    page = root / "a.md"
    before = page.stat()
    page.write_text("# A\n\nFIRST\n")
    os.utime(page, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert page.stat().st_size == before.st_size
    assert page.stat().st_mtime_ns == before.st_mtime_ns
    assert state(zone, files, landing.land(files, zone))["a.md"].text == "# A\n\nFIRST\n"


def test_move_is_one_gone_and_one_new(root: Path, files: Files, zone: Zone) -> None:
    """A page that moves changes its id, and with it the folder that guards it."""
    landing.land(files, zone)
    (root / "closed").mkdir()
    (root / "closed" / ".access.yaml").write_text("allow: [user:eve@x.com]\n")
    (root / "a.md").rename(root / "closed" / "a.md")
    seen = state(zone, files, landing.land(files, zone))
    assert seen.keys() == {"closed/a.md"}
    assert seen["closed/a.md"].acl == {Grant(Principal.parse("user:eve@x.com"))}


def test_file_that_returns_unchanged_lands_again(name: str, zone: Zone) -> None:
    """Deleted, published as deleted, and put back with the same entity tag: it is new again."""
    with_etags = f"memory://{name}"
    memory = fsspec.filesystem("memory")
    memory.pipe(f"/{name}/a.md", b"hello")
    files = Files(name=name, url=with_etags)
    assert landing.land(files, zone).rows == 1
    memory.rm(f"/{name}/a.md")
    gone = landing.land(files, zone)
    assert gone.listing is not None and not gone.listing.acl_keys
    memory.pipe(f"/{name}/a.md", b"hello")
    assert landing.land(files, zone).rows == 1


def test_bad_files_land_with_their_reason(root: Path, files: Files, zone: Zone) -> None:
    """What cannot be read is listed and says why; it neither stops the run nor fills memory."""
    with (root / "huge.txt").open("wb") as huge:
        huge.truncate(200 * 2**20)
    (root / "renamed.md").write_bytes(b"\x7fELF\x00\x00\x01")
    (root / "latin.txt").write_bytes("Grüße".encode("latin-1"))
    (root / "empty.md").write_bytes(b"")
    seen = state(zone, files, landing.land(files, zone))
    assert seen["huge.txt"].problems == ("has 209,715,200 bytes; at most 26,214,400 are read",)
    assert "NUL" in seen["renamed.md"].problems[0]
    assert "utf-8" in seen["latin.txt"].problems[0]
    assert seen["empty.md"].text == ""
    assert seen["a.md"].problems == ()


def test_links_are_listed_and_never_followed(
    root: Path, tmp_path: Path, files: Files, zone: Zone
) -> None:
    """A link shows up in quarantine, wherever it points; nothing behind it is read."""
    (tmp_path / "secret.md").write_text("top secret")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "deep.md").write_text("top secret")
    (root / "out.md").symlink_to(tmp_path / "secret.md")
    (root / "in.md").symlink_to(root / "a.md")
    (root / "dangling.md").symlink_to(root / "nowhere")
    (root / "folder").symlink_to(tmp_path / "outside")
    seen = state(zone, files, landing.land(files, zone))
    assert seen.keys() == {"a.md", "out.md", "in.md", "dangling.md"}
    for linked in ("out.md", "in.md", "dangling.md"):
        assert seen[linked].problems == ("is a link; put the file here",)
        assert seen[linked].text == ""


def test_access_file_that_is_no_file_closes_its_folder(
    root: Path, tmp_path: Path, files: Files, zone: Zone
) -> None:
    """Rules behind a link, or a folder called like the rules, are not rules."""
    (tmp_path / "rules.yaml").write_text("allow: [public]\n")
    for folder in ("x", "y"):
        (root / folder).mkdir()
        (root / folder / "page.md").write_text("x")
    (root / "x" / ".access.yaml").symlink_to(tmp_path / "rules.yaml")
    (root / "y" / ".access.yaml").mkdir()
    (root / "y" / ".access.yaml" / "inside.md").write_text("x")
    seen = state(zone, files, landing.land(files, zone))
    assert seen.keys() == {"a.md", "x/page.md", "y/page.md"}
    assert (seen["x/page.md"].acl, seen["y/page.md"].acl) == (BROKEN, BROKEN)


def test_names_that_cannot_be_ids_are_quarantined(root: Path, files: Files, zone: Zone) -> None:
    """Newlines, reordering marks, broken UTF-8 and endless names get a digest for a key."""
    for odd in ("new\nline.md", "rtl\u202emd.exe.md", "zero\u200bwidth.md"):
        (root / odd).write_text("x")
    Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.md")).write_text("x")
    deep = root / Path(*["d" * 200] * 6)
    deep.mkdir(parents=True)
    (deep / "x.md").write_text("x")
    (root / "👩\u200d🚀.md").write_text("x")
    seen = state(zone, files, landing.land(files, zone))
    assert {k for k in seen if not k.startswith("missing:")} == {"a.md", "👩\u200d🚀.md"}
    odd_ones = [each for key, each in seen.items() if key.startswith("missing:")]
    assert len(odd_ones) == 5
    assert all(each.problems and each.acl is None for each in odd_ones)
    drafts = drafts_of(zone, files, list(seen))
    assert all(drafts[key].native_id is None for key in seen if key.startswith("missing:"))


def test_file_named_like_a_digest_keeps_its_own_id(root: Path, files: Files, zone: Zone) -> None:
    """Whether a row has an id is on record, not guessed from its key."""
    (root / "missing:x.md").write_text("# hi")
    landing.land(files, zone)
    assert drafts_of(zone, files, ["missing:x.md"])["missing:x.md"].native_id == "missing:x.md"


def test_broken_access_file_closes_its_folder_at_once(root: Path, files: Files, zone: Zone) -> None:
    """Breaking the rules makes the pages unreadable, mending them opens them: no page is read."""
    settle()
    landing.land(files, zone)
    (root / ".access.yaml").write_text("alow: [public]\n")
    broken = landing.land(files, zone)
    assert broken.rows == 0
    assert state(zone, files, broken)["a.md"].acl == BROKEN
    (root / ".access.yaml").unlink()
    assert state(zone, files, landing.land(files, zone))["a.md"].acl is None
    (root / ".access.yaml").write_text("allow: [public]\n")
    mended = landing.land(files, zone)
    assert (mended.rows, state(zone, files, mended)["a.md"].acl) == (0, EVERYONE)


def test_include_and_exclude_choose_files(root: Path, name: str, zone: Zone) -> None:
    """Globs are relative to the root; ``**/`` crosses folders, ``*`` does not."""
    for path in ("drafts/x.md", "notes/y.rst", "notes/deep/z.rst", "b.md"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("x")
    files = Files(
        name=name, url=str(root), include=("*.md", "notes/*.rst"), exclude=("b.*", "drafts/**")
    )
    load = landing.land(files, zone)
    assert load.listing is not None and set(load.listing.acl_keys) == {"a.md", "notes/y.rst"}


def test_window_reads_what_changed_inside_it_and_lists_everything(
    root: Path, files: Files, zone: Zone
) -> None:
    """A backfill reads permissions as new as the rows they guard, and sees what is gone."""
    settle()
    landing.land(files, zone)
    (root / "b.md").write_text("new")
    (root / "a.md").unlink()
    now = datetime.now(UTC)
    past = landing.land(files, zone, Window(now - timedelta(days=2), now - timedelta(days=1)))
    assert past.rows == 0 and past.listing is not None
    assert set(past.listing.acl_keys) == {"b.md"}
    today = landing.land(files, zone, Window(now - timedelta(days=1), now + timedelta(days=1)))
    assert today.rows == 1
    assert set(state(zone, files, landing.land(files, zone))) == {"b.md"}


@pytest.mark.skipif(os.geteuid() == 0, reason="skipped: root may read everything")
def test_folder_that_may_not_be_read_stops_the_run(root: Path, files: Files, zone: Zone) -> None:
    """Half a listing is no listing: what cannot be seen must not look deleted."""
    (root / "closed").mkdir(mode=0)
    with pytest.raises(SourceUnavailable, match="cannot be read"):
        landing.land(files, zone)


def test_missing_root_is_unavailable_not_empty(files: Files, root: Path, zone: Zone) -> None:
    """An unmounted folder must not look like one whose pages were all deleted."""
    landing.land(files, zone)
    root.rename(root.with_name("elsewhere"))
    with pytest.raises(SourceUnavailable, match="No such file"):
        landing.land(files, zone)
    root.with_name("elsewhere").rename(root)
    assert landing.land(files, zone).listing is not None


@pytest.mark.parametrize("bad", ["", "Handbook", "a__b", "a_", "1a", "a-b", "a" * 41, "a; drop"])
def test_name_that_could_not_name_a_schema_is_refused(bad: str) -> None:
    """dlt would quietly rewrite such names, and two sources could become one."""
    with pytest.raises(ConfigurationError, match="not a name"):
        Files(name=bad, url="x")


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    """A real S3 server on loopback; gives fsspec's options for it."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield {"key": "k", "secret": "s", "endpoint_url": f"http://{host}:{port}"}
    server.stop()


def test_bucket_is_read_by_entity_tag(name: str, s3: dict[str, str], zone: Zone) -> None:
    """Objects land, an edit of the same size is found, and nothing is read twice."""
    store = fsspec.filesystem("s3", skip_instance_cache=True, **s3)
    store.mkdir(name)
    store.pipe(f"{name}/book/.access.yaml", b"allow: [public]")
    store.pipe(f"{name}/book/a b.md", b"# A\n\none")
    store.pipe(f"{name}/book/sub/empty.md", b"")
    store.pipe(f"{name}/book/.hidden/x.md", b"no")
    store.pipe(f"{name}/bookshelf/x.md", b"another folder")
    files = Files(name=name, url=f"s3://{name}/book", storage_options=s3)
    first = landing.land(files, zone)
    seen = state(zone, files, first)
    assert (first.rows, seen.keys()) == (2, {"a b.md", "sub/empty.md"})
    assert seen["a b.md"].acl == EVERYONE
    assert drafts_of(zone, files, ["a b.md"])["a b.md"].uri == f"s3://{name}/book/a b.md"
    assert landing.land(files, zone).rows == 0
    store.pipe(f"{name}/book/a b.md", b"# A\n\ntwo")
    store.rm(f"{name}/book/sub/empty.md")
    edited = landing.land(files, zone)
    assert (edited.rows, set(state(zone, files, edited))) == (1, {"a b.md"})
    store.rm(f"{name}/book/a b.md")
    landing.land(files, zone)
    store.pipe(f"{name}/book/a b.md", b"# A\n\ntwo")
    assert landing.land(files, zone).rows == 1, "it returned with the tag it had before"


def test_bucket_that_does_not_answer_is_unavailable(
    name: str, s3: dict[str, str], zone: Zone
) -> None:
    """A missing bucket changes nothing, and says so in one line."""
    files = Files(name=name, url=f"s3://{name}-absent/book", storage_options=s3)
    with pytest.raises(SourceUnavailable) as caught:
        landing.land(files, zone)
    assert "\n" not in str(caught.value)


def test_file_url_is_a_local_path(root: Path, name: str, zone: Zone) -> None:
    """``file://`` is read with the care that local files get."""
    (root / "link.md").symlink_to(root / "a.md")
    files = Files(name=name, url=f"file://{root}")
    load: Load = landing.land(files, zone)
    assert state(zone, files, load)["link.md"].problems


def test_all_rust_rfcs_convert_without_a_problem(name: str, shared_data: Path, zone: Zone) -> None:
    """A real corpus lands whole, and a second run finds nothing to do."""
    files = Files(name=name, url=str(shared_data / "rust-rfcs" / "text"))
    load = landing.land(files, zone)
    seen = state(zone, files, load)
    assert len(seen) == 648
    assert not [key for key, each in seen.items() if each.problems or not each.text]
    assert landing.land(files, zone).rows == 0


def test_an_address_of_no_known_store_is_one_line(zone: Zone) -> None:
    """A misspelt scheme is the owner's mistake: no trace of a library, and no retry."""
    source = Files(name=f"s{uuid.uuid4().hex[:12]}", url="s4://bucket/handbook")
    with pytest.raises(ConfigurationError, match="s4://bucket/handbook: no store"):
        landing.land(source, zone)
