"""`train --resume RUN`: a run is continued by the name of its folder alone."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

import rtmdet
from rtmdet.cli.parser import build_parser
from rtmdet.config.file import load_config
from rtmdet.core.errors import InputError
from rtmdet.runs.options import run_to_resume
from rtmdet.runs.train import report_beginning
from rtmdet.weights.load import read_checkpoint

Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]
COMPLETE = "the run is complete after 2 epochs, so nothing is trained"


@pytest.fixture
def run(finished: Finished, tmp_path: Path) -> Path:
    """A copy of the finished run, in tmp_path/run."""
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.parametrize(
    "words", ["--resume {}", "--resume {}/last.pth", "--resume {}/config.yaml", "--resume --output {}"]
)
def test_a_run_is_found_by_its_folder_or_a_file_in_it(run: Path, command: Command, words: str) -> None:
    result = command("train", *words.format(run).split())
    assert (result.returncode, result.stderr) == (0, "")
    assert f"\n{run}: {COMPLETE}" in result.stdout


def test_a_run_is_prolonged_in_its_own_folder(run: Path, command: Command) -> None:
    result = command("train", "--resume", run, "--epochs", 3, "--set", "train.log_every=1")
    assert (result.returncode, result.stderr) == (0, "")
    assert "train.epochs 2 -> 3, " in result.stdout
    assert "train.log_every 2 -> 1" in result.stdout
    assert "\nresumed after epoch 2 of 3, iteration 6\n" in result.stdout
    assert f"\ncurves: {run / 'curves.png'}\n" in result.stdout
    assert read_checkpoint(run / "last.pth").epoch == 3


def test_a_run_is_measured_on_the_same_images_to_its_end(run: Path, command: Command, tmp_path: Path) -> None:
    data = load_config(run / "config.yaml").data
    fewer = json.loads(Path(data.val.annotations).read_text())
    fewer["images"] = fewer["images"][:2]
    kept = {image["id"] for image in fewer["images"]}
    fewer["annotations"] = [entry for entry in fewer["annotations"] if entry["image_id"] in kept]
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    others = f"data.val.annotations={tmp_path / 'fewer.json'}"
    result = command("train", "--resume", run, "--epochs", 3, "--set", others)
    assert result.returncode == 2
    assert f"fewer.json: {run} was validated on the images of {data.val.annotations} so far, and" in result.stderr
    (tmp_path / "fewer.json").write_text(json.dumps(json.loads(Path(data.val.annotations).read_text()), indent=4))
    assert command("train", "--resume", run, "--epochs", 3, "--set", others).returncode == 0, "a copy of the same"


def test_what_only_the_beginning_uses_is_not_applied_and_not_stored(run: Path, command: Command) -> None:
    before = load_config(run / "config.yaml").model
    given = ("--weights", run / "best.pth", "--set", "model.norm_statistics=recalibrate")
    result = command("train", "--config", run / "config.yaml", "--resume", "--epochs", 3, *given)
    assert (result.returncode, result.stderr) == (0, "")
    unused = f"the weights {run / 'best.pth'} are not used: the run was begun with {before.weights or 'none'} and"
    assert unused in result.stdout
    assert "model.norm_statistics is not applied: it is for the beginning of a run, which had keep" in result.stdout
    assert "train.epochs 2 -> 3" in result.stdout
    assert not re.search("settings that differ.*model", result.stdout)
    assert load_config(run / "config.yaml").model == before


def test_in_python_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rtmdet.train(resume=str(run)).folder == run
    assert COMPLETE in capsys.readouterr().out
    with pytest.raises(rtmdet.InputError, match=r"run to resume and output .*b: expected one of them"):
        rtmdet.train(resume=run, output="b")


@pytest.mark.parametrize(
    ("words", "resume"),
    [
        ("--data x", False),
        ("--resume --set a=b", True),
        ("--data x --resume", True),
        ("--resume --data x", True),
        ("--data x --resume runs/x", Path("runs/x")),
    ],
)
def test_the_run_may_be_left_out(words: str, resume: bool | Path) -> None:
    assert build_parser().parse_args(["train", *words.split()]).resume == resume


def test_which_run_is_resumed() -> None:
    nothing = dict[str, Path | None](config=None, data=None, output=None)
    a = Path("a")
    assert run_to_resume(a, **nothing) == run_to_resume(a / "last.pth", **nothing) == a
    assert run_to_resume(True, **nothing | {"output": a}) == a
    assert run_to_resume(True, **nothing | {"output": a, "data": a}) is None
    assert run_to_resume(False, **nothing | {"output": a}) is None
    for option in nothing:
        with pytest.raises(InputError, match=f"a to resume and --{option} b: expected one of them: a run continues"):
            run_to_resume(a, **nothing | {option: Path("b")})


@pytest.mark.parametrize("words", ["--resume {}2", "--resume --output {}2"])
def test_a_folder_without_a_checkpoint_is_one_line(run: Path, command: Command, words: str) -> None:
    result = command("train", *words.format(run).split())
    expected = f"error: {run}2 holds no checkpoint to resume from (did you mean {run}?): give the folder of a run, "
    assert (result.returncode, result.stderr) == (2, f"{expected}or its last.pth\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--resume", "train: expected --resume RUN, --data FOLDER or --config FILE, found none: give one of them"),
        (
            "a/last.pth --resume",
            "rtmdet train has no 'a/last.pth' (did you mean --resume a/last.pth?): `rtmdet train",
        ),
        ("a/last.pth", "rtmdet train has no 'a/last.pth' (did you mean --weights a/last.pth?): `rtmdet train --help"),
    ],
)
def test_what_is_no_run_gets_help(command: Command, words: str, expected: str) -> None:
    result = command("train", *words.split())
    assert (result.returncode, result.stderr.startswith(f"error: {expected}")) == (2, True), result.stderr


def test_a_beginning_beside_a_run_of_nearly_this_name_is_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("balloon2", "cells"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "last.pth").touch()
    text = f"{tmp_path / 'balloon'} holds no checkpoint to resume from"
    report_beginning(tmp_path / "balloon")
    meant = f"warning: {text} (did you mean {tmp_path / 'balloon2'}?): the run starts at the beginning\n"
    assert capsys.readouterr().out == meant
    (tmp_path / "balloon2" / "last.pth").unlink()
    report_beginning(tmp_path / "balloon")
    assert capsys.readouterr().out == f"{text}: the run starts at the beginning\n"
