"""Splits: sizes, classes on both sides, nothing lost, the same for the same seed."""

import copy
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.edit import fold_coco, split_coco
from rtmdet.data.coco.file import CocoFile, read_coco
from rtmdet.data.formats.splits import Split
from rtmdet.runs.settings.own_splits import labeled_images


def make_file(classes_of: Sequence[Sequence[int]]) -> CocoFile:
    """A file whose images hold one object of each of the given category ids."""
    pairs = [(image, category) for image, categories in enumerate(classes_of) for category in categories]
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(len(classes_of))],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
            for n, (i, c) in enumerate(pairs, start=1)
        ],
        "categories": [{"id": c, "name": f"class {c}"} for c in sorted({c for _, c in pairs} | {99})],
    }


def images_by_class(file: CocoFile) -> Counter[int]:
    """The number of images by category; -1: images without objects."""
    pairs = {(annotation["image_id"], annotation["category_id"]) for annotation in file["annotations"]}
    counts = Counter(category for _, category in pairs)
    counts[-1] = len(file["images"]) - len({image for image, _ in pairs})
    return counts


def mixed_images(count: int) -> list[list[int]]:
    """Three common classes, one rare, and a fifth of the images empty."""
    generator = random.Random(7)
    choices = [[1], [2, 3], [1, 2, 3], [3], []]
    return [[*choices[number % 5], *([4] if generator.random() < 0.04 else [])] for number in range(count)]


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_class_and_the_empty_images_are_split_in_proportion(share: float, seed: int) -> None:
    file = make_file(mixed_images(400))
    train, val = split_coco(file, share, seed)
    assert len(val["images"]) == pytest.approx(400 * share, abs=2)
    whole, part = images_by_class(file), images_by_class(val)
    for category, count in whole.items():
        assert part[category] == pytest.approx(count * share, abs=1.5), category
    assert images_by_class(train) + part == whole


@pytest.mark.parametrize("mark", ["iscrowd", "ignore"])
def test_objects_that_training_skips_are_no_labels(mark: str) -> None:
    file = make_file([[1]] * 8)
    for entry in file["annotations"][2:]:
        entry |= {mark: 1}
    parts = split_coco(file, 0.25, 0)
    assert [labeled_images(Split(part, Path())) for part in parts] == [1, 1]


def test_nothing_is_lost_and_nothing_is_changed() -> None:
    file = make_file(mixed_images(50))
    before = copy.deepcopy(file)
    train, val = split_coco(file, 0.3, 0)
    assert file == before
    for key in ("images", "annotations"):
        assert [entry for entry in file[key] if entry in train[key]] == train[key]
        assert sorted(entry["id"] for entry in train[key] + val[key]) == [entry["id"] for entry in file[key]]
    assert train["categories"] == val["categories"] == file["categories"]
    images = {image["id"] for image in val["images"]}
    assert {annotation["image_id"] for annotation in val["annotations"]} <= images


def test_equal_seeds_give_equal_splits_whatever_the_order() -> None:
    file = make_file(mixed_images(60))
    turned: CocoFile = {**file, "images": file["images"][::-1], "annotations": file["annotations"][::-1]}
    chosen = {image["id"] for image in split_coco(file, 0.2, 5)[1]["images"]}
    assert {image["id"] for image in split_coco(turned, 0.2, 5)[1]["images"]} == chosen
    assert {image["id"] for image in split_coco(file, 0.2, 6)[1]["images"]} != chosen


@pytest.mark.parametrize("seed", range(10))
def test_classes_of_two_images_are_on_both_sides(seed: int) -> None:
    """Fifty images of class 1; six other classes are on two of them each, some together."""
    images = [[1] for _ in range(50)]
    for number, category in enumerate(range(2, 8)):
        images[number].append(category)
        images[number + 1].append(category)
    for part in split_coco(make_file(images), 0.1, seed):
        assert set(range(1, 8)) <= set(images_by_class(part))


@pytest.mark.parametrize("seed", range(5))
def test_a_class_of_one_image_is_for_training(seed: int) -> None:
    train, val = split_coco(make_file([[1, 2], [1], [1], [1], [1]]), 0.4, seed)
    assert images_by_class(train)[2] == 1
    assert images_by_class(val) == {1: 2, -1: 0}


@pytest.mark.parametrize("images", [[[1, 2], [1, 3]], [[1], [2]], [[], []], [[1], []], [[1], [1]]])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_two_images_are_one_and_one(images: list[list[int]], share: float) -> None:
    assert [len(part["images"]) for part in split_coco(make_file(images), share, 0)] == [1, 1]


def test_a_class_whose_images_all_went_to_training_gets_one_back() -> None:
    """Images 0 and 1 are in training because of classes 2 and 3; only moving one of them helps class 1."""
    for part in split_coco(make_file([[1, 2], [1, 3], [4], [4], [4], [4]]), 0.3, 0):
        assert images_by_class(part)[1] == 1


@pytest.mark.parametrize("seed", range(5))
def test_crowd_regions_are_not_counted_as_objects(seed: int) -> None:
    file = make_file([[1]] * 20)
    for annotation in file["annotations"][:10]:
        annotation["iscrowd"] = 1
    _, val = split_coco(file, 0.2, seed)
    assert [annotation["iscrowd"] for annotation in val["annotations"]] == [1, 1, 0, 0]


