"""Image files are found by the names in annotation files: paths of other machines, URLs, case, Unicode forms."""

import json
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pytest

import rtmdet
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.layout import find_folder
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.image_names import ImageNames, locate_images

ACCENT = unicodedata.normalize("NFC", "café.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files with the same name in different folders, and some with other names."""
    for name in ("a/x.png", "b/x.png", "my pic.png", "img1.PNG", "b/one.png", ACCENT, "100%.png", "q?x.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / name), np.zeros((40, 50, 3), np.uint8))
        if not (tmp_path / "images" / name).exists():  # OpenCV may not write such names everywhere
            (tmp_path / "images" / name).write_bytes((tmp_path / "images" / "a" / "x.png").read_bytes())
    return tmp_path / "images"


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a/x.png", "a/x.png"),
        (r"..\..\label-studio\media\upload\b\x.png", "b/x.png"),
        (r"D:\old\images\b\one.png", "b/one.png"),
        ("/home/other/data/images/one.png", "b/one.png"),
        ("/data/local-files/?d=proj/a/x.png", "a/x.png"),
        ("/data/local-files/?d=proj%5Ca%5Cx.png", "a/x.png"),
        ("https://host.org/bucket/one.png?signature=a%2Fb#top", "b/one.png"),
        ("s3://bucket/my%20pic.png", "my pic.png"),
        ("my%20pic.png", "my pic.png"),
        ("img1.png", "img1.PNG"),
        ("B/ONE.png", "b/one.png"),
        (unicodedata.normalize("NFD", ACCENT), ACCENT),
        ("100%.png", "100%.png"),
        ("q?x.png", "q?x.png"),
        ("b/one", "b/one.png"),
        ("/old/my pic", "my pic.png"),
    ],
)
def test_a_name_finds_its_file(folder: Path, name: str, file: str) -> None:
    assert ImageNames(folder).find(name) == [file]


@pytest.mark.parametrize("name", ["absent.png", "../../etc/passwd", "http://[x", "", ".", "..", "a", "a/"])
def test_missing_files_are_not_found(folder: Path, name: str) -> None:
    (folder.parent / "outside.png").write_bytes(b"")
    assert ImageNames(folder).find(name) == []
    assert ImageNames(folder).find("../outside.png") == []


@pytest.mark.parametrize("name", ["one.jpg", "old/one.HEIC", r"b\one.heif", "s3://bucket/one.webp"])
def test_the_only_file_with_another_suffix_is_taken(folder: Path, name: str) -> None:
    names, remarks = locate_images(Path("labels.json"), folder, [name])
    assert names == {name: "b/one.png"}
    assert remarks[0].endswith("matched by the last parts of their paths or without suffix")


def test_the_converted_photo_is_preferred_to_the_heic_one(folder: Path) -> None:
    (folder / "b" / "one.heic").touch()
    (folder / "two.HEIC").touch()
    assert ImageNames(folder).find("one.heic") == ["b/one.png"]
    assert ImageNames(folder).find("two.jpg") == ["two.HEIC"]  # reading it says what to do
    (folder / "b" / "one.bmp").touch()
    assert ImageNames(folder).find("one.heic") == ["b/one.bmp", "b/one.png"]


def test_the_folder_of_converted_photos_is_found(folder: Path) -> None:
    assert find_folder(folder.parent / "labels.json", ["one.heic"]) == folder


def test_the_exact_case_is_preferred(folder: Path) -> None:
    (folder / "IMG1.png").write_bytes(b"")
    if (folder / "img1.png").exists():
        pytest.skip("the file system knows no case")
    assert ImageNames(folder).find("old/IMG1.png") == ["IMG1.png"]
    assert ImageNames(folder).find("old/img1.png") == ["IMG1.png", "img1.PNG"]


def test_several_files_are_named_and_none_is_taken(folder: Path) -> None:
    with pytest.raises(
        InputError, match=r"set.json: the image 'c/x.png' could be any of 'a/x.png', 'b/x.png' in"
    ) as caught:
        locate_images(Path("set.json"), folder, ["c/x.png"])
    assert str(caught.value).endswith("write the path of the right file")


