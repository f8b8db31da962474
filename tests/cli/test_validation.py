"""The input size for detection: given, or chosen on training and validation images before the last validation."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from rtmdet.config.file import load_config
from rtmdet.config.schema import Config
from rtmdet.core.facts import ModelFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.detector import Detector
from rtmdet.measuring.ground_truth import open_ground_truth
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.runs.build import open_data
from rtmdet.runs.validation import Validation, choice_cost, chooses_input_size, gap_remark
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]
SETTINGS = ("data.workers=0", "train.device=cpu", "data.input_size=[64, 64]", "train.epochs=2")


def words(folder: Path, *more: str) -> list[str]:
    return [word for setting in (*SETTINGS, *more, f"train.output={folder}") for word in ("--set", setting)]


@pytest.fixture
def larger_is_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """AP on training and validation images that grows with the input up to 96 px."""
    found = {64: [0.5, 0.3], 96: [0.6, 0.29], 128: [0.55, 0.31]}
    monkeypatch.setattr(Validation, "measure_parts", lambda *asked: found[asked[3][0]])


def test_a_run_on_own_data_chooses_the_size_that_its_checkpoints_detect_at(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path, larger_is_better: None
) -> None:
    run = tmp_path / "run"
    begin = ["train", "--data", dataset, "--weights", checkpoint]
    result = command(*begin, *words(run))
    assert result.returncode == 0, result.stderr
    assert "  evaluation.choose_input_size: True  (" in result.stdout
    assert "  evaluation.box_voting: True  (" in result.stdout
    line = "input size for detection: 96 x 96 pixels (AP on 6 training and 3 validation images: "
    found = "0.500 and 0.300 at 64 x 64, 0.600 and 0.290 at 96 x 96, 0.550 and 0.310 at 128 x 128"
    assert f"{line}{found}; a larger size must gain 0.003 in the mean)" in result.stdout
    assert result.stdout.count("input size for detection: ") == 1
    last = result.stdout.splitlines()[-1]
    assert f" at 96 x 96 pixels ({run / 'last.pth'}); earlier validations used the training size" in last
    finished = command(*begin, "--resume", *words(run))
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[-1] == last
    weights = read_checkpoint(run / "last.pth")
    assert weights.input_size == (96, 96)
    detector = Detector(run / "last.pth", device="cpu")
    assert (detector.input_size, detector.facts.nms) == ((96, 96), NmsSettings(0.6, box_voting=True))

    again = command(*begin, "--resume", *words(run, "train.epochs=3"))
    assert again.returncode == 0, again.stderr
    assert "resumed after epoch 2 of 3" in again.stdout


def test_a_size_that_is_given_wins(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path, larger_is_better: None
) -> None:
    run = tmp_path / "run"
    given = "evaluation.input_size=[128, 160]"
    result = command("train", "--data", dataset, "--weights", checkpoint, *words(run, given))
    assert result.returncode == 0, result.stderr
    assert "choose_input_size" not in result.stdout
    assert "input size for detection" not in result.stdout
    assert "earlier validations" not in result.stdout, "all were at this size"
    assert read_checkpoint(run / "last.pth").input_size == (128, 160)
    config = load_config(run / "config.yaml")
    both = replace(config, evaluation=replace(config.evaluation, choose_input_size=True))
    assert not chooses_input_size(both)
    assert choice_cost(both, train=6, val=3) == 0
    free = replace(both, evaluation=replace(both.evaluation, input_size=None))
    assert choice_cost(free, train=500, val=32) == pytest.approx(1 + 9 * (64 + 32) / 32)
    assert choice_cost(free, train=16, val=128) == pytest.approx(1 + 9 * (16 + 64) / 128)
    windows = replace(free, data=replace(free.data, tile=64))
    assert choice_cost(windows, train=16, val=128) == pytest.approx(1 + 9 * 16 / 128)


def test_sides_are_multiples_of_32(command: Command, dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    given = "evaluation.input_size=[100, 160]"
    result = command("train", "--data", dataset, "--weights", checkpoint, *words(tmp_path / "run", given))
    assert result.returncode == 2
    assert "evaluation.input_size is [100, 160]: expected multiples of 32" in result.stderr


@pytest.fixture
def config(dataset: Path, checkpoint: Path, tmp_path: Path) -> Config:
    """Scenes to learn and to measure, at 64 px."""
    path = tmp_path / "config.yaml"
    parts = [
        f"  {split}: {{annotations: {dataset / split / 'annotations.json'}, images: {dataset / split / 'images'}}}"
        for split in ("train", "val")
    ]
    path.write_text("\n".join(["model: {size: nano}", "data:", *parts]))
    return load_config(path, [*SETTINGS, "evaluation.choose_input_size=true"])


@pytest.mark.usefixtures("config")
def test_a_resumed_run_does_not_look_for_copies_again(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "val.json").write_bytes((dataset / "train" / "annotations.json").read_bytes())
    val = [f"data.val.annotations={tmp_path / 'val.json'}", f"data.val.images={dataset / 'train' / 'images'}"]
    learned = load_config(tmp_path / "config.yaml", val)
    open_data(learned)
    assert "validation images are copies of training images" in capsys.readouterr().out
    open_data(learned, resumed=True)
    assert "copies" not in capsys.readouterr().out


def test_weights_that_learned_from_validation_images_are_named(
    config: Config, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At the start of a run that begins with them, and where they are measured on data that is given."""
    learned = tmp_path / "learned.pth"
    torch.manual_seed(0)
    facts = ModelFacts(("balloon",), (64, 64), size="nano", config=(tmp_path / "config.yaml").read_text())
    save_checkpoint(learned, model_state=build_rtmdet("nano", 1).state_dict(), meta=CheckpointMeta(facts))
    train = f"{{annotations: {dataset / 'train' / 'annotations.json'}, images: {dataset / 'train' / 'images'}}}"
    open_data(load_config(tmp_path / "config.yaml", [f"data.val={train}", f"model.weights={learned}"]))
    assert (
        f"{learned} learned from 6 of the 6 validation images: AP will be too high; split the images once "
        "(rtmdet data split), add new ones to train.json"
    ) in capsys.readouterr().out.splitlines()
    open_data(load_config(tmp_path / "config.yaml", [f"model.weights={learned}"]))
    assert "learned from" not in capsys.readouterr().out
    remark = f"{learned}: trained on 6 of the 6 images: its AP is too optimistic"
    detector = Detector(learned, device="cpu")
    assert open_ground_truth(detector, learned, data=dataset, split="train").remarks == [remark]
    assert open_ground_truth(detector, learned, data=dataset, split="val").remarks == []
    own = open_ground_truth(detector, learned, split="train")  # asked for by name
    assert (len(own), own.remarks) == (6, [])


