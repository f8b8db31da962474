"""What the tests of the commands share: a small data set, a nano checkpoint, and a way to run a command."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

from rtmdet.cli.main import main
from rtmdet.core.facts import ModelFacts
from rtmdet.data.synthetic import write_dataset
from rtmdet.models.freezing import batch_norms
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.training.records import ValidationRecord
from rtmdet.viz.curves import CurvePicture
from rtmdet.viz.score_curves import ScoreCurvePicture
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

Command = Callable[..., CompletedProcess[str]]


def run_command(*argv: object) -> CompletedProcess[str]:
    """Run a command in this process: its exit code and what it wrote."""
    words = [str(word) for word in argv]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(words)
        except SystemExit as stopped:  # argparse refuses or helps
            code = stopped.code if isinstance(stopped.code, int) else 1
    return CompletedProcess(words, code, out.getvalue(), err.getvalue())


@pytest.fixture(autouse=True)
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty pictures: drawing takes more than half of the time of a short run. The run `finished` has real ones."""

    def touch(callback: CurvePicture | ScoreCurvePicture, event: int | ValidationRecord) -> None:
        callback.picture.touch()

    monkeypatch.setattr(CurvePicture, "on_epoch_end", touch)
    monkeypatch.setattr(ScoreCurvePicture, "on_validation", touch)


@pytest.fixture(scope="session")
def command() -> Command:
    return run_command


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train/ (6 scenes) and val/ (3 scenes) of 96 x 96 pixels, each images/ and annotations.json."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed, (split, count) in enumerate((("train", 6), ("val", 3))):
        write_dataset(folder / split, count=count, seed=seed, size=(96, 96))
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A nano detector of one class, balloon, for 64 px, as initialized: every score is near 0.01."""
    path = tmp_path_factory.mktemp("checkpoint") / "nano.pth"
    meta = CheckpointMeta(ModelFacts(("balloon",), (64, 64), size="nano"))
    save_checkpoint(path, model_state=build_nano().state_dict(), meta=meta)
    return path


def build_nano() -> RTMDet:
    """A nano detector of one class with random layers, whose batch norms have the statistics of colored patches."""
    torch.manual_seed(0)
    model = build_rtmdet("nano", 1)
    for layer in batch_norms(model):
        layer.momentum = None  # a plain average: the first batch counts in full
    with torch.no_grad():
        patches = torch.randint(0, 256, (4, 3, 4, 4), dtype=torch.uint8)
        model.train()(patches.repeat_interleave(16, 2).repeat_interleave(16, 3))  # (4, 3, 64, 64)
        for convolution in model.bbox_head.rtm_cls:
            convolution.weight *= 0.1  # scenes are unlike patches: scores stay near 0.01
    return model


def write_config(folder: Path, dataset: Path) -> Path:
    """A run of two epochs with three steps each, whose output is folder/run."""
    splits = {
        split: {"annotations": str(dataset / split / "annotations.json"), "images": str(dataset / split / "images")}
        for split in ("train", "val")
    }
    train = {"epochs": 2, "warmup_iterations": 2, "validate_every": 1, "log_every": 2}
    settings: dict[str, dict[str, object]] = {
        "model": {"size": "nano"},
        "data": {**splits, "input_size": [64, 64], "batch_size": 2, "workers": 0},
        "augmentation": {"stage2_epochs": 1},
        "train": {**train, "device": "cpu", "output": str(folder / "run")},
    }
    path = folder / "config.yaml"
    path.write_text(json.dumps(settings))  # JSON is YAML
    return path


@pytest.fixture
def config(tmp_path: Path, dataset: Path) -> Path:
    """The configuration file of a short run into tmp_path/run."""
    return write_config(tmp_path, dataset)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, dataset: Path) -> tuple[Path, CompletedProcess[str]]:
    """A finished run of two epochs: the folder with config.yaml and run/, and what the command wrote."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, run_command("train", "--config", write_config(folder, dataset))
