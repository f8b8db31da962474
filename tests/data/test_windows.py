"""Windows of large pictures as training images: which objects and windows are kept, how often a file is decoded."""

import json
import pickle
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtmdet.data.coco.dataset as dataset_module
from rtmdet.core.tiling import Tiling
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.coco.windows import cut_pictures
from rtmdet.data.order import EpochOrder, Neighbors, neighbors_of
from rtmdet.data.samples import TrainingSamples

TILING = Tiling(100, 0)  # windows that meet, and the last ones at the border


def file_with(boxes: Sequence[Sequence[float]], size: tuple[int, int] = (100, 400), crowds: int = 0) -> CocoFile:
    """One picture of (H, W); the last `crowds` boxes are crowd regions."""
    annotations = [
        {
            "id": 5 + place,
            "image_id": 3,
            "category_id": 1,
            "bbox": list(box),
            "area": box[2] * box[3] / 2,
            "iscrowd": int(place >= len(boxes) - crowds),
            "segmentation": [[0, 0, 1, 0, 1, 1]],
        }
        for place, box in enumerate(boxes)
    ]
    image = {"id": 3, "file_name": "a.png", "width": size[1], "height": size[0]}
    return {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}


def windows_of(file: CocoFile, *, keep_empty: bool = False) -> dict[int, list[list[float]]]:
    """The left edge of each kept window, with its boxes."""
    cut, cuttings = cut_pictures(file, {1}, TILING, keep_empty=keep_empty)
    found = {number: [one["bbox"] for one in cut["annotations"] if one["image_id"] == number] for number in cuttings}
    return {cuttings[number].window[0]: boxes for number, boxes in found.items()}


def test_an_object_belongs_to_each_window_that_shows_a_third_of_it() -> None:
    half, most, sliver = [90, 10, 20, 20], [180, 10, 60, 20], [305, 0, 40, 10]
    assert windows_of(file_with([half, most, sliver])) == {
        0: [[90, 10, 10, 20]],
        100: [[0, 10, 10, 20], [80, 10, 20, 20]],  # exactly a third of the second
        200: [[0, 10, 40, 20]],
        300: [[5, 0, 40, 10]],
    }


def test_a_window_with_little_of_an_object_and_nothing_else_is_left_out() -> None:
    assert list(windows_of(file_with([[70, 10, 40, 20]]), keep_empty=True)) == [0, 200]  # 100 shows a quarter
    assert list(windows_of(file_with([[150, 10, 20, 20], [210, 0, 90, 100]], crowds=1), keep_empty=True)) == [0, 100]


def test_empty_windows_are_kept_in_proportion() -> None:
    size = (100, 1000)
    objects = [[100 * place + 10, 10, 20, 20] for place in range(4)]
    assert list(windows_of(file_with(objects, size))) == [0, 100, 200, 300, 400]  # one for four with objects
    kept = list(windows_of(file_with(objects, size), keep_empty=True))
    assert kept == [0, 100, 200, 300, 400, 500, 700, 800]  # as many, spread over six
    assert windows_of(file_with([], size)) == {}
    assert list(windows_of(file_with([], size), keep_empty=True)) == []  # no window with objects: none without


def test_windows_are_further_images_of_the_file() -> None:
    file = file_with([[90, 10, 20, 20]])
    before = json.dumps(file)
    cut, cuttings = cut_pictures(file, {1}, TILING, keep_empty=False)
    assert json.dumps(file) == before
    assert [(one["id"], one["width"], one["height"], one["file_name"]) for one in cut["images"]] == [
        (3, 400, 100, "a.png"),
        (4, 100, 100, "a.png"),
        (5, 100, 100, "a.png"),
    ]
    assert [one["id"] for one in cut["annotations"]] == [5, 6, 7]
    assert cut["annotations"][1]["area"] == 100  # half of 200
    assert "segmentation" not in cut["annotations"][1]
    assert cuttings[5].picture is file["images"][0]


