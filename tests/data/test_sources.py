"""Opening data sets: every layout is recognized, its splits and images are found, unclear ones are rejected."""

import json
import os
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtmdet
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.formats.open import find_dataset, open_dataset
from rtmdet.data.formats.voc import convert_voc
from rtmdet.data.image_names import locate_images


def write_coco(file: Path, folder: Path, name: str = "a.png") -> None:
    """A COCO file of one image, which is in `folder`."""
    for place in (file.parent, folder):
        place.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / name), np.zeros((40, 60, 3), np.uint8))
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20]}
    image = {"id": 1, "file_name": name, "width": 60, "height": 40}
    content = {"images": [image], "annotations": [entry], "categories": [{"id": 1, "name": "hat"}]}
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("files", "folders"),
    [
        (["train/_annotations.coco.json", "valid/_annotations.coco.json"], ["train", "valid"]),  # Roboflow
        (["annotations/instances_train2017.json", "annotations/instances_val2017.json"], ["train2017", "val2017"]),
        (["annotations/instances_train.json", "annotations/instances_val.json"], ["images/train", "images/val"]),
        (["train.json", "val.json"], ["train", "val"]),
        (["train.json", "val.json"], ["images", "images"]),
        (["train/annotations.json", "val/annotations.json"], ["train/images", "val/images"]),
    ],
)
def test_coco_layouts_are_found(tmp_path: Path, files: list[str], folders: list[str]) -> None:
    for file, folder in zip(files, folders, strict=True):
        write_coco(tmp_path / file, tmp_path / folder, name=f"{Path(file).stem}.png")
    source = open_dataset(tmp_path)
    assert (source.format, list(source.splits)) == ("COCO", ["train", "val"])
    for split, file, folder in zip(source.splits.values(), files, folders, strict=True):
        assert split.annotations == tmp_path / file
        assert split.images == tmp_path / folder
        locate_images(tmp_path, split.images, [image["file_name"] for image in split.coco["images"]])


@pytest.mark.parametrize("place", ["", "annotations", "annotations/sub", "images"])
def test_paths_from_a_folder_inside_are_those_from_outside(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_coco(tmp_path / "annotations" / "train.json", tmp_path / "images")
    write_voc(tmp_path / "voc" / "Annotations", tmp_path / "voc" / "JPEGImages", "a", "hat")
    (tmp_path / place).mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / place)
    for path in (tmp_path / "annotations" / "train.json", tmp_path / "annotations"):
        images = open_dataset(Path(os.path.relpath(path))).splits["train"].images
        assert images.resolve() == tmp_path / "images"
    monkeypatch.chdir(tmp_path / "voc" / "Annotations")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "link").symlink_to(tmp_path / "voc" / "Annotations")
    for path in (Path(), Path("../Annotations"), Path(".."), tmp_path / "elsewhere" / "link" / ".."):
        assert open_dataset(path).splits["train"].images.resolve() == tmp_path / "voc" / "JPEGImages"


def test_one_file_without_a_name_is_for_training_and_test_is_left_alone(tmp_path: Path) -> None:
    write_coco(tmp_path / "hats.json", tmp_path / "images")
    write_coco(tmp_path / "test.json", tmp_path / "images")
    assert list(open_dataset(tmp_path).splits) == ["train"]
    assert list(open_dataset(tmp_path / "hats.json").splits) == ["train"]


def test_the_instances_file_of_coco_is_chosen(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations/instances_train2017.json", tmp_path / "train2017")
    write_coco(tmp_path / "annotations/person_keypoints_train2017.json", tmp_path / "train2017")
    assert open_dataset(tmp_path).splits["train"].annotations == tmp_path / "annotations/instances_train2017.json"


@pytest.mark.parametrize("at", [".", "data.yaml"])
def test_yolo(tmp_path: Path, at: str) -> None:
    for split in ("train", "valid"):
        (tmp_path / split / "images").mkdir(parents=True)
        (tmp_path / split / "labels").mkdir()
        cv2.imwrite(str(tmp_path / split / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
        (tmp_path / split / "labels" / "a.txt").write_text("1 0.5 0.5 0.2 0.2\n")
    (tmp_path / "data.yaml").write_text("train: train/images\nval: valid/images\nnames: [cap, hat]\n")
    source = open_dataset(tmp_path / at)
    assert (source.format, list(source.splits)) == ("YOLO", ["train", "val"])
    assert source.splits["train"].coco["annotations"][0]["category_id"] == 1


@pytest.mark.parametrize(("attributes", "name"), [({}, "object"), ({"kind": "hat"}, "hat")])
def test_via(tmp_path: Path, attributes: dict[str, str], name: str) -> None:
    shape = {"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10}
    region = {"shape_attributes": shape, "region_attributes": attributes}
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "a.png"), np.zeros((40, 60, 3), np.uint8))
        content = {"a.png1": {"filename": "a.png", "regions": [region]}}
        (tmp_path / split / "via_region_data.json").write_text(json.dumps(content))
    source = open_dataset(tmp_path)
    assert (source.format, list(source.splits)) == ("VIA", ["train", "val"])
    assert [category["name"] for category in source.splits["val"].coco["categories"]] == [name]


VOC = """<annotation><filename>a.png</filename><size><width>60</width><height>40</height></size><object>
<name>{name}</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object></annotation>"""


def write_voc(labels: Path, images: Path, stem: str, name: str) -> None:
    labels.mkdir(parents=True, exist_ok=True)
    images.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(images / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
    (labels / f"{stem}.xml").write_text(VOC.format(name=name).replace("a.png", f"{stem}.png"))


def sizes(folder: Path) -> dict[str, int]:
    """The number of images of each split."""
    return {name: len(split.coco["images"]) for name, split in open_dataset(folder).splits.items()}


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "cvat", "labelme", "via"])
def test_a_set_for_tests_needs_no_training_images_and_disturbs_no_training(kind: str, tmp_path: Path) -> None:
    """Its test split is read when it is asked for: in a training, even a damaged one does no harm."""
    for split in ("train", "test"):
        write_split(tmp_path / kind, split, kind)
    found = find_dataset(tmp_path / kind)
    assert found.names == ("train", "test")
    assert open_dataset(tmp_path / kind).unread == ["test"]
    alone = found.read("test", "val").splits
    assert {name: len(split.coco["images"]) for name, split in alone.items()} == {"test": 1}
    assert alone["test"].coco["annotations"][0]["bbox"] == pytest.approx([3, 4, 20, 10])
    for photo in (tmp_path / kind).rglob("test.png"):
        photo.unlink()
    for labels in (tmp_path / kind / "test").glob("*.json"):
        labels.write_text("{")
    assert sizes(tmp_path / kind) == {"train": 1}


@pytest.mark.parametrize("kind", ["cvat", "labelme", "via"])
def test_a_split_alone_has_the_ids_of_a_training(kind: str, tmp_path: Path) -> None:
    """Results of `evaluate --out` are compared by id with those of the run."""
    for split, name in (("train", "ant"), ("val", "bee"), ("test", "bee")):
        write_split(tmp_path, split, kind, name)
    trained = open_dataset(tmp_path).splits["val"].coco["categories"]
    assert trained == [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}]
    for name in ("val", "test"):
        assert find_dataset(tmp_path).read(name).splits[name].coco["categories"] == trained


