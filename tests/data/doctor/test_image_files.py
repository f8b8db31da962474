"""Image files: missing, damaged, rotated, of another size, and those that no annotation names."""

import copy
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from rtmdet.core.errors import InputError
from rtmdet.data.doctor.decoding import in_decoding_processes
from rtmdet.data.doctor.finding import Purpose
from rtmdet.data.doctor.image_files import inspect_image
from rtmdet.data.doctor.report import examine, examine_path

ORIENTATION = 0x0112  # EXIF tag


def turn(path, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    with Image.open(path) as image:
        image.save(path, exif=exif)


def test_missing_files_and_names_that_leave_the_folder(patient) -> None:
    patient.path("val", 2).unlink()
    patient.documents["val"]["images"][2]["file_name"] = "../train/3.jpg"
    findings = {finding.code: finding for finding in patient.check()}
    assert set(findings) == {"missing-image", "renamed-image"}
    assert [item.text for item in findings["missing-image"].items] == ["2.jpg"]
    assert [item.text for item in findings["renamed-image"].items] == ["'../train/3.jpg' for '3.jpg'"]
    assert [findings[code].severity for code in ("missing-image", "renamed-image")] == ["error", "hint"]


@pytest.mark.parametrize(("name", "printed"), [("\ud800.jpg", r"\ud800.jpg"), ("2\0.jpg", r"2\x00.jpg")])
def test_names_that_no_file_can_have(patient, name: str, printed: str) -> None:
    patient.path("train", 2).unlink()
    patient.documents["test"] = copy.deepcopy(patient.documents["val"])  # which is not checked, but looked into
    shutil.copytree(patient.folder / "val", patient.folder / "test")
    for split in ("train", "test"):
        patient.documents[split]["images"][1]["file_name"] = name
    patient.sources()
    report = examine_path(patient.folder, Purpose(input_size=(128, 160)))
    assert [(finding.code, finding.split) for finding in report.findings] == [("missing-image", "train")]
    assert f"\n{' ' * 24}{printed}\n" in str(report).encode().decode()  # as standard output takes it


def test_names_of_another_machine(patient) -> None:
    images = patient.documents["val"]["images"]
    folder = patient.path("val", 2).parent
    (folder / "a").mkdir()
    for name in ("a/x.jpg", "x.jpg"):
        (folder / name).write_bytes((folder / images[2]["file_name"]).read_bytes())
    images[2]["file_name"] = "b/x.jpg"
    images[1]["file_name"] = "old/" + images[0]["file_name"]
    findings = {finding.code: finding for finding in patient.check() if finding.severity == "error"}
    assert [item.text for item in findings["ambiguous-image"].items] == [
        f"the image 'b/x.jpg' could be any of 'a/x.jpg', 'x.jpg' in {folder}"
    ]
    first = images[0]["file_name"]
    (shared,) = findings["shared-image"].items
    assert f"found only {first!r} in {folder} for both {first!r} and 'old/{first}'" in shared.text


@pytest.mark.parametrize("data", [b"", b"no image at all", None], ids=["empty", "text", "cut short"])
def test_unreadable_files(patient, only, data: bytes | None) -> None:
    path = patient.path("train", 2)
    path.write_bytes(path.read_bytes()[:-100] if data is None else data)
    finding = only(patient.check(), "unreadable-image")
    assert finding.severity == "error"
    assert str(path) in finding.items[0].text


def test_damaged_pixels_are_seen_with_decode_only(patient, only, capfd) -> None:
    path = patient.path("train", 2)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[-2:])  # half of the scan is missing, the end marker is there
    assert patient.check() == []
    finding = only(patient.check(decode=True), "broken-pixels")
    assert "Corrupt JPEG data" in finding.items[0].text
    assert capfd.readouterr().err == ""


def test_decoding_does_not_touch_the_standard_error_of_this_process(patient, monkeypatch: pytest.MonkeyPatch) -> None:
    replaced: list[int] = []
    dup2 = os.dup2
    monkeypatch.setattr(os, "dup2", lambda old, new: (replaced.append(new), dup2(old, new)))
    assert patient.check(decode=True) == []
    assert not replaced, "only in the processes that decode"


def test_standard_error_is_replaced_before_opencv_is_loaded() -> None:
    """On Windows, OpenCV's own C runtime keeps what it finds then: no damage would be seen."""
    lines = "import sys, rtmdet.data.doctor.decoding\nassert 'cv2' not in sys.modules"
    subprocess.run([sys.executable, "-c", lines], check=True)


def test_a_process_that_ends_while_it_decodes_is_one_line() -> None:
    with pytest.raises(InputError, match=r"a process that decodes images ended, .* or check without decoding"):
        list(in_decoding_processes(os._exit, [1]))


def test_files_of_16_bits_are_decoded_once(patient, monkeypatch: pytest.MonkeyPatch) -> None:
    path = patient.path("train", 1).with_suffix(".png")
    cv2.imwrite(str(path), np.full((120, 160), 900, np.uint16))
    entry = patient.documents["train"]["images"][0] | {"file_name": path.name}
    decoded: list[int] = []
    imdecode = cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: (decoded.append(flags), imdecode(data, flags))[1])
    assert inspect_image(path.parent, entry, decode=True).used == (900, 901)
    assert len(decoded) == 1


def test_damaged_pixels_do_not_hide_a_turn(patient) -> None:
    path = patient.path("train", 1)
    turn(path, 3)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + data[-2:])
    assert [finding.code for finding in patient.check(decode=True)] == ["broken-pixels", "turned-image"]


