"""Copies of one photo are found and kept on the same side of a split."""

import json
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.data.coco.edit import fold_coco, split_coco
from rtmdet.data.coco.file import CocoFile, box_annotation
from rtmdet.data.copies import VIDEO, DistinctPhotos, count_equal, group_copies


def photo(seed: int) -> np.ndarray:
    """A colorful picture of 96 x 128 (H x W), different for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (128, 96), interpolation=cv2.INTER_CUBIC)


def write(folder: Path, pictures: Sequence[np.ndarray | bytes]) -> CocoFile:
    """Images 1.png, 2.png ... and their annotation file, with an object each."""
    for number, picture in enumerate(pictures, start=1):
        data = picture if isinstance(picture, bytes) else cv2.imencode(".png", picture)[1].tobytes()
        (folder / f"{number}.png").write_bytes(data)
    numbers = range(1, len(pictures) + 1)
    return {
        "images": [{"id": n, "file_name": f"{n}.png", "width": 128, "height": 96} for n in numbers],
        "annotations": [box_annotation(n, n, 1, box=(1, 1, 10, 10)) for n in numbers],
        "categories": [{"id": 1, "name": "thing"}],
    }


def test_equal_and_near_copies_are_found(tmp_path: Path) -> None:
    small = cv2.resize(photo(2), (64, 48), interpolation=cv2.INTER_AREA)
    saved_again = cv2.imencode(".jpg", photo(2), [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
    plain = np.zeros((96, 128, 3), np.uint8)
    pictures = [photo(1), photo(2), photo(1), small, photo(3)[:, ::-1], photo(3), saved_again, plain, plain + 1]
    pictures += [photo(seed) for seed in range(4, 12)]
    file = write(tmp_path, [*pictures, b"no image", b"nor this"])
    groups, remark = group_copies(file, tmp_path)
    assert groups == [{1, 3}, {2, 4, 7}, {5, 6}]
    assert remark == "copies and near copies: 7 images of 3 different photos, kept in the same split"


def test_pictures_beyond_the_limit_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path, [photo(1), photo(1)[:, ::-1], *map(photo, range(2, 6))])
    assert group_copies(file, tmp_path)[0] == [{1, 2}]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)  # they have 96 x 128 = 12,288
    assert group_copies(file, tmp_path)[0] == []


def test_without_copies_nothing_is_reported(tmp_path: Path) -> None:
    file = write(tmp_path, [photo(seed) for seed in range(5)])
    (tmp_path / "3.png").unlink()
    assert group_copies(file, tmp_path) == ([], "")


def test_frames_of_one_video_are_split_anyway(tmp_path: Path) -> None:
    frames = [cv2.convertScaleAbs(photo(1), alpha=1, beta=brighter) for brighter in range(6)]
    groups, remark = group_copies(write(tmp_path, [*frames, frames[0], photo(2)]), tmp_path)
    assert (groups, remark) == ([{1, 7}], VIDEO)


@pytest.mark.parametrize("seed", range(5))
def test_copies_stay_on_one_side(tmp_path: Path, seed: int) -> None:
    file = write(tmp_path, [photo(k) for k in range(20)])
    together = [{1, 2, 3}, {7, 20}]
    parts = split_coco(file, 0.3, seed, together)
    sides = [{image["id"] for image in part["images"]} for part in parts]
    assert sorted(sides[0] | sides[1]) == list(range(1, 21))
    assert all(group <= sides[0] or group <= sides[1] for group in together)
    assert 3 <= len(sides[1]) <= 9
    for part in fold_coco(file, 4, seed, together):
        ids = {image["id"] for image in part["images"]}
        assert all(group <= ids or not group & ids for group in together)


def test_only_copies_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least 2 different images to split, found 3 copies"):
        split_coco(write(tmp_path, [photo(1)] * 3), 0.2, 0, [{1, 2, 3}])


def test_the_command_finds_the_images_beside_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images").mkdir()
    file = write(tmp_path / "images", [photo(1), photo(1), *(photo(k) for k in range(2, 9))])
    (tmp_path / "all.json").write_text(json.dumps(file))
    words = ["data", "split", str(tmp_path / "all.json"), "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert "copies and near copies: 2 images of 1 different photos, kept in the same split" in capsys.readouterr().out
    assert main([*words, "--images", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such folder of images; check --images" in capsys.readouterr().err
    (tmp_path / "images").rename(tmp_path.parent / f"{tmp_path.name}-moved")
    assert main([*words[:-1], str(tmp_path / "another")]) == 0
    assert "images not found: copies of a photo may end up in both splits" in capsys.readouterr().out


def test_identical_files_are_counted(tmp_path: Path) -> None:
    for name, content in {"a": b"12", "b": b"34", "c": b"5", "d": b"12", "e": b"56", "f": b"5"}.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    paths = {name: tmp_path / name for name in ("a", "b", "c", "d", "e", "f", "link", "gone")}
    learned = [paths[name] for name in ("a", "b", "c", "gone")]
    assert count_equal(learned, [paths[name] for name in ("d", "e", "f", "link", "gone")]) == 3
    assert count_equal([], [paths["a"]]) == 0


def test_distinct_photos_are_added_once() -> None:
    def encode(picture: np.ndarray, suffix: str = ".png") -> bytes:
        return cv2.imencode(suffix, picture)[1].tobytes()

    distinct, plain = DistinctPhotos(), encode(np.full((96, 128, 3), 90, np.uint8))
    small = cv2.resize(photo(1), (80, 72), interpolation=cv2.INTER_AREA)
    added = [distinct.add(content) for content in (encode(photo(1)), encode(photo(2)), plain, plain, b"none")]
    assert added == [True] * 5
    assert not distinct.add(encode(small, ".jpg"))
    assert not distinct.add(encode(photo(2)[:, ::-1]))
    assert distinct.add(encode(photo(3)))


def test_many_frames_of_one_camera_are_joined_at_once(tmp_path: Path) -> None:
    """Nearly all pairs are near: joining them one by one would take minutes."""
    frames = [cv2.convertScaleAbs(photo(1), alpha=1, beta=number % 7) for number in range(600)]
    files = [cv2.imencode(".png", frame)[1].tobytes() + f"{n}".encode() for n, frame in enumerate(frames)]
    assert group_copies(write(tmp_path, files), tmp_path) == ([], VIDEO)
    other = [photo(seed) for seed in range(2, 1000)]
    groups, _ = group_copies(write(tmp_path, [*files[:400], *other]), tmp_path)
    assert groups == [set(range(1, 401))]
