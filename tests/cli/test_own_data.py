"""`rtmdet train --data`: from a path to a run whose configuration starts it again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rtmdet.config_file import load_config

Command = Callable[..., CompletedProcess[str]]
QUICK = ("data.input_size=[64, 64]", "train.epochs=1", "data.workers=0", "train.device=cpu")


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> list[str]:
    """What follows the data on the command line of a short run in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return ["--weights", str(checkpoint), *(word for setting in QUICK for word in ("--set", setting))]


def test_a_folder_is_enough_and_the_written_configuration_starts_the_same_run(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    result = command("train", "--data", dataset, *words)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == f"data: {dataset} is COCO, with train and val"
    assert any(line.startswith("  model.freeze_statistics: True  (") for line in lines)
    assert not any("train.epochs:" in line for line in lines), "given, not chosen"
    run = tmp_path / "runs" / dataset.name
    config = load_config(run / "config.yaml")
    assert (config.model.size, config.train.epochs, config.model.freeze_statistics) == ("nano", 1, True)

    again = command("train", "--config", run / "config.yaml", "--set", f"train.output={tmp_path / 'again'}")
    assert again.returncode == 0, again.stderr
    assert (run / "train.csv").read_text().split(",")[:4] == (tmp_path / "again/train.csv").read_text().split(",")[:4]
    assert (run / "val.csv").read_text() == (tmp_path / "again" / "val.csv").read_text()

    refused = command("train", "--data", dataset, *words)
    assert (refused.returncode, "holds a run already" in refused.stderr) == (2, True)
    resumed = command("train", "--data", dataset, *words, "--resume", "--set", "train.epochs=2")
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed after epoch 1 of 2" in resumed.stdout


def test_without_a_validation_split_one_is_made_and_said(
    command: Command, dataset: Path, words: list[str], tmp_path: Path
) -> None:
    result = command("train", "--data", dataset / "train", *words)
    assert result.returncode == 0, result.stderr
    assert "no validation split: 1 of the 6 images are put aside" in result.stdout
    files = [json.loads((tmp_path / "runs/train/data" / name).read_text()) for name in ("train.json", "val.json")]
    names = [{image["file_name"] for image in file["images"]} for file in files]
    assert [len(each) for each in names] == [5, 1]
    assert not names[0] & names[1]


@pytest.mark.parametrize(
    ("arguments", "words_of_error"),
    [
        (["--data", "nowhere"], "no such file or folder of data"),
        (["--data", "{data}", "--weights", "nothing.pth"], "nothing.pth"),
        (["--data", "{data}", "--config", "a.yaml"], "not allowed with"),
        ([], "required"),
    ],
)
def test_unusable_input_is_one_line(
    command: Command, dataset: Path, words: list[str], arguments: list[str], words_of_error: str
) -> None:
    result = command("train", *(word.format(data=dataset) for word in arguments))
    assert result.returncode == 2
    assert words_of_error in result.stderr
    assert "Traceback" not in result.stderr
