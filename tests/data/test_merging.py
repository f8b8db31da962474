"""Merged files: classes by name, images by file, new ids."""

import copy
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtmdet
from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import read_json, write_json
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.edit import merge_coco
from rtmdet.data.coco.file import CocoFile, read_coco
from rtmdet.data.formats.open import open_dataset


def labels_of(folder: Path, name: str, boxes: list[list[float]]) -> str:
    """A COCO file of one photo in the folder, with a box for each of two dogs."""
    objects = [{"id": n, "image_id": 0, "category_id": 1, "bbox": box} for n, box in enumerate(boxes, start=1)]
    images = [{"id": 0, "file_name": "a.png", "width": 60, "height": 50}]
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}
    write_json(folder / f"{name}.json", content)
    return str(folder / f"{name}.json")


def test_corrected_labels_replace_those_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60, 3), np.uint8))
    first = labels_of(tmp_path, "first", [[1, 1, 20, 20], [30, 5, 20, 20]])
    corrected = labels_of(tmp_path, "corrected", [[2, 1, 20, 20]])
    assert main(["data", "merge", first, corrected, "--out", str(tmp_path / "both.json")]) == 0
    printed = capsys.readouterr().out
    assert "1; they have the boxes of all, equal ones once\npairs of their boxes that overlap" in printed
    assert "(IoU 0.7 or more): 1; --replace takes" in printed
    assert len(read_json(tmp_path / "both.json")["annotations"]) == 3
    words = ["data", "merge", first, corrected, "--replace", "--out", str(tmp_path / "new.json")]
    assert main(words) == 0
    assert "they have the boxes of the last one\n" in capsys.readouterr().out
    assert [one["bbox"] for one in read_json(tmp_path / "new.json")["annotations"]] == [[2, 1, 20, 20]]


@pytest.mark.parametrize("words", [["merge"], ["split"], ["export", "yolo"], ["export", "voc"]])
def test_fractions_are_not_taken_for_pixels(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60, 3), np.uint8))
    labels = labels_of(tmp_path, "labels", [[0.1, 0.1, 0.5, 0.5], [0.6, 0.2, 0.3, 0.4]])
    assert main(["data", *words, labels, "--out", str(tmp_path / "out.json")]) == 2
    assert "expected boxes in pixels, found none above 1: they look like fractions" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("kind", ["yolo", "voc"])
