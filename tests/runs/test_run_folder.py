"""The folder of a run belongs to one run at a time."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import rtmdet.runs.folder as run_folder
from rtmdet.config.schema import Config, DataConfig, SplitConfig
from rtmdet.core import file_lock
from rtmdet.core.errors import InputError
from rtmdet.runs.folder import check_unclaimed, check_unused, claim_folder, write_configuration

fcntl = pytest.importorskip("fcntl", reason="locks files")


def locking(file: int, mode: int, size: int) -> None:
    """msvcrt.locking of Windows, by what there is here."""
    assert (mode, size) == (2, 1)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise PermissionError(13, "Permission denied") from None


@pytest.fixture(params=["flock", "msvcrt"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system with flock, and Windows, which has msvcrt instead, and removes no file that is open."""
    if request.param == "flock":
        return
    monkeypatch.setattr(file_lock, "fcntl", None)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(LK_NBLCK=2, locking=locking))
    usual = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        opened = (os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd"))
        if str(path.resolve()) in opened:
            raise PermissionError(13, "The process cannot access the file", str(path))
        usual(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)


@pytest.mark.usefixtures("system")
def test_two_runs_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "WAIT", 0.2)
    folder = tmp_path / "run"
    with claim_folder(folder, new=True):
        with pytest.raises(InputError, match="run: another run is going on there"), claim_folder(folder, new=False):
            pytest.fail("two runs in one folder")
        with pytest.raises(InputError, match="run: another run is going on there"):
            check_unclaimed(folder)
        (folder / "last.pth").write_bytes(b"-")
    assert [path.name for path in folder.iterdir()] == ["last.pth"]
    with claim_folder(folder, new=False):
        pass
    with pytest.raises(InputError, match="already holds a run"), claim_folder(folder, new=True):
        pytest.fail("the first run would be overwritten")


@pytest.mark.usefixtures("system")
def test_a_folder_in_which_nothing_began_is_removed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"), claim_folder(tmp_path / "a" / "run", new=True):
        raise InputError("no weights")
    assert not (tmp_path / "a").exists()


@pytest.mark.usefixtures("system")
def test_an_empty_folder_of_the_user_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"), claim_folder(tmp_path, new=True):
        raise InputError("no weights")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["config.yaml", "train.csv", "data/train.json", "data/origin.json", "warnings.txt", "epoch_0001.pth"]
)
def test_files_that_no_run_has_written_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=f"{name}: a run would replace this file, which no run has written"):
        check_unused(tmp_path)
    (tmp_path / "data" / "origin.json").write_text(
        '{"data": "photos"}'
    )  # a run that ended before its first checkpoint
    check_unused(tmp_path)


def test_the_configuration_of_a_run_that_was_started_is_replaced(tmp_path: Path) -> None:
    split = SplitConfig("a.json", "images")
    write_configuration(tmp_path, Config(DataConfig(split, split)))
    check_unused(tmp_path)
    with (tmp_path / "config.yaml").open("a") as file:
        file.write("# mine\n")
    with pytest.raises(InputError, match=r"config\.yaml: a run would replace this file"):
        check_unused(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"-")
    for folder in (tmp_path / "run", tmp_path / "run" / "a" / "b"):
        with pytest.raises(InputError, match="cannot be written"):
            check_unclaimed(folder)


def test_faults_of_the_run_stay_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), claim_folder(tmp_path / "run", new=True):
        (tmp_path / "run" / "gone").read_bytes()


def test_a_folder_that_nobody_can_make_is_told_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again, as other runs remove empty folders, but not for as long as one waits for another run."""
    passed = iter(range(1000))
    monkeypatch.setattr(run_folder.time, "monotonic", lambda: float(next(passed)))
    monkeypatch.setattr(run_folder.time, "sleep", lambda _: None)

    def refuse(path: Path, **_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(InputError, match=r"run: the folder cannot be written \(No such .*choose another --output"):
        run_folder._lock(tmp_path / "run")
    assert next(passed) < run_folder.WAIT
