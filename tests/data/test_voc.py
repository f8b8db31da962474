"""Pascal VOC folders to COCO: layouts, geometry, classes, parser safety, and a one-line error for every fault."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import hotcoco
import numpy as np
import pytest

import rtmdet
from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import read_coco
from rtmdet.data.formats.voc import convert_voc

SIZE = "<size><width>80</width><height>60</height><depth>3</depth></size>"


def voc_object(name: str = "dog", box: Sequence[object] = (11, 21, 30, 40), extra: str = "") -> str:
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


def write_voc(folder: Path, contents: dict[str, str]) -> Path:
    """The standard layout with images of 60 x 80 (H x W) and an XML file around each content."""
    (folder / "Annotations").mkdir(parents=True)
    (folder / "JPEGImages").mkdir()
    for name, content in contents.items():
        (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{content}</annotation>")
        cv2.imwrite(str(folder / "JPEGImages" / f"{name}.png"), np.zeros((60, 80, 3), np.uint8))
    return folder


def test_a_list_may_have_suffixes_and_marks_of_classes(tmp_path: Path) -> None:
    write_voc(tmp_path, {name: voc_object() for name in ("a", "b", "c 1")})
    write_list(tmp_path, "train", "a.jpg\nb -1\nc 1\n")
    assert len(convert_voc(tmp_path, split="train").coco["images"]) == 3


def test_a_doctype_is_named(tmp_path: Path) -> None:
    folder = write_voc(tmp_path, {"a": voc_object()})
    text = (folder / "Annotations" / "a.xml").read_text()
    (folder / "Annotations" / "a.xml").write_text(f"<!DOCTYPE annotation>{text}")
    with pytest.raises(InputError, match="found one; label files do not need it, remove it"):
        convert_voc(folder)


def write_list(folder: Path, split: str, text: str) -> None:
    (folder / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text(text)


def test_pixels_count_from_1_and_the_last_one_is_inside(tmp_path: Path) -> None:
    whole, one = voc_object("sky", (1, 1, 80, 60)), voc_object("dot", (80, 60, 80, 60))
    converted = convert_voc(write_voc(tmp_path, {"a": SIZE + whole + one, "b": SIZE}))
    assert converted.images == tmp_path / "JPEGImages"
    assert converted.coco["images"] == [
        {"id": 1, "file_name": "a.png", "width": 80, "height": 60},
        {"id": 2, "file_name": "b.png", "width": 80, "height": 60},
    ]
    assert converted.coco["categories"] == [{"id": 1, "name": "dot"}, {"id": 2, "name": "sky"}]
    sky = {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 80, 60], "area": 4800, "iscrowd": 0}
    dot = {"id": 2, "image_id": 1, "category_id": 1, "bbox": [79, 59, 1, 1], "area": 1, "iscrowd": 0}
    assert converted.coco["annotations"] == [sky, dot]


def test_what_hotcoco_writes_comes_back(tmp_path: Path) -> None:
    """An independent writer with the same pixel convention."""
    first = convert_voc(write_voc(tmp_path, {"a": voc_object() + voc_object("cat", (1, 2, 80, 60)), "b": ""}))
    write_json(tmp_path / "first.json", first.coco)
    hotcoco.COCO(str(tmp_path / "first.json")).to_voc(str(tmp_path / "again"))
    assert convert_voc(tmp_path / "again", tmp_path / "JPEGImages").coco == first.coco


def test_boxes_are_clipped_and_may_be_floats(tmp_path: Path) -> None:
    """Tools that count from 0 write 0 for the first pixel."""
    converted = convert_voc(write_voc(tmp_path, {"a": voc_object(box=(0, 0.5, 80.5, 30.25))}))
    assert converted.coco["annotations"][0]["bbox"] == [0, 0, 80, 30.25]


def test_difficult_objects_become_crowd_regions(tmp_path: Path) -> None:
    plain, difficult = (voc_object(extra=f"<difficult>{value}</difficult>") for value in (0, 1))
    converted = convert_voc(write_voc(tmp_path, {"a": plain + difficult}))
    assert [annotation["iscrowd"] for annotation in converted.coco["annotations"]] == [0, 1]
    assert converted.remarks == ["difficult objects: 1, treated as crowd regions (not used for training)"]


def test_parts_of_an_object_are_ignored(tmp_path: Path) -> None:
    part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part>"
    converted = convert_voc(write_voc(tmp_path, {"a": voc_object(extra=part)}))
    assert [category["name"] for category in converted.coco["categories"]] == ["dog"]
    assert converted.coco["annotations"][0]["bbox"] == [10, 20, 20, 20]


def test_splits_have_their_images_and_all_classes(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object("dog"), "b": voc_object("cat"), "c": ""})
    write_list(tmp_path, "train", "c\nb\n\nb\n")
    write_list(tmp_path, "val", "a\n")
    train = convert_voc(tmp_path, split="train").coco
    assert [image["file_name"] for image in train["images"]] == ["c.png", "b.png"]
    assert [annotation["category_id"] for annotation in train["annotations"]] == [1]
    val = convert_voc(tmp_path / "Annotations", split="val").coco
    assert val["categories"] == train["categories"] == [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    assert [annotation["category_id"] for annotation in val["annotations"]] == [2]
    assert convert_voc(tmp_path, split="valid").coco == val


def test_names_give_the_order(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object("dog"), "b": voc_object("cat")})
    coco = convert_voc(tmp_path, names=["dog", "cow", "cat"]).coco
    assert [category["name"] for category in coco["categories"]] == ["dog", "cow", "cat"]
    assert [annotation["category_id"] for annotation in coco["annotations"]] == [1, 3]
    with pytest.raises(InputError, match=r"a\.xml: object 1: class 'dog' is not among \['cat'\]"):
        convert_voc(tmp_path, names=["cat"])


@pytest.mark.parametrize("layout", ["beside", "lower case", "folders below"])
def test_layouts(tmp_path: Path, layout: str) -> None:
    write_voc(tmp_path / "set", {"a": voc_object()})
    folder = tmp_path / "set"
    if layout == "beside":
        (folder / "JPEGImages" / "a.png").rename(folder / "Annotations" / "a.png")
        (folder / "JPEGImages").rmdir()
    elif layout == "lower case":
        folder = (folder / "Annotations").rename(folder / "annotations")
        (folder.parent / "JPEGImages").rename(folder.parent / "images")
    else:
        for part, name in (("Annotations", "a.xml"), ("JPEGImages", "a.png")):
            (folder / part / "deep").mkdir()
            (folder / part / name).rename(folder / part / "deep" / name)
    name = "deep/a.png" if layout == "folders below" else "a.png"
    assert convert_voc(folder).coco["images"] == [{"id": 1, "file_name": name, "width": 80, "height": 60}]


def test_an_image_has_the_name_of_its_xml_file_else_the_one_inside(tmp_path: Path) -> None:
    """Images are often renamed together with their XML file, which keeps the old name inside."""
    write_voc(tmp_path, {"a": voc_object() + "<filename>old.png</filename>", "b": "<filename>c.png</filename>"})
    (tmp_path / "JPEGImages" / "b.png").rename(tmp_path / "JPEGImages" / "c.png")
    assert [image["file_name"] for image in convert_voc(tmp_path).coco["images"]] == ["a.png", "c.png"]


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "C:\\a.png", "..\\a.png", ".", "/"])
def test_paths_out_of_the_folder_are_rejected(tmp_path: Path, name: str) -> None:
    write_voc(tmp_path, {"a": f"{voc_object()}<filename>{name}</filename>"})
    (tmp_path / "JPEGImages" / "a.png").rename(tmp_path / "a.png")
    (tmp_path / "JPEGImages" / "b.png").touch()
    with pytest.raises(InputError, match="1 of 1 image files are not in"):
        convert_voc(tmp_path)


def test_entities_are_neither_expanded_nor_fetched(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object()})
    (tmp_path / "secret").write_text("secret")
    declared = f'<!DOCTYPE a [<!ENTITY name SYSTEM "{(tmp_path / "secret").as_uri()}">]>'
    (tmp_path / "Annotations" / "a.xml").write_text(f"{declared}<annotation>{voc_object('&name;')}</annotation>")
    with pytest.raises(InputError, match=r"a\.xml: expected XML without a DOCTYPE"):
        convert_voc(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("<object>", r"a\.xml: not XML at line 1, column \d+ \(mismatched tag\)"),
        ("&name;", r"a\.xml: not XML at line 1, column \d+ \(undefined entity\)"),
        (voc_object(name=" "), "a.xml: object 1: expected a class under <name>"),
        (voc_object() + "<object><name>dog</name></object>", "a.xml: object 2: expected a <bndbox>, found none"),
        (voc_object(box=(1, "nan", 2, 3)), "object 1: expected a finite number for <ymin>, found 'nan'"),
        (voc_object(box=(1, 1, "inf", 3)), "expected a finite number for <xmax>, found 'inf'"),
        (voc_object(box=(1, 1, "", 3)), "expected a finite number for <xmax>, found ''"),
        (voc_object(box=(30, 1, 20, 9)), "expected xmin <= xmax and ymin <= ymax, found 30, 1, 20, 9"),
        (voc_object(box=(90, 1, 99, 9)), "object 1: the box 89, 0, 99, 9 .* lies outside its image of 80 x 60"),
        (SIZE.replace("80", "81"), r"a\.png: expected 81 x 60 pixels \(.*a\.xml\), found 80 x 60"),
        (SIZE.replace("80", "wide"), "a.xml: <size>: expected a finite number for <width>, found 'wide'"),
    ],
)
def test_faults_of_a_file(tmp_path: Path, content: str, words: str) -> None:
    write_voc(tmp_path, {"a": content, "b": voc_object()})
    with pytest.raises(InputError, match=words) as caught:
        convert_voc(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_size_of_0_is_ignored(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object() + "<size><width>0</width><height>0</height></size>"})
    assert len(convert_voc(tmp_path).coco["annotations"]) == 1


@pytest.mark.parametrize("data", [b"", b"\x00\x01", b'<?xml version="1.0" encoding="gbk"?><annotation/>'])
def test_files_that_are_not_xml(tmp_path: Path, data: bytes) -> None:
    write_voc(tmp_path, {"a": voc_object()})
    (tmp_path / "Annotations" / "a.xml").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.xml: (not XML|expected XML in UTF-8)"):
        convert_voc(tmp_path)


def test_other_xml_files_are_skipped_and_reported(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object()})
    (tmp_path / "Annotations" / "catalog.xml").write_text("<catalog/>")
    converted = convert_voc(tmp_path)
    assert len(converted.coco["images"]) == 1
    assert converted.remarks == ["skipped: 1 x XML file of another kind"]


def test_faults_of_the_folder(tmp_path: Path) -> None:
    file = write_voc(tmp_path / "one", {"a": voc_object()}) / "Annotations" / "a.xml"
    with pytest.raises(InputError, match=r"a\.xml: expected a folder of VOC's XML files, found one file; give its"):
        convert_voc(file)
    with pytest.raises(InputError, match="none: no such folder"):
        convert_voc(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected VOC label files \(<annotation> in \*\.xml\), found none"):
        convert_voc(tmp_path / "empty")
    write_voc(tmp_path, {"a": SIZE})
    empty = convert_voc(tmp_path).coco
    assert (len(empty["images"]), empty["categories"]) == (1, []), "photos without objects, to be merged with others"
    with pytest.raises(InputError, match="expected objects, found none on 1 images: join them with labeled ones"):
        rtmdet.convert_data(tmp_path, tmp_path / "out.json", format="voc")
    (tmp_path / "JPEGImages" / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.xml: expected an image of the same name, or its name inside"):
        convert_voc(tmp_path)
    (tmp_path / "Annotations" / "a.xml").write_text(
        f"<annotation><filename>a.jpg</filename>{voc_object()}</annotation>"
    )
    with pytest.raises(InputError, match=r"1 of 1 image files are not in .*JPEGImages \('a\.jpg'\)"):
        convert_voc(tmp_path)


def test_faults_of_a_list(tmp_path: Path) -> None:
    write_voc(tmp_path, {"a": voc_object()})
    write_list(tmp_path, "train", "a\nb\n")
    write_list(tmp_path, "empty", "\n")
    with pytest.raises(InputError, match=r"expected the image list .*val\.txt, found empty, train;"):
        convert_voc(tmp_path, split="val")
    with pytest.raises(InputError, match=r"train\.txt: 1 images have no XML file in .*Annotations, 'b' first"):
        convert_voc(tmp_path, split="train")
    with pytest.raises(InputError, match=r"empty\.txt: expected one image name per line"):
        convert_voc(tmp_path, split="empty")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voc(tmp_path, {"a": voc_object(extra="<difficult>1</difficult>"), "b": voc_object("cat")})
    out = tmp_path / "all.json"
    assert main(["data", "convert", "voc", str(tmp_path), "--classes", "dog, cat", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"2 images, 2 objects, 2 classes (dog, cat) -> {out}",
        "difficult objects: 1, treated as crowd regions (not used for training)",
        f"images: {tmp_path / 'JPEGImages'}",
    ]
    assert [annotation["iscrowd"] for annotation in read_coco(out)["annotations"]] == [1, 0]
    assert main(["data", "convert", "voc", str(tmp_path), "--split", "val", "--out", str(out)]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_rotated_boxes_give_their_axis_aligned_box(tmp_path: Path) -> None:
    """roLabelImg's boxes have center, size and angle; a quarter turn swaps the sides."""
    numbers = {"cx": 40, "cy": 30, "w": 20, "h": 10, "angle": np.pi / 2}
    box = "".join(f"<{key}>{value}</{key}>" for key, value in numbers.items())
    content = f"<object><name>dog</name><robndbox>{box}</robndbox></object>"
    (found,) = convert_voc(write_voc(tmp_path / "set", {"a": content})).coco["annotations"]
    assert found["bbox"] == pytest.approx([35, 20, 10, 20])
    assert found["segmentation"] == [pytest.approx([45, 20, 45, 40, 35, 40, 35, 20])]
    slanted = content.replace(str(np.pi / 2), str(np.pi / 4))
    (found,) = convert_voc(write_voc(tmp_path / "slanted", {"a": slanted})).coco["annotations"]
    side = 30 / np.sqrt(2)
    assert found["bbox"] == pytest.approx([40 - side / 2, 30 - side / 2, side, side])
    with pytest.raises(InputError, match=r"object 1: expected <w> and <h> of at least 0, found 20, -1"):
        convert_voc(write_voc(tmp_path / "wrong", {"a": content.replace("<h>10<", "<h>-1<")}))


def test_a_listed_file_of_another_kind_is_not_a_label_file(tmp_path: Path) -> None:
    folder = write_voc(tmp_path / "set", {"a": voc_object(), "b": voc_object()})
    (folder / "Annotations" / "b.xml").write_text("<project/>")
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    with pytest.raises(InputError, match=r"train\.txt: 1 images have no XML file in .*'b' first"):
        convert_voc(folder, split="train")