def test_a_real_choice_measures_training_and_validation_images(config: Config, checkpoint: Path) -> None:
    train_data, val_data = open_data(config)
    validation = Validation(config, val_data, torch.device("cpu"))
    assert validation.input_size == (64, 64)
    detector = Detector(checkpoint, device="cpu")
    seen: list[tuple[int, ...]] = []
    detector.model.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))
    chosen = validation.choose_input_size(detector.model, train_data)
    sizes = list(dict.fromkeys(shape[2:] for shape in seen))  # threads may share a batch: the same size twice
    assert sizes[:2] == [(64, 64), (96, 96)]
    assert sum(shape[0] for shape in seen if shape[2:] == (64, 64)) == len(train_data) + len(val_data)
    seen.clear()
    validation(detector.model)
    assert sum(shape[0] for shape in seen) == len(val_data)
    assert {shape[2:] for shape in seen} == {chosen} == {validation.input_size}


def test_training_images_that_are_far_easier_are_remarked(config: Config) -> None:
    long = replace(config, train=replace(config.train, epochs=40))
    half, short = (replace(long, augmentation=replace(long.augmentation, stage2_epochs=n)) for n in (20, 5))
    assert "AP is 0.323 on training images and 0.119 on validation images" in gap_remark(0.323, 0.119, half)
    assert "--set augmentation.stage2_epochs=5 " in gap_remark(0.323, 0.119, half)
    assert "stage2" not in gap_remark(0.323, 0.119, short)
    for training, validation in ((0.36, 0.222), (0.09, 0.01), (0.5, -1.0)):  # alike, not learned, no objects
        assert gap_remark(training, validation, half) == ""


def test_the_remark_comes_once_after_the_choice(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr("rtmdet.runs.validation.write_above_bar", said.append)
    monkeypatch.setattr(Validation, "measure_parts", lambda *_: [0.9, 0.0])
    windows = replace(config, data=replace(config.data, tile=64))  # whose AP is another than that of whole images
    for settings, remarks in ((config, ["warning"]), (windows, [])):
        train_data, val_data = open_data(settings)
        validation = Validation(settings, val_data, torch.device("cpu"))
        model = build_rtmdet("nano", 1).eval()
        validation(model)
        validation.choose_input_size(model, train_data)
        for _ in range(2):
            validation(model)
        assert [text.partition(":")[0] for text in said] == ["input size for detection", *remarks]
        said.clear()