def test_an_export_checks_the_frame_and_leaves_out_what_is_ignored(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Boxes would lie elsewhere in a photo that EXIF rotates; what training skips must not be learned."""
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((60, 50, 3), np.uint8))
    labels = labels_of(tmp_path, "labels", [[1, 1, 20, 20], [20, 5, 20, 20]])
    assert main(["data", "export", kind, labels, "--out", str(tmp_path / "out")]) == 2
    assert "a.png: expected 60 x 50 pixels (image 0 in " in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60, 3), np.uint8))
    content = read_json(tmp_path / "labels.json")
    content["annotations"][1]["ignore"] = 1
    write_json(tmp_path / "labels.json", content)
    assert main(["data", "export", kind, labels, "--out", str(tmp_path / "out")]) == 0
    (split,) = open_dataset(tmp_path / "out").splits.values()
    assert [round(one["bbox"][0]) for one in split.coco["annotations"] if not one["iscrowd"]] == [1]


def make_file(categories: dict[int, str], objects: list[tuple[int, int]], names: list[str]) -> CocoFile:
    """Images with ids from 0, and an object for each pair of image and category id, all at different places."""
    return {
        "images": [{"id": i, "file_name": name, "width": 60, "height": 50} for i, name in enumerate(names)],
        "annotations": [
            {"id": n, "image_id": i, "category_id": c, "bbox": [n, c, 5, 5], "area": 25, "iscrowd": 0}
            for n, (i, c) in enumerate(objects, start=1)
        ],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


def test_classes_are_merged_by_name_and_equal_file_names_stay_apart() -> None:
    first = make_file({3: "cat", 1: "dog"}, [(0, 3), (1, 1)], ["a.png", "b.png"])
    second = make_file({1: "cow", 2: "dog", 9: "cat"}, [(0, 1), (0, 2), (0, 9)], ["a.png"])
    before = copy.deepcopy((first, second))
    merged = merge_coco([first, second], ["x", "y/z"])
    assert (first, second) == before
    assert {entry["name"]: entry["id"] for entry in merged["categories"]} == {"cat": 3, "dog": 1, "cow": 4}
    assert [(entry["id"], entry["file_name"]) for entry in merged["images"]] == [
        (1, "x/a.png"), (2, "x/b.png"), (3, "y/z/a.png"),
    ]  # fmt: skip
    assert [(entry["id"], entry["image_id"], entry["category_id"]) for entry in merged["annotations"]] == [
        (1, 1, 3), (2, 2, 1), (3, 3, 4), (4, 3, 1), (5, 3, 3),
    ]  # fmt: skip


def test_an_image_of_two_files_has_the_objects_of_both_once() -> None:
    first = make_file({1: "dog"}, [(0, 1)], ["x\\a.png"])
    second = make_file({1: "dog"}, [(0, 1), (0, 1)], ["a.png"])  # the first is the same box
    second["annotations"].append({**second["annotations"][1], "id": 3})
    merged = merge_coco([first, second], [".", "x"])
    assert [image["file_name"] for image in merged["images"]] == ["x/a.png"]
    assert [entry["bbox"] for entry in merged["annotations"]] == [[1, 1, 5, 5], [2, 1, 5, 5], [2, 1, 5, 5]]
    second["images"][0]["width"] = 61
    with pytest.raises(InputError, match=r"image 'x/a\.png' has 60 x 50 pixels in one file and 61 x 50"):
        merge_coco([first, second], [".", "x"])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, name in (("x", "dog"), ("y", "cat")):
        (tmp_path / folder / "images").mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "images" / "a.png"), np.zeros((50, 60, 3), np.uint8))
        write_json(tmp_path / folder / "all.json", make_file({1: name}, [(0, 1)], ["a.png"]))
    files = [str(tmp_path / folder / "all.json") for folder in "xy"]
    out = tmp_path / "merged.json"
    folders = [word for folder in "xy" for word in ("--images", str(tmp_path / folder / "images"))]
    for options in ([], folders):
        assert main(["data", "merge", *files, *options, "--out", str(out)]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said == [f"2 images, 2 objects, classes: dog, cat -> {out}", f"images: {tmp_path}"]
        assert [image["file_name"] for image in read_coco(out)["images"]] == ["x/images/a.png", "y/images/a.png"]
    (tmp_path / "again.json").write_bytes(out.read_bytes())
    write_json(out, {**read_json(out), "images": []})  # the user's changes are not replaced
    write_json(tmp_path / "mine.json", make_file({1: "dog"}, [(0, 1)], ["a.png"]))
    for target in (out, tmp_path / "mine.json"):
        before = target.read_bytes()
        assert main(["data", "merge", *files, "--out", str(target)]) == 2
        assert f"{target} holds other annotations, or changed ones, which would be lost" in capsys.readouterr().err
        assert target.read_bytes() == before
    unsigned = {key: value for key, value in read_json(tmp_path / "again.json").items() if key != "info"}
    write_json(out, unsigned)  # as earlier versions wrote it
    assert main(["data", "merge", *files, "--out", str(out)]) == 0
    capsys.readouterr()
    assert main(["data", "merge", *files, *folders[:2], "--out", str(out)]) == 2
    assert "--images: expected a folder for each of 2 files, found 1" in capsys.readouterr().err


def test_long_lists_of_classes_are_shortened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """LVIS has 1,203."""
    for number in range(2):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.random.default_rng(number).integers(0, 255, (50, 60, 3)))
    objects = [(0, 1), *((1, number) for number in range(1, 13))]
    file = make_file(dict(enumerate("abcdefghijkl", 1)), objects, ["0.png", "1.png"])
    write_json(tmp_path / "all.json", file)
    eight = "a, b, c, d, e, f, g, h and 4 more"
    assert main(["data", "merge", str(tmp_path / "all.json"), "--out", str(tmp_path / "again.json")]) == 0
    assert f"2 images, 13 objects, classes: {eight} -> " in capsys.readouterr().out
    assert main(["data", "split", str(tmp_path / "all.json"), "--val", "0.5", "--out", str(tmp_path / "parts")]) == 0
    assert "; only here: b, c, d, e, f, g, h, i and 3 more\n" in capsys.readouterr().out
    assert main(["data", "export", "yolo", str(tmp_path / "all.json"), "--out", str(tmp_path / "yolo")]) == 0
    assert main(["data", "convert", "yolo", str(tmp_path / "yolo"), "--out", str(tmp_path / "back.json")]) == 0
    assert f"12 classes ({eight}) -> " in capsys.readouterr().out
    write_json(tmp_path / "none.json", {**file, "annotations": []})
    with pytest.raises(InputError, match=r"no usable box of 'a', .*'h' and 4 more: the file has none"):
        CocoDataset(tmp_path / "none.json", tmp_path, training=True)


def test_images_are_found_by_the_split_that_the_file_is_named_after(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    cv2.imwrite(str(tmp_path / "val" / "a.png"), np.zeros((50, 60, 3), np.uint8))
    write_json(tmp_path / "valid.json", make_file({1: "dog"}, [(0, 1)], ["a.png"]))
    assert main(["data", "merge", str(tmp_path / "valid.json"), "--out", str(tmp_path / "out.json")]) == 0


def test_any_format_is_merged_and_the_result_knows_its_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A corrected folder of LabelMe joins the first labels; what is written is read from anywhere, and again."""
    for name in ("first/a.png", "next/b.png", "next/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        noise = np.random.default_rng(len(list(tmp_path.rglob("*.png")))).integers(0, 255, (50, 60, 3))
        cv2.imwrite(str(tmp_path / name), noise.astype(np.uint8))
    write_json(tmp_path / "first" / "labels.json", make_file({1: "dog"}, [(0, 1)], ["a.png"]))
    shape = {"label": "Dog", "points": [[1, 2], [20, 30]], "shape_type": "rectangle"}
    for name, shapes in (("b", [shape]), ("c", [])):
        write_json(tmp_path / "next" / f"{name}.json", {"shapes": shapes, "imagePath": f"{name}.png"})
    sources = [str(tmp_path / "first" / "labels.json"), str(tmp_path / "next")]
    target = tmp_path / "far" / "all.json"
    assert main(["data", "merge", *sources, "--out", str(target)]) == 0
    said = capsys.readouterr().out
    assert "3 images, 2 objects, classes: dog, Dog" in said
    assert "differ only in letter case" in said
    split = open_dataset(target).splits["train"]
    assert split.images == tmp_path
    assert [image["file_name"] for image in split.coco["images"]] == ["first/a.png", "next/b.png", "next/c.png"]

    assert main(["data", "split", str(target), "--val", "0.4", "--out", str(tmp_path / "parts")]) == 0
    assert open_dataset(tmp_path / "parts").splits["val"].images == tmp_path
    again = ["data", "merge", str(target), sources[1], "--out", str(tmp_path / "again.json")]
    assert main(again) == 0
    assert (
        "images that were in several files: 2; they have the boxes of all, equal ones once" in capsys.readouterr().out
    )
    assert main(["data", "export", "yolo", str(target), "--out", str(tmp_path / "yolo")]) == 0
    assert len(list((tmp_path / "yolo" / "images").rglob("*.png"))) == 3

    for folder in (tmp_path / "next", tmp_path / "other"):  # a file of its own is refreshed, also among the labels
        words = ["data", "convert", "labelme", str(tmp_path / "next"), "--out", str(folder / "all.json")]
        assert main(words) == 0
        write_json(tmp_path / "next" / "c.json", {"shapes": [shape], "imagePath": "c.png"})
        assert main(words) == 0
        (folder / "all.json").write_text('{"images": [], "annotations": []}')
        assert main(words) == 2


def test_folders_of_images_are_found_through_links_to_other_disks(tmp_path: Path) -> None:
    (tmp_path / "work" / "photos").mkdir(parents=True)
    (tmp_path / "disk" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "work" / "outputs").symlink_to(tmp_path / "disk" / "deep" / "er")
    for name in ("a.png", "b.png"):
        noise = np.random.default_rng(len(name)).integers(0, 255, (50, 60, 3))
        cv2.imwrite(str(tmp_path / "work" / "photos" / name), noise.astype(np.uint8))
    write_json(tmp_path / "work" / "labels.json", make_file({1: "dog"}, [(0, 1), (1, 1)], ["a.png", "b.png"]))
    first, second = tmp_path / "work" / "outputs" / "all.json", tmp_path / "work" / "outputs" / "again.json"
    assert main(["data", "merge", str(tmp_path / "work" / "labels.json"), "--out", str(first)]) == 0
    assert main(["data", "merge", str(first), "--out", str(second)]) == 0
    assert open_dataset(second).splits["train"].images.samefile(tmp_path / "work")


@pytest.mark.parametrize("options", [{"rename": {"dog": "Dog"}}, {"merge_similar": True}])
def test_boxes_of_one_object_that_get_one_class_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, object]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((50, 60, 3), np.uint8))
    file = make_file({1: "dog", 2: "Dog", 3: "cat"}, [(0, 1), (0, 2), (0, 3)], ["a.png"])
    for entry in file["annotations"]:
        entry["bbox"] = [1, 2, 20, 30]
    write_json(tmp_path / "labels.json", file)
    for given, told in (({}, ""), (options, "pairs of boxes of one object that now have one class: 1; see rtmdet")):
        rtmdet.merge_data([tmp_path / "labels.json"], tmp_path / f"{len(given)}.json", **given)
        out = capsys.readouterr().out
        assert ("that now have one class" in out) == bool(told)
        assert told in out


