"""COCO to YOLO and VOC: written files load again with our readers, and nothing is overwritten."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from full_disk import file_size_limit

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.formats.voc import convert_voc, write_voc
from rtmdet.data.formats.yolo import convert_yolo, write_yolo

WRITERS = [write_yolo, write_voc]
Writer = Callable[[CocoFile, Path, Path, str], list[str]]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with the images of `sound`."""
    folder = tmp_path / "images"
    for image in sound()["images"]:
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((image["height"], image["width"], 3), np.uint8))
    return folder


def sound() -> CocoFile:
    """Equal image names in two folders, one without objects; sparse ids, special characters, a box over the edge."""
    boxes = [
        (5, 90, [10.25, 5.4, 30.5, 20.125]), (5, 7, [70, 50, 40, 30]), (8, 7, [0, 0, 81, 61]), (8, 90, [3, 4, 1, 1]),
    ]  # fmt: skip
    sizes = {5: ("a.png", 80, 60), 6: ("b.png", 81, 61), 8: ("deep/a.png", 81, 61)}
    return {
        "images": [{"id": i, "file_name": name, "width": w, "height": h} for i, (name, w, h) in sizes.items()],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, (i, c, box) in enumerate(boxes, start=1)
        ],
        "categories": [{"id": 90, "name": "Katze & <Hündin>"}, {"id": 7, "name": "b"}],
    }


def objects(file: CocoFile) -> set[tuple[object, ...]]:
    """Image, class and box (clipped, rounded to whole pixels) of all objects."""
    files = {image["id"]: image for image in file["images"]}
    names = {category["id"]: category["name"] for category in file["categories"]}
    found = set()
    for entry in file["annotations"]:
        image, (x, y, width, height) = files[entry["image_id"]], entry["bbox"]
        box = (round(x), round(y), round(min(x + width, image["width"])), round(min(y + height, image["height"])))
        found.add((image["file_name"], names[entry["category_id"]], box, entry["iscrowd"]))
    return found


@pytest.mark.parametrize("folder", ["images", "Images", "one/images", "one/images/two"])
def test_yolo_of_images_in_a_folder_called_images(folder: str, tmp_path: Path) -> None:
    """The labels of out/images/train/images/a.png are in out/images/train/labels/: YOLO replaces the last images/."""
    file = sound()
    file["images"][2]["file_name"] = f"{folder}/a.png"
    for image in file["images"]:
        path = tmp_path / "set" / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((image["height"], image["width"], 3), np.uint8))
    out = tmp_path / "out"
    write_yolo(file, tmp_path / "set", out, "train")
    back = convert_yolo(out / "data.yaml", "train")
    assert objects(back.coco) == objects(file)
    assert back.remarks == []
    usual = (out / "images" / "train" / folder / "a.png").as_posix()
    head, _, tail = usual.rpartition("/images/")  # as in Ultralytics' code, in this letter case
    assert Path(f"{head}/labels/{tail}").with_suffix(".txt").is_file()
    with pytest.raises(InputError, match="exists already; give another --out or --split"):
        write_yolo(file, tmp_path / "set", out, "train")
    for label in [*(out / "images").rglob("*.txt")]:  # as rtmdet infer --save yolo names them
        name = (
            label.relative_to(out / "images")
            .as_posix()
            .replace("labels", folder.split("/")[-1 if folder.endswith("s") else 1])
        )
        target = out / "labels" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        label.rename(target)
    assert len(convert_yolo(out / "data.yaml", "train").coco["annotations"]) == 4


