"""--save: what is written is read back, by our readers or those of the format, with the same boxes."""

import csv
import json
from fractions import Fraction
from pathlib import Path
from xml.etree.ElementTree import fromstring

import cv2
import numpy as np
import pytest
from bright import scene
from pycocotools.coco import COCO

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, CocoImage
from rtmdet.data.formats.cvat import convert_cvat, cvat_image
from rtmdet.data.formats.labelme import convert_labelme
from rtmdet.data.formats.voc import convert_voc, voc_document
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.infer import OutputSettings, infer
from rtmdet.stream.output_paths import crop_folders
from rtmdet.stream.sources import find_sources
from rtmdet.stream.video import VideoWriter

FORMATS = ("coco", "csv", "yolo", "voc", "labelme", "cvat")
SIZE = (48, 80)  # (H, W)


@pytest.fixture
def out(detector: Detector, tmp_path: Path) -> Path:
    """The output of a run over photos of two folders, one without an object, in all formats."""
    for number, name in enumerate(("a.png", "deep/a.png")):
        path = tmp_path / "photos" / name
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), scene(5 + number, SIZE))
    cv2.imwrite(str(tmp_path / "photos" / "dark.png"), np.zeros((*SIZE, 3), np.uint8))
    sources = find_sources([str(tmp_path / "photos")], recursive=True).sources
    output = OutputSettings(tmp_path / "out", pictures=False, crops=True, formats=FORMATS)
    outcomes = list(infer(detector, sources, DetectSettings({"bright": 0.3, "white": 0.3}), output, weights="a"))
    assert [outcome.failure for outcome in outcomes] == [None] * 3
    return tmp_path / "out"


def boxes(file: CocoFile) -> dict[str, list[tuple[str, list[int]]]]:
    """Class and rounded xywh box of each object of each image."""
    names = {category["id"]: category["name"] for category in file["categories"]}
    files = {image["id"]: image["file_name"] for image in file["images"]}
    found: dict[str, list[tuple[str, list[int]]]] = {name: [] for name in files.values()}
    for entry in file["annotations"]:
        found[files[entry["image_id"]]].append((names[entry["category_id"]], [round(side) for side in entry["bbox"]]))
    return found


EXPECTED = {
    "a.png": [(name, [10, 8, 16, 16]) for name in ("bright", "white")],
    "dark.png": [],
    "deep/a.png": [(name, [12, 8, 16, 16]) for name in ("bright", "white")],
}


def near(found: dict[str, list[tuple[str, list[int]]]]) -> bool:
    """Whether this is EXPECTED, within a pixel of the network's input."""
    assert list(found) == list(EXPECTED)
    for name, objects in EXPECTED.items():
        assert [one[0] for one in found[name]] == [one[0] for one in objects]
        for (_, box), (_, other) in zip(found[name], objects, strict=True):
            assert np.abs(np.subtract(box, other)).max() <= 2
    return True


def test_label_files_are_read_back(out: Path) -> None:
    photos = out.parent / "photos"
    assert near(boxes(convert_labelme(out / "labelme").coco))
    assert near(boxes(convert_voc(out / "voc", photos).coco))
    assert near(boxes(convert_cvat(out / "cvat.xml", photos).coco))


def test_coco_results_with_their_images(out: Path) -> None:
    truth = COCO(str(out / "coco" / "images.json"))
    loaded = truth.loadRes(str(out / "coco" / "results.json")).dataset
    assert near(boxes(loaded))
    assert [round(entry["score"], 3) for entry in loaded["annotations"]] == [0.9, 0.5] * 2


