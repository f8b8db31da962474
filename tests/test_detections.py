"""Detections: a sequence of what was found, its drawing, and what it becomes for other programs."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from rtmdet.core.detections import Detection, Detections
from rtmdet.core.errors import InputError
from rtmdet.data.images import read_image

FOUND = Detections(
    boxes=torch.tensor([[10.0, 20, 40, 50], [5, 5, 30, 25.125], [0, 0, 60, 80]]),
    scores=torch.tensor([0.875, 0.5, 0.25]),
    labels=torch.tensor([1, 0, 1]),
    classes=("cat", "dog"),
    image_size=(80, 60),
    path=Path("photo.jpg"),
)
NOTHING = FOUND[:0]


def test_rows() -> None:
    first = Detection((10, 20, 40, 50), 0.875, 1, "dog")
    assert len(FOUND) == len(list(FOUND)) == 3
    assert next(iter(FOUND)) == FOUND[0] == FOUND[-3] == FOUND[FOUND.scores.argmax()] == FOUND[np.int64(0)] == first
    assert FOUND.names == ["dog", "cat", "dog"]
    assert replace(FOUND, classes=()).names == ["class 1", "class 0", "class 1"]
    with pytest.raises(IndexError):
        FOUND[3]
    assert (len(NOTHING), list(NOTHING), NOTHING.names, bool(NOTHING)) == (0, [], [], False)


@pytest.mark.parametrize(
    ("index", "kept"),
    [
        (FOUND.scores > 0.3, [0, 1]),
        (FOUND.scores.numpy() > 0.3, [0, 1]),
        ([True, False, True], [0, 2]),
        (torch.tensor([2, 0]), [2, 0]),
        (np.array([0, 2])[::-1], [2, 0]),
        ([1], [1]),
        ([], []),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
    ],
)
def test_parts(index: slice | list[int], kept: list[int]) -> None:
    part = FOUND[index]
    assert list(part) == [FOUND[place] for place in kept]
    assert part.boxes.shape == (len(kept), 4)
    assert (part.classes, part.image_size, part.path) == (FOUND.classes, FOUND.image_size, FOUND.path)


def test_devices_and_words() -> None:
    there = FOUND.to("meta")
    assert {there.boxes.device.type, there.scores.device.type, there.labels.device.type} == {"meta"}
    assert there.classes == FOUND.classes
    assert (repr(FOUND), repr(NOTHING)) == ("Detections(2 dog, 1 cat)", "Detections(nothing)")


def test_draws_on_a_copy_inside_the_boxes(tmp_path: Path) -> None:
    image = np.full((80, 60, 3), 90, np.uint8)
    drawn = FOUND[:1].draw(image)
    assert (drawn.shape, drawn.dtype) == (image.shape, np.uint8)
    assert (image == 90).all()
    assert (drawn[30:40, 9:12] != 90).any(axis=(0, 2)).all()  # the left side of its frame
    assert (drawn[60:] == 90).all()
    np.testing.assert_array_equal(NOTHING.draw(image), image)
    np.testing.assert_array_equal(FOUND.draw(Image.fromarray(image)), FOUND.draw(image))
    held = replace(FOUND, picture=lambda: image)
    np.testing.assert_array_equal(held.draw(), FOUND.draw(image))
    held.save(tmp_path / "new" / "found.png")
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "found.png"), held.draw())


def test_a_class_keeps_its_color() -> None:
    """Whatever else was found: frames of both dogs are of one color, that of the cat of another."""
    image = np.zeros((80, 60, 3), np.uint8)
    dog, cat, large = (FOUND[[place]].draw(image, labels=False).reshape(-1, 3).max(0).tolist() for place in range(3))
    assert dog == large != cat


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store no image to draw on: give one, draw\(image\)"):
        FOUND.draw()
    with pytest.raises(InputError, match=r"expected the size \(H, W\) \(80, 60\) .* found \(60, 80\)"):
        FOUND.draw(np.zeros((60, 80, 3), np.uint8))
    with pytest.raises(InputError, match="image to draw on: expected uint8"):
        FOUND.draw(np.zeros((80, 60, 3)))
    with pytest.raises(InputError, match="expected an image suffix"):
        replace(FOUND, picture=lambda: np.zeros((80, 60, 3), np.uint8)).save(tmp_path / "found")


def test_coco_results() -> None:
    rows = FOUND.to_coco(7)
    assert rows[1] == {"image_id": 7, "category_id": 1, "bbox": [5, 5, 25, 20.125], "score": 0.5}
    assert [row["category_id"] for row in replace(FOUND, category_ids=(18, 3)).to_coco(7)] == [3, 18, 3]
    assert NOTHING.to_coco(7) == []


def test_plain_values() -> None:
    content = json.loads(json.dumps(FOUND.to_dict()))
    assert content | {"objects": []} == {"file": "photo.jpg", "width": 60, "height": 80, "objects": []}
    assert content["objects"][1] == {"class_name": "cat", "score": 0.5, "box": [5, 5, 30, 25.12]}
    known = replace(FOUND, category_ids=(18, 3), path=None).to_dict()
    assert (known["file"], known["objects"][0]["category_id"]) == (None, 3)
    with pytest.raises(InputError, match="store no image size"):
        replace(FOUND, image_size=None).to_dict()


@pytest.mark.parametrize("found", [FOUND, NOTHING])
def test_supervision(found: Detections, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in with the constructor's fields of supervision 0.31, each an array of D rows."""

    class Theirs:
        def __init__(self, *, xyxy: np.ndarray, confidence: np.ndarray, class_id: np.ndarray, data: dict) -> None:
            self.rows = [xyxy.tolist(), confidence.tolist(), class_id.tolist(), data["class_name"].tolist()]
            assert xyxy.shape == (len(confidence), 4)
            assert data["class_name"].shape == confidence.shape == class_id.shape

    module = ModuleType("supervision")
    module.Detections = Theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "supervision", module)
    assert found.to_supervision().rows == [
        found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), found.names
    ]  # fmt: skip


def test_supervision_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)  # so an import of it fails
    with pytest.raises(InputError, match=r"which is missing: pip install supervision$"):
        FOUND.to_supervision()