def test_what_is_not_learned_makes_no_window() -> None:
    assert windows_of(file_with([[10, 10, 0.5, 20], [110, 10, 20, 20]])) == {100: [[10, 10, 20, 20]]}
    crowd = file_with([[10, 10, 40, 40], [110, 10, 20, 20]], crowds=2)
    assert windows_of(crowd) == {}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures of 260 x 100 pixels whose columns count up, with an object in each third; one small picture."""
    images, annotations = [], []
    for number in range(1, 5):
        width = 260 if number < 4 else 90
        columns = np.arange(width, dtype=np.uint8 if width < 256 else np.uint16).astype(np.uint8)
        picture = np.stack([np.tile(columns, (100, 1)), np.full((100, width), number, np.uint8)] * 2, 2)[..., :3]
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": 100})
        for left in range(10, width - 30, 60):
            box = [left, 20, 30, 30]
            annotations.append({"id": len(annotations) + 1, "image_id": number, "category_id": 1, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "a"}]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def dataset(folder: Path) -> CocoDataset:
    return CocoDataset(folder / "a.json", folder, training=True, tiling=TILING)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    original = dataset_module.read_annotated_image

    def spy(path: Path, *others: object) -> np.ndarray:
        names.append(path.name)
        return original(path, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(dataset_module, "read_annotated_image", spy)
    return names


def test_a_window_shows_its_part_of_the_picture(dataset: CocoDataset) -> None:
    assert (len(dataset), dataset.window_count) == (13, 9)
    for index in range(len(dataset)):
        sample = dataset.load(index)
        assert sample.meta.original_size == sample.image.shape[:2]
        x1, y1, x2, y2 = sample.instances.boxes[0].astype(int)
        whole = dataset.load(int(np.flatnonzero(dataset.pictures == dataset.pictures[index])[0]))
        left = int(sample.image[0, 0, 2])  # columns count up in red
        np.testing.assert_array_equal(sample.image, whole.image[:, left : left + sample.image.shape[1]])
        assert any((whole.instances.boxes[:, 0] <= left + x1) & (whole.instances.boxes[:, 2] >= left + x2))
        assert y2 - y1 == 30
        dataset.check_size(index)


def test_pictures_that_were_cut_can_be_left_out(dataset: CocoDataset, folder: Path) -> None:
    windows = dataset.without_reduced()
    assert (len(windows), windows.window_count) == (10, 9)
    assert {windows.truth(index)[0].original_size for index in range(10)} == {(100, 100), (100, 90)}
    assert set(windows.coco.imgs) == set(windows.image_ids)
    plain = CocoDataset(folder / "a.json", folder, training=True)
    assert plain.without_reduced() is plain
    assert neighbors_of(plain) is None


def test_a_picture_is_decoded_once_in_an_epoch(
    dataset: CocoDataset, folder: Path, decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert neighbors_of(dataset) is None, "all fit into memory"
    monkeypatch.setattr(dataset_module, "PICTURE_MEMORY", 3 * 260 * 100)  # room for one
    one = CocoDataset(folder / "a.json", folder, training=True, tiling=TILING)
    samples = TrainingSamples(one, input_size=(64, 64), seed=0, stage2_start=0, use_mosaic=False)
    for position in range(len(samples)):
        samples[0, position]
    assert sorted(decoded) == ["1.png", "2.png", "3.png", "4.png"]


def test_processes_that_are_not_forked_get_no_pixels(dataset: CocoDataset) -> None:
    before = len(pickle.dumps(dataset))
    dataset.load(0)
    assert len(pickle.dumps(dataset)) == before
    assert pickle.loads(pickle.dumps(dataset)).load(1).image.shape == (100, 100, 3)


def test_empty_windows_are_used(folder: Path) -> None:
    content = json.loads((folder / "a.json").read_text())
    content["annotations"] = [one for one in content["annotations"] if one["bbox"][0] < 130]
    (folder / "b.json").write_text(json.dumps(content))
    dataset = CocoDataset(folder / "b.json", folder, training=True, tiling=Tiling(50, 0))
    found = [len(dataset.truth(index)[1]) > 0 for index in range(len(dataset))]
    full = sum(found) - 4  # beside the four pictures
    assert found.count(False) == int(0.25 * full) > 0
    assert dataset.unused.total() == 0


def test_windows_are_for_training(folder: Path) -> None:
    with pytest.raises(AssertionError, match="whole pictures"):
        CocoDataset(folder / "a.json", folder, training=False, tiling=TILING)


def test_the_images_of_few_pictures_are_mixed_at_a_time() -> None:
    pictures = np.repeat(np.arange(50), 20)
    for at_once in (1, 4):
        order = EpochOrder(1000, 0, neighbors=Neighbors(pictures, at_once))
        shown = np.array([order.index(place) for place in range(2000)])
        assert sorted(shown[:1000]) == sorted(shown[1000:]) == list(range(1000))
        assert shown[:1000].tolist() != shown[1000:].tolist()
        spans = [np.ptp(np.flatnonzero(pictures[shown[:1000]] == picture)) + 1 for picture in range(50)]
        assert min(spans) >= 20
        assert max(spans) <= 20 * at_once * 1.5
        assert order.index(1234) == EpochOrder(1000, 0, neighbors=Neighbors(pictures, at_once)).index(1234)


def test_another_image_comes_from_the_pictures_at_hand() -> None:
    pictures = np.repeat(np.arange(50), 100)
    order = EpochOrder(5000, 0, neighbors=Neighbors(pictures, 1))
    rng = np.random.default_rng(0)
    soon = {int(pictures[order.another(150, rng)]) for _ in range(200)}
    assert soon == {int(pictures[order.index(place)]) for place in (150, 200)}
    assert 0 <= order.another(9999, rng) < 5000


def test_a_picture_of_many_windows_is_looked_at_once(dataset: CocoDataset) -> None:
    few = dataset.few_paths
    assert len(few) == len(set(few)) == len(set(dataset.paths)) < len(dataset)
