"""YOLO data sets to COCO: layouts, geometry, classes, and a one-line error for every fault."""

from pathlib import Path

import cv2
import hotcoco
import numpy as np
import pytest
import yaml

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import read_coco
from rtmdet.data.formats.faults import collect_faults
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.formats.yolo import convert_yolo

NAMES = ["dog", "cat", "cow"]


def write_data(
    folder: Path,
    *,
    labels: dict[str, str],
    images: str = "images/train",
    description: dict[str, object] | None = None,
) -> Path:
    """Images a.png and b.png of 60 x 80 (H x W) with label files; returns data.yaml."""
    (folder / images).mkdir(parents=True, exist_ok=True)
    texts = folder / images.replace("images", "labels")
    texts.mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        cv2.imwrite(str(folder / images / f"{name}.png"), np.zeros((60, 80, 3), np.uint8))
    for name, text in labels.items():
        (texts / f"{name}.txt").parent.mkdir(parents=True, exist_ok=True)
        (texts / f"{name}.txt").write_text(text)
    (folder / "data.yaml").write_text(yaml.safe_dump(description or {"train": images, "names": NAMES}))
    return folder / "data.yaml"


def test_boxes_and_polygons_in_pixels(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"b": "2 0.5 0.5 0.25 0.5\n\n0 0.1 0.2 0.3 0.2 0.2 0.6\n"})
    split = convert_yolo(path, "train")
    assert split.images == tmp_path / "images" / "train"
    assert split.coco["images"] == [
        {"id": 1, "file_name": "a.png", "width": 80, "height": 60},
        {"id": 2, "file_name": "b.png", "width": 80, "height": 60},
    ]
    assert split.coco["categories"] == [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    box, polygon = split.coco["annotations"]
    assert (box["id"], box["image_id"], box["category_id"]) == (1, 2, 2)
    assert box["bbox"] == pytest.approx([30, 15, 20, 30])
    assert box["area"] == pytest.approx(600)
    assert (polygon["id"], polygon["image_id"], polygon["category_id"]) == (2, 2, 0)
    assert polygon["bbox"] == pytest.approx([8, 12, 16, 24])
    assert polygon["segmentation"] == [pytest.approx([8, 12, 24, 12, 16, 36])]


def test_a_box_beyond_the_edge_is_clipped(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"a": "0 0.05 0.5 0.2 1.0\n"})
    (annotation,) = convert_yolo(path, "train").coco["annotations"]
    assert annotation["bbox"] == pytest.approx([0, 0, 12, 60])


def test_what_hotcoco_writes_comes_back(tmp_path: Path) -> None:
    """An independent writer: the same boxes to its precision."""
    path = write_data(tmp_path, labels={"a": "1 0.25 0.5 0.5 1\n", "b": "0 0.6 0.6 0.1 0.3\n2 0.3 0.2 0.2 0.2\n"})
    first = convert_yolo(path, "train").coco
    write_json(tmp_path / "first.json", first)
    hotcoco.COCO(str(tmp_path / "first.json")).to_yolo(str(tmp_path / "labels" / "train"))
    second = convert_yolo(path, "train").coco
    assert [entry["category_id"] for entry in second["annotations"]] == [1, 0, 2]
    for a, b in zip(first["annotations"], second["annotations"], strict=True):
        assert a["bbox"] == pytest.approx(b["bbox"], abs=1e-3)
        assert (a["image_id"], a["category_id"]) == (b["image_id"], b["category_id"])


@pytest.mark.parametrize(
    ("images", "description"),
    [
        ("images/train", {"train": "images/train"}),
        ("images/train", {"train": ["images/train"]}),
        ("set/images", {"path": "set", "train": "images"}),
        ("train/images", {"train": "../train/images"}),
        ("images/deep/train", {"train": "images"}),
        ("train/images", {"train": "/content/pets/train/images", "test": "/content/pets/test/images"}),
    ],
    ids=["plain", "list of one", "with a root", "one level too high", "folders below", "of another machine"],
)
def test_layouts(tmp_path: Path, images: str, description: dict[str, object]) -> None:
    path = write_data(
        tmp_path, labels={"a": "0 0.5 0.5 0.5 0.5\n"}, images=images, description=description | {"names": NAMES}
    )
    coco = convert_yolo(path.parent, "train").coco
    assert len(coco["images"]) == 2
    assert len(coco["annotations"]) == 1