@pytest.mark.parametrize("share", [0, 1, -0.2, 20, float("nan")])
def test_faults(share: float) -> None:
    with pytest.raises(InputError, match=r"fraction of validation images: expected more than 0 and less than 1"):
        split_coco(make_file([[1], [1]]), share, 0)
    with pytest.raises(InputError, match="at least 2 images to split, found 1"):
        split_coco(make_file([[1]]), 0.2, 0)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, out = tmp_path / "all.json", tmp_path / "parts"
    info = {"year": 2020, "images": "gone", "digest": "0"}
    write_json(whole, {**make_file([[1], [1], [1], [1], [1, 2]]), "info": info})
    assert main(["data", "split", str(whole), "--val", "0.4", "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "images not found: copies of a photo may end up in both splits; give their folder with --images",
        f"{out}/train.json: 3 images, 4 objects; only here: class 2",
        f"{out}/val.json: 2 images, 2 objects",
    ]
    assert len(read_coco(out / "val.json")["images"]) == 2
    assert json.loads((out / "train.json").read_text())["info"] == {"year": 2020}, "but not where its images were"


@pytest.mark.parametrize("info", [None, [], "", "text", 3])
def test_command_on_a_file_with_another_info(tmp_path: Path, info: object) -> None:
    write_json(tmp_path / "all.json", {**make_file([[1], [1]]), "info": info})
    assert main(["data", "split", str(tmp_path / "all.json"), "--out", str(tmp_path / "parts")]) == 0
    assert json.loads((tmp_path / "parts" / "train.json").read_text())["info"] == {}


@pytest.mark.parametrize("given", ["all.json", "."])
def test_the_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    """Named itself or found in its folder: large files take seconds."""
    file = make_file([[1], [1], [1]])
    write_json(tmp_path / "data" / "all.json", file)
    for image in file["images"]:
        size = image["height"], image["width"], 3
        cv2.imwrite(str(tmp_path / "data" / image["file_name"]), np.full(size, image["id"] * 80, np.uint8))
    read: list[Path] = []
    really = Path.read_bytes

    def count(path: Path) -> bytes:
        if path.suffix == ".json":
            read.append(path)
        return really(path)

    monkeypatch.setattr(Path, "read_bytes", count)
    assert main(["data", "split", str(tmp_path / "data" / given), "--out", str(tmp_path / "parts")]) == 0
    assert read == [tmp_path / "data" / "all.json"]


def test_the_file_itself_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = tmp_path / "train.json"
    write_json(whole, make_file([[1], [1]]))
    assert main(["data", "split", str(whole), "--out", str(tmp_path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert not (tmp_path / "val.json").exists()
    (tmp_path / "train").mkdir()
    for image in read_coco(whole)["images"]:
        size = image["height"], image["width"], 3
        cv2.imwrite(str(tmp_path / "train" / image["file_name"]), np.zeros(size, np.uint8))
    before = whole.read_text()
    assert main(["data", "split", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert whole.read_text() == before


def test_another_split_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_json(tmp_path / "all.json", make_file(mixed_images(40)))
    words = ["data", "split", str(tmp_path / "all.json"), "--out", str(tmp_path / "parts")]
    assert main(words) == 0
    before = (tmp_path / "parts" / "train.json").read_bytes()
    assert main(words) == 0  # the same again
    assert main([*words, "--seed", "3"]) == 2
    assert "train.json holds another split, which would be lost; give another --out" in capsys.readouterr().err
    assert (tmp_path / "parts" / "train.json").read_bytes() == before


def test_repeated_annotation_ids_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole, file = tmp_path / "all.json", make_file([[1], [1], [1]])
    file["annotations"][1]["id"] = 1
    write_json(whole, file)
    assert main(["data", "split", str(whole), "--out", str(tmp_path)]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == f"{whole}: repeated annotation ids: 1; all are renumbered from 1"


@pytest.mark.parametrize(
    "images",
    [
        [[number] for number in range(1, 41)] + [[50]] * 60,  # each of many images shows a class of its own
        [[number] for number in range(1, 21)],
        mixed_images(103),
        [[1]] * 13,
        [[], [1], [1, 2], [2], [], [2], [1]],
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_folds_are_of_equal_size_and_classes(images: list[list[int]], seed: int) -> None:
    file = make_file(images)
    folds = fold_coco(file, 5, seed)
    assert sorted(image["id"] for fold in folds for image in fold["images"]) == list(range(len(images)))
    assert sum(len(fold["annotations"]) for fold in folds) == len(file["annotations"])
    sizes = [len(fold["images"]) for fold in folds]
    assert max(sizes) - min(sizes) <= 1
    for category in {1, 2, 3, 4, 50, -1}:
        counts = [images_by_class(fold)[category] for fold in folds]
        assert max(counts) - min(counts) <= 1
    assert fold_coco(file, 5, seed) == folds


def test_folds_need_as_many_images() -> None:
    with pytest.raises(InputError, match=r"^--folds 6: expected 2 to 5, one per image at most"):
        fold_coco(make_file([[1]] * 5), 6, 0)
    with pytest.raises(InputError, match=r"^--folds 5: expected as many different images, found 4 without"):
        fold_coco(make_file([[1]] * 5), 5, 0, [{0, 3}])
