"""Boxes: outside, beyond the edge, unusable, too small; and which images training skips."""

from collections.abc import Callable

import numpy as np
import pytest

from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.doctor.annotation_file import read_annotation_file
from rtmdet.data.doctor.finding import Purpose
from rtmdet.data.doctor.report import examine
from rtmdet.data.doctor.sizes import fractions_by_stride, sides_at_input


@pytest.mark.parametrize(
    ("damage", "code", "severity"),
    [
        (lambda one: one.update(bbox=[160, 0, 30, 30]), "outside-box", "error"),
        (lambda one: one.update(bbox=[-5, 0, 30, 30]), "over-edge", "hint"),
        (lambda one: one.update(bbox=[130, 91, 31, 30]), None, None),
        (lambda one: one.update(area=1e5), "wrong-area", "hint"),
        (lambda one: one.update(area=0), "no-area", "warning"),
        (lambda one: one.update(bbox=[3, 3, 0.5, 3], area=1), "degenerate-box", "warning"),
        (lambda one: one.update(iscrowd=1), "crowd", "hint"),
        (lambda one: one.update(ignore=1), "ignored", "hint"),
        (lambda one: one.update(ignore=0), None, None),
        (lambda one: one.update(bbox=[7, 8, 25, 35]), "double-box", "warning"),
    ],
)
def test_one_box_at_fault(patient, damage: Callable, code: str | None, severity: str | None) -> None:
    """Changes annotation 9; 5 has the same class and image, for the duplicate."""
    damage(patient.documents["train"]["annotations"][8])
    if code == "double-box":
        patient.documents["train"]["annotations"][4]["bbox"] = [7, 8, 25, 35]
    findings = {finding.code: finding for finding in patient.check()}
    findings.pop("few-objects", None)  # the crowd region is not counted
    if code is None:
        assert findings == {}
        return
    assert findings[code].severity == severity
    ids = [item.annotation_id for item in findings[code].items]
    assert ids == ([5, 9] if code == "double-box" else [9])
    assert findings[code].items[0].box is not None


def test_many_boxes_over_the_edge_are_no_accident(patient, only) -> None:
    for number, one in enumerate(patient.documents["train"]["annotations"][:5]):
        one.update(bbox=[140, 80, 25 + number, 30], image_id=1 + number % 4)
    finding = only([one for one in patient.check() if one.code != "double-box"], "over-edge")
    assert finding.severity == "warning"
    assert [item.annotation_id for item in finding.items] == [5, 4, 3, 2, 1]  # the worst first


def test_objects_that_two_people_labeled(patient, only) -> None:
    one = next(one for one in patient.documents["train"]["annotations"] if one["id"] == 9)
    more = [
        {**one, "id": 21, "bbox": [one["bbox"][0] + 4, *one["bbox"][1:]]},  # of 28 px: IoU 0.75
        {**one, "id": 22, "bbox": [one["bbox"][0] - 5, *one["bbox"][1:]]},  # 0.70 with the first, 0.51 with the other
        {**one, "id": 23, "category_id": 3 - one["category_id"]},
    ]
    patient.documents["train"]["annotations"] += more
    found = {finding.code: finding for finding in patient.check()}
    assert found.keys() == {"double-box", "two-classes"}
    assert {item.annotation_id for item in found["double-box"].items} == {9, 21}
    assert [(item.annotation_id, item.text.split(": ")[1][:11]) for item in found["two-classes"].items] == [
        (9, "dog and cat")
    ]


def test_boxes_of_an_image_of_a_wrong_size_are_not_reported_again(patient, only) -> None:
    patient.documents["train"]["images"][0].update(width=50, height=40)
    only(patient.check(), "wrong-size")


def test_boxes_as_fractions_of_the_image(patient) -> None:
    for one in patient.documents["train"]["annotations"]:
        one["bbox"] = [value / 160 for value in one["bbox"]]
    found = {finding.code: finding for finding in patient.check()}
    assert "multiply by its width and height" in found["degenerate-box"].advice


def test_the_most_elongated_boxes_come_first(patient) -> None:
    annotations = patient.documents["train"]["annotations"]
    annotations[3]["bbox"], annotations[8]["bbox"] = [0, 0, 150, 4], [0, 0, 150, 2]
    found = {finding.code: finding for finding in patient.check()}
    assert [item.annotation_id for item in found["elongated-box"].items] == [9, 4]


def test_more_objects_than_coco_counts(patient, only) -> None:
    document = patient.documents["val"]
    document["annotations"] += [
        {
            "id": 100 + n,
            "image_id": image,
            "category_id": c,
            "bbox": [n % 97, n % 45, 30, 35],
            "area": 900,
            "iscrowd": 0,
        }
        for n, (image, c) in enumerate([(2, 1)] * 103 + [(3, 1), (3, 2)] * 60)
    ]
    finding = only([one for one in patient.check() if one.code != "double-box"], "crowded-image")
    assert (finding.severity, finding.items[0].text) == ("hint", "2.jpg: 103 objects of 'dog'")
    assert len(finding.items) == 1, "60 of each of two classes are none too many"


