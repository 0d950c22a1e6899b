"""``$SLUICE_HOME``: secrets made once, private files, one `sluice up` at a time."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest
from sluice.errors import StackError
from sluice.settings import Settings
from sluice.stack import up
from sluice.stack.home import Home


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    """Opening a home again gives the same secrets; nobody else on the machine can read them."""
    home = Home(tmp_path / "home")
    first = home.open()
    assert home.open() == first
    assert stat.S_IMODE((home.path / "stack.json").stat().st_mode) == 0o600
    assert len({first.administrator, first.app, first.landing, first.login, first.jwt}) == 5


def test_what_was_done_is_remembered(tmp_path: Path) -> None:
    """A step is marked without touching the secrets."""
    home = Home(tmp_path)
    first = home.open()
    home.mark_done("airflow", "3.3.2")
    assert home.open().done == {"airflow": "3.3.2"}
    assert home.open().administrator == first.administrator


def test_lines_that_a_person_added_to_sluice_env_stay(tmp_path: Path) -> None:
    """Our own lines are replaced in place of the old ones; a person's stay, and are read."""
    home = Home(tmp_path)
    home.env_file.write_text("# mine\nSHOP_URL='postgresql://shop'\nSLUICE_CATALOG_URL=old\n")
    home.write_env({"SLUICE_CATALOG_URL": "new"})
    assert home.read_env() == {"SHOP_URL": "postgresql://shop", "SLUICE_CATALOG_URL": "new"}
    assert "# mine" in home.env_file.read_text()
    assert stat.S_IMODE(home.env_file.stat().st_mode) == 0o600


def test_unreadable_secrets_are_one_clear_line(tmp_path: Path) -> None:
    """A damaged file is not replaced in silence: the databases know the old secrets."""
    (tmp_path / "stack.json").write_text("{")
    with pytest.raises(StackError, match="`sluice reset` starts afresh"):
        Home(tmp_path).open()


def test_a_home_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """A file where the folder should be is named, with the setting to change."""
    (tmp_path / "home").touch()
    with pytest.raises(StackError, match="SLUICE_HOME"):
        Home(tmp_path / "home").open()


def _try_to_hold(path: Path, found: multiprocessing.Queue[str]) -> None:
    try:
        with Home(path).hold():
            found.put("held")
    except StackError as error:
        found.put(str(error))


def test_one_up_at_a_time(tmp_path: Path) -> None:
    """A second `sluice up` names the first; once that is gone, however it went, it may hold."""
    context = multiprocessing.get_context("spawn")
    found: multiprocessing.Queue[str] = context.Queue()
    home = Home(tmp_path)
    with home.hold():
        second = context.Process(target=_try_to_hold, args=(tmp_path, found))
        second.start()
        assert "Sluice already runs here (process" in found.get(timeout=20)
        second.join()
    assert home.holder() is None
    third = context.Process(target=_try_to_hold, args=(tmp_path, found))
    third.start()
    assert found.get(timeout=20) == "held"
    third.join()


def test_reset_leaves_a_folder_alone_that_it_did_not_make(tmp_path: Path) -> None:
    """A SLUICE_HOME that points somewhere else by mistake must not be deleted."""
    (tmp_path / "precious").touch()
    with pytest.raises(StackError, match="left alone"):
        up.reset(Settings(home=tmp_path))
    assert (tmp_path / "precious").exists()


def test_reset_deletes_what_up_made(tmp_path: Path) -> None:
    """The folder goes, and a second reset has nothing to do."""
    home = Home(tmp_path / "home")
    home.open()
    assert up.reset(Settings(home=home.path))
    assert not home.path.exists()
    assert not up.reset(Settings(home=home.path))


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    """Stopping what does not run is no error."""
    assert not up.down(Settings(home=tmp_path / "nowhere"))
    Home(tmp_path).open()
    assert not up.down(Settings(home=tmp_path))
