"""Copies: identical files by their bytes, near ones by their fingerprint."""

import shutil

import cv2
import numpy as np
import pytest

from rtmdet.data.copies import fingerprints


def test_equal_files_inside_a_split(patient, only) -> None:
    shutil.copyfile(patient.path("train", 1), patient.path("train", 3))
    patient.documents["train"]["annotations"][0].update(image_id=2, bbox=[100, 60, 20, 30])
    finding = only(patient.check(), "copy")
    assert finding.severity == "warning"
    assert [item.text for item in finding.items] == ["3.jpg = train: 1.jpg (5 and 4 objects)"]


def test_equal_files_in_both_splits(patient, only) -> None:
    shutil.copyfile(patient.path("train", 1), patient.path("val", 3))
    finding = only(patient.check(decode=True), "leak")
    assert (finding.severity, finding.split) == ("error", "val")
    assert finding.items[0].text == "3.jpg = train: 1.jpg"
    assert finding.items[0].files == (patient.path("val", 3), patient.path("train", 1))


@pytest.mark.parametrize(
    ("split", "code", "severity"), [("train", "near-copy", "hint"), ("val", "near-leak", "warning")]
)
def test_near_copies_need_decode(patient, only, split: str, code: str, severity: str) -> None:
    image = cv2.imread(str(patient.path("train", 1)))
    smaller = cv2.resize(image, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA)
    patient.write_image(split, 3, cv2.resize(smaller, (160, 120)), quality=60)
    assert patient.check() == []
    finding = only(patient.check(decode=True), code)
    assert (finding.severity, finding.split, finding.items[0].image_id) == (severity, split, 3)


def test_mirrored_copies_are_near(patient, only) -> None:
    image = cv2.imread(str(patient.path("train", 1)))
    patient.write_image("val", 3, image[:, ::-1], quality=60)
    assert only(patient.check(decode=True), "near-leak").items[0].image_id == 3


def test_a_leak_is_seen_beside_a_nearer_copy_of_the_same_split(patient) -> None:
    image = cv2.imread(str(patient.path("train", 1)))
    patient.write_image("val", 2, cv2.GaussianBlur(image, (0, 0), 3), quality=60)
    patient.write_image("val", 3, cv2.GaussianBlur(image, (0, 0), 3), quality=61)  # nearest to the other of val
    found = {finding.code: finding for finding in patient.check(decode=True)}
    assert set(found) == {"near-leak", "near-copy"}
    assert [item.image_id for item in found["near-leak"].items] == [2, 3]
    assert [item.image_id for item in found["near-copy"].items] == [3]


def test_plain_pictures_are_not_copies(patient) -> None:
    for number, gray in enumerate((100, 140), start=1):
        picture = np.full((120, 160, 3), gray, np.uint8)
        picture[50:60, 70 : 70 + 10 * number] = 255
        patient.write_image("train", number, picture)
    assert patient.check(decode=True) == []


def test_fingerprints_of_ramps() -> None:
    ramp = np.tile(np.arange(170, dtype=np.uint8), (160, 1))
    plain, mirrored = fingerprints(ramp)
    assert plain.all()
    assert not mirrored.any()
    np.testing.assert_array_equal(fingerprints(ramp[:, ::-1].copy()), [mirrored, plain])
    assert not fingerprints(np.full_like(ramp, 90)).any()