def test_a_file_that_is_missing_in_its_folder_is_not_taken_from_one_of_the_same_name(tmp_path: Path) -> None:
    for name in ("cam1/frames/0.png", "cam1/frames/1.png", "cam2/frames/0.png", "cam2/frames/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert ImageNames(tmp_path).find("cam1/frames/3.png") == []
    assert ImageNames(tmp_path).find("/old/cam2/frames/3.png") == ["cam2/frames/3.png"]
    assert ImageNames(tmp_path).find("/old/cam3/frames/3.png") == ["cam2/frames/3.png"]
    assert ImageNames(tmp_path).find("old/3.png") == ["cam2/frames/3.png"]


def test_one_file_is_not_taken_for_two_images(folder: Path) -> None:
    with pytest.raises(InputError, match=r"found only 'b/one.png' in .* for both 'p/one.png' and 'q/one.png'"):
        locate_images(Path("set.json"), folder, ["p/one.png", "q/one.png"])


def test_one_remark_for_all_renamed_files(folder: Path) -> None:
    names, remarks = locate_images(Path("set.json"), folder, ["a/x.png", "/old/b/one.png", "img1.png"])
    assert names == {"a/x.png": "a/x.png", "/old/b/one.png": "b/one.png", "img1.png": "img1.PNG"}
    (remark,) = remarks
    assert remark.startswith("set.json: 2 of 3 image names differ from the files in")
    assert "such as '/old/b/one.png' for 'b/one.png'" in remark
    assert locate_images(Path("set.json"), folder, ["a/x.png"])[1] == []


def test_images_that_only_other_folders_have_are_a_line_of_their_own(folder: Path) -> None:
    _, remarks = locate_images(Path("set.json"), folder, ["a/x.png", "one.png", "IMG1.png"])
    assert [remark.partition(f" in {folder}, such as ")[::2] for remark in remarks] == [
        (
            "set.json: 1 of 3 image names differ from the files",
            "'IMG1.png' for 'img1.PNG': matched by the last parts of their paths or without suffix",
        ),
        (
            "set.json: 1 of 3 image names are found only in another folder",
            "'one.png' for 'b/one.png': make sure that these are the labeled images",
        ),
    ]


def test_a_data_set_of_another_machine_is_opened(folder: Path) -> None:
    """The folder is found although none of the names leads into it, and the images load."""
    names = [r"..\media\upload\1\one.png", "/home/other/MY%20PIC.png"]
    document = {
        "images": [{"id": i, "file_name": name, "width": 50, "height": 40} for i, name in enumerate(names, 1)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 20, 20]} for i in (1, 2)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    file = folder.parent / "train.json"
    file.write_text(json.dumps(document))
    split = open_dataset(folder.parent).splits["train"]
    assert split.images == folder
    dataset = CocoDataset(file, split.images, training=True)
    assert [dataset.path(index).relative_to(folder).as_posix() for index in (0, 1)] == ["b/one.png", "my pic.png"]
    assert dataset.load(1).image.shape == (40, 50, 3)
    assert any("2 of 2 image names" in remark for remark in dataset.remarks)


@pytest.mark.parametrize("absolute", [False, True])
def test_names_relative_to_the_file_and_absolute_ones_that_exist_are_meant(folder: Path, absolute: bool) -> None:
    """Photos of the same names are nearer to the file, and in the folder with all of them."""
    for name in ("set/images/x.png", "x.png", "set/one.png"):
        (folder.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / name).write_bytes((folder / "a" / "x.png").read_bytes())
    file = folder.parent / "set" / "labels.json"
    names = [f"{folder if absolute else '../images'}/{name}" for name in ("a/x.png", "b/x.png", "b/one.png")]
    names.append(f"{folder.parent if absolute else '..'}/x.png")
    assert find_folder(file, names) == folder.parent
    assert [*locate_images(file, folder.parent, names)[0].values()] == [
        "images/a/x.png", "images/b/x.png", "images/b/one.png", "x.png"
    ]  # fmt: skip
    assert find_folder(file, names[1:3]) == folder / "b"
    document = {
        "images": [{"id": i, "file_name": name, "width": 50, "height": 40} for i, name in enumerate(names)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 20, 20]} for i in range(4)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    file.write_text(json.dumps(document))
    parts = rtmdet.split_data(file, folder.parent / "parts", val=0.5)
    assert [open_dataset(part).splits["train"].images for part in parts] == [folder.parent] * 2


@pytest.mark.parametrize("name", ["b/y.png", "B/y.png", "/home/other/set/b/y.png"])
def test_what_is_missing_in_its_folder_is_not_taken_from_another(folder: Path, name: str) -> None:
    """Frames of several cameras have equal names: the boxes of one would be placed on the picture of another."""
    (folder / "a" / "y.png").write_bytes((folder / "a" / "x.png").read_bytes())
    assert ImageNames(folder).find(name) == []
    assert ImageNames(folder).find("y.png") == ["a/y.png"]