def test_several_folders_and_lists_of_images(tmp_path: Path) -> None:
    write_data(tmp_path, labels={"a": "0 0.5 0.5 0.5 0.5\n"}, images="one/images")
    path = write_data(tmp_path, labels={"b": "1 0.5 0.5 0.5 0.5\n"}, images="two/images")
    (tmp_path / "train.txt").write_text(
        f"./two/images/b.png\n\n{tmp_path}/one/images/a.png\ndata\\one\\images\\b.png\n"
    )
    for train, names in (
        (
            ["one/images", "two/images"],
            ["one/images/a.png", "one/images/b.png", "two/images/a.png", "two/images/b.png"],
        ),
        ("train.txt", ["one/images/a.png", "one/images/b.png", "two/images/b.png"]),
    ):
        path.write_text(yaml.safe_dump({"train": train, "names": NAMES}))
        split = convert_yolo(path, "train")
        assert split.images == tmp_path
        assert [image["file_name"] for image in split.coco["images"]] == names
        assert [entry["category_id"] for entry in split.coco["annotations"]] == [0, 1]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("images/train/x.png", "expected 'images/train/x.png' in .*correct or remove the line"),
        ("../a.png", "expected '../a.png' in"),
        ("/etc/x.png", "expected '/etc/x.png' in"),
    ],
)
def test_lists_of_images_stay_in_the_data_set(tmp_path: Path, line: str, words: str) -> None:
    path = write_data(tmp_path, labels={}, description={"train": "train.txt", "names": NAMES})
    (tmp_path / "train.txt").write_text(f"images/train/a.png\n{line}\n")
    with pytest.raises(InputError, match=rf"train\.txt: {words}"):
        convert_yolo(path, "train")


NAME_LISTS = {  # where tools write the class names; image folders, with labels in the usual place
    "Label Studio": ("classes.txt", {"train": "images"}),
    "LabelImg": ("classes.txt", {"train": "."}),
    "LabelImg, labels apart": ("labels/classes.txt", {"train": "images"}),
    "CVAT": ("obj.names", {"train": "obj_train_data", "val": "obj_valid_data"}),
    "Roboflow's Darknet": ("train/_darknet.labels", {"train": "train", "val": "valid"}),
    "folders alone": ("classes.txt", {"train": "images/train", "val": "images/val"}),
}


@pytest.mark.parametrize(("file", "folders"), NAME_LISTS.values(), ids=NAME_LISTS)
def test_a_list_of_names_instead_of_a_data_yaml(tmp_path: Path, file: str, folders: dict[str, str]) -> None:
    for number, folder in enumerate(folders.values()):
        write_data(tmp_path, labels={"a": f"{number} 0.5 0.5 0.5 0.5\n"}, images=folder)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("dog\ncat\ncow\n\n")
    source = open_dataset(tmp_path)
    assert (source.format, list(source.splits)) == ("YOLO", list(folders))
    for number, (split, folder) in enumerate(folders.items()):
        coco = source.splits[split].coco
        assert [image["file_name"] for image in coco["images"]] == ["a.png", "b.png"]
        assert source.splits[split].images == tmp_path / folder
        assert [entry["category_id"] for entry in coco["annotations"]] == [number]
        assert [category["name"] for category in coco["categories"]] == NAMES


