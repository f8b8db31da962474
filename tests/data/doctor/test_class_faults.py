"""Classes: names and order compared with a configuration, a checkpoint and the other split; rare ones."""

import pytest

from rtmdet.data.doctor.finding import Purpose


@pytest.mark.parametrize(
    ("classes", "codes", "severities"),
    [
        (("dog", "cat"), [], []),
        (("cat", "dog"), ["class-order", "class-order"], ["hint", "hint"]),
        (("dog",), ["other-class", "empty-image", "other-class"], ["hint"] * 3),
        (("dog", "cow", "cat"), ["unknown-class", "unknown-class"], ["error", "hint"]),
    ],
)
def test_against_a_configuration(patient, classes: tuple[str, ...], codes: list[str], severities: list[str]) -> None:
    findings = patient.check(Purpose(classes=classes, input_size=(128, 160)))
    assert [finding.code for finding in findings] == codes
    assert [finding.severity for finding in findings] == severities


@pytest.mark.parametrize(
    ("known", "unknown", "words"),
    [
        (("dog", "cat"), [], ""),
        (("cat", "dog"), [], ""),  # known by name
        (("dog", "cow"), ["'cat'"], "they start from scratch, classes known by name keep"),
        (("person",), ["'dog'", "'cat'"], "the class-prediction layers start from scratch"),
        (("person", "car"), ["'dog'", "'cat'"], "if they resemble person, car"),
    ],
)
def test_against_a_checkpoint(patient, known: tuple[str, ...], unknown: list[str], words: str) -> None:
    findings = patient.check(Purpose(known_classes=known, input_size=(128, 160)))
    assert [(one.severity, one.split) for one in findings] == ([("hint", "train")] if unknown else [])
    assert [item.text for one in findings for item in one.items] == unknown
    assert all(words in finding.advice for finding in findings)


def test_splits_are_matched_by_name(patient) -> None:
    first, second = patient.documents["val"]["categories"]
    first["name"], second["name"] = second["name"], first["name"]
    assert patient.check() == []
    first["name"] = "cow"  # was dog, is cat
    found = {finding.code: finding for finding in patient.check()}
    assert {code: (one.severity, one.split) for code, one in found.items()} == {
        "missing-class": ("hint", "val"), "unlearned-class": ("warning", "val")
    }  # fmt: skip
    assert [item.text for item in found["missing-class"].items] == ["'cat'"]
    assert [item.text for item in found["unlearned-class"].items] == ["'cow'"]
    second["name"] = "hen"
    assert {one.code: one.severity for one in patient.check()}["missing-class"] == "error"


def test_empty_and_scarce_classes(patient) -> None:
    for document in patient.documents.values():
        document["categories"].append({"id": 7, "name": "cow"})
        document["annotations"][0]["category_id"] = 2  # nine dogs
    found = {(finding.split, finding.code): finding for finding in patient.check()}
    assert {key: one.severity for key, one in found.items()} == {
        ("train", "empty-class"): "warning", ("train", "few-objects"): "warning",
        ("val", "empty-class"): "hint", ("val", "few-objects"): "hint",
    }  # fmt: skip
    assert found["train", "empty-class"].items[0].text == "'cow'"
    assert found["train", "few-objects"].items[0].text == "'dog'"


def test_rare_classes_and_the_threshold_that_helps(patient) -> None:
    document = patient.documents["train"]
    document["images"] = [dict(document["images"][0], id=n, file_name=f"{n}.jpg") for n in range(1, 42)]
    document["annotations"] = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 40, 40]} for n in range(1, 41)
    ] + [{"id": 90 + n, "image_id": 41, "category_id": 2, "bbox": [9 * n, 5, 40, 40]} for n in range(10)]

    def rare(threshold: float) -> list[tuple[str, str]]:
        findings = patient.check(Purpose(repeat_threshold=threshold))
        return [(one.advice, one.items[0].text) for one in findings if one.code == "rare-class"]

    assert rare(0) == [("data.repeat_threshold=0.098 oversamples their images", "'cat': 1 of 41 images")]
    assert "already" in rare(0.2)[0][0]


def test_similar_names(patient) -> None:
    for split in ("train", "val"):
        patient.documents[split]["categories"][1]["name"] = " DOG"
    findings = patient.check()
    assert [(one.code, one.split, one.severity) for one in findings] == [
        ("similar-class", "train", "warning"),
        ("similar-class", "val", "warning"),
    ]
    assert findings[0].items[0].text == "'dog' and 'DOG'"
