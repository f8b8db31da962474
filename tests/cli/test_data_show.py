"""`rtmdet data show`: both pictures, the counts, and segmentations of every kind."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as run_lengths

from rtmdet.cli.data_show import CELL, _outlines
from rtmdet.cli.main import main
from rtmdet.core.class_colors import class_colors
from rtmdet.data.coco.file import CocoAnnotation, box_annotation
from rtmdet.images.reading import read_image

HEIGHT, WIDTH = CELL  # one image pixel is one pixel of the picture
SQUARE = [100, 120, 200, 120, 200, 220, 100, 220]


def square_mask() -> np.ndarray:
    mask = np.zeros(CELL, np.uint8)
    mask[120:220, 100:200] = 1
    return mask


def plain_runs() -> dict[str, object]:
    flat = square_mask().T.reshape(-1)  # run lengths go down the columns
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"counts": np.diff([0, *edges, flat.size]).tolist(), "size": list(CELL)}


def packed_runs() -> dict[str, object]:
    packed = run_lengths.encode(np.asfortranarray(square_mask()))
    return {"counts": packed["counts"].decode(), "size": list(CELL)}


def show(folder: Path, segmentation: object, *options: str) -> tuple[int, Path]:
    """Run the command on one photo with a cat in the square and a dog beside it."""
    cv2.imwrite(str(folder / "a.png"), np.full((HEIGHT, WIDTH, 3), 90, np.uint8))
    cat = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [100, 120, 100, 100], "segmentation": segmentation}
    dog = {"id": 2, "image_id": 1, "category_id": 2, "bbox": [250, 120, 100, 100]}
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [cat, dog],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "emu"}],
    }
    (folder / "coco.json").write_text(json.dumps(document))
    out = folder / "out"
    return main(["data", "show", str(folder / "coco.json"), f"--images={folder}", f"--out={out}", *options]), out


def annotated(out: Path) -> np.ndarray:
    """The one cell of the picture of annotations, RGB."""
    return cv2.imread(str(out / "annotations.png"))[-8 - HEIGHT : -8, 8 : 8 + WIDTH, ::-1]


def test_pictures_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = show(tmp_path, [SQUARE])
    assert code == 0
    assert capsys.readouterr().out.splitlines() == [
        str(out / "images.png"),
        str(out / "annotations.png"),
        "cat: 1 objects in 1 of 1 images",
        "dog: 1 objects in 1 of 1 images",
        "emu: 0 objects in 0 of 1 images",
    ]
    plain = cv2.imread(str(out / "images.png"))[-8 - HEIGHT : -8, 8 : 8 + WIDTH]
    assert (plain == 90).all()


@pytest.mark.parametrize("segmentation", [[SQUARE], plain_runs(), packed_runs()], ids=["polygon", "plain", "packed"])
def test_masks_are_drawn_in_the_color_of_the_class(tmp_path: Path, segmentation: object) -> None:
    _, out = show(tmp_path, segmentation)
    picture = annotated(out)
    cat, dog = class_colors(["cat", "dog"])
    np.testing.assert_allclose(picture[170, 150], 0.6 * 90 + 0.4 * np.array(cat), atol=1)
    np.testing.assert_array_equal(picture[170, 230], [90, 90, 90])
    np.testing.assert_array_equal(picture[170, 300], [90, 90, 90])  # the dog has no mask,
    frame = picture[170, 248:252].astype(int)
    assert np.abs(frame - dog).sum(axis=1).min() < 200  # but its box


@pytest.mark.parametrize(
    "segmentation",
    [None, [], [[]], [[1, 2]], [[1, 2, 3]], [[1, 2, 3, "x", 5, 6]], [[1, 2, 3, 4, 5, float("nan")]], 7, "text", {},
     {"counts": "?!", "size": [300, 400]}, {"counts": [5, 5], "size": [300, 400]}, {"counts": [1e9], "size": [2, 2]},
     {"counts": [-5, 7], "size": [300, 400]}, {"counts": "abc", "size": "large"}, {"counts": [9], "size": [0, 0]}],
)  # fmt: skip
def test_unusable_segmentations_leave_the_box(tmp_path: Path, segmentation: object) -> None:
    code, out = show(tmp_path, segmentation)
    assert code == 0
    picture = annotated(out)
    np.testing.assert_array_equal(picture[170, 150], [90, 90, 90])
    assert (picture[170, 98:102] != 90).any()


def test_images_are_spread_over_the_file(tmp_path: Path) -> None:
    images = []
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((30, 40, 3), 10 + 40 * number, np.uint8))
        images.append({"id": number, "file_name": f"{number}.png", "width": 40, "height": 30})
    document = {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "coco.json").write_text(json.dumps(document))
    arguments = ["data", "show", str(tmp_path / "coco.json"), f"--images={tmp_path}", f"--out={tmp_path / 'out'}"]
    assert main([*arguments, "--count=3"]) == 0
    picture = cv2.imread(str(tmp_path / "out" / "images.png"))
    middle = picture[-8 - HEIGHT // 2, 8 + WIDTH // 2 :: WIDTH + 8]
    assert middle[:, 0].tolist() == [10, 50, 130]


def test_faults_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(tmp_path, [SQUARE], "--count=0")[0] == 2
    assert "--count: expected at least 1" in capsys.readouterr().err
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros((WIDTH, HEIGHT, 3), np.uint8))
    text = (tmp_path / "coco.json").read_text().replace("a.png", "b.png")
    (tmp_path / "coco.json").write_text(text)
    assert main(["data", "show", str(tmp_path / "coco.json"), f"--images={tmp_path}", f"--out={tmp_path}"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert "b.png: expected 400 x 300 pixels" in errors[0]


@pytest.mark.shared
def test_balloon_photos(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, file = shared / "data" / "balloon" / "val", tmp_path / "val.json"
    assert (
        main(["data", "convert", "via", f"{source}/via_region_data.json", "--class-name=balloon", f"--out={file}"])
        == 0
    )
    assert main(["data", "show", str(file), f"--images={source}", f"--out={tmp_path}", "--count=4"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "balloon: 50 objects in 13 of 13 images"
    plain, drawn = (cv2.imread(str(tmp_path / name)) for name in ("images.png", "annotations.png"))
    assert plain.shape == drawn.shape
    assert 0.02 < (plain != drawn).any(axis=2).mean() < 0.6


@pytest.mark.parametrize("seed", range(5))
def test_outlines_of_packed_counts_are_those_of_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = np.asfortranarray(rng.random((40, 70)) < (0.02, 0.5, 0.98, 0.0, 1.0)[seed], np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
    counts = run_lengths.encode(mask)["counts"].decode()
    found = _outlines(annotation({"size": [40, 70], "counts": counts}), (40, 70))
    assert len(found) == len(contours)
    for outline, contour in zip(found, contours, strict=True):
        np.testing.assert_array_equal(outline, contour[:, 0] + 0.5)


@pytest.mark.parametrize("text", ["?!", "a" * 30, "P", "\x00", b"\xff", 7, None])
def test_what_is_no_packed_count_has_no_outline(text: object) -> None:
    """pycocotools writes beyond its memory there, which ends the process later, anywhere."""
    assert _outlines(annotation({"size": [40, 70], "counts": text}), (40, 70)) == []


def annotation(segmentation: dict[str, object]) -> CocoAnnotation:
    return {**box_annotation(1, 1, 1, box=(0, 0, 9, 9)), "segmentation": segmentation}


@pytest.mark.shared
def test_shows_and_splits_any_format(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    balloons = shared / "data" / "balloon" / "train"
    assert main(["data", "show", str(balloons), f"--out={tmp_path}", "--count=2"]) == 0
    assert read_image(tmp_path / "annotations.png").any()
    assert main(["data", "split", str(balloons), f"--out={tmp_path / 'parts'}"]) == 0
    assert "images: " in capsys.readouterr().out
    parts = [json.loads((tmp_path / "parts" / f"{name}.json").read_text())["images"] for name in ("train", "val")]
    assert [len(part) for part in parts] == [49, 12]
    assert main(["data", "split", str(balloons.parent), f"--out={tmp_path / 'parts'}"]) == 2
    assert "expected one split, found train and val" in capsys.readouterr().err
