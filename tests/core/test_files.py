"""Files are the same on every system: those of a folder in one order, which splits depend on, and inputs safe."""

from pathlib import Path, PurePath

import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, sorted_paths
from rtmdet.core.json_file import check_output
from rtmdet.data.formats.voc import find_lists
from rtmdet.data.formats.yolo_layout import read_layout, split_images
from rtmdet.data.split_names import group_files
from rtmdet.stream.sources import find_sources

NAMES = ["B/c.jpg", "B-a/c.jpg", "D.jpg", "a.jpg", "c.jpg"]  # as on Linux: each part of a path for itself


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with NAMES, where paths are compared without regard to case, as on Windows."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"-")
    monkeypatch.setattr(PurePath, "__lt__", lambda one, other: str(one).lower() < str(other).lower())
    assert [path.name for path in sorted([Path("D.jpg"), Path("a.jpg")])] == ["a.jpg", "D.jpg"]
    return tmp_path


def test_files_of_a_folder(folder: Path) -> None:
    expected = [folder / name for name in NAMES]
    assert files_below(folder, (".jpg",)) == expected
    assert sorted_paths(reversed(expected)) == expected
    assert group_files(folder, {*expected})[0]["train"] == expected


def test_patterns(folder: Path) -> None:
    assert [source.name for source in find_sources([str(folder / "*.jpg")]).sources] == [
        str(folder / name) for name in ("D.jpg", "a.jpg", "c.jpg")
    ]


def test_a_yolo_data_set(folder: Path) -> None:
    (folder / "data.yaml").write_text("names: [a]\ntrain: [a.txt, b.txt]\n")
    (folder / "a.txt").write_text("a.jpg\nc.jpg\n")
    (folder / "b.txt").write_text("D.jpg\nB/c.jpg\n")
    found = split_images(read_layout(folder / "data.yaml"), "train")[1]
    assert [path.relative_to(folder).as_posix() for path in found] == ["B/c.jpg", "D.jpg", "a.jpg", "c.jpg"]
    (folder / "data.yaml").unlink()
    (folder / "classes.txt").write_text("a\n")
    assert read_layout(folder).image_paths == {"train": [".", "B", "B-a"]}


def test_lists_of_voc(folder: Path) -> None:
    for year in ("b", "C"):
        (folder / year / "ImageSets" / "Main").mkdir(parents=True)
        (folder / year / "ImageSets" / "Main" / "train.txt").write_text("1\n")
    assert [path.relative_to(folder).parts[0] for path in find_lists(folder, "train")] == ["C", "b"]


def test_an_input_folder_is_known_by_another_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Data for data where the case of letters does not matter, so that no text tells it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.json").write_text("{}")
    (tmp_path / "Data").symlink_to("data")
    monkeypatch.setattr(Path, "resolve", Path.absolute)
    for name in ("data", "Data"):
        for source in (tmp_path / "data", tmp_path / "data" / "labels.json"):
            with pytest.raises(InputError, match="would be overwritten; give another name"):
                check_output(tmp_path / name / "labels.json", tmp_path / "none", source)
    check_output(tmp_path / "Data" / "labels.json", tmp_path / "none", None)
    check_output(tmp_path / "Data" / "new.json", tmp_path / "data")