@pytest.mark.parametrize(("orientation", "size"), [(3, (160, 120)), (6, (120, 160))])
def test_turned_images(patient, only, orientation: int, size: tuple[int, int]) -> None:
    turn(patient.path("train", 1), orientation)
    entry = patient.documents["train"]["images"][0]
    entry["width"], entry["height"] = size
    finding = only(patient.check(Purpose(input_size=(320, 320))), "turned-image")
    assert (finding.severity, finding.items[0].image_id) == ("hint", 1)


def test_annotated_before_the_turn(patient, only) -> None:
    turn(patient.path("train", 1), 8)
    finding = only(patient.check(), "wrong-size")
    assert finding.severity == "error"
    assert finding.items[0].text == "1.jpg: 120 x 160, the annotation file has 160 x 120, before EXIF rotation"
    assert finding.advice.endswith(
        "annotated without EXIF rotation: remove the EXIF orientation tag, but keep the pixels"
    )
    with Image.open(patient.path("train", 1)) as image:  # as the advice says
        image.save(patient.path("train", 1))
    assert patient.check() == []


def test_exchanged_width_and_height(patient, only) -> None:
    patient.documents["train"]["images"][0] |= {"width": 120, "height": 160}
    assert "if the boxes fit, exchange width and height" in only(patient.check(), "wrong-size").advice


def test_files_without_an_entry_in_any_split_of_the_folder(patient, only) -> None:
    shutil.move(patient.path("val", 4), patient.folder / "train" / "5.jpg")
    (patient.folder / "train" / "._5.jpg").touch()  # what macOS leaves
    patient.documents["train"]["images"].append({"id": 5, "file_name": "../train/5.jpg", "width": 160, "height": 120})
    patient.documents["val"]["images"].pop()
    patient.documents["val"]["annotations"] = [
        one for one in patient.documents["val"]["annotations"] if one["image_id"] != 4
    ]
    codes = {finding.code for finding in patient.check()}
    assert "unnamed-file" not in codes  # 5.jpg is named, though with a wrong path
    patient.documents["train"]["images"].pop()
    found = [finding for finding in patient.check() if finding.code == "unnamed-file"]
    assert [item.text for item in found[0].items] == ["5.jpg"]


def test_images_of_splits_that_are_not_examined_are_not_called_unnamed(patient) -> None:
    extra = patient.folder / "train" / "7.jpg"
    shutil.copy(patient.path("train", 1), extra)
    report = examine(patient.sources(), Purpose(), others={os.path.realpath(extra)})
    assert "unnamed-file" not in {finding.code for finding in report.findings}
    patient.sources()
    shutil.copytree(patient.folder / "train", patient.folder / "all")
    for number in range(1, 5):
        shutil.copy(patient.path("val", number), patient.folder / "all" / f"{number}_val.jpg")
    documents = patient.documents | {"test": {**patient.documents["val"], "annotations": []}}
    for split, document in documents.items():
        names = [
            f"{n}.jpg" if split == "train" else "7.jpg" if split == "test" else f"{n}_val.jpg" for n in range(1, 5)
        ]
        images = [one | {"file_name": name} for one, name in zip(document["images"], names, strict=True)]
        content = {**document, "images": images[: 1 if split == "test" else 4]}
        (patient.folder / "all" / f"instances_{split}.json").write_text(json.dumps(content))
    report = examine_path(patient.folder / "all", Purpose())
    assert "unnamed-file" not in {finding.code for finding in report.findings}
    (patient.folder / "all" / "instances_test.json").write_text("[")
    report = examine_path(patient.folder / "all", Purpose())
    found = [finding for finding in report.findings if finding.code == "unnamed-file"]
    assert [item.text for item in found[0].items] == ["7.jpg"]


def test_folders_beside_those_of_the_images_are_not_searched(patient, only) -> None:
    """As where data sets from different places of a disk are merged: their common folder holds much else."""
    shutil.copytree(patient.folder / "train", patient.folder / "train_all" / "images")
    shutil.copytree(patient.folder / "val", patient.folder / "train_all" / "holiday photos")
    shutil.copy(patient.path("train", 1), patient.folder / "train_all" / "images" / "9.jpg")
    shutil.rmtree(patient.folder / "train")
    (patient.folder / "train_all").rename(patient.folder / "train")
    for image in patient.documents["train"]["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    (item,) = only(patient.check(), "unnamed-file").items
    assert item.text == os.path.join("images", "9.jpg")


def test_files_of_unusable_entries_are_not_called_unnamed(patient) -> None:
    patient.documents["train"]["images"][3].pop("width")
    assert not [finding for finding in patient.check() if finding.code == "unnamed-file"]


def test_images_of_16_bits_with_little_contrast(patient, only) -> None:
    path = patient.path("train", 1).with_suffix(".png")
    ramp = np.linspace(300, 4000, 120 * 160).astype(np.uint16).reshape(120, 160)
    cv2.imwrite(str(path), ramp)
    patient.documents["train"]["images"][0]["file_name"] = path.name
    patient.path("train", 1).unlink(missing_ok=True)
    finding, _ = (
        next(finding for finding in patient.check(decode=decode) if finding.code == "flat-image")
        for decode in (False, True)
    )
    assert (finding.severity, finding.items[0].text.split(": ")[0]) == ("warning", path.name)
    assert finding.advice.startswith("data.value_range=[30")
