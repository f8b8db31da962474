"""The tolerant reader: every fault of a file is reported and the rest is still used."""

from collections.abc import Callable

import pytest

from rtmdet.core.errors import InputError
from rtmdet.data.doctor.annotation_file import read_annotation_file


def test_a_sound_data_set_has_no_finding(patient) -> None:
    assert patient.check(decode=True) == []


ENTRY_FAULTS = [
    ("images", lambda d: d["images"][3].update(width="x"), "broken-entry", "4: expected an integer for 'width'"),
    ("images", lambda d: d["images"].append("x"), "broken-entry", "images[4]: expected an object {...}, found 'x'"),
    ("images", lambda d: d["images"].append(d["images"][0]), "repeated-image-id", "used twice, again at images[4]"),
    ("annotations", lambda d: d["annotations"][5].update(bbox=[1, 2, 3]), "broken-entry", "expected 4 finite"),
    ("annotations", lambda d: d["annotations"][5].update(bbox=[0, 0, -3, 4]), "broken-entry", "the negative size"),
    ("annotations", lambda d: d["annotations"][5].update(iscrowd=7), "broken-entry", "expected 0 or 1 for 'iscrowd'"),
    ("annotations", lambda d: d["annotations"][5].update(id=[1]), "broken-entry", "annotations[5]: expected an"),
    ("annotations", lambda d: d["annotations"][5].update(image_id="six"), "broken-entry", "integer for 'image_id'"),
    ("annotations", lambda d: d["annotations"][5].update(id=1), "repeated-annotation-id", "id 1, 2 times"),
    ("annotations", lambda d: d["annotations"][5].update(image_id=9), "unknown-image", "6: unknown image_id 9"),
    ("annotations", lambda d: d["annotations"][5].update(category_id=9), "unknown-category", "9 (the file has 1, 2)"),
    ("categories", lambda d: d["categories"].append({"id": 3}), "broken-entry", "the key 'name' is missing"),
    ("categories", lambda d: d["categories"].append({"id": 3, "name": "dog"}), "repeated-name", "1 and 3 are both"),
    ("categories", lambda d: d.pop("categories"), "missing-list", "expected a list under 'categories'"),
    ("images", lambda d: d["images"].clear(), "empty-list", "expected at least one entry in 'images'"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "damage", "code", "words"), ENTRY_FAULTS)
def test_faults_of_entries(patient, key: str, damage: Callable, code: str, words: str) -> None:
    damage(patient.documents["train"])
    source = patient.sources(["train"])[0]
    file, findings = read_annotation_file(source)
    found = {finding.code: finding for finding in findings if finding.items}
    assert found[code].split == "train"
    assert words in found[code].items[0].text
    assert found[code].severity == ("hint" if code == "repeated-annotation-id" else "error")
    others = {"images", "categories"} - {key}
    assert all(len(getattr(file, other)) == (4 if other == "images" else 2) for other in others)


def test_ids_from_another_start_are_one_finding_and_are_read_as_meant(patient) -> None:
    for one in patient.documents["train"]["annotations"]:
        one["category_id"] -= 1
    file, findings = read_annotation_file(patient.sources(["train"])[0])
    (finding,) = (one for one in findings if one.items)
    assert (finding.code, finding.severity, len(finding.items)) == ("shifted-ids", "error", 1)
    assert finding.items[0].text.startswith("class ids run 0 .. 1, but the classes are numbered 1 .. 2: add 1 to the")
    assert {one["category_id"] for one in file.annotations} == {1, 2}


def test_missing_sizes_are_read_from_the_images(patient) -> None:
    for image in patient.documents["train"]["images"]:
        del image["width"], image["height"]
    assert patient.check() == []


def test_entries_of_one_image_are_joined(patient) -> None:
    patient.documents["train"]["images"].append(dict(patient.documents["train"]["images"][2], id=9))
    patient.documents["train"]["annotations"][2]["image_id"] = 9
    (finding,) = patient.check()
    assert (finding.code, finding.severity, finding.split) == ("repeated-image", "hint", "train")
    assert [(item.text, item.image_id) for item in finding.items] == [("3.jpg: ids 3 and 9", 3)]


def test_a_group_category_is_reported_and_is_not_a_class(patient) -> None:
    for document in patient.documents.values():
        for category in document["categories"]:
            category["supercategory"] = "pets"
        document["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    findings = patient.check()
    assert [(one.code, one.severity, one.split) for one in findings] == [
        ("group-category", "hint", "train"),
        ("group-category", "hint", "val"),
    ]
    assert findings[0].items[0].text == "'pets' (id 0)"


def test_a_group_category_that_has_objects_in_the_other_split_is_a_class_in_both(patient) -> None:
    for document in patient.documents.values():
        for category in document["categories"]:
            category["supercategory"] = "pets"
        document["categories"].insert(0, {"id": 0, "name": "pets", "supercategory": "none"})
    patient.documents["val"]["annotations"][0]["category_id"] = 0
    findings = {(one.code, one.split) for one in patient.check()}
    assert not {code for code, _ in findings} & {"group-category", "unshared-class"}


def test_images_found_only_in_another_folder_may_be_others(patient) -> None:
    """Where all names differ, they are those of another machine."""
    (patient.folder / "train" / "backup").mkdir()
    patient.path("train", 3).rename(patient.folder / "train" / "backup" / "3.jpg")
    patient.documents["val"]["images"] = [
        {**image, "file_name": f"/old/{image['file_name']}"} for image in patient.documents["val"]["images"]
    ]
    found = {(one.code, one.severity, one.split): one for one in patient.check()}
    assert set(found) == {("moved-image", "warning", "train"), ("renamed-image", "hint", "val")}
    assert found["moved-image", "warning", "train"].items[0].text == "'3.jpg' for 'backup/3.jpg'"


def test_what_is_sound_remains(patient) -> None:
    document = patient.documents["train"]
    document["annotations"][0]["bbox"] = "all"
    document["annotations"][1]["id"] = 3
    document["images"][3]["height"] = -1
    file, _ = read_annotation_file(patient.sources(["train"])[0])
    assert list(file.images) == [1, 2, 3]
    assert [one["id"] for one in file.annotations] == [n + 1 if n != 1 else 3 for n in range(1, 20) if n % 4 != 3]


def test_objects_of_a_broken_image_are_not_reported_as_of_an_unknown_one(patient) -> None:
    patient.documents["train"]["images"][3]["width"] = -1
    _, findings = read_annotation_file(patient.sources(["train"])[0])
    assert [finding.code for finding in findings if finding.items] == ["broken-entry"]


@pytest.mark.parametrize("text", ["[", "[]", '{"images": 3}', "\xff"])
def test_files_that_are_not_a_data_set_are_rejected(patient, text: str) -> None:
    source = patient.sources()[0]
    source.annotations.write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=r"train\.json: "):
        read_annotation_file(source)
