"""`rtmdet check`: the start check without a run, and the batch that is overfit."""

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from rtmdet.core.facts import ModelFacts
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.models.head import PRIOR_LOGIT, RTMDetHead
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.models.zoo import SIZES
from rtmdet.runs.checks import start_check
from rtmdet.runs.checks.dry_run import OVERFIT_BOXES, few_boxes
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import LoadedWeights

Command = Callable[..., CompletedProcess[str]]


def test_check_says_what_a_run_would_start_from_and_writes_nothing(
    command: Command, config: Path, tmp_path: Path
) -> None:
    result = command("check", "--config", config)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1].startswith(
        "start check passed: your labels, scored as if they were detections, reach AP 1.000; boxes too small to be "
        "matched: 0.0%; "
    )
    assert not (tmp_path / "run").exists()


def test_a_batch_is_learned_by_heart_in_seconds(command: Command, config: Path) -> None:
    for more in ((), ("--set", "augmentation.multi_scale=[1,2]")):
        result = command("check", "--config", config, "--overfit", *more)
        assert result.returncode == 0, result.stdout + result.stderr
        assert "AP50 1.000 after" in result.stdout.splitlines()[-1]


def test_check_of_own_data_leaves_a_finished_run_alone(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "train"
    folder.mkdir(parents=True)
    (folder / "best.pth").write_bytes(checkpoint.read_bytes())
    quick = ("--set", "data.input_size=[64, 64]", "--set", "train.device=cpu")
    result = command("check", "--data", dataset / "train", "--weights", checkpoint, *quick)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in folder.iterdir()] == ["best.pth"]


