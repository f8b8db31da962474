"""The first weights of a run: read once, whoever looks at them."""

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import rtmdet.runs.weights_file
from rtmdet.core.errors import InputError
from rtmdet.runs.weights_file import forget_weights, read_weights
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were read."""
    found: list[Path] = []

    def noted(path: Path) -> object:
        found.append(path)
        return read_checkpoint(path)

    monkeypatch.setattr(rtmdet.runs.weights_file, "read_checkpoint", noted)
    forget_weights()
    return found


def test_a_run_reads_its_first_weights_once_and_holds_them_no_longer_than_needed(
    command: Command, dataset: Path, checkpoint: Path, tmp_path: Path, reads: list[Path]
) -> None:
    settings = ["data.workers=0", "train.device=cpu", "data.input_size=[64, 64]", "train.epochs=1"]
    settings.append(f"train.output={tmp_path / 'run'}")
    words = [word for setting in settings for word in ("--set", setting)]
    result = command("train", "--data", dataset, "--weights", checkpoint, *words)
    assert result.returncode == 0, result.stderr
    assert reads == [checkpoint]
    assert rtmdet.runs.weights_file._read.cache_info().currsize == 0


def test_a_file_that_changed_is_read_again(checkpoint: Path, tmp_path: Path, reads: list[Path]) -> None:
    path = tmp_path / "weights.pth"
    path.write_bytes(checkpoint.read_bytes())
    assert read_weights(str(path)) is read_weights(str(path))
    os.utime(path, ns=(0, 0))
    read_weights(str(path))
    assert reads == [path, path]
    path.unlink()
    with pytest.raises(InputError, match=r"weights\.pth"):
        read_weights(str(path))
