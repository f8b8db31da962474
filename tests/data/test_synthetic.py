"""Synthetic balloon scenes: deterministic, exactly annotated, balloons are never hidden too much."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from rtmdet.cli.main import main
from rtmdet.core.errors import InputError
from rtmdet.data import synthetic
from rtmdet.data.synthetic import SMALLEST_BALLOON, VISIBLE, Scene, render_scene, scene_seed, write_dataset

SIZE = (120, 160)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [render_scene(scene_seed(3, index), size=SIZE) for index in range(32)]


def change(monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Change the settings of the scenes."""
    for name, value in settings.items():
        monkeypatch.setattr(synthetic, name, value)


def largest_part(scene: Scene, index: int) -> np.ndarray:
    """The (2H, 2W) mask of a balloon's largest connected visible part."""
    mask = (scene.owners == index).astype(np.uint8)
    parts, statistics = cv2.connectedComponentsWithStats(mask, connectivity=8)[1:3]
    return parts == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()


def test_same_seed_gives_same_bytes_and_another_seed_another_scene() -> None:
    first, again, other = (render_scene(seed, size=SIZE) for seed in (7, 7, 8))
    assert first.image.tobytes() == again.image.tobytes()
    assert [p.tobytes() for p in first.polygons] == [p.tobytes() for p in again.polygons]
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("size", [(64, 64), (120, 160), (161, 97)])
def test_image_has_the_size_asked_for(size: tuple[int, int]) -> None:
    scene = render_scene(0, size=size)
    assert scene.image.shape == (*size, 3)
    assert scene.image.dtype == np.uint8
    assert scene.owners.shape == (2 * size[0], 2 * size[1])
    assert len(scene.polygons) >= 1


