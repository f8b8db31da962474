"""`rtmdet.label`: the photos to label next, as data sets that are read back."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from bright import SIDE, BrightBackend

import rtmdet
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.data.formats.open import open_dataset
from rtmdet.detector import Detector
from rtmdet.stream.formats import PHOTO_FOLDERS

CLASSES, IDS = ("ball", "cube"), (7, 3)


class GrayBackend(BrightBackend):
    """Finds one object per image, around its gray pixels: a ball if they are left; the score is their brightness."""

    def _one(self, image: np.ndarray, place: Letterbox, selection: Selection) -> Detections:
        y, x = np.nonzero(image[0])
        count = min(len(x), 1)
        boxes = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]] if count else np.empty((0, 4)), np.float32)
        labels = np.array([0 if x.min() < SIDE / 2 else 1] if count else [], np.int64)
        found = Detections(boxes, np.full(count, image.max() / 255, np.float32), labels)
        return found.above(selection.score_threshold)


@pytest.fixture
def gray() -> Detector:
    made = Detector.__new__(Detector)
    made.path, made.backend = None, GrayBackend()
    made.facts = ModelFacts(CLASSES, (SIDE, SIDE), category_ids=IDS)
    return made


def write(path: Path, score: float, *, left: int = 4) -> None:
    """A black photo with a square that is detected with this score; none for 0."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[8:24, left : left + 16] = round(score * 255)
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Five photos, of which c is nearest to the threshold of 0.3, then b with a cube."""
    folder = tmp_path / "photos"
    for name, score in (("a", 0.98), ("c", 0.28), ("d", 0), ("e", 0.06)):
        write(folder / f"{name}.png", score)
    write(folder / "b.png", 0.4, left=40)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "ranking.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_most_unsure_photos_come_first_up_to_the_limit(gray: Detector, photos: Path, tmp_path: Path) -> None:
    result = rtmdet.label(gray, photos, format="labelme", out=tmp_path / "out", limit=2)
    assert [one.photo.path.name for one in result.photos] == ["c.png", "b.png"]
    pictures = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert pictures == ["001_c.png", "002_b.png"]
    assert (tmp_path / "out" / "001_c.png").read_bytes() == (photos / "c.png").read_bytes()
    table = rows(tmp_path / "out")
    assert [row["labeled_as"] for row in table] == ["001_c.png", "002_b.png", "", "", ""]
    assert [row["objects"] for row in table[:2]] == ["0", "1"]
    unsure = [float(row["unsure"]) for row in table]
    assert unsure == sorted(unsure, reverse=True)
    assert "b.png: 1 cube -> 002_b.png" in str(result)
    assert "2 of 5 photos with 1 box to correct" in str(result)


@pytest.mark.parametrize("format", PHOTO_FOLDERS)
def test_every_format_is_read_back(gray: Detector, photos: Path, tmp_path: Path, format: str) -> None:
    write(photos / "deep" / "a.png", 0.9, left=44)
    rtmdet.label(gray, [photos, photos / "deep"], format=format, out=tmp_path / "out", score=0.2)
    (split,) = open_dataset(tmp_path / "out").splits.values()
    names = {category["id"]: category["name"] for category in split.coco["categories"]}
    assert set(names.values()) == set(CLASSES)
    files = {image["id"]: image["file_name"] for image in split.coco["images"]}
    assert all((split.images / name).is_file() for name in files.values())
    assert len(files) == 6
    found = {
        (files[one["image_id"]].partition("_")[2], names[one["category_id"]], *map(round, one["bbox"]))
        for one in split.coco["annotations"]
    }
    assert found == {
        ("a.png", "ball", 4, 8, 16, 16), ("a.png", "cube", 44, 8, 16, 16),
        ("b.png", "cube", 40, 8, 16, 16), ("c.png", "ball", 4, 8, 16, 16),
    }  # fmt: skip


def test_coco_keeps_the_ids_of_the_training(gray: Detector, photos: Path, tmp_path: Path) -> None:
    rtmdet.label(gray, photos, format="coco", out=tmp_path / "out")
    (split,) = open_dataset(tmp_path / "out").splits.values()
    assert {category["name"]: category["id"] for category in split.coco["categories"]} == dict(
        zip(CLASSES, IDS, strict=True)
    )
    assert {one["category_id"] for one in split.coco["annotations"]} == set(IDS)


def texture(path: Path, seed: int, *, shift: int = 0) -> None:
    """A photo of many grays; with a shift of brightness it is a near copy. The whole picture is an object."""
    coarse = np.random.default_rng(seed).integers(40, 90, (9, 12), dtype=np.uint8)
    image = cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC)
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.repeat(np.clip(image, 20, 90)[..., None] + shift, 3, -1).astype(np.uint8))


def test_near_copies_come_last_and_copies_not_at_all(gray: Detector, tmp_path: Path) -> None:
    folder = tmp_path / "burst"
    for number in range(3):
        texture(folder / f"a{number}.png", 1, shift=number)
    texture(folder / "b.png", 2)
    (folder / "c.png").write_bytes((folder / "b.png").read_bytes())
    two = rtmdet.label(gray, folder, format="yolo", out=tmp_path / "two", limit=2)
    assert sorted(one.photo.path.name[0] for one in two.photos) == ["a", "b"]
    everything = rtmdet.label(gray, folder, format="yolo", out=tmp_path / "all")
    assert [one.photo.path.name[0] for one in everything.photos[2:]] == ["a", "a"]
    assert len(everything.photos) == 4
    assert sorted(row["remark"] for row in rows(tmp_path / "all")) == ["", "", "copy", "near copy", "near copy"]


def test_labeled_photos_are_left_out(gray: Detector, photos: Path, tmp_path: Path) -> None:
    rtmdet.label(gray, photos, format="voc", out=tmp_path / "one", limit=2)
    second = rtmdet.label(gray, photos, format="voc", out=tmp_path / "two", limit=2, skip=tmp_path / "one")
    assert not {one.photo.path.name for one in second.photos} & {"b.png", "c.png"}
    rtmdet.label(gray, photos, format="coco", out=tmp_path / "all")
    with pytest.raises(InputError, match=r"all 5 photos are in .*all already: give others"):
        rtmdet.label(gray, photos, format="voc", out=tmp_path / "three", skip=tmp_path / "all")
    assert not (tmp_path / "three").exists()


def test_a_folder_that_cannot_be_made_is_seen_before_any_work(gray: Detector, photos: Path) -> None:
    with pytest.raises(InputError, match=r"out .*a.png/next: .*a.png is not a folder that can be written to"):
        rtmdet.label(gray, photos, format="voc", out=photos / "a.png" / "next")


@pytest.mark.parametrize("format", PHOTO_FOLDERS)
def test_names_of_any_bytes(gray: Detector, tmp_path: Path, format: str) -> None:
    """As from another system: they cannot be written as UTF-8."""
    write(tmp_path / "photos" / "a.png", 0.5)
    (tmp_path / "photos" / "a.png").rename(os.fsdecode(os.fsencode(tmp_path / "photos") + b"/caf\xe9.png"))
    result = rtmdet.label(gray, tmp_path / "photos", format=format, out=tmp_path / "out")
    assert len(result.photos) == 1


@pytest.mark.parametrize("name", ["back\\slash.png", "ctl\x01.png", "caf\udce9.png", f"{'b' * 250}.png"])
def test_copies_have_names_that_every_system_takes(gray: Detector, tmp_path: Path, name: str) -> None:
    write(tmp_path / "photos" / "a.png", 0.5)
    (tmp_path / "photos" / "a.png").rename(tmp_path / "photos" / name)
    rtmdet.label(gray, tmp_path / "photos", format="voc", out=tmp_path / "out")
    (photo,) = (tmp_path / "out" / "JPEGImages").iterdir()
    assert photo.name.isprintable()
    assert len(photo.name) < 130
    split = open_dataset(tmp_path / "out").splits["train"]
    assert [image["file_name"] for image in split.coco["images"]] == [photo.name]


def test_what_cannot_be_read_is_left_out(gray: Detector, photos: Path, tmp_path: Path) -> None:
    (photos / "broken.jpg").write_bytes(b"no photo")
    result = rtmdet.label(gray, photos, format="cvat", out=tmp_path / "out")
    assert len(result.photos) == 5
    (failure,) = result.failures
    assert "broken.jpg" in str(failure)
    with pytest.raises(InputError, match=r"broken\.jpg"):
        rtmdet.label(gray, photos / "broken.jpg", format="cvat", out=tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"format": "via"}, "format via: expected labelme, cvat, yolo, voc, coco"),
        ({"limit": 0}, "limit=0: expected at least 1"),
        ({"photos": "0"}, "0: expected photos, found a video, camera or address"),
        ({"photos": "nowhere"}, "nowhere: there is no such file or folder"),
        ({"batch_size": 0}, "batch_size=0: expected at least 1"),
        ({"skip": "nowhere"}, "nowhere: no such file or folder"),
        ({"out": "full"}, "expected a new or empty folder, found other files in it"),
        ({"out": "full/a.txt"}, "expected a new or empty folder, found a file"),
    ],
)
def test_bad_input_is_one_line(
    gray: Detector,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Sequence[str]],
    text: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("a")
    arguments = {"photos": photos, "format": "labelme", "out": "out"} | changes
    with pytest.raises(InputError) as caught:
        rtmdet.label(gray, **arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