@pytest.mark.parametrize("given", ["", "data/obj.data"])
def test_lists_of_images_beside_the_names_are_the_splits(tmp_path: Path, given: str) -> None:
    """The layout of Darknet; train.txt would be the label file of a photo of that name, too."""
    write_data(tmp_path / "data", labels={"a": "1 0.5 0.5 0.5 0.5\n", "b": "0 0.5 0.5 0.5 0.5\n"}, images="obj")
    (tmp_path / "data" / "data.yaml").unlink()
    texts = {"obj.names": "dog\ncat\n", "train.txt": "data/obj/a.png\n", "Validation.txt": "data/obj/b.png\n"}
    for name, text in (texts | {"obj.data": "classes = 2\n", "test.txt": "0 0.5 0.5 0.5 0.5\n"}).items():
        (tmp_path / "data" / name).write_text(text)
    found = open_dataset(tmp_path / given)
    names = {name: [image["file_name"] for image in split.coco["images"]] for name, split in found.splits.items()}
    assert (names, found.unread) == ({"train": ["a.png"], "val": ["b.png"]}, [])


def test_what_lists_of_images_leave_out_is_named_or_found_by_folders(tmp_path: Path) -> None:
    objects = dict.fromkeys("ab", "0 0.5 0.5 0.5 0.5\n")
    write_data(tmp_path, labels=objects, images="obj")
    write_data(tmp_path, labels=objects, images="valid")
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "obj.names").write_text("dog\ncat\n")
    (tmp_path / "train.txt").write_text("obj/a.png\n")
    found = open_dataset(tmp_path)
    assert {name: len(split.coco["images"]) for name, split in found.splits.items()} == {"train": 1, "val": 2}
    assert f"{tmp_path}: 1 images in no list, such as obj/b.png: not used" in found.remarks
    (tmp_path / "train.txt").write_text("obj/a.png\nobj/c.png\n")
    found = open_dataset(tmp_path)
    assert {name: len(split.coco["images"]) for name, split in found.splits.items()} == {"train": 2, "val": 2}
    assert any(text.startswith("lists of images are not used: ") for text in found.remarks)


def test_names_in_a_data_yaml_are_taken_as_written(tmp_path: Path) -> None:
    """YAML would take no for False, 12:30 for 750, 2.50 for 2.5 and 010 for 8."""
    path = write_data(tmp_path, labels={"a": "3 0.5 0.5 0.2 0.2"}, description={})
    path.write_text("names: [no, 12:30, 2.50, 010, ' rim ']\ntrain: images/train\nnc: 5\n")
    names = [category["name"] for category in convert_yolo(path, "train").coco["categories"]]
    assert names == ["no", "12:30", "2.50", "010", "rim"]


def test_an_empty_line_among_names_is_a_fault(tmp_path: Path) -> None:
    write_data(tmp_path, labels={"a": "1 0.5 0.5 0.2 0.2"}, description={})
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "classes.txt").write_text("cat\n\ndog\n\n")
    with pytest.raises(InputError, match=r"classes.txt: expected a class name in line 2, found none; name the class"):
        convert_yolo(tmp_path, "train")
    (tmp_path / "classes.txt").write_text("cat\ndog\n\n")
    assert len(convert_yolo(tmp_path, "train").coco["categories"]) == 2


def test_lists_of_names_that_differ_are_rejected(tmp_path: Path) -> None:
    for folder in ("train", "valid"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "_darknet.labels").write_text(f"dog\n{folder}\n")
    with pytest.raises(InputError, match=r"valid/_darknet\.labels: expected the class names of .*train/_darknet"):
        open_dataset(tmp_path)


def test_labels_beside_images_below_a_folder_called_images(tmp_path: Path) -> None:
    write_data(tmp_path / "images" / "pets", labels={"a": "0 0.5 0.5 0.5 0.5\n"}, images="photos")
    assert len(convert_yolo(tmp_path / "images" / "pets", "train").coco["annotations"]) == 1


def test_links_to_images_keep_the_labels_of_the_data_set(tmp_path: Path) -> None:
    path = write_data(tmp_path / "set", labels={"a": "0 0.5 0.5 0.5 0.5\n"})
    (tmp_path / "set" / "images" / "train").rename(tmp_path / "elsewhere")
    (tmp_path / "set" / "images" / "train").symlink_to(tmp_path / "elsewhere")
    assert len(convert_yolo(path, "train").coco["annotations"]) == 1