def test_one_labelled_image_is_too_few_for_a_run_and_enough_for_overfitting(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    counts = Counter(entry["image_id"] for entry in content["annotations"])
    easiest = min(counts, key=lambda image: counts[image])
    content["annotations"] = [entry for entry in content["annotations"] if entry["image_id"] == easiest]
    (tmp_path / "few.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(dataset / "train" / "images")
    words = ("--data", tmp_path / "few.json", "--weights", checkpoint, "--set", "train.device=cpu")
    result = command("check", *words)
    assert result.returncode == 2
    assert f"{tmp_path}/few.json: expected at least 2 images with objects, one for training" in result.stderr
    assert f"found 1 among {len(content['images'])} images; label more" in result.stderr
    scratch = ("--weights", "none", "--set", "model.size=nano", "--set", "data.input_size=64")
    result = command("check", *words, "--overfit", *scratch)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "AP50 1.000 after" in result.stdout.splitlines()[-1]
    assert "copies of training images" not in result.stdout, "it is the only image of both"


def test_an_error_about_a_temporary_file_names_the_given_one(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["images"] = [image | {"width": 200, "height": 200} for image in content["images"]]
    (tmp_path / "sizes.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(dataset / "train" / "images")
    result = command("check", "--data", tmp_path / "sizes.json", "--weights", checkpoint)
    assert f" in the train split of {tmp_path}/sizes.json), found" in result.stderr


def test_a_line_about_a_temporary_file_names_the_given_data_and_the_split(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        source = dataset / split / "annotations.json"
        result = command("data", "export", "yolo", source, "--split", split, "--out", tmp_path / "yolo")
        assert result.returncode == 0, result.stderr
    (data,) = (tmp_path / "yolo").glob("*.yaml")
    data.write_text(data.read_text().replace("- balloon", "- balloon\n- kite"))
    words = ("--data", data, "--weights", checkpoint, "--set", "data.classes=[balloon]", "--set", "train.device=cpu")
    result = command("check", *words, "--set", "data.input_size=64")
    assert result.returncode == 0, result.stderr
    assert f"\nthe val split of {data}: not among the classes, so skipped: 'kite'\n" in result.stdout
    result = command("evaluate", "--data", data, "--weights", checkpoint, "--device", "cpu", "--workers", 0)
    assert f"\nthe val split of {data}: not among the classes, so skipped: 'kite'\n" in result.stdout


def test_without_an_image_of_few_boxes_the_one_with_the_fewest_is_overfit(dataset: Path, tmp_path: Path) -> None:
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    image, category = content["images"][1], content["categories"][0]["id"]
    content["annotations"] = [
        {"id": number, "image_id": image["id"], "category_id": category, "bbox": [number, number, 300, 300]}
        for number in range(1, OVERFIT_BOXES + 2)
    ]
    (tmp_path / "many.json").write_text(json.dumps(content))
    only = CocoDataset(tmp_path / "many.json", dataset / "train" / "images", training=True)
    assert list(few_boxes(only)) == [0]


def test_the_start_check_draws_no_random_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropout in a backbone of timm would: a resumed run then drew others than one that was not interrupted."""
    for name, found in (
        ("check_sizes", None),
        ("check_labels", 1.0),
        ("report_small_boxes", 0.0),
        ("first_batch", 0),
    ):
        monkeypatch.setattr(start_check, name, lambda *_, found=found: found)
    monkeypatch.setattr(start_check, "check_first_loss", lambda *_, **__: float(torch.rand(1)))
    trainer = SimpleNamespace(stepper=SimpleNamespace(device=torch.device("cpu")))
    settings = SimpleNamespace(data=SimpleNamespace(input_size=(64, 64)), train=SimpleNamespace(precision="float32"))
    before = torch.get_rng_state()
    start_check.check_start(settings, trainer, None, None, resumed=True)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)


def initialize_class_layers(monkeypatch: pytest.MonkeyPatch, *, bias: float, std: float = 0.01) -> None:
    """As where a user changes models/head.py."""

    def initialize(head: RTMDetHead) -> None:
        for conv in head.rtm_cls:
            torch.nn.init.normal_(conv.weight, std=std)
            torch.nn.init.constant_(conv.bias, bias)

    monkeypatch.setattr(RTMDetHead, "initialize_class_branch", initialize)


@pytest.mark.parametrize(
    ("bias", "std", "expected"),
    [
        (0.0, 0.01, "warning: the first classification loss is "),
        (-12.0, 0.01, "warning: the first classification loss is "),
        (PRIOR_LOGIT, 0.0, "warning: the network may not learn: its outputs are the same everywhere"),
    ],
)
def test_another_initialization_of_the_head_is_no_error(
    command: Command, config: Path, monkeypatch: pytest.MonkeyPatch, bias: float, std: float, expected: str
) -> None:
    initialize_class_layers(monkeypatch, bias=bias, std=std)
    result = command("check", "--config", config, "--set", "model.weights=null")
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("warning: ")]
    assert line.startswith(expected)
    assert "Likely cause: the head is not initialized as usual" in line
    assert "weights do not fit" not in result.stdout


@pytest.mark.parametrize(
    ("bias", "std", "expected"),
    [(0.0, 0.01, "the weights do not fit this model"), (PRIOR_LOGIT, 0.0, "cannot learn")],
)
def test_with_the_weights_of_a_detector_it_stays_one(
    command: Command,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    bias: float,
    std: float,
    expected: str,
) -> None:
    meta = CheckpointMeta(ModelFacts(("kite", "bird"), (64, 64), size="nano"))
    save_checkpoint(tmp_path / "two.pth", model_state=build_rtmdet("nano", 2).state_dict(), meta=meta)
    initialize_class_layers(monkeypatch, bias=bias, std=std)
    settings = (f"model.weights={tmp_path / 'two.pth'}", "model.norm_statistics=keep")
    result = command("check", "--config", config, *(word for one in settings for word in ("--set", one)))
    assert result.returncode == 2
    assert expected in result.stderr


def test_a_wrong_model_size_is_refused_before_the_data_are_read(
    command: Command, config: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = ("--data", dataset, "--weights", "none", "--set", "data.input_size=64")
    for words in (("--config", config), data):
        result = command("check", *words, "--set", "model.size=Nano")
        assert result.returncode == 2
        assert result.stdout == ""
        line = "error: model.size is 'Nano': expected one of nano, tiny, s, m, l, x; did you mean nano?"
        assert result.stderr.strip() == line
        monkeypatch.setitem(SIZES, "pico", SIZES["nano"])
        result = command("check", *words, "--set", "model.size=pico")
        assert result.returncode == 0, result.stderr
        assert (
            "expected one of nano, tiny, s, m, l, x, pico"
            in command("check", *words, "--set", "model.size=huge").stderr
        )
        monkeypatch.delitem(SIZES, "pico")


def test_dark_images_of_16_bits_are_said_and_can_be_scaled(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path
) -> None:
    shutil.copytree(dataset, tmp_path / "set")
    for path in (tmp_path / "set").glob("*/images/*"):
        image = cv2.imread(str(path)).astype(np.uint16) * 16  # 12 bits
        path.unlink()
        cv2.imwrite(str(path.with_suffix(".png")), image)
    for path in (tmp_path / "set").glob("*/annotations.json"):
        path.write_text(path.read_text().replace(".jpg", ".png"))
    words = ("check", "--data", tmp_path / "set", "--weights", checkpoint, "--set", "data.input_size=64")
    words = (*words, "--set", "train.device=cpu")
    result = command(*words)
    assert result.returncode == 0, result.stderr
    assert "6 of 6 checked images are 16-bit and use only " in result.stdout
    advice = next(line for line in result.stdout.splitlines() if "16-bit" in line).rpartition("--set ")[2].split()[0]
    result = command(*words, "--set", advice)
    assert result.returncode == 0, result.stderr
    assert "16-bit" not in result.stdout
    assert "no effect" not in result.stdout
    result = command(*words, "--set", "data.value_range=60000,61000")
    assert "mostly outside data.value_range, 60000 .. 61000: they would be nearly all black or white" in result.stdout
    result = command(*words[:2], dataset, *words[3:], "--set", advice)
    assert "data.value_range has no effect: the checked images have 8 bits per value" in result.stdout
    use = "--weights", checkpoint, "--device", "cpu"
    photo = next((tmp_path / "set/val/images").glob("*.png"))
    visualize = "visualize", photo, *use, "--layer", "neck", "--score", "0", "--out", tmp_path / "maps"
    for others in (("evaluate", "--data", tmp_path / "set", *use, "--workers", "0"), visualize):
        result = command(*others)
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("16-bit and use only ") == 1


@pytest.mark.parametrize(("trained", "said"), [((320, 320), "about 3.5 times faster"), ((640, 640), ""), (None, "")])
def test_an_input_much_larger_than_that_of_the_weights_names_its_price(
    trained: tuple[int, int] | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = ModelFacts(("balloon",), trained or (640, 640), size="nano")
    weights = LoadedWeights(Path("a.pth"), {}, facts, sized=trained is not None)
    start_check.report_larger_input(weights, (640, 640))
    out = capsys.readouterr().out
    if not said:
        assert not out
        return
    assert said in out
    assert out.startswith("input 640 x 640 pixels; the weights were trained at 320 x 320: --set data.input_size=320")
