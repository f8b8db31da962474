"""`rtmdet label`: the photos to label next, and what cannot be used."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture
def label(checkpoint: Path, dataset: Path, tmp_path: Path, command: Command) -> Command:
    """The command on the six training scenes, into tmp_path/out."""

    def run(*words: object) -> CompletedProcess[str]:
        options = ("--weights", checkpoint, "--device", "cpu", "--out", tmp_path / "out")
        return command("label", *options, dataset / "train" / "images", *words)

    return run


def test_the_labels_are_a_data_set(label: Command, tmp_path: Path, command: Command) -> None:
    result = label("--format", "coco", "--limit", 4, "--score", 0.005)
    assert (result.returncode, result.stderr) == (0, "")
    assert "showing detections above 0.005" in result.stdout
    last = result.stdout.splitlines()[-1]
    assert last.startswith("4 of 6 photos with ")
    assert last.endswith(f"boxes to correct: {tmp_path / 'out'}")
    assert len(list((tmp_path / "out" / "images").iterdir())) == 4
    check = command("data", "check", tmp_path / "out")
    assert "4 images" in check.stdout
    assert "1 class" in check.stdout


def test_a_photo_that_cannot_be_read_is_named(label: Command, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    result = label(tmp_path / "broken.png", "--format", "yolo")
    assert result.returncode == 1
    assert result.stderr.startswith(f"skipped: {tmp_path / 'broken.png'}: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--format", "voc", "--score", "2"], "--score 2.0: expected a number from 0 to 1, or auto"),
        (["--format", "voc", "--limit", "-1"], "--limit -1: expected at least 1"),
        (["--format", "voc", "--weights", "gone.pth"], "gone.pth"),
        (["--format", "csv"], "invalid choice: 'csv'"),
        ([], "the following arguments are required: --format"),
    ],
)
def test_bad_input_ends_with_one_line(label: Command, tmp_path: Path, words: list[str], text: str) -> None:
    result = label(*words)
    assert result.returncode == 2
    assert text in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


def test_torch_is_not_imported_for_exported_files() -> None:
    code = "import sys, rtmdet.cli.label; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
