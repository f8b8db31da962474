"""Classes: names and order against a configuration, a checkpoint and the other split; rare ones."""

from __future__ import annotations

import pytest

from rtmdet.data.checking.finding import Purpose


@pytest.mark.parametrize(
    ("classes", "codes"),
    [
        (("dog", "cat"), []),
        (("cat", "dog"), ["class-order", "class-order"]),
        (("dog",), ["other-class", "empty-image", "other-class"]),
        (("dog", "cow", "cat"), ["unknown-class", "unknown-class"]),
    ],
)
def test_against_a_configuration(patient, classes: tuple[str, ...], codes: list[str]) -> None:
    findings = patient.check(Purpose(classes=classes, input_size=(128, 160)))
    assert [finding.code for finding in findings] == codes
    assert {finding.severity for finding in findings} <= {"error" if "unknown-class" in codes else "hint"}


@pytest.mark.parametrize(
    ("known", "severity", "words"),
    [
        (("dog", "cat"), None, ""),
        (("cat", "dog"), "warning", "data.classes=[cat, dog]"),
        (("dog", "cow"), "warning", "rename the classes"),
        (("person",), "hint", "the classes are new"),
    ],
)
def test_against_a_checkpoint(patient, known: tuple[str, ...], severity: str | None, words: str) -> None:
    findings = patient.check(Purpose(known_classes=known, input_size=(128, 160)))
    assert {finding.severity for finding in findings} == ({severity} if severity else set())
    assert all(words in finding.advice for finding in findings)


def test_splits_with_other_orders(patient, only) -> None:
    first, second = patient.documents["val"]["categories"]
    first["name"], second["name"] = second["name"], first["name"]
    finding = only(patient.check(), "other-classes")
    assert (finding.severity, finding.split) == ("error", "val")
    assert [item.text for item in finding.items] == ["0: 'cat', train has 'dog'", "1: 'dog', train has 'cat'"]
    named = patient.check(Purpose(classes=("dog", "cat"), input_size=(128, 160)))
    assert {finding.code for finding in named} == {"class-order"}  # labels are right then


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
    document["images"] = [dict(document["images"][0], id=n) for n in range(1, 42)]
    document["annotations"] = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [5, 5, 40, 40]} for n in range(1, 41)
    ] + [{"id": 90 + n, "image_id": 41, "category_id": 2, "bbox": [9 * n, 5, 40, 40]} for n in range(10)]

    def rare(threshold: float) -> list[tuple[str, str]]:
        findings = patient.check(Purpose(repeat_threshold=threshold))
        return [(one.advice, one.items[0].text) for one in findings if one.code == "rare-class"]

    assert rare(0) == [("data.repeat_threshold=0.098 shows them more often", "'cat': 1 of 41 images")]
    assert "already" in rare(0.2)[0][0]