def test_yolo_labels(out: Path) -> None:
    assert (out / "yolo" / "classes.txt").read_text() == "bright\nwhite\n"
    labels = out / "yolo" / "labels"
    assert (labels / "dark.txt").read_text() == ""
    lines = [line.split() for line in (labels / "deep" / "a.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "1"]
    assert [float(value) for value in lines[0][1:]] == pytest.approx([20 / 80, 16 / 48, 16 / 80, 16 / 48], abs=0.03)


def test_rows_of_the_table(out: Path) -> None:
    with (out / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(Path(row["file"]).parent.name, row["class_name"], row["score"]) for row in rows] == [
        ("photos", "bright", "0.90000"), ("photos", "white", "0.50000"),
        ("deep", "bright", "0.90000"), ("deep", "white", "0.50000"),
    ]  # fmt: skip
    entries = json.loads((out / "detections.json").read_text())["images"]
    assert [float(rows[0][side]) for side in ("x1", "y1", "x2", "y2")] == entries[0]["objects"][0]["box"]
    assert "picture" not in entries[0]


def test_crops_show_the_objects(out: Path) -> None:
    crops = sorted(path.relative_to(out / "crops").as_posix() for path in (out / "crops").rglob("*.jpg"))
    assert crops == ["bright/a_1.jpg", "bright/deep/a_1.jpg", "white/a_2.jpg", "white/deep/a_2.jpg"]
    crop = read_image(out / "crops" / crops[0])
    assert np.abs(np.subtract(crop.shape[:2], 16)).max() <= 3
    assert np.median(crop) > 240


def test_classes_whose_names_differ_in_forbidden_letters_have_folders_of_their_own() -> None:
    folders = crop_folders(["car?", "car*", "Bus", "bus", "v1.5"])
    assert [str(folder) for folder in folders.values()] == ["car_", "car__2", "Bus", "bus_2", "v1.5"]


@pytest.mark.parametrize("letter", ["\x01", "\udce4"])  # a control character, half of a letter
def test_names_that_xml_cannot_hold_leave_the_files_readable(letter: str) -> None:
    image: CocoImage = {"id": 1, "file_name": f"a{letter}b.png", "width": 8, "height": 8}
    assert fromstring(voc_document(image, [], {})).findtext("filename") == "a?b.png"
    assert fromstring(cvat_image(image, [], {})).get("name") == "a?b.png"


def test_pictures_of_one_name_have_names_of_their_own(detector: Detector, tmp_path: Path) -> None:
    """Photos of two folders, and a video beside the folder of another one's frames."""
    names = ("one/000001.png", "two/000001.png", "all/clip/000001.png", "two/000001_2.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), scene(1))
    writer = VideoWriter(tmp_path / "clip.mp4", (64, 64), Fraction(5))
    for number in range(3):
        writer.add(scene(number), number / 5)
    writer.close()
    words = [str(tmp_path / name) for name in (*names[:2], "all", "clip.mp4", names[3])]
    output = OutputSettings(tmp_path / "out", pictures=False, formats=["coco", "yolo"])
    outcomes = list(
        infer(
            detector,
            find_sources(words, recursive=True).sources,
            DetectSettings({"bright": 0.3}),
            output,
            weights="a",
        )
    )
    files = [
        image["file_name"] for image in json.loads((tmp_path / "out" / "coco" / "images.json").read_text())["images"]
    ]
    frames = [f"clip_video/{number:06d}.jpg" for number in range(3)]
    assert files == ["000001.png", "000001_3.png", "clip/000001.png", *frames, "000001_2.png"]
    labels = tmp_path / "out" / "yolo" / "labels"
    found = sorted(path.relative_to(labels).with_suffix("").as_posix() for path in labels.rglob("*.txt"))
    assert found == sorted(name.rpartition(".")[0] for name in files)
    assert len(outcomes) == 7


def test_labels_may_lie_beside_the_photos(detector: Detector, tmp_path: Path) -> None:
    """Only a drawn picture would replace one."""
    cv2.imwrite(str(tmp_path / "a.jpg"), scene(1))
    sources = find_sources([str(tmp_path / "a.jpg")]).sources
    output = OutputSettings(tmp_path, pictures=False, formats=["yolo"])
    (outcome,) = infer(detector, sources, DetectSettings({"bright": 0.3}), output, weights="a")
    assert outcome.failure is None
    assert [path.name for path in (tmp_path / "yolo" / "labels").iterdir()] == ["a.txt"]
    with pytest.raises(InputError, match="would replace the photo itself"):
        list(infer(detector, sources, DetectSettings({"bright": 0.3}), OutputSettings(tmp_path), weights="a"))


def test_frames_have_label_files_of_their_own(detector: Detector, tmp_path: Path) -> None:
    writer = VideoWriter(tmp_path / "clip.mp4", (64, 64), Fraction(5))
    for number in range(3):
        writer.add(scene(number), number / 5)
    writer.close()
    output = OutputSettings(tmp_path / "out", pictures=False, formats=["voc", "csv", "labelme"])
    sources = find_sources([str(tmp_path / "clip.mp4")]).sources
    assert len(list(infer(detector, sources, DetectSettings({"bright": 0.3}), output, weights="a"))) == 3
    names = [path.name for path in sorted((tmp_path / "out" / "voc" / "Annotations" / "clip").iterdir())]
    assert names == ["000000.xml", "000001.xml", "000002.xml"]
    document = json.loads((tmp_path / "out" / "labelme" / "clip" / "000001.json").read_text())
    assert document["imagePath"] == "clip/000001.jpg"
    rows = list(csv.DictReader((tmp_path / "out" / "detections.csv").read_text().splitlines()))
    assert [(row["frame"], row["seconds"]) for row in rows] == [("0", "0.000"), ("1", "0.200"), ("2", "0.400")]
