"""`rtmdet visualize`: the pictures it writes and the lines it answers with."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from rtmdet.cli import visualize
from rtmdet.cli.main import main
from rtmdet.core.detections import Detections
from rtmdet.detector import Detector
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.viz.heatmap import on_picture

ANY = "--score=0"  # a fresh model scores 0.01 everywhere


@pytest.fixture(autouse=True)
def small_detector(monkeypatch: pytest.MonkeyPatch) -> Detector:
    """A fresh nano model on 64 pixels in place of the one that --weights names."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 2)
    for conv in model.bbox_head.rtm_reg:
        nn.init.ones_(conv.bias)
    detector = Detector.from_model(model, classes=["cat", "dog"], input_size=(64, 64), device=torch.device("cpu"))
    monkeypatch.setattr(visualize, "load_detector", lambda arguments, *, fold: detector if not fold else None)
    return detector


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 80, 3), dtype=np.uint8)
    cv2.imwrite(str(path), pixels)
    return path


def visualize_photo(photo: Path, *options: str) -> tuple[int, list[str]]:
    """The exit code and the names of the pictures."""
    out = photo.parent / "out"
    code = main(["visualize", str(photo), "--out", str(out), *options])
    return code, sorted(path.name for path in out.glob("*")) if out.exists() else []


def picture_size(photo: Path, name: str) -> tuple[int, int]:
    image = cv2.imread(str(photo.parent / "out" / name))
    assert image is not None
    return image.shape[:2]


def test_layers_are_listed_without_an_image(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visualize", "--list-layers"]) == 0
    assert "neck.out_convs[0]" in capsys.readouterr().out.splitlines()


def test_feature_maps_of_the_neck_by_default(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, names = visualize_photo(photo, ANY)
    assert (code, names) == (0, ["photo_neck_squeeze_mean.png"])
    assert capsys.readouterr().out.splitlines() == ["score above 0", str(photo.parent / "out" / names[0])]
    height, width = picture_size(photo, names[0])
    assert width > 2 * 640  # two tiles a row,
    assert height > 2 * 320  # two rows for three maps


def test_several_layers_and_channels(photo: Path) -> None:
    options = ["--layer", "backbone", "--layer", "neck.out_convs[1]", "--reduction", "topk", "--topk", "2"]
    code, names = visualize_photo(photo, *options)
    assert (code, names) == (0, ["photo_backbone_topk.png", "photo_neck.out_convs[1]_topk.png"])
    heights = [picture_size(photo, name)[0] for name in names]
    assert 2.8 < heights[0] / heights[1] < 3.2  # three maps of two channels against one


def test_titles_of_channels() -> None:
    maps = [torch.arange(12.0).reshape(1, 3, 2, 2)]
    titles = [title for title, _ in visualize.reduce_maps("neck.out_convs[0]", maps, "topk", 2)]
    assert titles == ["neck.out_convs[0], channel: 2", "neck.out_convs[0], channel: 1"]
    [(title, heat)] = visualize.reduce_maps("neck.out_convs[0]", maps, "select_max", 2)
    assert title == "neck.out_convs[0], select_max of 3 x 2 x 2"
    assert heat.tolist() == [[8, 9], [10, 11]]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The maps that were given colours."""
    maps: list[np.ndarray] = []

    def record(heat: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        maps.append(heat)
        return np.zeros((*size, 3), np.uint8)

    monkeypatch.setattr(visualize, "heat_map", record)
    return maps


def test_the_padding_is_cut_off_feature_maps(
    photo: Path, drawn: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = np.random.default_rng(0).random((8, 8)).astype(np.float32)
    monkeypatch.setattr(visualize, "reduce_maps", lambda *_: [("title", raw)])
    visualize_photo(photo)
    assert np.array_equal(drawn[0], on_picture(raw, (40, 80), (64, 64)))


@pytest.mark.parametrize(
    ("method", "target", "maker"),
    [
        ("gradcam", "loss", "box_loss_target"),
        ("gradcam++", "score", "class_score_target"),
        ("ablationcam", "loss", "detection_target"),
    ],
)
def test_targets_get_boxes_in_input_pixels(
    method: str, target: str, maker: str, small_detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Detections(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.5]), torch.tensor([1]))
    monkeypatch.setattr(visualize, maker, lambda boxes, labels, _: (boxes.tolist(), labels.tolist()))
    options = argparse.Namespace(method=method, target=target)
    assert visualize.choose_target(small_detector, found, (10, 100), options) == ([[10, 200, 30, 400]], [1])


def test_norm_in_box_changes_the_map(photo: Path, drawn: list[np.ndarray]) -> None:
    for option in ([], ["--norm-in-box"]):
        visualize_photo(photo, ANY, "--method", "eigencam", *option)
    plain, normalized = drawn
    assert plain.shape == normalized.shape == (40, 80)
    assert not np.allclose(plain, normalized)


def test_feature_maps_need_no_detection(photo: Path) -> None:
    assert visualize_photo(photo, "--score", "0.9")[0] == 0


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "eigencam", "ablationcam"])
def test_box_am_of_the_last_level_by_default(photo: Path, method: str) -> None:
    code, names = visualize_photo(photo, ANY, "--method", method)
    assert (code, names) == (0, [f"photo_neck.out_convs[2]_{method}.png"])
    assert picture_size(photo, names[0]) == (40, 80)


def test_several_layers_give_their_mean_too(photo: Path) -> None:
    layers = ["--layer", "neck.out_convs[0]", "--layer", "neck.out_convs[2]"]
    code, names = visualize_photo(photo, ANY, "--method", "gradcam", "--target", "loss", "--norm-in-box", *layers)
    stems = ["mean", "neck.out_convs[0]", "neck.out_convs[2]"]
    assert (code, names) == (0, [f"photo_{stem}_gradcam.png" for stem in stems])


def test_an_empty_map_is_said(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = "bbox_head.reg_convs[2][1]"  # no class score depends on the box branch
    code, _ = visualize_photo(photo, ANY, "--method", "gradcam", "--layer", layer)
    assert code == 0
    assert f"note: the map of {layer} is empty" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "gradcam"], "no detection above score 0.3, the best is 0.0"),
        ([ANY, "--method", "gradcam", "--layer", "neck"], "'neck' gives 3 maps"),
        ([ANY, "--method", "gradcam", "--layer", "nekc"], "did you mean neck"),
        ([ANY, "--layer", "nekc"], "did you mean neck"),
        ([ANY, "--layer", "__import__('os')"], "not a module path"),
        (["--topk", "0"], "--topk 0: expected at least 1"),
        (["--score", "2"], "--score 2.0: expected 0 .. 1"),
    ],
)
def test_unusable_input_is_one_line(
    photo: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, names = visualize_photo(photo, *options)
    error = capsys.readouterr().err.splitlines()
    assert (code, names, len(error)) == (2, [], 1)
    assert message in error[0]


def test_an_image_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["visualize"]) == 2
    assert "needs an image file" in capsys.readouterr().err


@pytest.mark.slow
def test_feature_maps_do_not_import_pytorch_grad_cam() -> None:
    code = "import sys, rtmdet.cli.visualize; sys.exit('pytorch_grad_cam' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=dict(os.environ), check=False).returncode == 0
