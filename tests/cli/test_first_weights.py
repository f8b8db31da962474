"""What `--data` measures on the training images before a run: input size and batch-norm statistics."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
import torch

from rtmdet.core.facts import ModelFacts
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.models.layers import ConvBNAct
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.runs.settings.input_size import choose_input_size, size_choice
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import load_weights, read_checkpoint

Command = Callable[..., CompletedProcess[str]]
QUICK = ["--set", "data.workers=0", "--set", "train.device=cpu"]
SMALL = ["--set", "data.input_size=[64, 64]"]


@pytest.fixture(scope="module")
def folded(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The detector of `checkpoint` as exports leave it: its norms are folded into the convolutions."""
    model = build_rtmdet("nano", 1)
    load_weights(model, read_checkpoint(checkpoint))
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, ConvBNAct):
                norm = layer.bn
                factor = norm.weight * ((1 + norm.eps) / (norm.running_var + norm.eps)).sqrt()
                layer.conv.weight.mul_(factor[:, None, None, None])
                norm.bias.sub_(factor * norm.running_mean / (1 + norm.eps) ** 0.5)
                norm.weight.fill_(1)
                norm.reset_running_stats()
    path = tmp_path_factory.mktemp("folded") / "folded.pth"
    save_checkpoint(
        path, model_state=model.state_dict(), meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano"))
    )
    return path


@pytest.fixture(scope="module")
def scenes(dataset: Path) -> CocoDataset:
    folder = dataset / "train"
    return CocoDataset(folder / "annotations.json", folder / "images", classes=None, training=True)


def test_the_folded_detector_is_the_same_in_evaluation_mode(checkpoint: Path, folded: Path) -> None:
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    outputs = []
    for path in (checkpoint, folded):
        model = build_rtmdet("nano", 1).eval()
        load_weights(model, read_checkpoint(path))
        outputs.append(model.neck(model.backbone(model.normalize(images)))[0])
    torch.testing.assert_close(*outputs, rtol=1e-2, atol=1e-2 * float(outputs[0].abs().max()))


def test_weights_without_statistics_are_recognized_and_measured_again(
    command: Command, dataset: Path, folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("check", "--data", dataset, "--weights", folded, *QUICK, *SMALL)
    assert result.returncode == 0, result.stderr
    chosen = next(line for line in result.stdout.splitlines() if "model.norm_statistics:" in line)
    assert "recalibrate  (the file has no batch-norm statistics" in chosen
    assert "layers measured again on the training images" in result.stdout
    assert "hold no statistics: training" not in result.stdout, "mended, so no warning"


def test_a_given_setting_wins_and_the_start_check_warns(
    command: Command, dataset: Path, folded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    keep = ["--set", "model.norm_statistics=keep"]
    result = command("check", "--data", dataset, "--weights", folded, *QUICK, *SMALL, *keep)
    assert result.returncode == 0, result.stderr
    assert "model.norm_statistics:" not in result.stdout
    assert "the batch norms of the weights have no running statistics" in result.stdout
    assert "--set model.norm_statistics=recalibrate" in result.stdout


@pytest.mark.slow
def test_the_input_size_is_measured_and_printed(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = command("check", "--data", dataset, "--weights", checkpoint, *QUICK)
    assert result.returncode == 0, result.stderr
    [line] = [line for line in result.stdout.splitlines() if line.startswith("  data.input_size: ")]
    assert "(at 320 px, all boxes measure 18 px or more; IoU of the weights' best boxes with the objects: " in line


def test_without_trained_objects_the_boxes_decide(scenes: CocoDataset) -> None:
    choice = choose_input_size(scenes, None, torch.device("cpu"))
    assert (choice.key, choice.value) == ("data.input_size", [320, 320])


def test_thin_objects_need_a_larger_input(tmp_path: Path) -> None:
    """Lines of text, 300 x 10 pixels in pictures of 500: as hard to place as squares of 19 pixels, not of 55."""
    cv2.imwrite(str(tmp_path / "page.png"), np.zeros((500, 500, 3), np.uint8))
    lines = [{"id": 1 + row, "image_id": 1, "category_id": 1, "bbox": [50, 20 * row, 300, 10]} for row in range(20)]
    for line in lines:
        line |= {"area": 3000, "iscrowd": 0}
    page = {"id": 1, "file_name": "page.png", "width": 500, "height": 500}
    content = {"images": [page], "annotations": lines, "categories": [{"id": 1, "name": "line"}]}
    (tmp_path / "train.json").write_text(json.dumps(content))
    pages = CocoDataset(tmp_path / "train.json", tmp_path, classes=None, training=True)
    choice = choose_input_size(pages, None, torch.device("cpu"))
    assert choice.value == [512, 512]  # 19.4 px x 512 / 500; at 416 px 16.1


def test_few_small_objects_do_not_overrule_the_measurement(
    scenes: CocoDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.where(np.arange(40) < 5, 0.4, 20.0)  # 12.5 % are small, within the allowance
    sizes = pixels, np.full(40, 100.0), np.zeros(40, np.int64)
    monkeypatch.setattr("rtmdet.runs.settings.input_size.object_sizes", lambda _: sizes)
    for side in (320, 640):
        assert size_choice(side, scenes, "measured").reason == "measured"


def test_small_objects_overrule_the_measurement(scenes: CocoDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = np.full(40, 1.2), np.full(40, 100.0), np.zeros(40, np.int64)
    monkeypatch.setattr("rtmdet.runs.settings.input_size.object_sizes", lambda _: tiny)
    choice = size_choice(320, scenes, "measured")
    assert choice.value == [800, 800]  # 0.012 x 800 px = 9.6 px
    assert choice.reason == "measured; enlarged because many objects are small"
    tiny[0][:20] = 0.4
    assert "50% of the objects of one class are still under 8 px" in size_choice(320, scenes, "measured").reason
    large = np.full(9, 20.0), np.full(9, 4000.0), np.zeros(9, np.int64)
    monkeypatch.setattr("rtmdet.runs.settings.input_size.object_sizes", lambda _: large)
    assert size_choice(320, scenes, "measured").reason.endswith(
        "; half of the objects of balloon have 5 px or less at 960 px; with --set data.tile=640, in windows of the "
        "pictures' own pixels, 20 px"
    )
