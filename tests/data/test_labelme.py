"""LabelMe folders to COCO: shapes, groups, names of images, and a one-line error for every fault."""

import json
import math
import shutil
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import read_coco
from rtmdet.data.formats.faults import collect_faults
from rtmdet.data.formats.labelme import convert_labelme
from rtmdet.data.formats.open import find_dataset


def shape(kind: str | None, *points: tuple[object, object], label: object = "dog", group: object = None) -> object:
    entry = {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}
    return {key: value for key, value in entry.items() if key != "shape_type" or kind is not None}


def write_labelme(folder: Path, shapes: dict[str, list[object]], **more: object) -> Path:
    """Images of 60 x 80 (H x W), each with a JSON file of the shapes; `more` are keys of all files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, entries in shapes.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.zeros((60, 80, 3), np.uint8))
        document = {"imagePath": f"{name}.png", "imageHeight": 60, "imageWidth": 80, "shapes": entries, **more}
        (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def test_shapes(tmp_path: Path) -> None:
    rectangle = shape("rectangle", (30, 40), (10, 25.5))  # drawn from the lower right
    polygon = shape("polygon", (1, 2), (21, 2), (11, 12.5), label="cat")
    circle = shape("circle", (40, 30), (43, 34))
    mask = shape("mask", (10, 10), (19, 29))
    converted = convert_labelme(write_labelme(tmp_path, {"a": [rectangle, polygon, circle, mask], "b": []}))
    assert converted.images == tmp_path
    assert converted.remarks == []
    assert converted.coco["images"] == [
        {"id": 1, "file_name": "a.png", "width": 80, "height": 60},
        {"id": 2, "file_name": "b.png", "width": 80, "height": 60},
    ]
    assert converted.coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    objects = converted.coco["annotations"]
    assert [entry["bbox"] for entry in objects] == [
        [10, 25.5, 20, 14.5], [1, 2, 20, 10.5], [35, 25, 10, 10], [10, 10, 10, 20],
    ]  # fmt: skip
    assert [entry["category_id"] for entry in objects] == [2, 1, 2, 2]
    assert ["segmentation" in entry for entry in objects] == [False, True, True, False]
    assert objects[1]["segmentation"] == [[1, 2, 21, 2, 11, 12.5]]
    rim = np.array(objects[2]["segmentation"]).reshape(-1, 2)
    assert [math.dist(point, (40, 30)) for point in rim] == pytest.approx([5] * len(rim))


def test_the_photos_in_the_files_are_not_kept_in_memory(tmp_path: Path) -> None:
    """LabelMe writes each photo into its file, too."""
    box = shape("rectangle", (1, 2), (9, 9))
    write_labelme(tmp_path, {f"{number}": [box] for number in range(20)}, imageData="A" * 1_000_000)
    tracemalloc.start()
    try:
        split = find_dataset(tmp_path).read("train").splits["train"]
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(split.coco["annotations"]) == 20
    assert most < 8_000_000


def test_files_of_one_image_are_joined(tmp_path: Path) -> None:
    write_labelme(tmp_path, {name: [shape("rectangle", (1, 2), (9, y))] for name, y in (("a", 9), ("b", 8))})
    (tmp_path / "b.png").unlink()
    other = tmp_path / "b.json"
    other.write_text(other.read_text().replace("b.png", "a.png"))
    converted = convert_labelme(tmp_path)
    assert converted.remarks == [
        f"{tmp_path}: images labeled in several entries or files: 1; their objects are joined"
    ]
    assert [image["file_name"] for image in converted.coco["images"]] == ["a.png"]
    assert [entry["image_id"] for entry in converted.coco["annotations"]] == [1, 1]


def test_difficult_shapes_are_crowds(tmp_path: Path) -> None:
    box = {"label": "dog", "points": [[1, 2], [20, 30]], "shape_type": "rectangle"}
    difficult = {**box, "difficult": True}
    groups = [{**difficult, "group_id": number} for number in (1, 1, 2)] + [{**box, "group_id": 2}]
    path = write_labelme(tmp_path, {"a": [box, difficult, {**box, "difficult": False}, *groups]})
    crowds = [one["iscrowd"] for one in convert_labelme(path).coco["annotations"]]
    assert crowds == [0, 1, 0, 1, 0]  # a joined object is, if all of its shapes are


def test_old_files_do_not_name_the_polygon(tmp_path: Path) -> None:
    converted = convert_labelme(write_labelme(tmp_path, {"a": [shape(None, (1, 2), (21, 2), (11, 12))]}))
    assert converted.coco["annotations"][0]["bbox"] == [1, 2, 20, 10]


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    parts = [
        shape("rectangle", (1, 1), (5, 5), group=1),
        shape("rectangle", (20, 20), (30, 30)),
        shape("polygon", (8, 9), (9, 9), (9, 20), group=1),
        shape("rectangle", (40, 40), (50, 50), group=1, label="cat"),
        shape("rectangle", (60, 20), (70, 30)),
    ]
    converted = convert_labelme(write_labelme(tmp_path, {"a": parts}))
    objects = converted.coco["annotations"]
    assert converted.remarks == ["joined: 2 shapes to 1 object, by the same label and group_id"]
    assert [entry["bbox"] for entry in objects] == [
        [1, 1, 8, 19], [20, 20, 10, 10], [40, 40, 10, 10], [60, 20, 10, 10],
    ]  # fmt: skip
    assert not any("segmentation" in entry for entry in objects)


def test_points_and_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    more = [shape("point", (1, 1)), shape("line", (1, 1), (2, 2)), shape("point", (3, 3))]
    converted = convert_labelme(write_labelme(tmp_path, {"a": [shape("rectangle", (1, 1), (5, 5)), *more]}))
    assert len(converted.coco["annotations"]) == 1
    assert converted.remarks == ["skipped: 2 x point", "skipped: 1 x line"]


def test_shapes_are_clipped_to_the_image(tmp_path: Path) -> None:
    converted = convert_labelme(write_labelme(tmp_path, {"a": [shape("polygon", (-2, 5), (90, 5), (90, 70))]}))
    (entry,) = converted.coco["annotations"]
    assert entry["bbox"] == [0, 5, 80, 55]
    assert entry["segmentation"] == [[0, 5, 80, 5, 80, 60]]


@pytest.mark.parametrize("path", ["a.png", "old.png", "..\\images\\a.png", None])
def test_images_in_a_folder_of_their_own(tmp_path: Path, path: str | None) -> None:
    write_labelme(tmp_path / "labels", {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath=path)
    (tmp_path / "images").mkdir()
    (tmp_path / "labels" / "a.png").rename(tmp_path / "images" / "a.png")
    for images in (None, tmp_path / "images"):
        converted = convert_labelme(tmp_path / "labels", images)
        assert converted.images == tmp_path / "images"
        assert converted.coco["images"][0]["file_name"] == "a.png"


def test_an_image_of_another_name_is_the_one_that_the_file_names(tmp_path: Path) -> None:
    write_labelme(tmp_path, {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath="deep\\b.png")
    (tmp_path / "deep").mkdir()
    (tmp_path / "a.png").rename(tmp_path / "deep" / "b.png")
    assert convert_labelme(tmp_path).coco["images"][0]["file_name"] == "deep/b.png"


@pytest.mark.parametrize("path", ["../photos/a.png", "..\\photos\\a.png"])
def test_images_lie_where_the_files_say_relative_to_themselves(tmp_path: Path, path: str) -> None:
    write_labelme(tmp_path / "set" / "marks", {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath=path)
    (tmp_path / "set" / "photos").mkdir()
    (tmp_path / "set" / "marks" / "a.png").rename(tmp_path / "set" / "photos" / "a.png")
    converted = convert_labelme(tmp_path / "set")
    assert converted.images == tmp_path / "set"
    assert [image["file_name"] for image in converted.coco["images"]] == ["photos/a.png"]
    beside = convert_labelme(tmp_path / "set" / "marks")
    assert beside.images == tmp_path / "set" / "photos"
    assert [image["file_name"] for image in beside.coco["images"]] == ["a.png"]


def test_absolute_paths_are_of_another_machine(tmp_path: Path) -> None:
    write_labelme(tmp_path / "set", {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath="/etc/passwd")
    (tmp_path / "set" / "a.png").unlink()
    with pytest.raises(InputError, match=r"1 of 1 image files are not in .*'/etc/passwd'"):
        convert_labelme(tmp_path / "set")


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (3, "a.json: shape 0: expected an object {...}, found 3"),
        (shape("rectangle", (1, 1), (5, 5), label=""), "expected a class as text under 'label', found ''"),
        (shape("rectangle", (1, 1), (5, 5), label=4), "expected a class as text under 'label', found 4"),
        (shape("rectangle", (1, math.nan), (5, 5)), "expected 'points' of two finite numbers"),
        (shape("rectangle", ("1", 2), (5, 5)), "expected 'points' of two finite numbers"),
        ({"label": "dog", "points": [1, 2]}, "expected 'points' of two finite numbers"),
        (shape("polygon", (1, 1), (5, 5)), "expected a polygon of at least 3 points, found 2"),
        (shape("circle", (1, 1)), "expected a circle of at least 2 points, found 1"),
        (shape("star", (1, 1), (2, "2"), (5, 5)), "expected 'points' of two finite numbers"),
        (shape(["x"], (1, 1), (2, "2"), (5, 5)), "expected 'points' of two finite numbers"),  # type: ignore[arg-type]
        (shape("rectangle", (90, 1), (99, 5)), "shape 0: the box 90, 1, 99, 5 .* lies outside its image"),
    ],
)
def test_faults_of_a_shape(tmp_path: Path, entry: object, words: str) -> None:
    write_labelme(tmp_path, {"a": [entry], "b": [shape("rectangle", (1, 1), (5, 5))]})
    with pytest.raises(InputError, match=words) as caught:
        convert_labelme(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_json(tmp_path: Path) -> None:
    write_labelme(tmp_path, {"b": [shape("rectangle", (1, 1), (5, 5))]})
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: not JSON at"):
        convert_labelme(tmp_path)


@pytest.mark.parametrize("text", ["[]", '{"images": []}', '{"shapes": {}}'])
def test_other_json_files_are_skipped_and_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"expected LabelMe files .*, found none"):
        convert_labelme(tmp_path)
    write_labelme(tmp_path, {"b": [shape("rectangle", (1, 1), (5, 5))]})
    converted = convert_labelme(tmp_path)
    assert len(converted.coco["images"]) == 1
    assert converted.remarks == ["skipped: 1 x JSON file of another kind"]


def test_images_beside_the_label_files_in_any_folder(tmp_path: Path) -> None:
    write_labelme(tmp_path / "anns", {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath="C:\\old\\a.png")
    (tmp_path / "pics").mkdir()
    (tmp_path / "anns" / "a.png").rename(tmp_path / "pics" / "a.png")
    assert convert_labelme(tmp_path / "anns").images == tmp_path / "pics"
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes((tmp_path / "pics" / "a.png").read_bytes())
    with pytest.raises(InputError, match="1 of 1 image files are not in"):
        convert_labelme(tmp_path / "anns")
    assert find_dataset(tmp_path / "anns", tmp_path / "pics").read_one("train").images == tmp_path / "pics"


def test_the_named_image_comes_before_a_mask_of_the_same_name(tmp_path: Path) -> None:
    labels = write_labelme(
        tmp_path / "set" / "polys", {"a": [shape("rectangle", (1, 1), (5, 5))]}, imagePath="../../a.png"
    )
    (tmp_path / "set" / "masks").mkdir()
    for path in (tmp_path / "a.png", tmp_path / "set" / "masks" / "a.png"):
        path.write_bytes((labels / "a.png").read_bytes())
    (labels / "a.png").unlink()
    assert convert_labelme(labels).images == tmp_path


def test_a_folder_with_all_images_comes_before_a_single_named_one(tmp_path: Path) -> None:
    box = shape("rectangle", (1, 1), (5, 5))
    labels = write_labelme(tmp_path / "polys", {"a": [box], "b": [box]}, imagePath="../a.png")
    (tmp_path / "pics").mkdir()
    (tmp_path / "a.png").write_bytes((labels / "a.png").read_bytes())
    for name in ("a.png", "b.png"):
        (labels / name).rename(tmp_path / "pics" / name)
    document = json.loads((labels / "b.json").read_text()) | {"imagePath": "../b.png"}
    (labels / "b.json").write_text(json.dumps(document))
    assert convert_labelme(labels).images == tmp_path / "pics"


def test_where_all_files_are_faulty_each_is_listed(tmp_path: Path) -> None:
    box = shape("rectangle", (1, 1), (5, 5))
    write_labelme(tmp_path, {"a": [box], "b": [box]}, imageHeight="high")
    with collect_faults() as faults:
        assert convert_labelme(tmp_path).coco["images"] == []
    assert [Path(fault.text.partition(":")[0]).name for fault in faults] == ["a.json", "b.json"]


def test_faults_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected LabelMe files \(\*\.json with 'shapes'\), found none"):
        convert_labelme(tmp_path)
    box = shape("rectangle", (1, 1), (5, 5))
    write_labelme(tmp_path, {"a": [box]}, imageHeight=61)
    with pytest.raises(InputError, match=r"a\.png: expected 80 x 61 pixels \(.*a\.json\), found 80 x 60"):
        convert_labelme(tmp_path)
    write_labelme(tmp_path, {"a": [box]}, imageHeight="high")
    with pytest.raises(InputError, match="expected integers for 'imageHeight' and 'imageWidth', found 'high' and 80"):
        convert_labelme(tmp_path)
    write_labelme(tmp_path, {"a": [box]}, imageHeight="60", imageWidth=80.0)
    assert len(convert_labelme(tmp_path).coco["images"]) == 1
    write_labelme(tmp_path, {"a": [box]}, imageHeight=None, imageWidth=None)
    assert len(convert_labelme(tmp_path).coco["images"]) == 1
    (tmp_path / "a.png").unlink()
    with pytest.raises(InputError, match=r"1 of 1 image files are not in .*\('a\.png'\)"):
        convert_labelme(tmp_path)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_labelme(tmp_path, {"a": [shape("circle", (40, 30), (40, 40)), shape("point", (1, 1))]})
    out = tmp_path / "new" / "all.json"
    assert main(["data", "convert", "labelme", str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 images, 1 objects, 1 class (dog) -> {out}", "skipped: 1 x point", f"images: {tmp_path}"
    ]  # fmt: skip
    assert read_coco(out)["annotations"][0]["bbox"] == [30, 20, 20, 20]
    command = ["data", "convert", "labelme", str(tmp_path), "--classes", "cat", "--out", str(out)]
    assert main(command) == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("names", [["dog", "", "cat"], ["dog", "ca\nt"], ["dog", " dog"], []])
def test_given_classes_that_no_file_could_hold(tmp_path: Path, names: list[str]) -> None:
    write_labelme(tmp_path, {"a": [shape("circle", (40, 30), (40, 40))]})
    with pytest.raises(InputError, match=r"^class"):
        convert_labelme(tmp_path, names=names)
    assert convert_labelme(tmp_path, names=["dog "]).coco["categories"] == [{"id": 1, "name": "dog"}]


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle", "star"])
def test_other_closed_shapes_give_their_axis_aligned_box(tmp_path: Path, kind: str) -> None:
    points = [(20, 10), (30, 20), (20, 30), (10, 20)]
    write_labelme(tmp_path, {"a": [shape(kind, *points), shape("dot", (1, 1)), shape("dash", (1, 1), (2, 2))]})
    converted = convert_labelme(tmp_path)
    (found,) = converted.coco["annotations"]
    assert found["bbox"] == [10, 10, 20, 20]
    assert found["segmentation"] == [[20, 10, 30, 20, 20, 30, 10, 20]]
    assert converted.remarks == ["skipped: 1 x dot", "skipped: 1 x dash"]


def test_the_photo_named_inside_is_taken_of_several_in_a_folder_of_a_set(tmp_path: Path) -> None:
    for folder in ("s1", "s2"):
        write_labelme(tmp_path / folder, {"a": [shape("rectangle", (1, 2), (30, 20))]})
        shutil.copy(tmp_path / folder / "a.png", tmp_path / folder / "a.bmp")
    names = [image["file_name"] for image in convert_labelme(tmp_path).coco["images"]]
    assert names == ["s1/a.png", "s2/a.png"]
