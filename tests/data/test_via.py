"""VIA region files to COCO: geometry, classes, and a one-line error for every fault."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, read_coco
from rtmdet.data.formats.faults import collect_faults
from rtmdet.data.formats.via import class_attribute, convert_via

TRIANGLE = {"name": "polygon", "all_points_x": [10, 30, 20], "all_points_y": [5, 15, 40]}


def region(shape: object, **attributes: object) -> dict[str, object]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def entry(name: str, *regions: object) -> dict[str, object]:
    return {"filename": name, "size": 1, "regions": list(regions), "file_attributes": {}}


def convert(folder: Path, *entries: dict[str, object], key: str | None = None) -> CocoFile:
    return convert_document(folder, {f"{number}": item for number, item in enumerate(entries)}, key=key)


def convert_document(folder: Path, document: object, *, key: str | None = None) -> CocoFile:
    (folder / "via.json").write_text(json.dumps(document))
    return convert_via(folder / "via.json", folder, class_name="thing", class_key=key).coco


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((60, 80, 3), np.uint8))
    return tmp_path


def test_polygon(folder: Path) -> None:
    coco = convert(folder, entry("b.png", region(TRIANGLE)), entry("a.png"))
    assert coco["images"] == [
        {"id": 0, "file_name": "b.png", "width": 80, "height": 60},
        {"id": 1, "file_name": "a.png", "width": 80, "height": 60},
    ]
    assert coco["categories"] == [{"id": 1, "name": "thing"}]
    assert coco["annotations"] == [
        {"id": 1, "image_id": 0, "category_id": 1, "bbox": [10, 5, 20, 35], "area": 700, "iscrowd": 0,
         "segmentation": [[10.5, 5.5, 30.5, 15.5, 20.5, 40.5]]}
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{"0": "cat", "1": "dog"}, {"0": "", "1": " "}, None, 3])
def test_numbered_options_of_a_menu_are_named_by_their_descriptions(folder: Path, options: object) -> None:
    menu = {"type": "dropdown", "description": "", "options": options}
    animals = entry("a.png", region(TRIANGLE, kind="1"), region(TRIANGLE, kind="0"))
    project = {"_via_img_metadata": {"a": animals}, "_via_attributes": {"region": {"kind": menu}}}
    coco = convert_document(folder, project, key="kind")
    expected = ["cat", "dog"] if isinstance(options, dict) and options["0"] else ["0", "1"]
    assert [category["name"] for category in coco["categories"]] == expected
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [2, 1]


@pytest.mark.parametrize(
    ("shape", "box", "vertices"),
    [
        (TRIANGLE | {"name": "polyline"}, [10, 5, 20, 35], 3),
        ({"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10}, [3, 4, 20, 10], 4),
        ({"name": "circle", "cx": 30, "cy": 20, "r": 7.5}, [22.5, 12.5, 15, 15], 64),
        ({"name": "ellipse", "cx": 30, "cy": 20, "rx": 9, "ry": 5}, [21, 15, 18, 10], 64),
        ({"name": "ellipse", "cx": 30, "cy": 20, "rx": 9, "ry": 5, "theta": math.pi / 2}, [25, 11, 10, 18], 64),
    ],
)
def test_shapes(folder: Path, shape: dict[str, object], box: list[float], vertices: int) -> None:
    (annotation,) = convert(folder, entry("a.png", region(shape)))["annotations"]
    assert annotation["bbox"] == pytest.approx(box)
    assert annotation["area"] == pytest.approx(box[2] * box[3])
    polygon = np.array(annotation["segmentation"][0]).reshape(-1, 2) - 0.5
    assert len(polygon) == vertices
    np.testing.assert_allclose(polygon.min(axis=0), box[:2], atol=0.05)
    np.testing.assert_allclose(polygon.max(axis=0), np.add(box[:2], box[2:]), atol=0.05)


def test_a_tilted_ellipse_has_the_box_of_its_curve(folder: Path) -> None:
    shape = {"name": "ellipse", "cx": 40, "cy": 30, "rx": 20, "ry": 8, "theta": 0.6}
    (annotation,) = convert(folder, entry("a.png", region(shape)))["annotations"]
    turns = np.linspace(0, 2 * np.pi, 100_001)
    xs = 40 + 20 * np.cos(turns) * np.cos(0.6) - 8 * np.sin(turns) * np.sin(0.6)
    ys = 30 + 20 * np.cos(turns) * np.sin(0.6) + 8 * np.sin(turns) * np.cos(0.6)
    np.testing.assert_allclose(annotation["bbox"], [xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)], atol=1e-6)
    polygon = np.array(annotation["segmentation"][0]).reshape(-1, 2) - 0.5
    distances = np.hypot(polygon[:, :1] - xs[::50], polygon[:, 1:] - ys[::50]).min(axis=1)
    assert distances.max() < 0.1  # the polygon runs along the curve


def test_regions_as_dict_and_project_files_are_the_same(folder: Path) -> None:
    plain = convert(folder, entry("a.png", region(TRIANGLE)))
    numbered = entry("a.png") | {"regions": {"0": region(TRIANGLE)}}
    assert convert(folder, numbered) == plain
    project = {"_via_settings": {}, "_via_img_metadata": {"a.png1": entry("a.png", region(TRIANGLE))}}
    assert convert_document(folder, project) == plain


def test_classes_from_an_attribute(folder: Path) -> None:
    regions = [region(TRIANGLE, kind=kind) for kind in ("red", "blue", "red", "tan", "jade", "gray")]
    coco = convert(folder, entry("a.png", *regions), key="kind")
    names = ["blue", "gray", "jade", "red", "tan"]
    assert coco["categories"] == [{"id": number, "name": name} for number, name in enumerate(names, 1)]
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [4, 1, 4, 5, 3, 2]
    assert [annotation["id"] for annotation in coco["annotations"]] == [1, 2, 3, 4, 5, 6]


def test_spaces_around_a_class_are_not_part_of_it(folder: Path) -> None:
    regions = [region(TRIANGLE, kind=kind) for kind in ("red ", "red", {" red": True})]
    coco = convert(folder, entry("a.png", *regions), key="kind")
    assert coco["categories"] == [{"id": 1, "name": "red"}]


def test_a_class_that_is_not_one_line_is_a_fault_of_its_region(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"via\.json: a\.png: region 1: expected a class name on one line of at most"
    ):
        convert(folder, entry("a.png", *(region(TRIANGLE, kind=kind) for kind in ("red", "bal\nloon"))), key="kind")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ({"name": 3}, "expected a polygon, polyline, rect, circle or ellipse, found 3"),
        ({"name": "rect", "x": 80, "y": 4, "width": 9, "height": 9}, "lies outside its image of 80 x 60 pixels"),
        (None, "expected 'shape_attributes', found None"),
        (TRIANGLE | {"all_points_x": [1, 2]}, "as many x as y, found 2 and 3"),
        (TRIANGLE | {"all_points_x": [1, 2], "all_points_y": [1, 2]}, "at least 3 vertices, found 2"),
        (TRIANGLE | {"all_points_y": [1, "2", 3]}, "list of numbers under 'all_points_y'"),
        (TRIANGLE | {"all_points_y": [1, float("nan"), 3]}, "list of numbers under 'all_points_y'"),
        ({"name": "rect", "x": 3, "y": 4, "width": 20}, "expected finite numbers, .*height=None"),
        ({"name": "rect", "x": 3, "y": 4, "width": 20, "height": -2}, "height=-2"),
        ({"name": "circle", "cx": 3, "cy": 4, "r": 10**400}, "expected finite numbers"),
    ],
)
def test_unusable_regions(folder: Path, shape: object, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        convert(folder, entry("a.png", region(TRIANGLE), region(shape)))
    assert f"{folder}/via.json: a.png: region 1: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_points_are_skipped_and_counted(folder: Path) -> None:
    point = {"name": "point", "cx": 1, "cy": 1}
    convert(folder, entry("a.png", region(point), region(TRIANGLE)))
    converted = convert_via(folder / "via.json", folder, class_name="thing", class_key=None)
    assert len(converted.coco["annotations"]) == 1
    assert converted.remarks == ["skipped: 1 x point"]


def test_the_only_ticked_checkbox_is_the_class(folder: Path) -> None:
    kinds = ({"red": True, "blue": False}, {"blue": True})
    coco = convert(folder, entry("a.png", *(region(TRIANGLE, kind=kind) for kind in kinds)), key="kind")
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [2, 1]
    assert class_attribute(folder / "via.json") == "kind"


@pytest.mark.parametrize(
    ("attributes", "key"),
    [
        ([{}, {}], None),
        ([{"kind": "red"}, {"kind": "blue", "note": "old"}], "kind"),
        ([{"kind": 3}, {"kind": 4}], "kind"),
        ([{"kind": "red", "track": 3}, {"kind": "blue", "track": 0.5}], "kind"),
        ([{"kind": 1}, {"kind": 2, "note": "old"}], "kind"),
        ([{"kind": "red"}, {"kind": 3}], "kind"),
        ([{"hidden": True}, {"hidden": False}], None),
        ([{"kind": ""}, {"kind": ""}], None),
        ([{"kind": "red", "note": ""}, {"kind": {"red": True}, "size": {"a": True, "b": True}}], "kind"),
    ],
)
def test_the_attribute_that_all_regions_have_is_the_class(
    folder: Path, attributes: list[dict[str, object]], key: str | None
) -> None:
    convert(folder, entry("a.png", *(region(TRIANGLE, **each) for each in attributes)))
    assert class_attribute(folder / "via.json") == key


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ([{"kind": "red"}, {}], "region 1: expected a class as text under 'kind', as in other regions, found none"),
        ([{"kind": "red", "note": "a"}] * 2, "expected one attribute with the class, found kind, note"),
        ([{"kind": "red"}, {"note": "a"}], "expected one attribute with the class, found kind, note"),
        ([{"track": 1, "kind": "red"}, {"track": 2, "kind": ""}], "region 1: expected a class as text under 'kind'"),
        (
            [{"kind": {"red": True, "blue": True}}] * 2,
            r"one ticked option under 'kind', found \{'red': True",
        ),
    ],
)
def test_a_class_attribute_that_is_not_clear(folder: Path, attributes: list[dict[str, object]], words: str) -> None:
    convert(folder, entry("a.png", *(region(TRIANGLE, **each) for each in attributes)))
    with pytest.raises(InputError, match=words):
        class_attribute(folder / "via.json")


def test_few_regions_without_a_class_are_faults_one_by_one(folder: Path) -> None:
    convert(folder, entry("a.png", *(region(TRIANGLE, **each) for each in ({"kind": "red"}, {}, {"kind": "red"}))))
    assert class_attribute(folder / "via.json") == "kind"
    with collect_faults() as faults:
        split = convert_via(folder / "via.json", folder, class_key="kind")
    assert [fault.text.partition(": region 1: ")[2][:24] for fault in faults] == ["expected the class as te"]
    assert len(split.coco["annotations"]) == 2


def test_an_attribute_without_a_class_is_told(folder: Path) -> None:
    convert(folder, entry("a.png", region(TRIANGLE, kind="")))
    (remark,) = convert_via(folder / "via.json", folder, class_key=None).remarks
    assert remark == "no region has a class under kind: all are of one class, object"
    assert convert_via(folder / "via.json", folder, class_name="hat", class_key=None).remarks == []


@pytest.mark.parametrize("attributes", [{}, {"kind": ""}, {"kind": {"red": True, "blue": True}}])
def test_a_region_without_its_class(folder: Path, attributes: dict[str, object]) -> None:
    with pytest.raises(InputError, match="region 0: expected the class as text under the attribute 'kind'"):
        convert(folder, entry("a.png", region(TRIANGLE, **attributes)), key="kind")


@pytest.mark.parametrize("document", [[], {}, {"images": []}, {"a": {"filename": "a.png"}}, 3])
def test_files_that_are_not_via(folder: Path, document: object) -> None:
    with pytest.raises(InputError, match="expected a VIA region file"):
        convert_document(folder, document)


def test_images_that_cannot_be_used(folder: Path) -> None:
    with pytest.raises(InputError, match=r"1 of 1 image files .*'c\.png'"):
        convert(folder, entry("c.png"))
    with pytest.raises(InputError, match="1 of 1 image files are not in"):
        convert(folder, entry("../x.png"))
    with pytest.raises(InputError, match=r"one entry per 'filename', found 'a\.png' twice"):
        convert(folder, entry("a.png"), entry("a.png"))
    with pytest.raises(InputError, match=r"a\.png: expected regions, found 5"):
        convert(folder, entry("a.png") | {"regions": 5})


def test_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(folder, entry("a.png", region(TRIANGLE)), entry("b.png"))
    out = folder / "new" / "coco.json"
    assert main(["data", "convert", "via", str(folder / "via.json"), "--class-name", "kite", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"2 images, 1 objects, 1 class (kite) -> {out}\nimages: {folder}\n"
    assert read_coco(out)["categories"] == [{"id": 1, "name": "kite"}]
    assert [path.name for path in out.parent.iterdir()] == ["coco.json"]
    assert main(["data", "convert", "via", str(folder / "via.json"), "--class-name", "bird", "--out", str(out)]) == 0
    assert read_coco(out)["categories"] == [{"id": 1, "name": "bird"}]
    out.write_text("[]")
    assert main(["data", "convert", "via", str(folder / "via.json"), "--out", str(out)]) == 2
    assert "holds other annotations, or changed ones" in capsys.readouterr().err


def test_command_with_unusable_input(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(folder, entry("a.png", region(TRIANGLE)))
    source = str(folder / "via.json")
    assert main(["data", "convert", "via", str(folder / "absent.json"), "--out", str(folder / "x.json")]) == 2
    assert main(["data", "convert", "via", source, "--out", str(folder / "a.png" / "x.json")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert [error.startswith("error: ") for error in errors] == [True, True]
    assert "cannot be written" in errors[1]


@pytest.mark.shared
@pytest.mark.parametrize(("part", "images", "objects"), [("train", 61, 255), ("val", 13, 50)])
def test_balloon_set(shared: Path, part: str, images: int, objects: int) -> None:
    source = shared / "data" / "balloon" / part
    coco = convert_via(source / "via_region_data.json", source, class_name="balloon", class_key=None).coco
    assert (len(coco["images"]), len(coco["annotations"])) == (images, objects)


def test_unknown_shapes_are_skipped_and_counted(folder: Path) -> None:
    (folder / "via.json").write_text(json.dumps({"x": entry("a.png", region(TRIANGLE), region({"name": "star"}))}))
    converted = convert_via(folder / "via.json", folder, class_name="thing", class_key=None)
    assert len(converted.coco["annotations"]) == 1
    assert converted.remarks == ["skipped: 1 x star"]
