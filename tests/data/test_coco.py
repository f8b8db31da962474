"""The COCO data set: what it loads, what it skips, and a one-line error for every fault of a file."""

import contextlib
import copy
import gc
import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rtmdet.api.datasets import merge_data, split_data
from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json, write_json
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.file import read_and_repair, read_boxes, read_coco, whole_number
from rtmdet.data.coco.repairs import WRONG_BOXES
from rtmdet.data.formats.open import open_dataset

Document = dict[str, list[dict[str, object]]]


def annotation(number: int, image: int, category: int, box: list[float], **more: object) -> dict[str, object]:
    area = box[2] * box[3]
    return {"id": number, "image_id": image, "category_id": category, "bbox": box, "area": area, "iscrowd": 0} | more


def sound() -> Document:
    """Image 7 with usable boxes, 3 with none, 5 too small, 9 with only a crowd region and a box under 1 pixel."""
    sizes = {7: (60, 80), 3: (40, 50), 5: (31, 90), 9: (64, 64)}  # (H, W)
    images = [{"id": i, "file_name": f"{i}.png", "width": w, "height": h} for i, (h, w) in sizes.items()]
    annotations = [
        annotation(1, 7, 20, [10.25, 5, 30, 20.5]),
        annotation(2, 7, 4, [60, 40, 20, 20]),
        annotation(3, 7, 20, [0, 0, 60, 60], iscrowd=1),
        annotation(4, 7, 20, [1, 1, 0.5, 9]),
        annotation(5, 7, 20, [1, 1, 9, 9], area=0),
        annotation(6, 5, 20, [1, 1, 9, 9]),
        annotation(7, 9, 4, [1, 1, 30, 30], iscrowd=1),
        annotation(8, 9, 4, [1, 1, 30, 0.25]),
    ]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 20, "name": "dog"}, {"id": 4, "name": "cat"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images of the sound file; every gray value is the image's id."""
    for image in sound()["images"]:
        pixels = np.full((image["height"], image["width"], 3), image["id"], np.uint8)
        cv2.imwrite(str(tmp_path / image["file_name"]), pixels)
    return tmp_path


def dataset(folder: Path, document: object, **options: object) -> CocoDataset:
    path = folder / "annotations.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return CocoDataset(path, folder, **({"training": True} | options))


def test_loads_rgb_boxes_and_contiguous_labels(folder: Path) -> None:
    data = dataset(folder, sound())
    sample = data.load(0)
    assert (sample.image.shape, sample.image.dtype, sample.image.max()) == ((60, 80, 3), np.uint8, 7)
    assert (sample.instances.boxes.dtype, sample.instances.labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(sample.instances.boxes, [[10.25, 5, 40.25, 25.5], [60, 40, 80, 60]])
    np.testing.assert_array_equal(sample.instances.labels, [1, 0])
    assert (sample.meta.image_id, sample.meta.original_size, sample.meta.path) == (7, (60, 80), str(folder / "7.png"))
    assert (data.classes, data.category_ids) == (("cat", "dog"), (4, 20))


def test_changing_a_sample_does_not_change_the_data_set(folder: Path) -> None:
    data = dataset(folder, sound())
    data.load(0).instances.boxes[:] = 0
    assert data.load(0).instances.boxes.any()


@pytest.mark.parametrize(
    ("options", "image_ids"),
    [
        ({"training": True}, (7,)),
        ({"training": True, "keep_empty": True}, (7, 3)),  # in 9 is a crowd
        ({"training": True, "keep_empty": True, "classes": ["dog"]}, (7, 3, 9)),
        ({"training": False}, (7, 3, 5, 9)),
    ],
)
def test_filters(folder: Path, options: dict[str, object], image_ids: tuple[int, ...]) -> None:
    data = dataset(folder, sound(), **options)
    assert data.image_ids == image_ids
    assert len(data) == len(image_ids)
    assert [data.path(i).name for i in range(len(data))] == [f"{i}.png" for i in image_ids]


def test_empty_images_give_empty_arrays(folder: Path) -> None:
    sample = dataset(folder, sound(), training=False).load(1)
    assert (sample.instances.boxes.shape, sample.instances.labels.shape) == ((0, 4), (0,))
    assert (sample.instances.boxes.dtype, sample.instances.labels.dtype) == (np.float32, np.int64)


def test_a_part_has_only_its_images_and_shares_no_mutable_state(folder: Path) -> None:
    whole = dataset(folder, sound(), training=False)
    part = whole.part([2, 0])
    assert part.image_ids == (whole.image_ids[2], whole.image_ids[0]) == (5, 7)
    assert set(part.coco.imgs) == {5, 7}
    assert {entry["image_id"] for entry in part.coco.anns.values()} == {5, 7}
    assert (part.load(1).image == whole.load(0).image).all()
    assert (part.load(1).instances.boxes == whole.load(0).instances.boxes).all()
    part.coco.anns[1]["bbox"][0] = part.coco.anns[1]["ignore"] = 1
    assert "ignore" not in whole.coco.anns[1]
    assert whole.coco.anns[1]["bbox"][0] == 10.25
    assert len(whole) == 4


def test_classes_select_and_order(folder: Path) -> None:
    swapped = dataset(folder, sound(), classes=["dog", "cat"])
    assert (swapped.category_ids, swapped.load(0).instances.labels.tolist()) == ((20, 4), [0, 1])
    only = dataset(folder, sound(), classes=["dog"])
    assert (only.classes, only.category_ids, only.load(0).instances.labels.tolist()) == (("dog",), (20,), [0])


def test_unknown_class_shows_both_lists(folder: Path) -> None:
    with pytest.raises(InputError, match=r"expected a category 'Cat', found 'cat', 'dog'"):
        dataset(folder, sound(), classes=["dog", "Cat"])
    for classes in ([], ["dog", "dog"]):
        with pytest.raises(InputError, match="expected one name or more, each once"):
            dataset(folder, sound(), classes=classes)


def test_missing_area_and_crowd_are_filled_in(folder: Path) -> None:
    document = sound()
    for entry in document["annotations"][:2]:
        del entry["area"], entry["iscrowd"]
    data = dataset(folder, document)
    assert len(data.load(0).instances.boxes) == 2
    assert data.coco.anns[1]["area"] == 30 * 20.5


def test_a_crowd_may_be_a_truth_value(folder: Path) -> None:
    document = sound()
    document["annotations"][0]["iscrowd"], document["annotations"][1]["iscrowd"] = True, 0.0
    found = dataset(folder, document).coco.anns
    assert [type(found[number]["iscrowd"]) for number in (1, 2)] == [int, int]
    assert (found[1]["iscrowd"], found[2]["iscrowd"]) == (1, 0)


def test_what_other_tools_write_otherwise(folder: Path) -> None:
    document = sound()
    document["annotations"][0].update(area=None, iscrowd=None)
    document["images"][0].update(file_name="photos\\7.png", width=80.0, height=60.0)
    (folder / "photos").mkdir()
    (folder / "7.png").rename(folder / "photos" / "7.png")
    data = dataset(folder, document)
    assert data.path(0) == folder / "photos" / "7.png"
    assert data.load(0).meta.original_size == (60, 80)
    assert data.coco.anns[1]["area"] == 30 * 20.5


def test_annotation_zero_counts_in_cocoeval(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = sound()
    document["annotations"] = [annotation(0, 7, 4, [10, 10, 30, 20])]
    data = dataset(folder, document, training=False)
    assert capsys.readouterr().out == ""  # pycocotools prints while it builds its index
    found = [{"image_id": 7, "category_id": 4, "bbox": [10, 10, 30, 20], "score": 0.9}]
    evaluation = COCOeval(data.coco, data.coco.loadRes(found), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)


def test_repeated_annotation_ids_are_renumbered_and_counted(folder: Path) -> None:
    """Some exports restart ids in every image; pycocotools would keep only the last annotation of an id."""
    document = sound()
    for number, entry in enumerate(document["annotations"]):
        entry["id"] = number % 3
    data = dataset(folder, document, training=False)
    assert [remark.partition(": ")[2] for remark in data.remarks] == [
        "repeated annotation ids: 5; all are renumbered from 1"
    ]
    assert sorted(data.coco.anns) == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_array_equal(data.load(0).instances.boxes, [[10.25, 5, 40.25, 25.5], [60, 40, 80, 60]])
    assert dataset(folder, sound()).remarks == []


def test_entries_of_one_image_are_joined(folder: Path) -> None:
    """Otherwise the objects of each entry would be background in the other."""
    document = sound()
    document["images"] += [document["images"][0] | {"id": 70}, document["images"][0] | {"id": 71}]
    repeated = annotation(10, 71, 4, [60, 40, 20, 20])  # also in image 7
    document["annotations"] += [annotation(9, 70, 4, [1, 1, 9, 9]), repeated]
    data = dataset(folder, document, training=False)
    assert data.image_ids == (7, 3, 5, 9)
    expected = [[10.25, 5, 40.25, 25.5], [60, 40, 80, 60], [1, 1, 10, 10]]
    np.testing.assert_array_equal(data.load(0).instances.boxes, expected)
    said = "images labeled in several entries or files: 2; their objects are joined"
    assert [remark.partition(": ")[2] for remark in data.remarks] == [said]


@pytest.mark.parametrize("command", ["merge", "export yolo", "split", "check"])
def test_all_commands_join_the_entries_of_one_image(
    folder: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    document = sound()
    document["images"].append(document["images"][0] | {"id": 70})
    document["annotations"].append(annotation(9, 70, 4, [1, 1, 9, 9]))
    write_json(folder / "labels.json", document)
    out = ["--out", str(folder / "out" / "all.json")]
    code = main(["data", *command.split(), str(folder / "labels.json"), *([] if command == "check" else out)])
    output = capsys.readouterr()
    assert (code, output.err) == (int(command == "check"), "")
    assert output.out.count("labeled in several entries or files") == 1
    assert "in several files" not in output.out
    if command == "merge":
        assert [one["image_id"] for one in read_json(folder / "out" / "all.json")["annotations"]].count(1) == 6


ROBOFLOW = [  # as its exports do: the project first, then the classes
    [{"id": 0, "name": "pets", "supercategory": "none"}, {"id": 4, "name": "cat", "supercategory": "pets"}],
    [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 4, "name": "cat", "supercategory": "cat"}],
]


@pytest.mark.parametrize("categories", ROBOFLOW, ids=["of its own name", "of a class's name"])
def test_a_group_category_is_not_a_class(folder: Path, categories: list[dict[str, object]]) -> None:
    document = sound()
    document["categories"] = [*categories, {"id": 20, "name": "dog", "supercategory": categories[0]["name"]}]
    data = dataset(folder, document)
    assert (data.classes, data.category_ids) == (("cat", "dog"), (4, 20))
    assert [category["id"] for category in data.coco.dataset["categories"]] == [4, 20]
    (remark,) = data.remarks
    assert f"category 0, {categories[0]['name']!r}, has no objects and is the supercategory of others" in remark


@pytest.mark.parametrize(
    "change",
    [
        {"id": 4, "name": "group"},  # with objects
        {"supercategory": "thing"},  # in a group itself
        {"name": "empty"},  # not a supercategory of any
    ],
    ids=str,
)
def test_a_class_without_objects_stays_a_class(folder: Path, change: dict[str, object]) -> None:
    document = sound()
    group = {"id": 0, "name": "group", "supercategory": "none"} | change
    others = [{"id": 4, "name": "cat"}, {"id": 20, "name": "dog"}, {"id": 21, "name": "cow"}]
    rest = [one | {"supercategory": "group"} for one in others if one["id"] != group["id"]]
    document["categories"] = [group, *rest]
    data = dataset(folder, document)
    assert data.category_ids == tuple(sorted({group["id"], 4, 20, 21}))
    assert data.remarks == []


@pytest.mark.parametrize("size", [None, 0, "absent"])
def test_a_missing_size_is_read_from_the_image(folder: Path, size: object) -> None:
    document = sound()
    (folder / "a").mkdir()
    (folder / "7.png").rename(folder / "a" / "7.PNG")  # found as every image is
    for key in ("width", "height"):
        document["images"][0][key] = size
        if size == "absent":
            del document["images"][0][key]
    assert dataset(folder, document).load(0).image.shape == (60, 80, 3)
    split = open_dataset(folder / "annotations.json", folder).splits["train"]
    assert split.coco["images"][0] == {"id": 7, "file_name": "7.png", "width": 80, "height": 60}


def test_a_missing_size_of_a_missing_image_is_a_fault(folder: Path) -> None:
    document = sound()
    document["images"][0] |= {"file_name": "x.png", "width": None}
    with pytest.raises(InputError, match="image 7: expected an integer for 'width', found None"):
        dataset(folder, document)


def test_exchanged_sizes_are_the_reason_for_a_box_outside(folder: Path) -> None:
    document = sound()
    document["images"][0] |= {"width": 60, "height": 80}
    document["annotations"][1]["bbox"] = [62, 40, 18, 20]
    with pytest.raises(InputError, match=r"7\.png: expected 60 x 80 .*, found 80 x 60 .*exchange width and height"):
        dataset(folder, document)


def test_a_photo_labeled_without_its_exif_rotation_says_what_to_do(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(folder / "7.png") as image:
        image.save(folder / "7.png", exif=exif)
    with pytest.raises(InputError, match=r"expected 80 x 60 .*, found 60 x 80 .*; annotated without EXIF rotation"):
        dataset(folder, sound()).load(0)


def test_a_split_or_merged_file_has_the_missing_sizes(folder: Path) -> None:
    document = sound()
    for image in document["images"]:
        del image["width"]
    write_json(file := folder / "all.json", document)
    parts = split_data(file, folder / "parts", val=0.5)
    merged = folder / "merged.json"
    merge_data([file], merged)
    for sizes in ([image for part in parts for image in read_coco(part)["images"]], read_coco(merged)["images"]):
        assert {(image["file_name"], image["width"]) for image in sizes} == {
            (image["file_name"], image["width"]) for image in sound()["images"]
        }


def test_boxes_in_fractions_are_named(folder: Path) -> None:
    document = sound()
    for one in document["annotations"]:
        one["bbox"] = [value / 80 for value in one["bbox"]]
    with pytest.raises(InputError, match=r"no usable box .*; they look like fractions of the image's size: multiply"):
        dataset(folder, document)


@pytest.mark.parametrize(("shift", "words"), [(-1, "3 .. 19.*add 1 to"), (1, "5 .. 21.*subtract 1 from")])
def test_category_ids_from_another_start_are_one_fault(folder: Path, shift: int, words: str) -> None:
    document = sound()
    for one in document["annotations"]:
        one["category_id"] += shift
    with pytest.raises(InputError, match=f"class ids run {words} the class ids of all objects$"):
        dataset(folder, document)


def test_a_size_other_than_the_files_is_an_error(folder: Path) -> None:
    cv2.imwrite(str(folder / "7.png"), np.zeros((80, 60, 3), np.uint8))
    data = dataset(folder, sound())
    with pytest.raises(InputError, match=r"7\.png: expected 80 x 60 pixels \(image 7 in .*, found 60 x 80 .*EXIF"):
        data.load(0)


def set_in(key: str, position: int, **values: object) -> Callable[[Document], None]:
    return lambda document: document[key][position].update(values)


def remove_from(key: str, position: int, name: str) -> Callable[[Document], None]:
    return lambda document: document[key][position].pop(name)


def put(**values: object) -> Callable[[Document], None]:
    return lambda document: document.update(copy.deepcopy(values))


FAULTS = [
    (lambda document: document.pop("images"), "list under 'images', found no such key"),
    (lambda document: document.pop("annotations"), "list under 'annotations', found no such key"),
    (put(categories={"a": 1}), "list under 'categories', found {'a': 1}"),
    (put(images=[], annotations=[]), "at least one entry in 'images'"),
    (put(categories=[], annotations=[]), "at least one entry in 'categories'"),
    (put(images=[3]), r"images\[0\]: expected an object {\.\.\.}, found 3"),
    (remove_from("images", 1, "id"), r"images\[1\]: the key 'id' is missing"),
    (set_in("images", 1, id="x3"), r"images\[1\]: expected an integer for 'id', found 'x3'"),
    (set_in("images", 1, id=True), "expected an integer for 'id', found True"),
    (set_in("images", 1, id=7), "image id 7 is used twice"),
    (set_in("images", 1, width=-1), "image 3: expected 'width' of at least 1 pixel, found -1"),
    (put(images=[{"id": 3, "file_name": "absent.png", "width": 9}]), "image 3: the key 'height' is missing"),
    (set_in("images", 1, file_name=5), "image 3: expected text for 'file_name', found 5"),
    (set_in("images", 1, file_name="../x.png"), "1 of 4 image files are not in .*'../x.png'"),
    (set_in("images", 1, file_name="/etc/passwd"), "1 of 4 image files are not in .*'/etc/passwd'"),
    (set_in("images", 1, file_name="a\\..\\..\\x.png"), "1 of 4 image files are not in"),
    (
        set_in("images", 1, file_name="/home/other/7.png"),
        "only '7.png' in .* for both '7.png' and '/home/other",
    ),
    (set_in("images", 1, file_name="absent.png"), r"1 of 4 image files are not in .*'absent\.png'"),
    (set_in("categories", 1, id=20), "category id 20 is used twice"),
    (set_in("categories", 1, name="dog"), "categories 20 and 4 are both named 'dog'"),
    (set_in("categories", 1, name=""), "category 4: expected text for 'name'"),
    (set_in("annotations", 1, category_id=5), r"annotation 2: unknown category_id 5 \(the file has 20, 4\)"),
    (set_in("annotations", 1, image_id=8), "annotation 2: unknown image_id 8"),
    (
        remove_from("annotations", 1, "bbox"),
        "annotation 2: expected a 'bbox' or polygons under 'segmentation', found neither",
    ),
    (
        set_in("annotations", 1, bbox=[1, 2, 3]),
        r"annotation 2: expected 4 finite numbers for 'bbox', found \[1, 2, 3\]",
    ),
    (set_in("annotations", 1, bbox=[1, 2, 3, "4"]), "annotation 2: expected 4 finite numbers"),
    (set_in("annotations", 1, bbox=[1, 2, 3, float("nan")]), "annotation 2: expected 4 finite numbers"),
    (set_in("annotations", 1, bbox=[1, 2, float("inf"), 4]), "annotation 2: expected 4 finite numbers"),
    (set_in("annotations", 1, bbox=[1, 2, 10**400, 4]), "annotation 2: expected 4 finite numbers"),
    (set_in("annotations", 1, bbox=[1, 2, -3, 4]), "annotation 2: .*negative size"),
    (set_in("annotations", 1, area="big"), "annotation 2: expected a finite number for 'area'"),
    (set_in("annotations", 1, iscrowd=2), "annotation 2: expected 0 or 1 for 'iscrowd'"),
    (set_in("annotations", 1, bbox=[80, 5, 9, 9]), r"annotation 2: box .* outside its image 7 of 80 x 60 pixels"),
    (set_in("annotations", 1, bbox=[5, 60, 9, 9]), "annotation 2: box .* outside"),
    (set_in("annotations", 1, bbox=[-9, 5, 9, 9]), "annotation 2: box .* outside"),
    (set_in("annotations", 1, bbox=[5, -9, 9, 9]), "annotation 2: box .* outside"),
]


def test_an_unknown_category_does_not_list_a_thousand_others(folder: Path) -> None:
    document = sound()
    document["categories"] += [{"id": 100 + number, "name": f"class {number}"} for number in range(1000)]
    document["annotations"][1]["category_id"] = 9
    with pytest.raises(
        InputError, match=r"unknown category_id 9 \(the file has 20, 4, 100, .* and 994 more\); correct"
    ):
        dataset(folder, document)


@pytest.mark.parametrize(("damage", "words"), FAULTS, ids=[words[:40] for _, words in FAULTS])
def test_every_fault_is_one_line(folder: Path, damage: Callable[[Document], object], words: str) -> None:
    document = sound()
    damage(document)
    with pytest.raises(InputError, match=words) as caught:
        dataset(folder, document)
    message = str(caught.value)
    assert message.startswith(str(folder))
    assert "\n" not in message
    assert ";" in message  # what to do comes last


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [],\n "annotations" []}', "not JSON at line 2, column 16"),
        ("", "not JSON at line 1, column 1"),
        ("[1, 2]", r"expected a COCO object \{...\}, found \[1, 2\]"),
        ("[" * 100_000, "expected JSON, found something else"),
    ],
)
def test_files_that_are_not_coco(folder: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataset(folder, text)


def test_what_other_tools_leave_out_or_write_as_text(folder: Path) -> None:
    """Ids as text, no ids of annotations or such of other text, polygons without a box, UTF-16."""
    before, document = sound(), sound()
    first, second = document["annotations"][:2]
    first.update(image_id=str(first["image_id"]), category_id=float(first["category_id"]))
    x, y, width, height = second["bbox"]
    second.update(bbox=[], segmentation=[[x, y, x + width, y, x + width, y + height], [x, y, x, y + height, x, y]])
    for one in document["annotations"]:
        del one["id"]
    second["id"] = "5f1d-aa"
    for one in document["images"]:
        one["id"] = str(one["id"])
    (folder / "a.json").write_text(json.dumps(document), encoding="utf-16")
    found = read_coco(folder / "a.json")
    keys = ("image_id", "category_id", "bbox")
    assert [[one[key] for key in keys] for one in found["annotations"]] == [
        [one[key] for key in keys] for one in before["annotations"]
    ]


@pytest.mark.parametrize("identifier", [1_700_000_000_000, 1.7e12, "1700000000000"])
def test_ids_may_be_points_in_time(folder: Path, identifier: object) -> None:
    document = sound()
    first = document["images"][0]["id"]
    for one in document["annotations"]:
        one["image_id"] = identifier if one["image_id"] == first else one["image_id"]
    document["images"][0]["id"] = identifier
    (folder / "a.json").write_text(json.dumps(document))
    assert read_coco(folder / "a.json")["images"][0]["id"] == 1_700_000_000_000


@pytest.mark.parametrize("identifier", [True, 1.5, float("inf"), float("nan"), 10**18, "1e3", None])
def test_other_values_are_no_whole_numbers(identifier: object) -> None:
    assert whole_number(identifier) is None


def test_a_set_for_training_keeps_no_outlines_of_boxes(folder: Path) -> None:
    document = sound()
    outline = [[10, 20, 40, 20, 40, 60]]
    for one in document["annotations"]:
        one["segmentation"] = outline
    del document["annotations"][0]["bbox"]
    data = dataset(folder, document)
    whole = read_coco(folder / "annotations.json")["annotations"]
    assert [one["segmentation"] for one in whole] == [outline] * len(whole)
    kept = list(data.coco.anns.values())
    assert ["segmentation" in one for one in kept] == [True] + [False] * (len(whole) - 1)
    assert [{**one, "segmentation": outline} for one in kept] == whole
    assert kept[0]["bbox"] == [10, 20, 30, 40]


@pytest.mark.parametrize("text", ["[{}, {}]", "[{}, ", "[{}, nothing]"])
def test_the_garbage_collector_pauses_while_a_file_is_read(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    during = []
    for paused_before in (False, True):
        (gc.disable if paused_before else gc.enable)()
        try:
            with contextlib.suppress(InputError):
                read_json(tmp_path / "a.json", lambda _: during.append(gc.isenabled()))
            assert gc.isenabled() is not paused_before
        finally:
            gc.enable()
    assert during
    assert not any(during)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_coco(tmp_path / "absent.json")
    with pytest.raises(InputError, match="expected a file, found a folder; name the file in it"):
        read_coco(tmp_path)
    (tmp_path / "picture.json").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(InputError, match="expected a file in UTF-8, found another encoding: save it as UTF-8"):
        read_coco(tmp_path / "picture.json")


def test_paths_may_be_text(folder: Path) -> None:
    data = dataset(folder, sound())
    same = CocoDataset(str(folder / "annotations.json"), str(folder), training=True)
    assert same.paths == data.paths
    assert np.array_equal(same.load(0).image, data.load(0).image)


def test_a_missing_folder_is_an_error(folder: Path) -> None:
    dataset(folder, sound())
    with pytest.raises(InputError, match="absent: no such folder of images"):
        CocoDataset(folder / "annotations.json", folder / "absent", training=True)


def test_many_missing_images_are_counted(folder: Path) -> None:
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(InputError, match=r"4 of 4 image files .*\('7.png', '3.png', '5.png' and 1 more\)"):
        dataset(folder, sound())


def test_objects_marked_to_be_ignored_are_not_learned(folder: Path) -> None:
    """As in mmdet, which looks at this key of the annotations, too."""
    document = sound()
    before = len(dataset(folder, document).load(0).instances)
    document["annotations"][0]["ignore"] = 1
    marked = dataset(folder, document)
    assert len(marked.load(0).instances) == before - 1
    assert marked.unused["marked 'ignore'"] == 1


def test_no_usable_box_is_explained(folder: Path) -> None:
    document = sound()
    del document["annotations"][:2]
    with pytest.raises(InputError) as caught:
        dataset(folder, document, classes=["dog"])
    message = str(caught.value)
    for reason in (
        "1 crowd regions",
        "1 under 1 pixel",
        "1 without area",
        "2 of other classes",
        "1 in images with a side under",
    ):
        assert reason in message
    assert "\n" not in message
    document["annotations"] = []
    with pytest.raises(InputError, match=r"no usable box .* the file has none"):
        dataset(folder, document, training=False)


@pytest.mark.shared
@pytest.mark.parametrize(("part", "images", "boxes"), [("train", 61, 255), ("val", 13, 50)])
def test_balloon_set(shared: Path, tmp_path: Path, part: str, images: int, boxes: int) -> None:
    source, out = shared / "data" / "balloon" / part, tmp_path / f"{part}.json"
    assert (
        main(["data", "convert", "via", f"{source}/via_region_data.json", "--class-name=balloon", f"--out={out}"])
        == 0
    )
    data = CocoDataset(out, source, training=part == "train")
    assert (len(data), data.classes) == (images, ("balloon",))
    assert sum(len(data.coco.imgToAnns[i]) for i in data.image_ids) == boxes
    samples = [data.load(index) for index in (0, len(data) - 1)]
    assert all(len(sample.instances.boxes) and not sample.instances.labels.any() for sample in samples)


def test_boxes_beyond_the_edge_are_clipped(folder: Path) -> None:
    """As in all other formats: detections end at the edge and would not match a box beyond it."""
    document = sound()
    document["annotations"][:2] = [
        annotation(1, 7, 20, [-6, 5, 30, 20]),
        annotation(2, 7, 4, [70, 50, 40, 30], area=300),  # of an outline
        annotation(10, 7, 4, [60.5, 10, 20, 20]),  # half a pixel: rounding
    ]
    data = dataset(folder, document, classes=["dog", "cat"], training=True)
    boxes = [[0, 5, 24, 25], [70, 50, 80, 60], [60.5, 10, 80.5, 30]]
    np.testing.assert_array_equal(data.load(0).instances.boxes, boxes)
    assert [data.coco.anns[number]["area"] for number in (1, 2, 10)] == [480, 300, 400]
    assert [remark for remark in data.remarks if "beyond the edge" in remark] == [
        f"{folder / 'annotations.json'}: boxes beyond the edge of their image: 2, clipped"
    ]


def test_rotated_boxes_of_cvat_become_upright_once(folder: Path) -> None:
    document = sound()
    turned = {"attributes": {"occluded": False, "rotation": 90.0}}
    outline = turned | {"segmentation": [[10.0, 5.0, 30.0, 5.0, 30.0, 15.0]]}
    boxes = [annotation(number, 7, 20, [10, 5, 20, 10], **more) for number, more in ((1, turned), (2, outline))]
    write_json(folder / "own.json", document | {"annotations": boxes})
    for content in (None, read_boxes(folder / "own.json")):
        file, remarks = read_and_repair(folder / "own.json", document=content)
        assert [entry["bbox"] for entry in file["annotations"]] == [pytest.approx([15, 0, 10, 20]), [10, 5, 20, 10]]
        assert remarks == [f"{folder / 'own.json'}: rotated boxes: 1, replaced by the upright boxes around them"]
    assert read_and_repair(folder / "own.json", document=file)[1] == []


def test_names_that_differ_only_in_spaces_around_are_one(folder: Path) -> None:
    document = sound()
    document["categories"] = [{"id": 20, "name": " dog ", "supercategory": "pet "}, {"id": 4, "name": "cat"}]
    assert dataset(folder, document, training=True, classes=["dog"]).classes == ("dog",)
    document["categories"][1]["name"] = "dog"
    with pytest.raises(InputError, match="categories 20 and 4 are both named 'dog'; give one another name"):
        dataset(folder, document)


def test_the_index_is_pycocotools_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = dataset(folder, sound()).coco
    assert not capsys.readouterr().out
    other = COCO()
    other.dataset = index.dataset
    other.createIndex()
    for name in ("imgs", "cats", "anns", "imgToAnns", "catToImgs"):
        ours, theirs = getattr(index, name), getattr(other, name)
        assert type(ours) is type(theirs)
        assert {key: value for key, value in ours.items() if value} == theirs, (
            name
        )  # looking up a key adds an empty list


def test_boxes_of_two_corners_are_suspected(folder: Path) -> None:
    document = sound()
    document["annotations"] = [annotation(number, 7, 4, [40, 1, 79, 9]) for number in range(1, 11)]
    assert dataset(folder, document).remarks[0].endswith(f"their image: 10, clipped; {WRONG_BOXES}")


@pytest.mark.parametrize("name", [" ", "two\nlines"])
def test_class_names_are_one_line(folder: Path, name: str) -> None:
    document = sound()
    document["categories"][0]["name"] = name
    with pytest.raises(InputError, match=r"category 20: expected one line of at most 200 letters for 'name', found"):
        dataset(folder, document)
