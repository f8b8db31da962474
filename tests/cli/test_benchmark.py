"""`rtmdet benchmark`: a row for every file, size and batch, whose parts add up. No speed is judged."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from rtmdet.cli.benchmark import list_cases
from rtmdet.measuring.benchmark import Case, Round, _timing

Command = Callable[..., CompletedProcess[str]]


def test_every_file_size_and_batch_is_a_case() -> None:
    cases = list_cases(["a.onnx", "b.pth", "c.pth"], [320, 640], [1, 8], plain=True)
    assert len(cases) == 2 * 2 * 4
    assert cases[:4] == [
        Case("b.pth", (320, 320), 1, plain=True),
        Case("a.onnx", (320, 320), 1),
        Case("b.pth", (320, 320), 1),
        Case("c.pth", (320, 320), 1),
    ]
    assert list_cases(["a.onnx"], None, [1], plain=True) == [Case("a.onnx", None, 1)]
    assert list_cases(["b.pth"], None, [1], plain=False) == [Case("b.pth", None, 1)]


def test_ninety_percent_is_not_above_the_slowest_round() -> None:
    rounds = [Round(read=0.0, letterbox=0.0, network=seconds, boxes=0.0) for seconds in (0.01, 0.02)]
    timing = _timing(Case("a", (320, 320), 1), (320, 320), rounds, 1.0)
    assert timing.network == pytest.approx(15)
    assert 15 < timing.p90 <= 20


@pytest.mark.slow
def test_table_and_json(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    file = tmp_path / "times.json"
    result = command("benchmark", checkpoint, "--rounds", 2, "--threads", 1, "--batch", 2, "--json", file)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "median milliseconds of 2 rounds, 1 threads, generated 640 x 480.jpg"
    assert lines[2].startswith("plain torch")
    assert lines[3].startswith(str(checkpoint))
    found = json.loads(file.read_text())["timings"]
    assert [row["name"] for row in found] == ["plain torch", str(checkpoint)]
    for row in found:
        assert (row["input_size"], row["batch"]) == ([64, 64], 2)
        parts = sum(row[part] for part in ("read", "letterbox", "network", "boxes"))
        assert 0.5 * row["total"] < parts < 2 * row["total"]  # medians of parts do not add up exactly
        assert row["megabytes"] > 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rounds", "1"), "--rounds 1: expected at least 2"),
        (("--threads", "0"), "--threads 0: expected at least 1"),
        (("--input", "100"), "--input 100: expected a multiple of 32"),
        (("--batch", "0"), "--batch 0: expected at least 1"),
        (("--image", "missing.jpg"), "missing.jpg: no such image file"),
        (("--json", "weights.pth"), "weights.pth: expected a name that ends in .json"),
    ],
)
def test_unusable_options(checkpoint: Path, options: tuple[str, ...], message: str, command: Command) -> None:
    result = command("benchmark", checkpoint, *options)
    assert result.returncode == 2
    assert message in result.stderr


def test_one_line_where_one_of_several_files_is_refused(checkpoint: Path, tmp_path: Path, command: Command) -> None:
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    words = (sys.executable, "-m", "rtmdet.cli.main", "benchmark", checkpoint, checkpoint, tmp_path / "broken.pth")
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1


def test_a_process_that_cannot_open_its_file(tmp_path: Path, command: Command) -> None:
    result = command("benchmark", tmp_path / "missing.onnx", "--rounds", 2)
    assert result.returncode == 2
    assert result.stderr == f"error: {tmp_path / 'missing.onnx'}: no such file; check the path\n"
