"""Detections: a sequence of what was found, its drawing, and what it becomes for other programs."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rtmdet.core.class_colors import track_colors
from rtmdet.core.detections import Detection, Detections
from rtmdet.core.errors import InputError
from rtmdet.images.reading import read_image

FOUND = Detections(
    boxes=torch.tensor([[10.0, 20, 40, 50], [5, 5, 30, 25.125], [0, 0, 60, 80]]),
    scores=torch.tensor([0.875, 0.5, 0.25]),
    labels=torch.tensor([1, 0, 1]),
    classes=("cat", "dog"),
    image_size=(80, 60),
    path=Path("photo.jpg"),
)
NOTHING = FOUND[:0]
TRACKED = replace(FOUND, ids=torch.tensor([7, -1, 2]))


def test_the_photo_itself_is_not_replaced(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (60, 80)).save(photo)
    before = photo.read_bytes()
    with pytest.raises(InputError, match="would replace the photo itself: give another name"):
        replace(FOUND, path=photo).save(photo)
    assert photo.read_bytes() == before


@pytest.mark.parametrize("name", ["boxes", "scores", "labels"])
def test_lists_are_no_arrays(name: str) -> None:
    with pytest.raises(InputError, match=rf"^{name}: expected a NumPy array or a tensor, found \[1\]: make one"):
        replace(FOUND, **{name: [1]})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int16, np.uint32, np.int64])
@pytest.mark.parametrize("found", [FOUND, FOUND.numpy()])
def test_whole_numbers_are_indices(found: Detections, kind: type) -> None:
    assert found[np.array([2, 0], kind)].scores.tolist() == found.scores[[2, 0]].tolist()


def test_rows() -> None:
    first = Detection((10, 20, 40, 50), 0.875, 1, "dog")
    assert len(FOUND) == len(list(FOUND)) == 3
    assert next(iter(FOUND)) == FOUND[0] == FOUND[-3] == FOUND[FOUND.scores.argmax()] == FOUND[np.int64(0)] == first
    assert FOUND.names.tolist() == ["dog", "cat", "dog"]
    assert len(FOUND[FOUND.names == "dog"]) == 2
    assert len(FOUND[FOUND.names == "bird"]) == len(NOTHING[NOTHING.names == "dog"]) == 0
    with pytest.raises(InputError, match="index False: expected a number, slice, list or mask of 3 values"):
        FOUND[False]
    assert replace(FOUND, classes=()).names.tolist() == ["class 1", "class 0", "class 1"]
    with pytest.raises(IndexError):
        FOUND[3]
    assert (len(NOTHING), list(NOTHING), NOTHING.names.tolist(), bool(NOTHING)) == (0, [], [], False)


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


def test_one_threshold_a_class() -> None:
    assert list(FOUND.above([0.0, 2.0])) == [found for found in FOUND if found.label == 0]
    assert len(NOTHING.above([0.5, 0.5])) == 0
    with pytest.raises(InputError, match=r"^score thresholds: expected one per class, found 1 and a class 1"):
        replace(FOUND, classes=()).above([0.1])


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
    brightest = [FOUND[[place]].draw(image, labels=False).reshape(-1, 3).max(0) for place in range(3)]
    dog, cat, large = (color / color.max() for color in brightest)  # lines at an edge are brighter
    assert np.abs(dog - large).max() < 0.05
    assert np.abs(dog - cat).max() > 0.3


def test_what_cannot_be_drawn_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"store no image to draw on .*: give it, draw\(image\)"):
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


def test_ids_of_tracks() -> None:
    assert [one.id for one in FOUND] == [None] * 3
    assert [one.id for one in TRACKED] == [7, None, 2]
    assert [one.id for one in TRACKED[[2, 0]]] == [2, 7]
    assert [one.id for one in TRACKED.numpy().above(0.4).to("cpu")] == [7, None]
    assert [one.id for one in Detections.join([TRACKED, TRACKED[:1]])] == [7, None, 2, 7]
    assert Detections.join([TRACKED, FOUND]).ids is None
    assert [item.get("id", "none") for item in TRACKED.to_dict()["objects"]] == [7, "none", 2]


def test_drawn_tracks_have_the_color_of_their_id() -> None:
    image = np.zeros((80, 60, 3), np.uint8)

    def color(found: Detections) -> list[int]:
        return found.draw(image, labels=False)[30, 10].tolist()  # the left side of the box

    def near(found: Detections, number: int | None) -> bool:
        """Whether this is the color of that id, on black: edges are soft."""
        return np.abs(color(found) - 0.9 * np.array(track_colors([number])[0])).max() < 4

    one = replace(TRACKED, boxes=TRACKED.boxes + 0.5)[:1]  # through the centers of pixels
    assert near(one, 7)
    assert near(replace(one, labels=torch.tensor([0])), 7)
    assert near(replace(one, ids=torch.tensor([8])), 8)
    assert near(replace(one, ids=torch.tensor([-1])), None)
    assert (one.draw(image) != replace(one, ids=torch.tensor([31])).draw(image)).any()  # the same color, another text
    assert track_colors([7]) == track_colors([31])


@pytest.mark.parametrize("found", [FOUND, NOTHING, TRACKED])
def test_supervision(found: Detections) -> None:
    theirs = found.to_supervision()
    rows = theirs.xyxy, theirs.confidence, theirs.class_id, theirs["class_name"]
    assert [row.tolist() for row in rows] == [
        found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), found.names.tolist()
    ]  # fmt: skip
    assert (theirs.tracker_id is None) == (found.ids is None)
    if found.ids is not None:
        assert theirs.tracker_id.tolist() == found.ids.tolist()


def test_supervision_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)  # so an import of it fails
    with pytest.raises(InputError, match=r"which is missing: pip install supervision$"):
        FOUND.to_supervision()