def test_crowd_regions_are_no_objects_to_learn_from(patient) -> None:
    document = patient.documents["train"]
    for one in document["annotations"]:
        one["iscrowd"] = int(one["category_id"] == 2)
    document["annotations"][0]["bbox"] = document["annotations"][1]["bbox"]  # of a dog and of a region of cats
    found = {finding.code: finding for finding in patient.check() if finding.split == "train"}
    assert [item.text for item in found["empty-class"].items] == ["'cat'"]
    assert "double-box" not in found


def test_sides_are_those_of_the_letterboxed_input(patient) -> None:
    file, _ = read_annotation_file(patient.sources(["train"])[0])
    sides = sides_at_input(file, file.annotations[:2], (640, 320))  # 160 x 120 fits into the width: twice
    np.testing.assert_allclose(sides, [[40, 60], [42, 62]])


def test_fractions_by_stride() -> None:
    sides = np.array([[7.9, 100], [8, 8], [100, 15.9], [16, 20], [32, 33]])
    assert list(fractions_by_stride(sides).values()) == [0.2, 0.4, 0.2, 0.2]
    assert list(fractions_by_stride(np.zeros((0, 2))).values()) == [0, 0, 0, 0]


def test_advice_for_small_boxes(patient) -> None:
    document = patient.documents["train"]
    for one in document["annotations"]:
        one["bbox"][2:] = [6, 40]
        one["area"] = 200

    def advice(side: int) -> tuple[str, str, int]:
        (found,) = (one for one in patient.check(Purpose(input_size=(side, side))) if one.code == "small-box")
        return found.severity, found.advice, len(found.items)

    assert advice(160) == (
        "warning",
        "data.input_size=[224, 224] leaves only 5% of all boxes that small",
        20,
    )  # 160 x 8 / 6 = 213.3
    severity, tiles, _ = advice(64)  # 2.4 px
    few = "it would take 3.3 times the input size until only 5% of all boxes are that small"
    hardly = ", and windows (data.tile) show them hardly larger: images with more pixels of them would help"
    assert (severity, tiles) == ("warning", few + hardly)  # 6 px in windows
    for one in document["annotations"][1:]:
        one["bbox"][2:] = [9, 40]
    few = "it would take 2.3 times the input size until only 5% of all boxes are that small"
    assert advice(64)[1] == f"{few}: --set data.tile=64, in windows of the images' own pixels, leaves 5.0%"
    for one in document["annotations"][1:]:
        one["bbox"][2:] = [16, 16]
    assert advice(160)[0] == "hint"  # one of twenty


def test_tiles_are_recommended_where_they_enlarge_small_objects(patient) -> None:
    for one in patient.documents["train"]["annotations"]:
        if one["category_id"] == 1:
            one["bbox"][2:] = [30, 30]

    def advice(side: int, tile: int | None = None) -> list[str]:
        purpose = Purpose(input_size=(side, side), tile=tile)
        return [one.items[0].text for one in patient.check(purpose) if (one.code, one.split) == ("tiles", "train")]

    assert advice(64) == [
        "half of the objects of dog have 12 px or less at 64 px; with --set data.tile=64, in windows of the "
        "pictures' own pixels, 30 px"
    ]
    assert not advice(160), "nothing is reduced"
    assert not advice(64, tile=64), "there are windows"


def test_sides_in_windows(patient) -> None:
    file, _ = read_annotation_file(patient.sources(["train"])[0])
    sides = sides_at_input(file, file.annotations[:2], (64, 64), 80)  # the windows of 80 x 80 become 64 x 64
    np.testing.assert_allclose(sides, [[16, 24], [16.8, 24.8]], rtol=1e-6)


def test_what_training_drops_is_what_the_data_set_drops(patient) -> None:
    document = patient.documents["train"]
    document["images"][0].update(width=31)
    document["annotations"] = [one for one in document["annotations"] if one["image_id"] != 2]
    for one in document["annotations"]:
        one["iscrowd"] = int(one["image_id"] == 3)
    document["annotations"][-2]["bbox"][2] = 0.3
    sources = patient.sources()
    for keep_empty in (False, True):
        report = examine(sources, Purpose(keep_empty=keep_empty))
        for source, summary in zip(sources, report.summaries, strict=True):
            training = source.name == "train"
            dataset = CocoDataset(source.annotations, source.images, training=training, keep_empty=keep_empty)
            assert (summary.kept_images, summary.kept_objects) == (len(dataset), dataset.box_count)
        codes = {finding.code: [item.image_id for item in finding.items] for finding in report.findings}
        assert codes["tiny-image"] == [1]
        assert codes.get("empty-image") == ([3] if keep_empty else [2, 3])


def test_no_box_at_all(patient) -> None:
    patient.documents["train"]["annotations"] = []
    findings = {finding.code: finding.severity for finding in patient.check()}
    assert findings["no-usable-box"] == "error"
    assert findings["empty-class"] == "warning"