def test_labels_in_another_place_are_missing(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"c": "0 0.5 0.5 0.5 0.5\n"})
    with pytest.raises(
        InputError, match=r"expected label files such as .*labels.train.a\.txt, found none for 2 images"
    ):
        convert_yolo(path, "train")


def test_boxes_before_keypoints(tmp_path: Path) -> None:
    description = {"train": "images/train", "names": NAMES, "kpt_shape": [2, 2]}
    path = write_data(tmp_path, labels={"a": "1 0.5 0.5 0.25 0.5 0.1 0.1 0.9 0.9\n"}, description=description)
    (annotation,) = convert_yolo(path, "train").coco["annotations"]
    assert annotation["bbox"] == pytest.approx([30, 15, 20, 30])


@pytest.mark.parametrize("count", [2, "2"])
def test_val_may_be_called_valid_and_names_may_be_numbered(tmp_path: Path, count: object) -> None:
    description = {"valid": "images/train", "names": {3: "cat", 1: "dog"}, "nc": count}
    path = write_data(tmp_path, labels={"a": "3 0.5 0.5 0.5 0.5\n"}, description=description)
    coco = convert_yolo(path, "val").coco
    assert coco["categories"] == [{"id": 1, "name": "dog"}, {"id": 3, "name": "cat"}]
    assert coco["annotations"][0]["category_id"] == 3


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("0 0.5 0.5 0.5", "a.txt: line 2: expected a class and 4 numbers, or a polygon"),
        ("0 0.5 0.5 0.5 0.5 0.9", "expected a class and 4 numbers, or a polygon"),
        ("dog 0.5 0.5 0.5 0.5", "expected a class and 4 numbers, or a polygon"),
        ("3 0.5 0.5 0.5 0.5", r"class 3 is not in 'names' \(it has \[0, 1, 2\]\)"),
        ("1.5 0.5 0.5 0.5 0.5", "class 1.5 is not in 'names'"),
        ("0 40 30 20 20", "found '0 40 30 20 20'; are they pixels"),
        ("0 0.5 0.5 nan 0.5", "within 0 .. 1"),
        ("0 0.5 0.5 -0.2 0.2", "within 0 .. 1"),
    ],
)
def test_faults_of_a_label(tmp_path: Path, line: str, words: str) -> None:
    path = write_data(tmp_path, labels={"a": f"0 0.5 0.5 0.5 0.5\n{line}\n"})
    with pytest.raises(InputError, match=words):
        convert_yolo(path, "train")


@pytest.mark.parametrize(
    ("names", "numbers", "words"),
    [
        (NAMES, (1, 3), "1 .. 3, but the classes are numbered 0 .. 2: subtract 1 from"),
        (["dog"], (1, 1), "1 .. 1, but the classes are numbered 0 .. 0: subtract 1 from"),
        ({1: "dog", 2: "cat"}, (0, 1), "0 .. 1, but the classes are numbered 1 .. 2: add 1 to"),
    ],
)
def test_class_numbers_from_another_start_are_one_fault(
    tmp_path: Path, names: object, numbers: tuple[int, int], words: str
) -> None:
    labels = {name: f"{number} 0.5 0.5 0.5 0.5\n" for name, number in zip("ab", numbers, strict=True)}
    path = write_data(tmp_path, labels=labels, description={"train": "images/train", "names": names})
    with pytest.raises(InputError, match=f"data.yaml: class ids run {words} the class ids of all objects$"):
        convert_yolo(path, "train")
    with collect_faults() as faults:
        split = convert_yolo(path, "train")
    assert len(faults) == 1
    found = {one["id"]: one["name"] for one in split.coco["categories"]}
    assert found[split.coco["annotations"][0]["category_id"]] == "dog"


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ({"train": "images/train"}, "expected class names under 'names', found None"),
        ({"train": "images/train", "names": []}, "expected class names"),
        ({"train": "images/train", "names": NAMES, "nc": 4}, "as many names as 'nc' says, found nc: 4 and 3 names"),
        ({"train": "images/train", "names": NAMES, "nc": "three"}, "found nc: 'three' and 3 names"),
        ({"train": "images/train", "names": {"a": "dog"}}, "expected class names"),
        ({"train": "images/train", "names": ["dog", "dog"]}, "expected different class names"),
        ({"val": "images/train", "names": NAMES}, r"images under 'train', found none \(it has val\)"),
        ({"train": "images/train", "names": ["dog", ""]}, "expected different class names"),
        ({"train": "images/train", "names": ["dog", "bal\nloon"]}, "class names of one line each, found .*bal"),
        (
            {"train": "images/train", "names": ["on", ["a"]]},
            r"expected text under 'names', found \['a'\]; put it in quo",
        ),
        ({"train": "images/other", "names": NAMES}, "the folder of 'train', images/other, does not exist"),
        ({"train": "labels/train", "names": NAMES}, "expected images .*, found none"),
    ],
)
def test_faults_of_the_data_yaml(tmp_path: Path, description: dict[str, object], words: str) -> None:
    path = write_data(tmp_path, labels={}, description=description)
    with pytest.raises(InputError, match=words):
        convert_yolo(path, "train")