def test_photos_reached_through_a_link_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos" / "a.png"), np.zeros((50, 60, 3), np.uint8))
    write_json(tmp_path / "photos" / "labels.json", make_file({1: "dog"}, [(0, 1)], ["a.png"]))
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    rtmdet.merge_data([tmp_path / "link", tmp_path / "photos"], tmp_path / "all.json")
    assert len(read_coco(tmp_path / "all.json")["images"]) == 1


def test_a_merged_file_does_not_stand_for_its_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written beside the labels it would be read in their place the second time."""
    (tmp_path / "a").mkdir()
    cv2.imwrite(str(tmp_path / "a" / "a.png"), np.zeros((50, 60, 3), np.uint8))
    write_json(tmp_path / "a" / "a.json", {"shapes": [], "imagePath": "a.png"})
    write_json(tmp_path / "a" / "all.json", {})
    assert main(["data", "merge", str(tmp_path / "a"), "--out", str(tmp_path / "a" / "all.json")]) == 2
    assert "may belong to" in capsys.readouterr().err
    assert main(["data", "split", str(tmp_path / "a"), "--out", str(tmp_path / "parts")]) == 2
    assert "expected objects, found none on 1 images: join them with labeled ones" in capsys.readouterr().err


def test_similar_names_are_merged_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = {1: "Raccoon", 2: "raccoon", 5: "raccOOn", 7: "cat"}
    file = make_file(names, [(0, 1), (0, 2), (1, 5), (1, 7)], ["a.png", "b.png"])
    other = make_file({1: "RACCOON"}, [(0, 1)], ["c.png"])
    assert len(merge_coco([file, other], ["", ""])["categories"]) == 5
    merged = merge_coco([file, other], ["", ""], similar=True)
    assert merged["categories"] == [{"id": 1, "name": "Raccoon"}, {"id": 7, "name": "cat"}]
    assert [entry["category_id"] for entry in merged["annotations"]] == [1, 1, 1, 7, 1]

    for name in ("a.png", "b.png"):
        cv2.imwrite(str(tmp_path / name), np.zeros((50, 60, 3), np.uint8))
    write_json(tmp_path / "all.json", file)
    words = ["data", "merge", str(tmp_path / "all.json"), "--out", str(tmp_path / "out.json")]
    assert main(words) == 0
    said = "the classes 'Raccoon', 'raccoon', 'raccOOn' differ only in letter case or spaces"
    assert said in capsys.readouterr().out
    assert main([*words, "--merge-similar"]) == 0
    assert [entry["name"] for entry in read_coco(tmp_path / "out.json")["categories"]] == ["Raccoon", "cat"]


def test_one_split_of_several_under_new_class_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for split, name in (("train", "car"), ("val", "truck")):
        (tmp_path / "set" / split).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "set" / split / "a.png"), np.zeros((50, 60, 3), np.uint8))
        file = make_file({1: name, 2: "bus"}, [(0, 1), (0, 2)], ["a.png"])
        write_json(tmp_path / "set" / f"{split}.json", file)
    words = ["data", "merge", str(tmp_path / "set"), "--out", str(tmp_path / "one.json")]
    assert main(words) == 2
    assert "expected one split, found train and val" in capsys.readouterr().err
    assert main([*words, "--split", "valid", "--rename", "truck = vehicle", "--rename", "bus=vehicle"]) == 0
    assert "the train split is left out" in capsys.readouterr().out
    merged = read_coco(tmp_path / "one.json")
    assert [image["file_name"] for image in merged["images"]] == ["a.png"]
    assert merged["categories"] == [{"id": 1, "name": "vehicle"}]
    assert [entry["category_id"] for entry in merged["annotations"]] == [1, 1]
    for options, message in (
        (["--split", "test"], "expected the split test, found only train, val: give one of these"),
        (["--split", "val", "--rename", "car=vehicle"], "there is no class 'car': the classes are bus, truck"),
        (["--split", "val", "--rename", "bus"], "--rename bus: expected OLD=NEW"),
        (["--split", "val", "--rename", "bus= "], "expected one line of at most 200 letters, found ''"),
    ):
        assert main([*words, *options]) == 2
        assert message in capsys.readouterr().err
