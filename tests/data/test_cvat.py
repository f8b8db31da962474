"""CVAT for images to COCO: shapes, also rotated, classes, and a one-line error for every fault."""

import math
from pathlib import Path

import cv2
import hotcoco
import numpy as np
import pytest

from rtmdet.api.datasets import check_data
from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import read_coco
from rtmdet.data.formats.cvat import convert_cvat
from rtmdet.data.formats.open import find_dataset, open_dataset

BOX = '<box label="dog" xtl="10.5" ytl="20" xbr="30" ybr="40"/>'
LABELS = "<meta><task><labels><label><name>dog</name></label><label><name>cat</name></label></labels></task></meta>"


def write_cvat(folder: Path, shapes: str, *, head: str = "") -> Path:
    """Images a.png with the shapes and b.png without any, of 60 x 80 (H x W); returns the XML file."""
    (folder / "images").mkdir(parents=True)
    for name in ("a", "b"):
        cv2.imwrite(str(folder / "images" / f"{name}.png"), np.zeros((60, 80, 3), np.uint8))
    images = f'<image id="0" name="a.png" width="80" height="60">{shapes}</image>'
    images += '<image id="7" name="b.png" width="80" height="60"/>'
    (folder / "annotations.xml").write_text(f"<annotations>{head}{images}</annotations>")
    return folder / "annotations.xml"


