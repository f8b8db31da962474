"""The README's Python examples, run from top to bottom as a reader would. Commands are run by .ci/readme.py."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rtmdet.data.images import read_image

README = Path(__file__).resolve().parents[1] / "README.md"


def examples() -> str:
    """The Python blocks of the section about Python."""
    section = re.search(r"^## From Python\n(.*?)^## ", README.read_text(), re.S | re.M)
    assert section, "the README has no section about Python"
    return "\n".join(re.findall(r"```python\n(.*?)```", section[1], re.S))


@pytest.mark.shared
def test_examples_run(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = shared / "data" / "balloon" / "val" / "14898532020_ba6199dd22_k.jpg"  # many people in the evening
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "photos/a.jpg", "photos/b.jpg"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "runs" / "balloon_nano").mkdir(parents=True)
    shutil.copy(shared / "weights" / "rtmdet_nano_person_bn.pth", tmp_path / "runs" / "balloon_nano" / "best.pth")
    supervision = ModuleType("supervision")
    supervision.Detections = dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", supervision)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(examples(), str(README), "exec"), names)
    detections, sure = names["detections"], names["sure"]
    assert len(detections) > len(sure) > 3
    assert names["by_file"].keys() == {Path("photos/a.jpg"), Path("photos/b.jpg")}
    assert len(names["rows"]) == len(names["theirs"]["class_id"]) == len(sure)
    drawn = read_image(tmp_path / "photo_with_boxes.jpg")
    assert drawn.shape == names["picture"].shape == (*detections.image_size, 3)