def test_yolo_and_back(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write_yolo(sound(), images, out, "train") == []
    assert write_yolo(sound(), images, out, "val") == []
    assert yaml.safe_load((out / "data.yaml").read_text(encoding="utf-8")) == {
        "names": ["b", "Katze & <Hündin>"], "train": "images/train", "val": "images/val",
    }  # fmt: skip
    for split in ("train", "val"):
        back = convert_yolo(out, split).coco
        assert objects(back) == objects(sound())
        assert [image["file_name"] for image in back["images"]] == ["a.png", "b.png", "deep/a.png"]
    first = next(entry for entry in back["annotations"] if entry["category_id"] == 1)
    assert first["bbox"] == pytest.approx([10.25, 5.4, 30.5, 20.125], abs=1e-3)


def test_voc_and_back(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write_voc(sound(), images, out, "val") == []
    for split in ("val", None):
        back = convert_voc(out, split=split).coco
        assert objects(back) == objects(sound())
        assert [image["file_name"] for image in back["images"]] == ["a.png", "b.png", "deep/a.png"]


def test_a_photo_whose_name_ends_with_a_space_comes_back_from_voc(images: Path, tmp_path: Path) -> None:
    file = sound()
    name = file["images"][0]["file_name"]
    file["images"][0]["file_name"] = str(Path(name).with_name("1 .png"))
    (images / name).rename(images / file["images"][0]["file_name"])
    write_voc(file, images, tmp_path / "out", "train")
    assert objects(convert_voc(tmp_path / "out", split="train").coco) == objects(file)


def test_crowd_regions(images: Path, tmp_path: Path) -> None:
    file = sound()
    file["annotations"][0]["iscrowd"] = 1
    assert write_yolo(file, images, tmp_path / "yolo", "train") == [
        "skipped: 1 x crowd region or object marked 'ignore'"
    ]
    assert len(convert_yolo(tmp_path / "yolo", "train").coco["annotations"]) == 3
    assert write_voc(file, images, tmp_path / "voc", "train") == [
        "crowd regions and objects marked 'ignore': 1, written as difficult"
    ]
    assert objects(convert_voc(tmp_path / "voc").coco) == objects(file)


def test_voc_makes_no_box_larger(images: Path, tmp_path: Path) -> None:
    """Its boxes are whole pixels."""
    file = sound()
    boxes = [[10.5, 10.5, 1, 1], [11.5, 9.5, 3, 2], [79.6, 59.6, 1, 1], [50, 50, 0, 0], [79.6, 59.6, 0.4, 0.4]]
    file["annotations"] = [file["annotations"][0] | {"id": n, "bbox": box} for n, box in enumerate(boxes, start=1)]
    assert write_voc(file, images, tmp_path, "train") == ["skipped: 2 x box under 1 pixel wide or high"]
    written = [annotation["bbox"] for annotation in convert_voc(tmp_path).coco["annotations"]]
    assert written == [[11, 11, 1, 1], [12, 10, 3, 2], [79, 59, 1, 1]]


@pytest.mark.parametrize("write", WRITERS)
def test_nothing_is_overwritten(images: Path, tmp_path: Path, write: Writer) -> None:
    write(sound(), images, tmp_path / "out", "train")
    with pytest.raises(InputError, match="exists already"):
        write(sound(), images, tmp_path / "out", "train")


def test_labels_may_be_written_beside_the_photos_that_are_there(tmp_path: Path, images: Path) -> None:
    (tmp_path / "set").mkdir()
    photos = images.rename(tmp_path / "set" / "JPEGImages")
    write_voc(sound(), photos, tmp_path / "set", "train")
    assert objects(convert_voc(tmp_path / "set").coco)
    assert (photos / "a.png").stat().st_size > 0


def test_a_full_disk_names_the_copy_and_leaves_no_half_of_it(tmp_path: Path, images: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    cv2.imwrite(str(images / "a.png"), noise)
    file: CocoFile = {
        "images": [{"id": 1, "file_name": "a.png", "width": 100, "height": 100}],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    with file_size_limit(4000), pytest.raises(InputError, match=r"out/images/train/a\.png: .* cannot be written"):
        write_yolo(file, images, tmp_path / "out", "train")
    assert not list((tmp_path / "out" / "images").rglob("*.*"))


def test_another_photo_of_the_same_name_is_not_replaced(tmp_path: Path, images: Path) -> None:
    photo = tmp_path / "out" / "JPEGImages" / "deep" / "a.png"
    photo.parent.mkdir(parents=True)
    photo.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"deep/a\.png is another image than .*images/deep/a\.png and would be lost"):
        write_voc(sound(), images, tmp_path / "out", "train")
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == [photo]
    assert photo.read_bytes() == b"mine"


def test_splits_of_one_data_set_have_the_same_classes(images: Path, tmp_path: Path) -> None:
    write_yolo(sound(), images, tmp_path, "train")
    other = sound()
    other["categories"][0]["name"] = "cow"
    with pytest.raises(InputError, match=r"data\.yaml: expected the classes \['b', 'cow'\], found \['b', 'Katze"):
        write_yolo(other, images, tmp_path, "val")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("path: /elsewhere", "expected no 'path', found '/elsewhere'; remove it"),
        ("valid: ../valid/images", r"expected images/val for 'val', found \['../valid/images'\]; remove it"),
        ("val:  # optional", "expected images/val for 'val', found None; remove it"),
    ],
)
def test_a_split_that_the_data_yaml_would_not_find_is_refused(
    images: Path, tmp_path: Path, line: str, words: str
) -> None:
    out = tmp_path / "out"
    write_yolo(sound(), images, out, "train")
    text = (out / "data.yaml").read_text()
    (out / "data.yaml").write_text(f"{text}{line}\n")
    with pytest.raises(InputError, match=words):
        write_yolo(sound(), images, out, "val")
    assert not (out / "images" / "val").exists()
    (out / "data.yaml").write_text(f"path: .  # here\n{text}")
    write_yolo(sound(), images, out, "val")
    assert (out / "data.yaml").read_text() == f"path: .  # here\n{text}val: images/val\n"


@pytest.mark.parametrize("other", ["a.jpg", "A.jpg"])  # the second where file systems ignore the letter case
@pytest.mark.parametrize("write", WRITERS)
def test_images_that_would_share_a_label_file_are_rejected(tmp_path: Path, write: Writer, other: str) -> None:
    file = sound()
    file["images"][1]["file_name"] = other
    with pytest.raises(InputError, match=rf"images 'a\.png' and '{other}' would share a label file"):
        write(file, tmp_path, tmp_path / "out", "train")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["yolo", "voc"])
def test_command(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    file, out = tmp_path / "all.json", tmp_path / "out"
    write_json(file, sound())
    words = ["data", "export", target, str(file), "--images", str(images), "--out", str(out)]
    assert main([*words, "--split", "val"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{file}: boxes beyond the edge of their image: 1, clipped", f"3 images, 4 objects -> {out}"]
    assert main([*words, "--split", "../val"]) == 2
    assert capsys.readouterr().err.startswith("error: --split ../val: expected a word")
    (images / "b.png").unlink()
    assert main([*words, "--split", "train"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