def test_shapes(tmp_path: Path) -> None:
    polygon = '<polygon label="cat" points="1,2;21,2;11,12.5"/>'
    ellipse = '<ellipse label="dog" cx="40" cy="30" rx="10" ry="5"/>'
    mask = '<mask label="dog" rle="0, 6" left="3" top="4" width="3" height="2"/>'
    converted = convert_cvat(write_cvat(tmp_path, BOX + polygon + ellipse + mask))
    assert converted.images == tmp_path / "images"
    assert [image["file_name"] for image in converted.coco["images"]] == ["a.png", "b.png"]
    assert converted.coco["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    objects = converted.coco["annotations"]
    assert [entry["bbox"] for entry in objects] == [
        [10.5, 20, 19.5, 20], [1, 2, 20, 10.5], [30, 25, 20, 10], [3, 4, 3, 2],
    ]  # fmt: skip
    assert [entry["category_id"] for entry in objects] == [2, 1, 2, 2]
    assert objects[1]["segmentation"] == [[1, 2, 21, 2, 11, 12.5]]


def test_rotated_shapes_have_the_axis_aligned_box_around_them(tmp_path: Path) -> None:
    """Clockwise on the screen: by 30 degrees the right end of a flat shape goes down."""
    flat = '<box label="dog" xtl="20" ytl="30" xbr="60" ybr="30" rotation="30"/>'
    ellipse = '<ellipse label="dog" cx="40" cy="30" rx="20" ry="0" rotation="30"/>'
    width, height = 40 * math.cos(math.pi / 6), 20
    for entry in convert_cvat(write_cvat(tmp_path, flat + ellipse)).coco["annotations"]:
        assert entry["bbox"] == pytest.approx([40 - width / 2, 20, width, height])
        outline = np.array(entry["segmentation"]).reshape(-1, 2)
        assert outline[outline[:, 0].argmax()] == pytest.approx([40 + width / 2, 40])


def test_labels_of_the_task_give_the_order(tmp_path: Path) -> None:
    path = write_cvat(tmp_path, BOX, head=LABELS)
    assert [category["name"] for category in convert_cvat(path).coco["categories"]] == ["dog", "cat"]
    assert [category["name"] for category in convert_cvat(path, names=["cow", "dog"]).coco["categories"]] == [
        "cow",
        "dog",
    ]
    with pytest.raises(InputError, match=r"a\.png: shape 1: class 'dog' is not among \['cow'\]"):
        convert_cvat(path, names=["cow"])


def test_points_of_skeletons_are_no_classes(tmp_path: Path) -> None:
    skeleton = "<label><name>body</name><type>skeleton</type></label>"
    point = "<label><name>1</name><type>points</type><parent>body</parent></label>"
    head = LABELS.replace("</labels>", f"{skeleton}{point}</labels>")
    categories = convert_cvat(write_cvat(tmp_path, BOX, head=head)).coco["categories"]
    assert [category["name"] for category in categories] == ["dog", "cat"]


def test_what_hotcoco_writes_comes_back(tmp_path: Path) -> None:
    """Files of an independent writer."""
    shapes = BOX + '<polygon label="cat" points="1,2;21,2;11,12.5"/>'
    first = convert_cvat(write_cvat(tmp_path, shapes, head=LABELS))
    write_json(tmp_path / "first.json", first.coco)
    hotcoco.COCO(str(tmp_path / "first.json")).to_cvat(str(tmp_path / "again.xml"))
    assert convert_cvat(tmp_path / "again.xml").coco == first.coco


def test_other_shapes_are_skipped_and_counted(tmp_path: Path) -> None:
    more = (
        '<polyline label="dog" points="1,1;2,2"/><points label="dog" points="1,1"/><points label="dog" points="3,3"/>'
    )
    converted = convert_cvat(write_cvat(tmp_path, more + BOX + '<tag label="night"/>'))
    assert len(converted.coco["annotations"]) == 1
    assert converted.remarks == ["skipped: 1 x polyline", "skipped: 2 x points"]


def test_equal_remarks_on_several_splits_are_all_kept(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_cvat(tmp_path / split, '<skeleton label="dog"/>' + BOX)
    expected = ["train: skipped: 1 x skeleton", "val: skipped: 1 x skeleton"]
    assert [remark for remark in check_data(tmp_path).remarks if "skipped" in remark] == expected
    assert open_dataset(tmp_path).split_remarks == expected
    assert find_dataset(tmp_path).read("val").split_remarks == ["skipped: 1 x skeleton"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('xtl="10.5"', "", r"annotations\.xml: a\.png: shape 1: expected a finite number.* under 'xtl', found None"),
        ('xtl="10.5"', 'xtl="nan"', "under 'xtl', found 'nan'"),
        ('xtl="10.5"', 'xtl="31"', "expected xtl <= xbr and ytl <= ybr, found 31, 20, 30, 40"),
        ('ybr="40"', 'ybr="40" rotation="much"', "under 'rotation', found 'much'"),
        ('label="dog"', "", "shape 1: expected a class under 'label', found none"),
        (BOX, '<polygon label="dog" points="1,2;3,4"/>', "expected 'points' x,y;x,y;... of 3 or more"),
        (BOX, '<polygon label="dog" points="1,2;3,4;5"/>', "expected 'points' x,y;x,y;... of 3 or more"),
        (BOX, '<polygon label="dog" points="1,2;3,4;5,nan"/>', "expected 'points' x,y;x,y;... of 3 or more"),
        (
            BOX,
            '<ellipse label="dog" cx="9" cy="9" rx="-1" ry="1"/>',
            "not negative for a size, under 'rx', found '-1'",
        ),
        (BOX, '<box label="dog" xtl="80" ytl="1" xbr="90" ybr="9"/>', "shape 1: the box .* lies outside its image"),
        ('width="80"', 'width="81"', r"a\.png: expected 81 x 60 pixels \(.*\.xml\), found 80 x 60"),
        ('width="80"', "", r"annotations\.xml: a\.png: expected a finite number.* under 'width'"),
        ('name="a.png"', 'name=""', "image 0: expected a file name under 'name'"),
        ('name="a.png"', 'name="c.png"', r"1 of 2 image files are not in .*\('c\.png'\)"),
        ('name="a.png"', 'name="../x.png"', "image files are not in"),
        ("<annotations>", "<!DOCTYPE a><annotations>", "expected XML without a DOCTYPE"),
        ("</annotations>", "", r"not XML at line 1, column \d+"),
        ("annotations>", "a>", "expected <annotations> with <image> entries, found <a> with 2"),
        ("image", "track", "expected <annotations> with <image> entries, found <annotations> with 0"),
    ],
)
def test_faults(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = write_cvat(tmp_path, BOX)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError, match=words) as caught:
        convert_cvat(path)
    assert "\n" not in str(caught.value)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = write_cvat(tmp_path, BOX), tmp_path / "all.json"
    assert main(["data", "convert", "cvat", str(path), "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == f"2 images, 1 objects, 1 class (dog) -> {out}"
    assert len(read_coco(out)["annotations"]) == 1
    assert main(["data", "convert", "cvat", str(tmp_path / "none.xml"), "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
