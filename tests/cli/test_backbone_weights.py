"""Runs whose first weights are a backbone only: no random neck or head is frozen, and a dead network is refused."""

from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import timm
import torch

from rtmdet.config.file import load_config
from rtmdet.core.facts import ModelFacts
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.runs.options import RunOptions
from rtmdet.runs.settings.own_data import OwnData
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]
QUICK = ("data.input_size=[64, 64]", "train.epochs=1", "data.workers=0", "train.device=cpu")
MODEL = "lcnet_050"


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dataset: Path) -> list[object]:
    """The data and the settings of a short run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return ["--data", dataset, *(word for setting in QUICK for word in ("--set", setting))]


@pytest.fixture
def backbone(checkpoint: Path, tmp_path: Path) -> Path:
    """The backbone of the nano checkpoint alone."""
    tensors = read_checkpoint(checkpoint).tensors
    path = tmp_path / "backbone.pth"
    torch.save({name: value for name, value in tensors.items() if name.startswith("backbone.")}, path)
    return path


def assert_refused(result: CompletedProcess[str], message: str) -> None:
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_backbone_alone_freezes_nothing_and_gets_its_own_recipe(
    command: Command, words: list[object], backbone: Path, dataset: Path, tmp_path: Path
) -> None:
    result = command("train", *words, "--weights", backbone)
    assert result.returncode == 0, result.stderr
    assert "norm_statistics" not in result.stdout
    assert "class_rate_factor" not in result.stdout
    assert "  train.clip_gradient: 35.0  (neck and head start from scratch" in result.stdout
    config = load_config(tmp_path / "runs" / dataset.name / "config.yaml")
    assert (config.model.size, config.model.norm_statistics) == ("nano", "keep")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("model.norm_statistics=freeze", "model.norm_statistics is freeze, but neck and head start from scratch"),
        ("model.freeze=[neck.*]", "model.freeze: neck.* freezes 120 parameters of a neck and head that start"),
        ("model.freeze=[bbox_head.reg_convs]", "such as bbox_head.reg_convs.0.0."),
    ],
)
def test_a_neck_and_head_from_scratch_cannot_be_frozen(
    command: Command, words: list[object], backbone: Path, setting: str, message: str
) -> None:
    for weights, why in (
        (backbone, f"{backbone} is a backbone only"),
        ("none", "there are no weights for them"),
    ):
        result = command("check", *words, "--set", "model.size=nano", "--weights", weights, "--set", setting)
        assert_refused(result, message)
        assert why in result.stderr


def test_frozen_backbones_and_frozen_detectors_are_fine(
    command: Command, words: list[object], backbone: Path, checkpoint: Path
) -> None:
    for weights, setting in ((backbone, "model.freeze=[backbone]"), (checkpoint, "model.freeze=[neck]")):
        result = command("check", *words, "--weights", weights, "--set", setting)
        assert result.returncode == 0, result.stderr


def test_a_detector_whose_outputs_are_the_same_everywhere_is_refused(
    command: Command, words: list[object], tmp_path: Path
) -> None:
    """Batch norms without statistics, kept as they are: the losses begin near 0 and stay there."""
    path = tmp_path / "dead.pth"
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano"))
    save_checkpoint(path, model_state=build_rtmdet("nano", 1).state_dict(), meta=meta)
    result = command("check", *words, "--weights", path)
    assert_refused(result, "the network cannot learn: its outputs are the same everywhere in the first images")
    learns = command("check", *words, "--weights", path, "--set", "model.norm_statistics=keep")
    assert learns.returncode == 0, learns.stderr


def test_a_detector_that_finds_nothing_is_reported(
    command: Command, words: list[object], checkpoint: Path, tmp_path: Path
) -> None:
    state = dict(read_checkpoint(checkpoint).tensors)
    for level in range(3):
        state[f"bbox_head.rtm_cls.{level}.bias"] = torch.tensor([-12.0])
    path = tmp_path / "blind.pth"
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano")))
    result = command("check", *words, "--weights", path, "--set", "model.norm_statistics=keep")
    assert result.returncode == 0, result.stderr
    assert "the weights find none of the " in result.stdout
    assert "the weights find none" not in command("check", *words, "--weights", checkpoint).stdout


def test_a_detector_that_is_sure_of_the_wrong_is_reported(
    command: Command, words: list[object], checkpoint: Path, tmp_path: Path
) -> None:
    state = dict(read_checkpoint(checkpoint).tensors)
    for level in range(3):
        state[f"bbox_head.rtm_cls.{level}.bias"] = torch.tensor([2.0])
    path = tmp_path / "sure.pth"
    save_checkpoint(path, model_state=state, meta=CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano")))
    result = command("check", *words, "--weights", path)
    assert result.returncode == 0, result.stderr
    assert "the weights know little of images like these at this size yet (loss " in result.stdout


def test_a_timm_backbone_from_a_file_needs_no_other_weights(
    command: Command, words: list[object], tmp_path: Path, dataset: Path
) -> None:
    torch.manual_seed(0)
    state = timm.create_model(MODEL).state_dict()
    torch.save(
        {f"part{k}.{name.rpartition('.')[2]}": value for k, (name, value) in enumerate(state.items())}, "w.pth"
    )
    given = ["--set", f"model.backbone=timm/{MODEL}", "--set", "model.backbone_weights=w.pth"]
    result = command("train", *words, *given, "--set", "model.size=nano")
    assert result.returncode == 0, result.stderr
    assert "w.pth: 143 tensors loaded into timm/lcnet_050." in result.stdout
    assert "  train.clip_gradient: 35.0  (neck and head start from scratch" in result.stdout
    run = tmp_path / "runs" / dataset.name
    assert load_config(run / "config.yaml").model.weights is None
    (tmp_path / "w.pth").unlink()
    resumed = command("train", *words, *given, "--set", "model.size=nano", "--resume", "--set", "train.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    options = RunOptions(data=dataset, weights=str(run / "last.pth"), overrides=("data.input_size=64",))
    begun = OwnData.open(options, tmp_path / "next").configure().model
    assert (str(begun.backbone).partition(".")[0], begun.size) == (f"timm/{MODEL}", "nano"), "of the weights"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.backbone_weights=w.pth"], "without model.backbone: name its timm model there"),
        (
            ["model.backbone=timm/lcnet_050", "model.backbone_weights=w.pth", "model.weights={checkpoint}"],
            "model.backbone_weights and model.weights are both given: expected one",
        ),
        (["model.backbone=timm/lcnet_050", "model.backbone_weights=gone.pth"], "gone.pth"),
    ],
)
def test_settings_that_do_not_fit_together(
    command: Command, config: Path, checkpoint: Path, settings: list[str], message: str
) -> None:
    given = [word for setting in settings for word in ("--set", setting.format(checkpoint=checkpoint))]
    assert_refused(command("train", "--config", config, *given), message)