@pytest.mark.parametrize("text", ["names: [a", "- a\n", "", "names: !!python/object/apply:os.getcwd []"])
def test_files_that_are_not_a_data_yaml(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(InputError, match=r"data\.yaml: (not YAML|expected a YOLO data.yaml)"):
        convert_yolo(tmp_path, "train")


def test_a_label_file_that_is_not_text(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"b": ""})
    (tmp_path / "labels" / "train" / "a.txt").write_bytes(b"\x80 0.5")
    with pytest.raises(InputError, match=r"a\.txt: expected a label file in UTF-8, found another encoding: save"):
        convert_yolo(path, "train")


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_data(tmp_path, labels={"a": "0 0.5 0.5 0.5 0.5\n"})
    out = tmp_path / "train.json"
    assert main(["data", "convert", "yolo", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"2 images, 1 objects, 3 classes (dog, cat, cow) -> {out}"
    assert said[1] == f"images: {(tmp_path / 'images' / 'train').resolve()}"
    assert len(read_coco(out)["annotations"]) == 1
    assert main(["data", "convert", "yolo", str(path), "--split", "val", "--out", str(out)]) == 2
    (tmp_path / "images" / "val").mkdir()
    path.write_text(path.read_text() + "val: images/val\ntest: images/gone\n")
    assert main(["data", "convert", "yolo", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{path}: has the splits train, which is converted, and val: see --split"


def test_label_files_are_found_in_any_letter_case(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"A": "0 0.5 0.5 0.25 0.5\n", "b": "2 0.5 0.5 0.25 0.5\n"})
    labels = tmp_path / "labels" / "train"
    (labels / "b.txt").rename(labels / "b.TXT")
    (tmp_path / "labels").rename(tmp_path / "Labels")
    (tmp_path / "images").rename(tmp_path / "Images")
    split = convert_yolo(path, "train")
    assert [entry["category_id"] for entry in split.coco["annotations"]] == [0, 2]
    assert split.remarks == []


def test_images_do_not_share_a_label_file(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"a": "1 0.5 0.5 0.5 0.5\n"})
    images = tmp_path / "images" / "train"
    (images / "b.png").rename(images / "A.png")
    coco = convert_yolo(path, "train").coco
    owners = {image["id"]: image["file_name"] for image in coco["images"]}
    assert [owners[entry["image_id"]] for entry in coco["annotations"]] == ["a.png"]
    (images / "A.png").rename(images / "a.jpg")
    with pytest.raises(InputError, match=r"images .*a\.jpg and .*a\.png share the label file .*a\.txt; rename one"):
        convert_yolo(path, "train")


def test_label_files_without_an_image_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = "0 0.5 0.5 0.25 0.5\n"
    path = write_data(tmp_path, labels={"a": line, "lost": line, "gone": line, "empty": "", "classes": "dog\ncat\n"})
    (remark,) = convert_yolo(path, "train").remarks
    lost = tmp_path / "labels" / "train" / "gone.txt"
    assert remark == f"2 label files have no image, such as {lost}: skipped; are images missing?"
    assert open_dataset(path).splits["train"].remarks == [remark]
    assert main(["data", "convert", "yolo", str(path), "--split", "train", "--out", str(tmp_path / "x.json")]) == 0
    assert remark in capsys.readouterr().out
    main(["data", "check", str(path)])
    assert remark in capsys.readouterr().out


def test_what_lies_beside_the_data_stops_nothing(tmp_path: Path) -> None:
    write_data(tmp_path, labels={"a": "0 0.5 0.5 0.2 0.2"})
    (tmp_path / "README.txt").write_text("2024 was the year of these photos")
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone")
    (tmp_path / "notes.json").symlink_to(tmp_path / "gone")
    (tmp_path / "data.yaml").write_text("base: &base\n  names: [cat, dog]\n<<: *base\ntrain: images/train\n")
    assert open_dataset(tmp_path).remarks == []


def test_labels_of_an_export_unpacked_among_the_labels_are_counted(tmp_path: Path) -> None:
    """Such as those that Label Studio writes without photos."""
    more = dict.fromkeys(("a/labels/x", "../../b/labels/x", "../../b/labels/y"), "1 0.5 0.5 0.2 0.2")
    write_data(tmp_path, labels={"a": "0 0.5 0.5 0.2 0.2"} | more)
    (remark,) = open_dataset(tmp_path).remarks
    assert remark == (
        f"3 label files are not used, such as {tmp_path}/b/labels/x.txt: they are not in the labels/ of an images/ "
        "with their photos"
    )


def test_a_label_file_with_only_a_heic_photo_names_it(tmp_path: Path) -> None:
    path = write_data(tmp_path, labels={"a": "0 0.5 0.5 0.2 0.2\n", "lost": "0 0.5 0.5 0.2 0.2\n"})
    (heic := tmp_path / "images" / "train" / "Lost.HEIC").touch()
    (remark,) = convert_yolo(path, "train").remarks
    assert remark.endswith(f"skipped; {heic} cannot be decoded here: convert it to JPEG")


def test_images_of_a_list_leave_the_other_labels_alone(tmp_path: Path) -> None:
    """Both splits share their folders: labels of the other split have an image."""
    path = write_data(tmp_path, labels=dict.fromkeys("ab", "0 0.5 0.5 0.25 0.5\n"))
    (tmp_path / "train.txt").write_text("images/train/a.png\n")
    path.write_text(yaml.safe_dump({"train": "train.txt", "names": NAMES}))
    split = convert_yolo(path, "train")
    assert (len(split.coco["images"]), split.remarks) == (1, [])


def poses(width: int) -> str:
    """Boxes with three keypoints inside; the last one is not marked."""
    point = "0.52 0.45" if width == 2 else "0.52 0.45 2"
    rest = f"{point} {point} {' '.join('0' * width)}"
    return "".join(f"0 0.5 0.5 0.{size} 0.4 {rest}\n" for size in range(20, 26))


@pytest.mark.parametrize("width", [2, 3])
def test_keypoints_are_distinguished_from_polygons(tmp_path: Path, width: int) -> None:
    """Without kpt_shape an even number of values after the box looks like a polygon, whose box would be wrong."""
    split = convert_yolo(write_data(tmp_path, labels={"a": poses(width)}), "train")
    assert [entry["bbox"] for entry in split.coco["annotations"]] == [
        pytest.approx([40 - 0.4 * size, 18, 0.8 * size, 24]) for size in range(20, 26)
    ]
    (remark,) = split.remarks
    assert remark == "the labels are boxes with keypoints, although data.yaml has no kpt_shape: only boxes are used"


@pytest.mark.parametrize("side", [0.008, 0.03])
def test_corners_of_small_rotated_boxes_stay_corners(tmp_path: Path, side: float) -> None:
    """Their second corner, taken for width and height, gives a box so large that it contains the other corners."""
    rng = np.random.default_rng(0)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * side / 2
    boxes = [(rng.uniform(0.15, 0.6, 2) + corners).reshape(-1).tolist() for _ in range(30)]
    lines = [" ".join(map(str, [0, *box])) for box in boxes]
    split = convert_yolo(write_data(tmp_path, labels={"a": "\n".join(lines)}), "train")
    assert split.remarks == []
    assert all(entry["bbox"][2] == pytest.approx(80 * side) for entry in split.coco["annotations"])


def test_eight_numbers_are_corners_but_told_where_they_go_around_no_shape(tmp_path: Path) -> None:
    """They may be a box and two points, or corners in the order of reading."""
    lines = "".join(f"0 0.4 0.4 0.6 0.4 0.4 0.6 0.6 0.60{number}\n" for number in range(6))
    split = convert_yolo(write_data(tmp_path, labels={"a": lines}), "train")
    assert split.coco["annotations"][0]["bbox"] == pytest.approx([32, 24, 16, 12], abs=0.1)
    assert split.remarks[0].startswith("6 label lines may be boxes with keypoints or polygons, and are read as poly")


def test_points_that_enclose_nothing_are_told_too(tmp_path: Path) -> None:
    lines = "0 0.5 0.5 0.4 0.4 0 0 0 0\n" * 6
    split = convert_yolo(write_data(tmp_path, labels={"a": lines}), "train")
    assert len(split.remarks) == 1


def test_few_lines_that_may_have_keypoints_are_told(tmp_path: Path) -> None:
    split = convert_yolo(write_data(tmp_path, labels={"a": "".join(poses(2).splitlines(keepends=True)[:2])}), "train")
    assert split.remarks == [
        "2 label lines may be boxes with keypoints or polygons, and are read as polygons: if they are boxes with "
        "keypoints, add kpt_shape to data.yaml"
    ]


def test_boxes_beyond_the_edge_are_counted(tmp_path: Path) -> None:
    """Two corners in the place of center and size give mostly boxes that extend beyond the image."""
    lines = [f"0 0.{x} 0.{x} 0.{x + 25} 0.{x + 25}" for x in range(60, 70)]
    path = write_data(tmp_path, labels={"a": "\n".join(lines)})
    (remark,) = convert_yolo(path, "train").remarks
    text = "boxes beyond the edge of their image: 10, clipped; too many to be an accident: are the numbers x center"
    assert remark.startswith(f"{path}: {text}")
    small = write_data(tmp_path, labels={"a": "0 0.5 0.5 0.2 0.2\n0 0.95 0.5 0.11 0.2\n"})
    assert convert_yolo(small, "train").remarks == [], "half a pixel"


def test_polygons_stay_polygons(tmp_path: Path) -> None:
    square = "".join(f"0 0.{k} 0.2 0.{k}5 0.2 0.{k}5 0.6 0.{k} 0.6\n" for k in range(1, 9))
    split = convert_yolo(write_data(tmp_path, labels={"a": square}), "train")
    assert split.coco["annotations"][0]["bbox"] == pytest.approx([8, 12, 4, 24])
    assert split.remarks == []


def test_lists_may_name_images_elsewhere(tmp_path: Path) -> None:
    path = write_data(tmp_path / "set", labels={}, description={"train": "train.txt", "names": NAMES})
    write_data(tmp_path / "photos", labels={"a": "1 0.5 0.5 0.5 0.5\n"}, images="images/far")
    image = tmp_path / "photos" / "images" / "far" / "a.png"
    (tmp_path / "set" / "train.txt").write_text(f"{image}\n")
    split = convert_yolo(path, "train")
    assert (split.images / split.coco["images"][0]["file_name"]).samefile(image)
    assert [entry["category_id"] for entry in split.coco["annotations"]] == [1]
