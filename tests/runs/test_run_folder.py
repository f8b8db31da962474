"""The folder of a run belongs to one run at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtmdet.core.errors import InputError
from rtmdet.runs.folder import claim_folder

pytest.importorskip("fcntl", reason="locks files")


def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with claim_folder(folder, new=True):
        with pytest.raises(InputError, match="run: another run is going on there"), claim_folder(folder, new=False):
            pytest.fail("two runs in one folder")
        (folder / "last.pth").write_bytes(b"-")
    assert [path.name for path in folder.iterdir()] == ["last.pth"]
    with claim_folder(folder, new=False):
        pass
    with pytest.raises(InputError, match="already holds a run"), claim_folder(folder, new=True):
        pytest.fail("the first run would be overwritten")


def test_a_folder_in_which_nothing_began_is_removed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no weights"), claim_folder(tmp_path / "a" / "run", new=True):
        raise InputError("no weights")
    assert not (tmp_path / "a" / "run").exists()


def test_a_file_in_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"-")
    with (
        pytest.raises(InputError, match="run cannot be written"),
        claim_folder(tmp_path / "run", new=True),
    ):
        pytest.fail("there is no folder")
