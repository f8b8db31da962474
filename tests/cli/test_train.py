"""`rtmdet train`: what a run writes and prints, and how it is taken up again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import pytest
import torch

from rtmdet.checkpoint import read_training_checkpoint
from rtmdet.config_file import load_config
from rtmdet.evaluation import NAMES
from rtmdet.openmmlab import read_checkpoint
from rtmdet.training.log import read_log

FILES = {"last.pth", "best.pth", "config.yaml", "log.jsonl", "train.csv", "val.csv", "curves.png"}
Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]


@pytest.fixture
def again(finished: Finished, tmp_path: Path) -> list[object]:
    """The words of a command on a copy of the finished run in tmp_path/run."""
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    return ["train", "--config", finished[0] / "config.yaml", "--set", f"train.output={tmp_path / 'run'}"]


def test_run_writes_its_files_and_nothing_else(finished: Finished) -> None:
    folder, result = finished
    assert result.returncode == 0, result.stderr
    assert {path.name for path in (folder / "run").iterdir()} == FILES
    assert cv2.imread(str(folder / "run" / "curves.png")) is not None


def test_run_says_what_it_reads_and_prints_the_12_numbers(finished: Finished, dataset: Path) -> None:
    lines = finished[1].stdout.splitlines()
    boxes = len(json.loads((dataset / "train" / "annotations.json").read_text())["annotations"])
    assert lines[0] == f"train: 6 images, {boxes} boxes, classes: balloon"
    assert lines[1].startswith("val: 3 images, ")
    assert lines[2] == "weights: random initialisation"
    assert [line.split()[0] for line in lines if line[:2] in ("AP", "AR")] == list(NAMES)
    assert lines[-1].startswith("best AP ")
    assert finished[1].stderr.endswith("\n")


def test_checkpoints_say_what_they_are(finished: Finished) -> None:
    folder = finished[0] / "run"
    averaged, meta, state = read_training_checkpoint(folder / "last.pth")
    assert (meta.classes, meta.size, meta.input_size) == (("balloon",), "nano", (64, 64))
    assert (meta.epoch, meta.iteration, state.epoch, state.iteration) == (2, 6, 2, 6)
    assert meta.config == (folder / "config.yaml").read_text()
    assert all(torch.isfinite(value).all() for value in averaged.values())
    best = read_checkpoint(folder / "best.pth")
    assert best.classes == ("balloon",)
    assert best.path.stat().st_size < 0.5 * (folder / "last.pth").stat().st_size


def test_resolved_configuration_is_the_one_that_ran(finished: Finished) -> None:
    assert load_config(finished[0] / "run" / "config.yaml") == load_config(finished[0] / "config.yaml")


def test_log_has_every_step_once(finished: Finished) -> None:
    rows = read_log(finished[0] / "run" / "log.jsonl")
    assert [(row["kind"], row["epoch"], row["iteration"]) for row in rows if row["kind"] == "val"] == [
        ("val", 1, 3),
        ("val", 2, 6),
    ]
    assert sorted((row["epoch"], row["iteration"]) for row in rows if row["kind"] == "train") == [
        (1, 2),
        (1, 3),
        (2, 5),
        (2, 6),
    ]


def test_same_seed_same_losses(finished: Finished, config: Path, tmp_path: Path, command: Command) -> None:
    assert command("train", "--config", config).returncode == 0
    timeless = ("memory_mb", "seconds", "data_seconds")

    def losses(folder: Path) -> list[dict[str, object]]:
        rows = read_log(folder / "run" / "log.jsonl")
        return [{key: value for key, value in row.items() if key not in timeless} for row in rows]

    assert losses(tmp_path) == losses(finished[0])


def test_second_run_does_not_overwrite_the_first(again: list[object], tmp_path: Path, command: Command) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = command(*again, "--set", "train.epochs=1")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path / 'run'} holds a run already")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_resumed_run_goes_on(again: list[object], tmp_path: Path, command: Command) -> None:
    result = command(*again, "--resume", "--set", "train.epochs=3")
    assert result.returncode == 0, result.stderr
    assert "resumed after epoch 2 of 3" in result.stdout
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert [row["epoch"] for row in rows if row["kind"] == "val"] == [1, 2, 3]
    assert max(int(row["iteration"]) for row in rows) == 9
    assert read_training_checkpoint(tmp_path / "run" / "last.pth")[1].epoch == 3
    assert load_config(tmp_path / "run" / "config.yaml").train.epochs == 3
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


def test_resuming_a_finished_run_leaves_it_as_it_is(again: list[object], tmp_path: Path, command: Command) -> None:
    run = tmp_path / "run"
    before = {name: (run / name).read_bytes() for name in ("last.pth", "best.pth", "log.jsonl", "val.csv")}
    result = command(*again, "--resume")
    assert result.returncode == 0, result.stderr
    assert "best AP" in result.stdout.splitlines()[-1]
    assert {name: (run / name).read_bytes() for name in before} == before


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.size=tiny", "this run is of size tiny for balloon at"),
        ("data.batch_size=3", "resume with the data and batch size it was made with"),
    ],
)
def test_resuming_as_another_run_is_refused_and_changes_nothing(
    again: list[object], tmp_path: Path, command: Command, override: str, expected: str
) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    result = command(*again, "--resume", "--set", override)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert expected in line
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_nothing_to_resume(config: Path, tmp_path: Path, command: Command) -> None:
    result = command("train", "--config", config, "--resume")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert str(tmp_path / "run") in line
    assert not (tmp_path / "run").exists()


def test_starts_from_weights_of_other_classes(
    config: Path, checkpoint: Path, dataset: Path, tmp_path: Path, command: Command
) -> None:
    """The class branch is initialised anew, and the user is told so."""
    content = json.loads((dataset / "train" / "annotations.json").read_text())
    content["categories"].append({"id": 7, "name": "kite"})
    (tmp_path / "two.json").write_text(json.dumps(content))
    split = f"{{annotations: {tmp_path / 'two.json'}, images: {dataset / 'train' / 'images'}}}"
    words = [f"data.train={split}", f"data.val={split}", f"model.weights={checkpoint}", "train.epochs=1"]
    result = command("train", "--config", config, *(word for pair in words for word in ("--set", pair)))
    assert result.returncode == 0, result.stderr
    assert "class branch initialised anew (classes: 1 in the file, 2 in the model)" in result.stdout
    assert read_checkpoint(tmp_path / "run" / "best.pth").classes == ("balloon", "kite")


def test_scaled_learning_rate_is_announced(config: Path, command: Command) -> None:
    result = command(
        "train", "--config", config, "--set", "train.epochs=1", "--set", "train.scale_learning_rate=true"
    )
    assert result.returncode == 0, result.stderr
    assert "learning rate 0.004 x 2 / 256 = 3.125e-05" in result.stdout
