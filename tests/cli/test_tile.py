"""data.tile: a run that trains and validates with windows, and what is done with its checkpoints afterwards."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import torch

import rtmdet
from rtmdet.config.file import load_config
from rtmdet.config.schema import Config
from rtmdet.detector import Detector
from rtmdet.runs.build import open_data
from rtmdet.runs.validation import Validation, inputs_per_image
from rtmdet.training.log import read_log

Command = Callable[..., CompletedProcess[str]]
LINE = "windows of 64 x 64 pixels that overlap by 20% in larger pictures, and the whole picture"


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory, dataset: Path, checkpoint: Path, command: Command) -> Path:
    """The folder of a run of one epoch with windows of 64 x 64 pixels in scenes of 96 x 96."""
    folder = tmp_path_factory.mktemp("tiled") / "run"
    settings = {
        "data.tile": 64,
        "data.input_size": 64,
        "data.workers": 0,
        "train.device": "cpu",
        "train.epochs": 1,
        "evaluation.choose_input_size": "true",
        "train.output": folder,
    }
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    result = command("train", "--data", dataset, "--weights", checkpoint, *words)
    assert result.returncode == 0, result.stderr
    (folder / "printed.txt").write_text(result.stdout)
    return folder


def test_the_run_counts_its_windows(tiled: Path) -> None:
    printed = (tiled / "printed.txt").read_text()
    choice = next(line for line in printed.splitlines() if line.startswith("  data.tile: 64  ("))
    windows = int(choice.split("(")[1].split()[0])
    assert 6 <= windows <= 24
    assert choice.endswith(f"({windows} windows of 64 x 64 pixels beside 6 whole pictures)")
    assert f"train: {6 + windows} images ({windows} of them windows), " in printed
    assert f"  data.batch_size: 8  (enough steps per epoch with {6 + windows} images)" in printed or windows < 18
    assert "val: 3 images, " in printed
    assert load_config(tiled / "config.yaml").data.tile == 64


def test_evaluate_measures_as_the_run_did(tiled: Path, command: Command) -> None:
    ap = [row["AP"] for row in read_log(tiled / "log.jsonl") if row["kind"] == "val"][-1]
    result = command("evaluate", tiled, "--workers", 0, "--device", "cpu")
    assert result.returncode == 0, result.stderr
    assert f"{LINE}, as in the training run (--tile 0: whole pictures only)" in result.stdout
    assert rtmdet.evaluate(tiled, workers=0).ap == pytest.approx(ap, abs=1e-6)
    whole = command("evaluate", tiled, "--workers", 0, "--device", "cpu", "--tile", 0)
    voting = ["with box voting" in found.stdout for found in (result, whole)]
    assert voting == [False, True], "windows have none"
    assert whole.returncode == 0, whole.stderr
    assert "windows of" not in whole.stdout
    assert (
        command("evaluate", tiled, "--tile", 20).stderr.strip().endswith("tiles of 20 pixels: expected at least 32")
    )


def test_what_else_uses_the_windows_of_the_run(
    tiled: Path, dataset: Path, checkpoint: Path, tmp_path: Path, command: Command
) -> None:
    photos = ["infer", dataset / "val" / "images", "--device", "cpu", "--out", tmp_path, "--weights"]
    assert f"{LINE}, as in the training run" in command(*photos, tiled / "last.pth", "--save", "coco").stdout
    rows = json.loads((tmp_path / "coco" / "results.json").read_text())
    found = Detector(tiled, device="cpu").folder(dataset / "val" / "images")  # in windows, too
    assert rows == [row for number, one in enumerate(found, 1) for row in one.to_coco(number)]
    assert f"windows      {LINE}" in command("info", tiled / "last.pth").stdout
    for words in ([tiled / "last.pth", "--tta"], [checkpoint]):
        result = command(*photos, *words)
        assert result.returncode == 0, result.stderr
        assert LINE not in result.stdout
        assert ("--tta detects in whole pictures" in result.stdout) == ("--tta" in words)
    compared = command("compare", tiled, tiled / "last.pth", "--device", "cpu", "--workers", 0)
    assert f"last.pth: {LINE}" in compared.stdout


@pytest.fixture
def config(dataset: Path, tmp_path: Path) -> Config:
    parts = [
        f"  {split}: {{annotations: {dataset / split / 'annotations.json'}, images: {dataset / split / 'images'}}}"
        for split in ("train", "val")
    ]
    (tmp_path / "a.yaml").write_text("\n".join(["model: {size: nano}", "data:", *parts]))
    return load_config(tmp_path / "a.yaml", ["data.tile=64", "data.input_size=[64, 64]", "data.workers=0"])


def test_a_validation_looks_at_all_windows_and_the_whole(config: Config, checkpoint: Path) -> None:
    train_data, val_data = open_data(config)
    validation = Validation(config, val_data, torch.device("cpu"))
    detector = Detector(checkpoint, device="cpu")
    seen: list[int] = []
    detector.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    validation(detector.model)
    assert sum(seen) == 3 * 5 == len(val_data) * inputs_per_image(config, val_data)
    plain = replace(config, data=replace(config.data, tile=None))
    assert inputs_per_image(plain, val_data) == 1
    seen.clear()
    validation.choose_input_size(detector.model, train_data)
    assert seen[0] <= len(train_data) - 6, "windows, not the whole pictures"


def test_what_is_no_side(command: Command, dataset: Path, checkpoint: Path) -> None:
    result = command("train", "--data", dataset, "--weights", checkpoint, "--set", "data.tile=16")
    assert result.returncode == 2
    assert "data.tile is 16: expected 0 or pixels from 32 to 65536" in result.stderr


def test_a_side_of_0_is_none_as_in_the_option(config: Config, command: Command, tmp_path: Path) -> None:
    assert replace(config.data, tile=0).tiling is None
    result = command("infer", tmp_path, "--tta", "--tile", 64, "--weights", "missing.pth")
    assert result.stderr == "error: --tta and --tile: expected one of them\n", "before the weights are loaded"
    result = command("evaluate", "--data", tmp_path, "--tta", "--tile", 64, "--weights", "missing.pth")
    assert result.stderr == "error: --tta and --tile: expected one of them\n", "for both commands"
