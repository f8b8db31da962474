"""`rtmdet plot`: one picture and a line a run; logs that cannot be used are named with file and line."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import pytest

from rtmdet.cli.plot import short_names

Command = Callable[..., CompletedProcess[str]]


def train_row(iteration: int, steps: int = 10) -> dict[str, object]:
    place = {"kind": "train", "epoch": -(-iteration // steps), "iteration": iteration}
    return {**place, "learning_rate": 0.01, "loss_classification": 1 / iteration, "loss_box": 2 / iteration}


def val_row(epoch: int, ap: float, steps: int = 10) -> dict[str, object]:
    return {"kind": "val", "epoch": epoch, "iteration": epoch * steps, "best": True, "AP": ap, "AP50": ap}


def write_run(folder: Path, precision: list[float], steps: int = 10) -> Path:
    """A run of an epoch for each AP, its log in an older form."""
    rows = [train_row(iteration, steps) for iteration in range(1, len(precision) * steps + 1)]
    rows += [val_row(epoch, ap, steps) for epoch, ap in enumerate(precision, start=1)]
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_two_runs_are_compared(tmp_path: Path, command: Command) -> None:
    first = write_run(tmp_path / "first" / "run", [0.1, 0.3, 0.2])
    second = write_run(tmp_path / "second" / "run", [0.25, 0.5], steps=4)
    out = tmp_path / "new" / "plot.png"
    result = command("plot", first, second / "log.jsonl", "--out", out)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "first   epochs    3  iterations      30  best AP 0.300 (epoch 2)  last AP 0.200",
        "second  epochs    2  iterations       8  best AP 0.500 (epoch 2)  last AP 0.500",
        str(out),
    ]
    assert cv2.imread(str(out)) is not None


def test_a_real_run_has_all_that_is_drawn(
    finished: tuple[Path, CompletedProcess[str]], tmp_path: Path, command: Command
) -> None:
    result = command("plot", finished[0] / "run", "--out", tmp_path / "plot.svg")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("run  epochs    2  iterations       6  best AP 0.")
    text = (tmp_path / "plot.svg").read_text()
    for title in ("classification loss", "box loss", "learning rate", "AP50", "matched priors per object"):
        assert f"<!-- {title}" in text  # a loss panel may add that it is logarithmic
    assert "<!-- objects without a matched prior -->" in text


def test_run_without_validation(tmp_path: Path, command: Command) -> None:
    write_run(tmp_path / "a", [-1.0])
    result = command("plot", tmp_path / "a", "--out", tmp_path / "plot.png")
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, "a  epochs    1  iterations      10  no AP yet")


def test_last_line_that_was_cut_short_is_left_out(tmp_path: Path, command: Command) -> None:
    log = write_run(tmp_path / "a", [0.5]) / "log.jsonl"
    log.write_text(log.read_text() + '{"kind": "train", "epoch": 2, "iter')
    result = command("plot", log, "--out", tmp_path / "plot.png")
    assert result.returncode == 0, result.stderr
    assert "iterations      10 " in result.stdout


def test_another_file_is_no_log(tmp_path: Path, command: Command) -> None:
    (tmp_path / "config.yaml").write_text("data:\n  workers: 0\n")
    result = command("plot", tmp_path / "config.yaml", "--out", tmp_path / "plot.png")
    assert result.returncode == 2
    assert "config.yaml, line 1: not JSON: is this the log.jsonl of a run?" in result.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{'kind': 'train'}", "not JSON"),
        ("[1, 2]", "expected an object, found [1, 2]"),
        ('{"epoch": 1}', "kind: expected train or val, found None"),
        ('{"kind": ["train"]}', "kind: expected train or val, found ['train']"),
        (json.dumps(train_row(3) | {"loss_box": "low"}), "loss_box: expected a number, found 'low'"),
        (json.dumps(train_row(3) | {"unassigned": None}), "unassigned: expected a number, found None"),
        (json.dumps(train_row(3) | {"epoch": 0}), "epoch: expected a whole number from 1, found 0"),
        (json.dumps(train_row(3) | {"iteration": float("nan")}), "iteration: expected a whole number from 1"),
        (json.dumps({k: v for k, v in val_row(1, 0.5).items() if k != "AP"}), "AP: expected a number, found nothing"),
        ("[" * 100_000, "not JSON: restore the log or delete the line"),
    ],
)
def test_broken_rows_are_named(tmp_path: Path, command: Command, line: str, expected: str) -> None:
    log = write_run(tmp_path / "a", [0.5]) / "log.jsonl"
    lines = log.read_text().splitlines()
    log.write_text("\n".join([*lines[:2], line, *lines[2:]]))
    result = command("plot", log, "--out", tmp_path / "plot.png")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"error: {log}, line 3: {expected}")
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "plot.png").exists()


@pytest.mark.parametrize("content", [b"", b'{"kind": "tr', bytes(range(128, 256))], ids=["empty", "cut", "binary"])
def test_logs_without_rows_are_named(tmp_path: Path, command: Command, content: bytes) -> None:
    (tmp_path / "log.jsonl").write_bytes(content)
    result = command("plot", tmp_path, "--out", tmp_path / "plot.png")
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {tmp_path / 'log.jsonl'}: no rows")


def test_wrong_words_are_named(tmp_path: Path, command: Command) -> None:
    run = write_run(tmp_path / "a", [0.5])
    for words, expected in (
        ([tmp_path], f"{tmp_path / 'log.jsonl'}: no such file"),
        ([tmp_path / "none"], f"{tmp_path / 'none'}: no such file"),
        ([run, run / "log.jsonl"], f"{run / 'log.jsonl'}: given twice"),
        ([run, "--out", tmp_path / "plot.gif"], f"{tmp_path / 'plot.gif'}: expected a name that ends in .png"),
        ([run, "--out", run / "log.jsonl" / "plot.png"], f"{run / 'log.jsonl'}"),
    ):
        result = command("plot", *words)
        assert result.returncode == 2
        assert result.stderr.startswith(f"error: {expected}"), result.stderr
        assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("logs", "names"),
    [
        (["/x/runs/a/log.jsonl"], ["a"]),
        (["/x/runs/a/log.jsonl", "/x/runs/b/log.jsonl"], ["a", "b"]),
        (["/x/a/run/log.jsonl", "/x/b/run/log.jsonl"], ["a", "b"]),
        (["/x/a/1/run/log.jsonl", "/x/b/2/run/log.jsonl"], ["a/1", "b/2"]),
        (["/x/runs/log.jsonl", "/x/runs/b/log.jsonl"], ["runs", "runs/b"]),
        (["/x/a.jsonl", "/x/b.jsonl"], ["a", "b"]),
    ],
)
def test_names_are_what_tells_runs_apart(logs: list[str], names: list[str]) -> None:
    assert short_names([Path(log) for log in logs]) == names