def test_a_data_set_without_any_split_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [hat]\n")
    with pytest.raises(InputError, match="expected images for train, val or test, found none of these splits"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_a_data_yaml_in_a_folder_below_is_not_taken_for_the_set_itself(tmp_path: Path, kind: str) -> None:
    for split in ("train", "val"):
        write_split(tmp_path, split, kind)
    write_split(tmp_path / "exported", "train", "yolo")
    found = find_dataset(tmp_path)
    assert (found.format, found.names) == (kind.upper(), ("train", "val"))
    assert find_dataset(tmp_path / "exported").format == "YOLO"


def test_a_data_yaml_about_something_else_is_left_alone(tmp_path: Path) -> None:
    write_split(tmp_path, "train", "coco")
    (tmp_path / "data.yaml").write_text("description: photos of hats\nlicense: CC0\n")
    assert find_dataset(tmp_path).format == "COCO"


def write_split(folder: Path, split: str, kind: str, name: str = "hat") -> None:
    """One photo with one object as a split of a data set in one of the formats."""
    place = folder / split
    (folder / "images" / split if kind == "yolo" else place).mkdir(parents=True)
    photo = (folder / "images" / split if kind == "yolo" else place) / f"{split}.png"
    cv2.imwrite(str(photo), np.zeros((40, 60, 3), np.uint8))
    box = {"x": 3, "y": 4, "width": 20, "height": 10}
    if kind == "coco":
        write_coco(place / "a.json", place)
        document = json.loads((place / "a.json").read_text())
        document["images"][0]["file_name"] = photo.name
        document["annotations"][0] |= {"bbox": [3, 4, 20, 10], "area": 200}
        (place / "a.json").write_text(json.dumps(document))
    elif kind == "yolo":
        (folder / "labels" / split).mkdir(parents=True)
        (folder / "labels" / split / f"{split}.txt").write_text(f"0 {13 / 60} {9 / 40} {20 / 60} {10 / 40}\n")
        (folder / "data.yaml").write_text("names: [hat]\ntrain: images/train\ntest: images/test\n")
    elif kind == "voc":
        corners = "<xmin>4</xmin><ymin>5</ymin><xmax>23</xmax><ymax>14</ymax>"
        thing = f"<object><name>hat</name><bndbox>{corners}</bndbox></object>"
        size = "<size><width>60</width><height>40</height><depth>3</depth></size>"
        (place / f"{split}.xml").write_text(
            f"<annotation><filename>{photo.name}</filename>{size}{thing}</annotation>"
        )
    elif kind == "cvat":
        thing = f'<box label="{name}" xtl="3" ytl="4" xbr="23" ybr="14" occluded="0"/>'
        image = f'<image name="{photo.name}" width="60" height="40">{thing}</image>'
        (place / "annotations.xml").write_text(f"<annotations>{image}</annotations>")
    elif kind == "labelme":
        shape = {"label": name, "points": [[3, 4], [23, 14]], "shape_type": "rectangle"}
        content = {"shapes": [shape], "imagePath": photo.name, "imageHeight": 40, "imageWidth": 60}
        (place / f"{split}.json").write_text(json.dumps(content))
    else:
        region = {"shape_attributes": {"name": "rect", **box}, "region_attributes": {"kind": name}}
        entry = {"filename": photo.name, "size": 1, "regions": [region], "file_attributes": {}}
        (place / "via_region_data.json").write_text(json.dumps({photo.name: entry}))


@pytest.mark.parametrize("kind", ["coco", "voc", "cvat", "labelme", "via"])
def test_labels_without_a_split_beside_those_of_train_are_told(kind: str, tmp_path: Path) -> None:
    write_split(tmp_path, "train", kind)
    assert not open_dataset(tmp_path).remarks
    write_split(tmp_path, "round2", kind)
    write_split(tmp_path, "round3", kind)
    source = open_dataset(tmp_path)
    assert len(source.splits["train"].coco["images"]) == 1
    (remark,) = source.remarks
    assert re.search("not used: round2.*, round3.* \\(once one name says train, only those that say", remark)


def test_folders_of_yolo_without_a_split_and_subsets_of_cvat_are_told(tmp_path: Path) -> None:
    for split in ("train", "round2"):
        write_split(tmp_path / "yolo", split, "yolo")
    (tmp_path / "yolo" / "data.yaml").unlink()
    (tmp_path / "yolo" / "classes.txt").write_text("hat")
    assert [f"{tmp_path / 'yolo'}: not used: images/round2 (once one name says train, only those that say train, val "
            "or test are used)"] == open_dataset(tmp_path / "yolo").remarks  # fmt: skip
    write_split(tmp_path, "cvat", "cvat")
    file = tmp_path / "cvat" / "annotations.xml"
    (entry,) = re.findall("<image.*</image>", file.read_text())
    subsets = (entry.replace("<image", f'<image subset="{name}"') for name in ("Train", "default"))
    file.write_text(f"<annotations>{''.join(subsets)}</annotations>")
    (remark,) = open_dataset(tmp_path / "cvat").remarks
    assert remark.startswith(f"{file}: not used: subset 'default' (")
    shutil.copy(file, tmp_path / "cvat" / "task_7.xml")
    assert f"{tmp_path}/cvat/task_7.xml: not used, since {file} is: remove the one that is out of date" in (
        open_dataset(tmp_path / "cvat").remarks
    )


def test_labels_of_other_formats_are_told(tmp_path: Path) -> None:
    """Only one format is read; labels that were corrected after their conversion may be meant."""
    write_split(tmp_path, "anna", "labelme")
    write_split(tmp_path, "bob", "voc")
    write_split(tmp_path / "yolo", "a", "yolo")
    (tmp_path / "yolo" / "data.yaml").unlink()
    assert open_dataset(tmp_path).remarks == [
        f"{tmp_path}: VOC labels, such as bob/bob.xml, are not read, since the LabelMe labels are",
        f"{tmp_path}: YOLO labels, such as yolo/labels/a/a.txt, are not read, since the LabelMe labels are",
    ]
    write_coco(tmp_path / "all.json", tmp_path / "anna", "anna.png")
    source = open_dataset(tmp_path)
    assert (source.format, len(source.remarks)) == ("COCO", 3)
    assert source.remarks[0] == (
        f"{tmp_path}: LabelMe labels, such as anna/anna.json, are not read, since the COCO labels are"
    )
    later = (tmp_path / "all.json").stat().st_mtime + 1
    os.utime(tmp_path / "anna" / "anna.json", (later, later))
    assert (
        open_dataset(tmp_path)
        .remarks[0]
        .endswith("COCO labels are (older: if they were made of these, convert these again)")
    )
    write_split(tmp_path / "yolo", "b", "labelme")
    (tmp_path / "yolo" / "data.yaml").write_text("names: [hat]\ntrain: images/a\n")
    (remark,) = open_dataset(tmp_path / "yolo").remarks
    assert remark.endswith("LabelMe labels, such as b/b.json, are not read, since the YOLO labels are")


def test_hidden_files_of_operating_systems_are_skipped(tmp_path: Path) -> None:
    write_coco(tmp_path / "train" / "_annotations.coco.json", tmp_path / "train")
    for file in ("__MACOSX/train/._annotations.coco.json", "train/.ipynb_checkpoints/annotations-checkpoint.json"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text("not even JSON")
    (tmp_path / "docker-compose.yaml").write_text("- 1")
    (tmp_path / "notes.json").write_text("{")
    assert sizes(tmp_path) == {"train": 1}


def test_a_damaged_file_of_a_split_is_not_skipped(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", tmp_path / "images")
    (tmp_path / "val.json").write_text("{")
    with pytest.raises(InputError, match=r"val\.json: not JSON"):
        open_dataset(tmp_path)


def test_the_folder_with_most_of_the_images_is_chosen(tmp_path: Path) -> None:
    write_coco(tmp_path / "train.json", tmp_path / "images")
    document = json.loads((tmp_path / "train.json").read_text())
    missing = {"id": 2, "file_name": "gone.png", "width": 60, "height": 40}
    document["images"].insert(0, missing)
    (tmp_path / "train.json").write_text(json.dumps(document))
    assert open_dataset(tmp_path).splits["train"].images == tmp_path / "images"


def test_a_single_file_is_for_training_whatever_its_name(tmp_path: Path) -> None:
    write_coco(tmp_path / "annotations" / "instances_val2017.json", tmp_path / "val2017")
    assert sizes(tmp_path / "annotations" / "instances_val2017.json") == {"train": 1}


def test_yolo_without_the_val_folder_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "train" / "images").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "train" / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    places = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    (tmp_path / "data.yaml").write_text(f"{places}names: [cap]\n")
    source = open_dataset(tmp_path)
    splits = source.splits
    assert (list(splits), source.unread) == (["train"], [])
    assert "the folder of 'val', ../valid/images, does not exist" in splits["train"].remarks[0]


def test_yolo_one_folder_below(tmp_path: Path) -> None:
    test_yolo_without_the_val_folder_that_is_named(tmp_path / "unpacked")
    assert sizes(tmp_path) == {"train": 1}


def test_via_beside_the_images_with_classes_of_both_splits(tmp_path: Path) -> None:
    shape = {"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10}
    for split, kind in (("train", "hat"), ("val", "cap")):
        (tmp_path / split / "images").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / split / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
        regions = [{"shape_attributes": shape, "region_attributes": {"kind": kind}}]
        (tmp_path / split / "via.json").write_text(json.dumps({"a": {"filename": "a.png", "regions": regions}}))
    splits = open_dataset(tmp_path).splits
    for split, label in (("train", 1), ("val", 2)):
        assert [category["name"] for category in splits[split].coco["categories"]] == ["hat", "cap"]
        assert splits[split].coco["annotations"][0]["category_id"] == label


@pytest.mark.parametrize(
    ("labels", "images"),
    [
        ("Annotations", "images"),
        ("train/annotations", "train/images"),
        ("annotations/train", "images/train"),
        ("xml", "images"),
        ("set/Annotations", "set/JPEGImages"),
    ],
)
def test_voc_layouts(tmp_path: Path, labels: str, images: str) -> None:
    for split, stem in (("train", "a"), ("val", "b")):
        places = (tmp_path / place.replace("train", split) for place in (labels, images))
        write_voc(*places, stem, "hat")
    assert sizes(tmp_path) == ({"train": 1, "val": 1} if "train" in labels else {"train": 2})


def test_splits_inside_the_folder_of_another_are_kept_apart(tmp_path: Path) -> None:
    for at, images in (("", "ab"), ("val", "c"), ("test", "d")):
        for stem in images:
            write_voc(tmp_path / "voc" / "Annotations" / at, tmp_path / "voc" / "JPEGImages" / at, stem, "hat")
            folder = tmp_path / "yolo" / "images" / at
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
            (folder / f"{stem}.txt").write_text("0 0.5 0.5 0.2 0.2")
            folder = tmp_path / "labelme" / at
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
            shape = {"label": "hat", "points": [[3, 4], [20, 30]], "shape_type": "rectangle"}
            (folder / f"{stem}.json").write_text(json.dumps({"imagePath": f"{stem}.png", "shapes": [shape]}))
    (tmp_path / "yolo" / "classes.txt").write_text("hat")
    for name in ("voc", "yolo", "labelme"):
        assert sizes(tmp_path / name) == {"train": 2, "val": 1}, name


def test_voc_beside_other_xml_files_and_with_lists_of_other_names(tmp_path: Path) -> None:
    for split, stem in (("train", "a"), ("valid", "b")):
        write_voc(tmp_path / "folders" / split, tmp_path / "folders" / split, stem, "hat")
        write_voc(tmp_path / "lists" / "Annotations", tmp_path / "lists" / "JPEGImages", stem, "hat")
    (tmp_path / "folders" / "project.xml").write_text("<project/>")
    assert sizes(tmp_path / "folders") == {"train": 1, "val": 1}
    lists = tmp_path / "lists" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "Validation.txt").write_text("b\n")
    with pytest.raises(InputError, match="expected images for training, found only val; name a split train"):
        open_dataset(tmp_path / "lists")
    assert len(find_dataset(tmp_path / "lists").read("val").splits["val"].coco["images"]) == 1
    (lists / "Train.txt").write_text("a\n")
    assert sizes(tmp_path / "lists") == {"train": 1, "val": 1}


def test_a_group_category_is_a_class_if_any_split_has_objects_of_it(tmp_path: Path) -> None:
    groups = [
        {"id": 1, "name": "vehicle", "supercategory": "none"},
        {"id": 2, "name": "car", "supercategory": "vehicle"},
    ]
    for split, category in (("train", 1), ("val", 2)):
        write_coco(tmp_path / f"{split}.json", tmp_path / split)
        document = json.loads((tmp_path / f"{split}.json").read_text())
        document["categories"] = groups
        document["annotations"][0]["category_id"] = category
        (tmp_path / f"{split}.json").write_text(json.dumps(document))
    for split in open_dataset(tmp_path).splits.values():
        assert [category["id"] for category in split.coco["categories"]] == [1, 2]
        assert split.remarks == []
    val = CocoDataset(tmp_path / "val.json", tmp_path / "val", classes=("vehicle", "car"), training=False)
    assert (val.category_ids, val.remarks) == ((1, 2), [])


def test_via_splits_have_the_class_attribute_in_common(tmp_path: Path) -> None:
    shape = {"name": "rect", "x": 3, "y": 4, "width": 20, "height": 10}
    for split, regions in (
        ("train", [{"shape_attributes": shape, "region_attributes": {"kind": "hat"}}]),
        ("val", []),
    ):
        (tmp_path / split).mkdir()
        cv2.imwrite(str(tmp_path / split / "a.png"), np.zeros((40, 60, 3), np.uint8))
        (tmp_path / split / "via.json").write_text(json.dumps({"a": {"filename": "a.png", "regions": regions}}))
    for split in open_dataset(tmp_path).splits.values():
        assert [category["name"] for category in split.coco["categories"]] == ["hat"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write_coco(tmp_path / "set" / "train.json", tmp_path / "far" / "images")
    (tmp_path / "set" / "images").symlink_to(tmp_path / "far" / "images")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    assert sizes(tmp_path / "set") == {"train": 1}
    (tmp_path / "set" / "train.json").unlink()
    (tmp_path / "set" / "classes.txt").write_text("hat")
    (tmp_path / "set" / "labels").mkdir()
    (tmp_path / "set" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2")
    assert sizes(tmp_path / "set") == {"train": 1}


def test_voc_with_a_list_of_training_and_validation_together(tmp_path: Path) -> None:
    for stem in ("a", "b", "c"):
        write_voc(tmp_path / "VOC2007" / "Annotations", tmp_path / "VOC2007" / "JPEGImages", stem, "hat")
    lists = tmp_path / "VOC2007" / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\nb\n")
    (lists / "test.txt").write_text("c\n")
    assert sizes(tmp_path) == {"train": 2}
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    assert sizes(tmp_path / "VOC2007") == {"train": 1, "val": 1}


@pytest.mark.parametrize("above", [".", "archive/VOCdevkit"])
def test_the_lists_of_several_years_of_voc_are_joined(tmp_path: Path, above: str) -> None:
    """Names may repeat between the years, for other photos; a year without lists is named."""
    lists = {"VOC2007": {"trainval": "ab", "test": "c"}, "VOC2012": {"train": "a", "val": "b", "test": ""}}
    for year, splits in lists.items():
        home = tmp_path / above / year
        for stem in "abc":
            write_voc(home / "Annotations", home / "JPEGImages", stem, f"hat of {year}")
        (home / "ImageSets" / "Main").mkdir(parents=True)
        for split, stems in splits.items():
            if stems:
                (home / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
    source = find_dataset(tmp_path)
    found = source.read("train", "val", "test").splits
    names = {split: [image["file_name"][:7] + image["file_name"][-5:-4] for image in found[split].coco["images"]]
             for split in found}  # fmt: skip
    assert names == {"train": ["VOC2007a", "VOC2007b", "VOC2012a"], "val": ["VOC2012b"], "test": ["VOC2007c"]}
    assert [[one["category_id"] for one in split.coco["annotations"]] for split in found.values()] == [
        [1, 1, 2], [2], [1]
    ]  # fmt: skip
    (remark,) = source.remarks
    assert remark.startswith("1 XML files in no list of ImageSets, such as ")
    assert remark.endswith("VOC2012/Annotations/c.xml: not used")
    assert sizes(tmp_path / above / "VOC2012" / "Annotations") == {"train": 1, "val": 1}
    write_voc(tmp_path / above / "VOC2010" / "Annotations", tmp_path / above / "VOC2010" / "JPEGImages", "d", "hat")
    (remark,) = open_dataset(tmp_path).remarks
    assert remark.startswith("2 XML files in no list of ImageSets, such as ")


def test_lists_of_other_folders_are_not_voc_s(tmp_path: Path) -> None:
    """A copy of the lists, without XML files, decides nothing; the lists of the folder itself decide alone."""
    write_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", "a", "hat")
    write_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", "b", "hat")
    for place, stem in (("backup", "z"), (".", "a")):
        (tmp_path / place / "ImageSets" / "Main").mkdir(parents=True)
        (tmp_path / place / "ImageSets" / "Main" / "train.txt").write_text(stem)
        assert sizes(tmp_path) == {"train": {"backup": 2, ".": 1}[place]}
    (tmp_path / "ImageSets" / "Main" / "training.txt").write_text("a\nb")
    assert [len(convert_voc(tmp_path, split=split).coco["images"]) for split in ("train", "training")] == [1, 2]


def test_photos_and_runs_below_are_no_data_set(tmp_path: Path) -> None:
    """The runs of this program have annotation files; a damaged file elsewhere stops nothing that is found."""
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    run = tmp_path / "runs" / "first"
    write_coco(run / "data" / "train.json", run / "data")
    for name in ("config.yaml", "log.jsonl", "train.csv"):
        (run / name).write_text("")
    with pytest.raises(InputError, match="recognized none; these are photos without labels"):
        find_dataset(tmp_path)
    assert find_dataset(run / "data").names == ("train",), "itself"
    (tmp_path / "x" / "y" / "z").mkdir(parents=True)
    (tmp_path / "x" / "y" / "z" / "train.json").write_text("{")
    with pytest.raises(InputError, match=r"train\.json: not JSON at"):
        find_dataset(tmp_path)
    write_split(tmp_path / "u" / "v", "train", "yolo")
    (tmp_path / "current").symlink_to(tmp_path / "u")
    assert find_dataset(tmp_path).format == "YOLO"


def test_names_inside_label_files_mean_the_images_beside_them(tmp_path: Path) -> None:
    """Two folders have photos of the same names; the one of a third differs from its XML file."""
    for folder, renamed in (("monday", "a.png"), ("tuesday", "a.png"), ("friday", "c.png")):
        write_voc(tmp_path / folder / "Annotations", tmp_path / folder / "JPEGImages", "a", "hat")
        (tmp_path / folder / "JPEGImages" / "a.png").rename(tmp_path / folder / "JPEGImages" / renamed)
        label = tmp_path / folder / "Annotations" / "a.xml"
        label.write_text(label.read_text().replace("a.png", renamed))
    train = open_dataset(tmp_path).splits["train"]
    names = [image["file_name"] for image in train.coco["images"]]
    assert names == ["friday/JPEGImages/c.png", "monday/JPEGImages/a.png", "tuesday/JPEGImages/a.png"]
    assert train.remarks == []


def test_xml_files_of_another_kind_are_not_voc(tmp_path: Path) -> None:
    (tmp_path / "project.xml").write_text("<project/>")
    with pytest.raises(InputError, match="recognized none"):
        find_dataset(tmp_path)


def test_voc_with_lists(tmp_path: Path) -> None:
    for stem, name in (("a", "hat"), ("b", "cap"), ("c", "hat")):
        write_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", stem, name)
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\n")
    (tmp_path / "ImageSets/Main/val.txt").write_text("c\n")
    source = open_dataset(tmp_path)
    assert source.format == "VOC"
    assert {name: len(split.coco["images"]) for name, split in source.splits.items()} == {"train": 2, "val": 1}
    assert source.splits["val"].coco["categories"] == source.splits["train"].coco["categories"]


def test_voc_with_lists_in_another_place(tmp_path: Path) -> None:
    for stem in ("a", "b"):
        write_voc(tmp_path / "Annotations", tmp_path / "JPEGImages", stem, stem)
        (tmp_path / {"a": "train.txt", "b": "val_list.txt"}[stem]).write_text(f"JPEGImages/{stem}.png {stem}.xml\n")
    found = find_dataset(tmp_path)  # Paddle's lists
    assert (found.names, *found.remarks) == (
        ("train",),
        f"{tmp_path}: lists not used: train.txt, val_list.txt; put them into ImageSets/Main/, a name per line",
    )
    (tmp_path / "ImageSets").mkdir()
    for split, stem in (("train", "a"), ("val", "b")):
        (tmp_path / "ImageSets" / f"{split}.txt").write_text(stem)
    found = find_dataset(tmp_path)
    assert (found.names, found.remarks) == (("train", "val"), [])
    assert [image["file_name"] for image in found.read_one("val").coco["images"]] == ["b.png"]


def test_voc_with_a_folder_per_split_has_the_classes_of_train(tmp_path: Path) -> None:
    write_voc(tmp_path / "train", tmp_path / "train", "a", "cap")
    write_voc(tmp_path / "train", tmp_path / "train", "b", "hat")
    write_voc(tmp_path / "valid", tmp_path / "valid", "c", "hat")
    splits = open_dataset(tmp_path).splits
    assert splits["val"].coco["annotations"][0]["category_id"] == 2


def test_voc_without_splits(tmp_path: Path) -> None:
    write_voc(tmp_path, tmp_path, "a", "hat")
    assert list(open_dataset(tmp_path).splits) == ["train"]


def test_labelme_with_a_folder_per_split(tmp_path: Path) -> None:
    for folder, stem, label in (("train", "a", "cap"), ("train", "b", "hat"), ("val", "c", "hat")):
        (tmp_path / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / folder / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
        shape = {"label": label, "points": [[3, 4], [20, 30]], "shape_type": "rectangle"}
        content = {"imagePath": f"{stem}.png", "imageHeight": 40, "imageWidth": 60, "shapes": [shape]}
        (tmp_path / folder / f"{stem}.json").write_text(json.dumps(content))
    source = open_dataset(tmp_path)
    assert (source.format, list(source.splits)) == ("LabelMe", ["train", "val"])
    assert source.splits["val"].coco["annotations"][0]["category_id"] == 2


def test_labelme_in_folders_without_a_split_and_as_one_file(tmp_path: Path) -> None:
    shape = {"label": "hat", "points": [[3, 4], [20, 30]], "shape_type": "rectangle"}
    for stem in ("monday/a", "tuesday/b"):
        (tmp_path / stem).parent.mkdir()
        cv2.imwrite(str(tmp_path / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
        (tmp_path / f"{stem}.json").write_text(json.dumps({"imagePath": f"{stem}.png", "shapes": [shape]}))
    assert sizes(tmp_path) == {"train": 2}
    assert sizes(tmp_path / "monday" / "a.json") == {"train": 1}


@pytest.mark.parametrize("kind", ["voc", "cvat", "labelme"])
def test_splits_that_are_converted_into_one_file_are_named(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        write_split(path := tmp_path / "set", split, kind)
    if kind == "cvat":
        images = (
            f'<image name="{name}/{name}.png" subset="{name}" width="60" height="40"/>' for name in ("train", "val")
        )
        path /= "annotations.xml"
        path.write_text(f"<annotations>{''.join(images)}</annotations>")
    rtmdet.convert_data(path, tmp_path / "all.json", format=kind, classes=["hat"])
    assert (
        f"{path}: has the splits train, val, which are joined; rtmdet data merge --split" in capsys.readouterr().out
    )


def test_cvat_projects_have_subsets(tmp_path: Path) -> None:
    box = '<box label="hat" xtl="3" ytl="4" xbr="20" ybr="30" occluded="0"/>'
    images = ""
    for number, (subset, stem) in enumerate((("Train", "a"), ("Train", "b"), ("Validation", "a"))):
        (tmp_path / "images" / subset).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / subset / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
        place = f'id="{number}" name="{stem}.png" subset="{subset}" width="60" height="40"'
        images += f"<image {place}>{box}</image>"
    (tmp_path / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    assert sizes(tmp_path) == {"train": 2, "val": 1}
    assert open_dataset(tmp_path).splits["val"].coco["images"][0]["file_name"] == "Validation/a.png"


def test_cvat_subsets_of_other_names_and_a_file_per_split(tmp_path: Path) -> None:
    def write(path: Path, subsets: list[str]) -> None:
        box = '<box label="hat" xtl="3" ytl="4" xbr="20" ybr="30" occluded="0"/>'
        images = ""
        (path.parent / "images").mkdir(parents=True, exist_ok=True)
        for stem, subset in zip("abcd", subsets, strict=False):
            cv2.imwrite(str(path.parent / "images" / f"{stem}.png"), np.zeros((40, 60, 3), np.uint8))
            images += f'<image name="{stem}.png" subset="{subset}" width="60" height="40">{box}</image>'
        path.write_text(f"<annotations>{images}</annotations>")

    for name, subsets, found in (
        ("two", ["train1", "train2", "val"], {"train": 2, "val": 1}),
        ("default", ["default", "Test", "Validation", "default"], {"train": 2, "val": 1}),
    ):
        write(tmp_path / name / "annotations.xml", subsets)
        assert sizes(tmp_path / name) == found
    for split in ("train", "val", "test"):
        write(tmp_path / "files" / split / "annotations.xml", ["", ""] if split == "train" else [""])
    assert sizes(tmp_path / "files") == {"train": 2, "val": 1}
    write(tmp_path / "none" / "annotations.xml", ["Test", "Validation"])
    with pytest.raises(InputError, match="expected images for training, found only val and test"):
        open_dataset(tmp_path / "none")


def test_cvat(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((40, 60, 3), np.uint8))
    box = '<box label="hat" xtl="3" ytl="4" xbr="20" ybr="30" occluded="0"/>'
    image = f'<image id="0" name="a.png" width="60" height="40">{box}</image>'
    (tmp_path / "annotations.xml").write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    for path in (tmp_path, tmp_path / "annotations.xml"):
        source = open_dataset(path)
        assert (source.format, list(source.splits)) == ("CVAT", ["train"])
        assert len(source.splits["train"].coco["annotations"]) == 1


def test_unclear_data_are_rejected_in_one_line(tmp_path: Path) -> None:
    write_coco(tmp_path / "two" / "a.json", tmp_path / "two")
    write_coco(tmp_path / "two" / "b.json", tmp_path / "two")
    write_coco(tmp_path / "val" / "val.json", tmp_path / "val")
    write_coco(tmp_path / "lost" / "train.json", tmp_path / "elsewhere" / "far")
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "package.json").write_text('{"name": "x"}')
    (tmp_path / "data.zip").write_bytes(b"PK")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    for name, words in {
        "two": "expected one annotation file for train, found",
        "val": "expected images for training, found only val",
        "lost": r"expected its images \(the first is 'a.png'\) in a folder such as",
        "empty": r"recognized none; the folder has 0 images and no \.json, \.xml or \.txt files",
        "other": r"recognized none; the folder has 0 images and 1 \.json files",
        "data.zip": r"recognized none; unpack data\.zip and give its folder",
        "texts": r"1 \.txt files; YOLO labels need a data\.yaml or a classes\.txt",
        "nowhere": "no such file or folder",
    }.items():
        with pytest.raises(InputError, match=words) as caught:
            open_dataset(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("via.csv", "#filename,file_size,file_attributes,region_count,x\n", "VIA's CSV: choose 'Export Annotations"),
        (
            "boxes.csv",
            '"filename", "width","height","class","xmin"\n',
            "found boxes.csv: CSV is not read: export as COCO",
        ),
        ("oid.csv", "ImageID,Source,LabelName,Confidence,XMin\n", "Open Images' CSV"),
        ("r.json", '[{"image_id": 1, "category_id": 1, "bbox": [], "score": 1}]', "COCO detection results"),
        ("c.json", '[{"image": "a.png", "annotations": []}]', "CreateML's JSON"),
        ("v.json", '{"asset": {"name": "a.png"}, "regions": []}', "VoTT's JSON is not read: export as COCO JSON"),
        ("s.json", '{"description": "", "tags": [], "size": {}, "objects": []}', "Supervisely's JSON is not read"),
        ("d.json", '{"version": "2.0", "item": {}, "annotations": []}', "Darwin's JSON"),
        ("a/b/c/d.json", '{"version": "2.0", "item": {}, "annotations": []}', "Darwin's JSON"),
        ("i.json", '{"info": {"description": "ISAT"}, "objects": []}', "ISAT's JSON is not read: export as COCO"),
        ("l.json", '[{"id": 1, "data": {"image": "/a"}, "annotations": []}]', "Label Studio's own JSON: export"),
        ("m.json", '[{"image": "/a", "annotator": 1, "label": []}]', "Label Studio's own JSON: export"),
    ],
)
def test_unsupported_formats_are_named(tmp_path: Path, name: str, text: str, words: str) -> None:
    file = tmp_path / "set" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for path in (file, tmp_path / "set"):
        with pytest.raises(InputError, match=words) as caught:
            open_dataset(path)
        assert str(caught.value).startswith(f"{path}: expected COCO, YOLO, VIA")
    file.write_text("[1]" if name.endswith("json") else "a,b\n")
    words = "give the folder" if name.endswith("json") else f"found {name}: CSV is not read: export as COCO"
    with pytest.raises(InputError, match=f"recognized none; {words}"):
        open_dataset(file)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_texts_in_the_encodings_of_windows_are_recognized(tmp_path: Path, encoding: str) -> None:
    """What PowerShell writes is UTF-16."""
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "a.csv").write_text(f"{mark}ImageID,Source,LabelName,Confidence\n1,2\n", encoding=encoding)
    with pytest.raises(InputError, match="Open Images' CSV"):
        open_dataset(tmp_path / "a.csv")
    (tmp_path / "a.txt").write_text(f"{mark}0 0.5 0.5 0.1 0.1\nnot a label\n", encoding=encoding)
    (tmp_path / "a.csv").unlink()
    with pytest.raises(InputError, match=r"1 \.txt files; YOLO labels need a data\.yaml"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a/labels.zip", "unpack a/labels.zip and give its folder"),
        ("labels.tar.gz", "unpack labels.tar.gz and give its folder"),
        ("train/cells.tfrecord", "found train/cells.tfrecord: TFRecord is not read: export as COCO JSON, Pascal"),
        ("labelTxt/P1.txt", "found labelTxt/P1.txt: DOTA's text is not read: export as COCO JSON, Pascal"),
        ("train.record", "found train.record: TFRecord is not read"),
        ("train.parquet", "found train.parquet: Parquet is not read"),
        ("train/_annotations.txt", "found train/_annotations.txt: Roboflow's text for Keras is not read: export as"),
        ("README.txt", "these are photos without labels: give the folder that has the labels, too, or label them"),
        (None, "these are photos without labels: give the folder that has the labels, too, or label them"),
    ],
)
def test_a_folder_with_photos_and_no_labels_that_are_read(tmp_path: Path, name: str | None, words: str) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 60, 3), np.uint8))
    if name is not None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("some text")
    with pytest.raises(InputError, match=f"recognized none; {words}"):
        find_dataset(tmp_path)


@pytest.mark.parametrize("kind", ["coco", "yolo", "voc", "cvat", "labelme", "via"])
def test_a_data_set_some_folders_below_is_found(kind: str, tmp_path: Path) -> None:
    """The line of a run names its folder; of several, none is guessed."""
    for split in ("train", "test"):
        write_split(tmp_path / "b" / "c" / "d", split, kind)
    source = open_dataset(tmp_path)
    assert {split: len(one.coco["images"]) for split, one in source.splits.items()} == {"train": 1}
    assert (tmp_path / "b" / "c" / "d").is_relative_to(source.path)
    if kind != "voc":  # whose folders are joined
        write_split(tmp_path / "b" / "e" / "f", "train", kind)
        with pytest.raises(InputError, match=r"found data sets in .*b.c(.d)?, .*b.e(.f)?: give one of them"):
            find_dataset(tmp_path)


def test_what_infer_saved_is_not_all_of_a_data_set(tmp_path: Path) -> None:
    """YOLO labels without their photos, and COCO's images and results."""
    (tmp_path / "yolo" / "labels").mkdir(parents=True)
    (tmp_path / "yolo" / "classes.txt").write_text("hat\n")
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(InputError, match="no photos of the YOLO labels: put them into images/ beside labels/"):
        find_dataset(tmp_path / "yolo")
    with pytest.raises(InputError, match=r"put them into images/ beside labels/, .*, without --images"):
        find_dataset(tmp_path / "yolo", tmp_path)
    write_coco(tmp_path / "coco" / "images.json", tmp_path / "photos")
    rows = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "score": 0.5}]
    (tmp_path / "coco" / "results.json").write_text(json.dumps(rows))
    (line,) = find_dataset(tmp_path / "coco", tmp_path / "photos").remarks
    assert line.endswith("coco: results.json has detections, which are no labels: not read (see rtmdet label)")


def test_train_and_val_with_images_elsewhere(tmp_path: Path) -> None:
    """As `rtmdet data split` writes them into another folder."""
    for name in ("train", "val"):
        write_coco(tmp_path / "split" / f"{name}.json", tmp_path / "photos")
    source = open_dataset(tmp_path / "split", tmp_path / "photos")
    assert {name: split.images for name, split in source.splits.items()} == dict.fromkeys(
        ("train", "val"), tmp_path / "photos"
    )
    shutil.copy(tmp_path / "split" / "train.json", tmp_path / "labels.coco")
    assert find_dataset(tmp_path / "labels.coco", tmp_path / "photos").names == ("train",)
    (tmp_path / "data.yaml").write_text("names: [hat]\ntrain: photos\n")
    with pytest.raises(InputError, match=r"put them into images/ beside labels/, .*, without --images"):
        find_dataset(tmp_path / "data.yaml", tmp_path / "photos")
    with pytest.raises(InputError, match="recognized none"):
        open_dataset(tmp_path / "photos", tmp_path / "photos")


def test_images_of_one_split_alone_are_told(tmp_path: Path) -> None:
    """The classes of all splits are needed, so that ids are the same in all."""
    for split, stem in (("train", "a"), ("val", "b")):
        write_voc(tmp_path / "set" / split, tmp_path / "photos" / split, stem, "hat")
    found = find_dataset(tmp_path / "set", tmp_path / "photos" / "val")
    with pytest.raises(InputError, match=r"\(the classes of train are needed, too, and .* images of all splits: if"):
        found.read_one("val")
    (tmp_path / "set" / "val" / "b.xml").write_text("<annotation>")
    with pytest.raises(InputError) as caught:
        find_dataset(tmp_path / "set", tmp_path / "photos" / "train").read_one("val")
    assert "if they have different folders" not in str(caught.value)
