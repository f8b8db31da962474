"""The log of a run: JSON lines and CSV say the same, rows are means of windows, a resumed run leaves no doubles."""

import csv
import errno
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import NAMES, ClassMetrics, CocoMetrics
from rtmdet.training.log import RunLog, read_log
from rtmdet.training.records import StepRecord, ValidationRecord


def step(iteration: int, epoch: int = 1) -> StepRecord:
    return StepRecord(
        epoch=epoch,
        iteration=iteration,
        learning_rate=iteration / 1000,
        loss_classification=iteration * 1.0,
        loss_box=iteration * 2.0,
        gradient_norm=iteration * 3.0,
        positives=iteration * 4,
        positives_per_object=iteration * 0.5,
        unassigned=iteration / 100,
        memory_mb=iteration * 100.0,
        seconds=0.5,
        data_seconds=0.125,
    )


def validation(epoch: int, iteration: int, *, best: bool = True) -> ValidationRecord:
    numbers = tuple((epoch + k) / 100 for k in range(11))
    return ValidationRecord(epoch, iteration, CocoMetrics((*numbers, -1.0), ()), best, (480, 640))


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def write_epochs(log: RunLog, epochs: range, steps: int = 5) -> None:
    """Whole epochs of `steps` iterations, each with a validation."""
    for epoch in epochs:
        for number in range(1, steps + 1):
            log.on_step(step((epoch - 1) * steps + number, epoch))
        log.on_validation(validation(epoch, epoch * steps))
        log.on_save()


def test_row_is_the_mean_of_its_window_and_the_place_of_its_last_step(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=2)
    for iteration in (1, 2, 3):
        log.on_step(step(iteration))
    log.on_save()
    first, second = read_log(log.path)
    assert (first["iteration"], first["learning_rate"], first["memory_mb"]) == (2, 0.002, 200)
    assert (first["loss_classification"], first["loss_box"], first["gradient_norm"]) == (1.5, 3, 4.5)
    assert (first["positives"], first["seconds"], first["data_seconds"]) == (6, 0.5, 0.125)
    assert (first["positives_per_object"], first["unassigned"]) == (0.75, 0.015)
    assert (second["iteration"], second["loss_classification"]) == (3, 3)  # no row spans two epochs


def test_window_is_written_when_it_is_full(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=2)
    counts = []
    for iteration in (1, 2, 3, 4):
        log.on_step(step(iteration))
        counts.append(len(read_log(log.path)))
    assert counts == [0, 1, 1, 2]
    log.on_save()
    assert len(read_log(log.path)) == 2


def test_json_lines_and_csv_agree(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=2)
    write_epochs(log, range(1, 3))
    rows = read_log(log.path)
    for kind, count in (("train", 6), ("val", 2)):
        of_kind = [row for row in rows if row["kind"] == kind]
        table = read_csv(tmp_path / f"{kind}.csv")
        assert len(table) == len(of_kind) == count
        assert table == [{name: str(value) for name, value in row.items()} for row in of_kind]
    assert set(rows[0]) == {"kind", *(field.name for field in fields(StepRecord))}


def test_validation_has_the_12_numbers_by_name(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=1)
    log.on_validation(validation(3, 30, best=False))
    (row,) = read_log(log.path)
    assert (row["kind"], row["epoch"], row["iteration"], row["best"]) == ("val", 3, 30, False)
    assert (row["input_height"], row["input_width"]) == (480, 640)
    assert [row[name] for name in NAMES] == list(validation(3, 30).metrics.numbers)


def test_validation_has_the_ap_of_each_class(tmp_path: Path) -> None:
    """In log.jsonl only: the columns of val.csv do not depend on the data."""
    classes = (ClassMetrics("cat", 3, 0.25, 0.5), ClassMetrics("AP50", 0, -1.0, -1.0))
    metrics = CocoMetrics((0.5,) * 12, classes)
    RunLog(tmp_path, log_every=1).on_validation(ValidationRecord(1, 2, metrics, best=True, input_size=(64, 64)))
    (row,) = read_log(tmp_path / "log.jsonl", strict=True)
    assert (row["AP cat"], row["AP AP50"], row["AP50"]) == (0.25, -1.0, 0.5)
    assert "AP cat" not in read_csv(tmp_path / "val.csv")[0]