def test_boxes_hold_the_polygons_exactly_and_lie_in_the_image(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert scene.boxes.shape == (len(scene.polygons), 4)
        assert scene.boxes.dtype == np.float32
        for box, polygon in zip(scene.boxes, scene.polygons, strict=True):
            assert polygon.dtype == np.float32
            assert (box[:2] == polygon.min(axis=0)).all()
            assert (box[2:] == polygon.max(axis=0)).all()
            assert (polygon >= 0).all()
            assert (polygon <= (SIZE[1], SIZE[0])).all()
            assert (box[2:] - box[:2] >= SMALLEST_BALLOON).all()


def test_boxes_hold_the_visible_mask_exactly(scenes: list[Scene]) -> None:
    for scene in scenes:
        assert set(np.unique(scene.owners)) - {-1} == set(range(len(scene.polygons)))
        for index, box in enumerate(scene.boxes):
            rows, columns = np.nonzero(largest_part(scene, index))
            seen = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 2
            assert (box == seen).all()


def test_polygons_follow_the_visible_mask(scenes: list[Scene]) -> None:
    for scene in scenes:
        for index, polygon in enumerate(scene.polygons):
            mask = largest_part(scene, index).astype(np.uint8)
            drawn = np.zeros_like(mask)
            cv2.fillPoly(drawn, [np.round((2 * polygon - 0.5) * 16).astype(np.int32)], 1, shift=4)
            square = np.ones((5, 5), np.uint8)
            assert not drawn[filled(cv2.dilate(mask, square)) == 0].any()  # nowhere over a pixel outside
            assert drawn[cv2.erode(mask, square) == 1].all()  # nor inside


def filled(mask: np.ndarray) -> np.ndarray:
    """The mask with holes filled (where something hides a balloon's middle): a polygon has no holes."""
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    return cv2.drawContours(np.zeros_like(mask), contours, -1, 1, cv2.FILLED)


def test_annotated_balloons_are_where_the_picture_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colors change more at the outlines than beside them: the annotation follows the painted pixels."""
    change(monkeypatch, CLUTTER=(0, 0), OCCLUDERS=(0, 0), BLUR=(0.0, 0.0))
    at, beside = [], []
    for index in range(12):
        scene = render_scene(scene_seed(4, index), size=SIZE)
        gray = cv2.cvtColor(scene.image, cv2.COLOR_RGB2LAB).astype(np.float32)
        steps = sum(np.hypot(cv2.Sobel(c, -1, 1, 0), cv2.Sobel(c, -1, 0, 1)) for c in cv2.split(gray))
        inner = np.s_[6:-6, 6:-6]  # an outline along the image's border has no step
        for shift, found in ((0, at), (3, beside), (-3, beside)):
            line = np.zeros(SIZE, np.uint8)
            for polygon in scene.polygons:
                points = np.round((polygon + shift - 0.5) * 16).astype(np.int32)
                cv2.polylines(line, [points], True, 1, shift=4)
            found.append(steps[inner][line[inner] == 1].mean())
    assert np.mean(at) > 2 * np.mean(beside)


def test_every_scene_has_balloons_and_most_have_several(scenes: list[Scene]) -> None:
    assert min(len(scene.polygons) for scene in scenes) >= 1
    assert np.mean([len(scene.polygons) for scene in scenes]) > 2.5


def test_balloons_are_never_hidden_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, BALLOONS=(30, 30), RADIUS=(0.12, 0.16), CLUTTER=(6, 16), OCCLUDERS=(1, 4))
    for seed in range(3):
        scene = render_scene(seed, size=SIZE)
        least = VISIBLE * np.pi * (0.12 * SIZE[0]) ** 2  # a balloon is taller than a disc of its width
        assert len(scene.polygons) >= 6
        assert min(cv2.contourArea(polygon) for polygon in scene.polygons) >= least


def test_outline_of_a_balloon_cut_in_two_is_that_of_its_larger_part(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, BALLOONS=(3, 3), RADIUS=(0.2, 0.24), OCCLUDERS=(60, 60), VISIBLE=0.2)
    cut = 0
    for seed in range(4):
        scene = render_scene(seed, size=SIZE)
        for index, polygon in enumerate(scene.polygons):
            parts = cv2.connectedComponentsWithStats((scene.owners == index).astype(np.uint8))[2][1:]
            cut += len(parts) > 1
            assert cv2.contourArea(polygon) * 4 >= parts[:, cv2.CC_STAT_AREA].max() * 0.98
    assert cut >= 2


def test_scene_seeds_differ_between_splits() -> None:
    seeds = {scene_seed(split, index) for split in range(40) for index in range(50)}
    assert len(seeds) == 40 * 50
    assert scene_seed(2**32 + 1, 0) != scene_seed(1, 1)  # words of a long seed are not taken for an index


def test_dataset_loads_with_pycocotools_and_keeps_the_scenes(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "split", count=5, seed=9, size=SIZE)
    assert path == tmp_path / "split" / "annotations.json"
    coco = COCO(str(path))
    assert coco.loadCats(coco.getCatIds()) == [{"id": 1, "name": "balloon"}]
    for index, image in enumerate(coco.loadImgs(sorted(coco.getImgIds()))):
        scene = render_scene(scene_seed(9, index), size=SIZE)
        picture = cv2.imread(str(path.parent / "images" / image["file_name"]))[:, :, ::-1]
        assert (image["height"], image["width"]) == picture.shape[:2] == SIZE
        assert np.abs(picture.astype(int) - scene.image).mean() < 6  # JPEG's loss, and channels in order
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert len(annotations) == len(scene.polygons)
        for annotation, box in zip(annotations, scene.boxes, strict=True):
            left, top, width, height = annotation["bbox"]
            assert [left, top, left + width, top + height] == box.tolist()
            assert annotation["area"] == pytest.approx(coco.annToMask(annotation).sum(), rel=0.15)
            assert (annotation["category_id"], annotation["iscrowd"]) == (1, 0)


def test_command_writes_two_different_splits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "synthesize", "--out", str(tmp_path), "--train", "3", "--val", "2", "--size", "64", "96"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    pictures = []
    for line, split, count in zip(lines, ("train", "val"), (3, 2), strict=True):
        content = json.loads((tmp_path / split / "annotations.json").read_text())
        assert [(image["height"], image["width"]) for image in content["images"]] == [(64, 96)] * count
        assert line.endswith(f"{split}/annotations.json: {count} images, {len(content['annotations'])} objects")
        pictures += [path.read_bytes() for path in (tmp_path / split / "images").iterdir()]
    assert len(set(pictures)) == 5


def test_command_can_be_repeated_but_replaces_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def synthesize(*options: str) -> int:
        return main(["data", "synthesize", "--out", str(tmp_path), "--val", "1", "--size", "64", "64", *options])

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    photo, labels = tmp_path / "train" / "images" / "000000.jpg", tmp_path / "train" / "annotations.json"
    assert synthesize("--train", "2") == 0
    written = contents()
    labels.unlink()  # as in a run that was interrupted
    assert synthesize("--train", "2") == synthesize("--train", "2") == 0
    assert contents() == written
    for options in (["--train", "1"], ["--train", "3"], ["--train", "2", "--seed", "1"]):
        assert synthesize(*options) == 2
    for path in (photo, labels):
        path.write_bytes(b"mine")
        assert synthesize("--train", "2") == 2
        assert contents() == written | {path: b"mine"}
        path.write_bytes(written[path])
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    assert all(line.endswith("; give another --out") for line in errors)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train", "0"], "--train: expected at least 1, found 0"),
        (["--val", "-2"], "--val: expected at least 1, found -2"),
        (["--seed", "-1"], "--seed: expected at least 0, found -1"),
        (["--size", "320", "63"], "expected sides of at least 64 pixels, found 320 x 63"),
    ],
)
def test_command_rejects_impossible_settings(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "synthesize", "--out", str(tmp_path), *options]) == 2
    message = capsys.readouterr().err
    assert words in message
    assert message.count("\n") == 1
    assert not list(tmp_path.rglob("*.json"))


def test_dataset_names_the_folder_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: the folder cannot be written"):
        write_dataset(tmp_path / "file", count=1, seed=0, size=SIZE)


@pytest.mark.parametrize(("count", "seed"), [(0, 0), (1, -1)])
def test_dataset_rejects_a_count_or_seed_out_of_range(count: int, seed: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"found {count} and {seed}"):
        write_dataset(tmp_path, count=count, seed=seed, size=SIZE)
