"""A resumed run says how its data set differs from the copies that it goes on with."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.data.coco.edit import split_coco
from rtmdet.data.coco.file import CocoFile, box_annotation
from rtmdet.data.formats.splits import Split
from rtmdet.runs.settings.own_splits import keep_digests, report_changes

COUNT = 6


def coco(numbers: range, *, shift: int = 0) -> CocoFile:
    """An object on each image, that of the first one moved."""
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 50, "height": 40} for n in numbers],
        "annotations": [
            box_annotation(n, n, 1, box=(1.0 + shift * (n == numbers[0]), 1.0, 20.0, 20.0)) for n in numbers
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A data set without a validation split, and the copies of its parts in a run's folder."""
    data, copies = tmp_path / "set", tmp_path / "run" / "data"
    data.mkdir()
    copies.mkdir(parents=True)
    for number in range(1, COUNT + 3):
        cv2.imwrite(str(data / f"{number}.png"), np.zeros((40, 50, 3), np.uint8))
    whole = coco(range(1, COUNT + 1))
    (data / "all.json").write_text(json.dumps(whole))
    for name, part in zip(("train", "val"), split_coco(whole, 0.3, 0), strict=True):
        (copies / f"{name}.json").write_text(json.dumps(part))
    return data, copies


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (coco(range(1, COUNT + 1)), ""),
        (coco(range(1, COUNT + 3)), "images 2 new;"),
        (coco(range(3, COUNT + 2)), "images 1 new, 2 gone;"),
        (coco(range(1, COUNT + 1), shift=2), "images 1 with other objects;"),
    ],
    ids=["equal", "grown", "exchanged", "corrected"],
)
def test_changes_are_said(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], now: CocoFile, words: str
) -> None:
    data, copies = folders
    (data / "all.json").write_text(json.dumps(now))
    report_changes(data, None, copies)
    said = capsys.readouterr().out
    assert said.startswith(f"data: {data} has changed since the run started: {words}") if words else not said


def test_data_that_is_gone_is_no_fault(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    data, copies = folders
    (data / "all.json").write_text("{")
    report_changes(data, None, copies)
    assert "the run continues with its own copies; the data set can no longer be read" in capsys.readouterr().out
    report_changes(data, None, data)
    assert not capsys.readouterr().out, "no copies: the run reads the files themselves"


def test_changes_of_files_that_a_run_reads_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    splits = {}
    for name, numbers in (("train", range(1, 4)), ("val", range(4, 6))):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(numbers)))
        splits[name] = Split(coco(numbers), tmp_path, [], tmp_path / f"{name}.json")
    keep_digests(splits, tmp_path / "run" / "data")
    report_changes(tmp_path, None, tmp_path / "run" / "data")
    assert capsys.readouterr().out == ""
    for name in ("train", "val"):
        (tmp_path / f"{name}.json").write_text(json.dumps(coco(range(1, 9), shift=1)))
    report_changes(tmp_path, None, tmp_path / "run" / "data")
    words = "has changed since the run started: the run continues with the changed labels"
    assert capsys.readouterr().out.splitlines() == [
        f"data: {tmp_path / 'train.json'} {words}",
        f"data: {tmp_path / 'val.json'} {words}; the best AP so far may be that of other labels",
    ]