def test_files_have_their_heads_before_the_first_row(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=1)
    assert log.path.read_text() == ""
    assert (tmp_path / "train.csv").read_text().startswith("kind,epoch,iteration,learning_rate,")
    assert (tmp_path / "val.csv").read_text().startswith("kind,epoch,iteration,best,input_height,input_width,AP,")


def test_resumed_log_equals_that_of_one_run(tmp_path: Path) -> None:
    """A run that stopped in its third epoch is taken up after the second."""
    (tmp_path / "whole").mkdir()
    write_epochs(RunLog(tmp_path / "whole", log_every=2), range(1, 4))
    broken = RunLog(tmp_path, log_every=2)
    write_epochs(broken, range(1, 3))
    for iteration in (11, 12, 13):
        broken.on_step(step(iteration, 3))
    write_epochs(RunLog(tmp_path, log_every=2, iterations=10, epochs=2), range(3, 4))
    for name in ("log.jsonl", "train.csv", "val.csv"):
        assert (tmp_path / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_a_validation_that_is_made_again_stands_once(tmp_path: Path) -> None:
    """A run that was killed between its validation and the next checkpoint validates again."""
    log = RunLog(tmp_path, log_every=1)
    log.on_step(step(1))
    log.on_validation(validation(1, 1))
    log = RunLog(tmp_path, log_every=1, iterations=1, epochs=0)
    assert [row["kind"] for row in read_log(log.path)] == ["train"]


def test_a_run_that_ends_inside_a_window_writes_it(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=10)
    log.on_step(step(1))
    log.close()
    log.close()
    assert [row["iteration"] for row in read_log(log.path)] == [1]


def test_new_run_begins_a_new_log(tmp_path: Path) -> None:
    write_epochs(RunLog(tmp_path, log_every=1), range(1, 3))
    assert read_log(RunLog(tmp_path, log_every=1).path) == []
    assert read_csv(tmp_path / "val.csv") == []


def test_half_a_last_line_is_left_out(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=1)
    write_epochs(log, range(1, 2), steps=2)
    whole = log.path.read_text()
    assert read_log(log.path) == [json.loads(line) for line in whole.splitlines()]
    log.path.write_text(whole + whole.splitlines()[0][:40])
    assert len(read_log(log.path)) == 3
    assert len(read_log(RunLog(tmp_path, log_every=1, iterations=2, epochs=1).path)) == 3
    assert log.path.read_text() == whole


def test_absent_log_has_no_rows(tmp_path: Path) -> None:
    assert read_log(tmp_path / "log.jsonl") == []


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written") as caught:
        RunLog(tmp_path / "none", log_every=1)
    assert str(tmp_path / "none") in str(caught.value)


def test_a_table_that_another_program_holds_is_completed_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Excel does on Windows."""
    log, held, usual = RunLog(tmp_path, log_every=1), tmp_path / "val.csv", Path.open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name.startswith(held.name):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return usual(path, *arguments, **options)

    write_epochs(log, range(1, 2))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        write_epochs(log, range(2, 4))
    assert capsys.readouterr().err.count("val.csv: the table cannot be written (Permission denied); the run") == 1
    assert (len(read_csv(held)), len(read_csv(tmp_path / "train.csv"))) == (1, 15)
    log.close()
    assert [row["epoch"] for row in read_csv(held)] == ["1", "2", "3"]


def test_rows_of_another_version_stay_in_a_resumed_log(tmp_path: Path) -> None:
    log = RunLog(tmp_path, log_every=1)
    write_epochs(log, range(1, 2))
    row = json.loads(log.path.read_text().splitlines()[0])
    log.path.write_text(json.dumps({**row, "new": 1}) + "\n")
    RunLog(tmp_path, log_every=1, iterations=5, epochs=1)
    assert json.loads(log.path.read_text())["new"] == 1
    assert "new" not in read_csv(tmp_path / "train.csv")[0]
