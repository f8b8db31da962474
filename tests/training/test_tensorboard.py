"""TensorBoard's files, read back with TensorBoard's own reader: scalars, pictures, resumed runs without doubles."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import NAMES, CocoMetrics
from rtmdet.training.log import RunLog
from rtmdet.training.records import StepRecord, ValidationRecord
from rtmdet.training.tensorboard import TensorBoardLog

Pictures = Callable[[], Sequence[np.ndarray]]


def step(iteration: int, epoch: int = 1, loss: float | None = None) -> StepRecord:
    return StepRecord(
        epoch=epoch,
        iteration=iteration,
        learning_rate=iteration / 1000,
        loss_classification=float(iteration) if loss is None else loss,
        loss_box=iteration * 2.0,
        gradient_norm=iteration * 3.0,
        positives=iteration * 4,
        positives_per_object=iteration * 5.0,
        unassigned=iteration / 100,
        memory_mb=iteration * 100.0,
        seconds=0.5,
        data_seconds=0.125,
    )


def validation(epoch: int, iteration: int, ap: float = 0.25) -> ValidationRecord:
    metrics = CocoMetrics((ap, *[0.5] * 10, -1.0), ())
    return ValidationRecord(epoch, iteration, metrics, best=True, input_size=(64, 64))


def pictures() -> Sequence[np.ndarray]:
    """A wide red picture, and a small one of noise."""
    noise = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    return [np.full((20, 60, 3), (200, 30, 10), np.uint8), noise]


class Logs:
    """The two logs of a run: TensorBoard's reads the rows of the other."""

    def __init__(self, folder: Path, log_every: int = 2, iterations: int = 0, pictures: Pictures = pictures) -> None:
        self.board = TensorBoardLog(folder, iterations=iterations, pictures=pictures)
        self.rows = RunLog(folder, log_every=log_every, iterations=iterations)
        self.rows.readers.append(self.board.write)
        self.on_step, self.on_save = self.rows.on_step, self.rows.on_save
        self.on_validation = self.board.on_validation

    def close(self) -> None:
        self.rows.close()
        self.board.close()


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder / "tensorboard")).Reload()


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in read(folder).Scalars(tag)]


def test_training_scalars_are_those_of_the_log(tmp_path: Path) -> None:
    """Losses are means of their window, the learning rate is the last one's; no window spans two epochs."""
    log = Logs(tmp_path)
    for iteration in (1, 2, 3):
        log.on_step(step(iteration))
    log.on_save()
    assert scalars(tmp_path, "train/loss_classification") == [(2, 1.5), (3, 3)]
    assert scalars(tmp_path, "train/positives_per_object") == [(2, 7.5), (3, 15)]
    assert scalars(tmp_path, "train/learning_rate") == [(2, 0.002), (3, 0.003)]
    assert scalars(tmp_path, "train/memory_mb") == [(2, 200), (3, 300)]
    tags = set(read(tmp_path).Tags()["scalars"])
    assert tags == {f"train/{name}" for name in StepRecord.__slots__} - {"train/epoch", "train/iteration"}


def test_validations_are_written_without_undefined_numbers(tmp_path: Path) -> None:
    log = Logs(tmp_path)
    log.on_validation(validation(1, 10))
    log.on_validation(validation(2, 20, ap=0.75))
    log.close()
    assert scalars(tmp_path, "val/AP") == [(10, 0.25), (20, 0.75)]
    assert set(read(tmp_path).Tags()["scalars"]) == {f"val/{name}" for name in NAMES[:-1]}


def test_pictures_are_asked_for_after_each_validation_and_kept_exactly(tmp_path: Path) -> None:
    asked = []

    def pictures_counted() -> Sequence[np.ndarray]:
        asked.append(len(asked))
        return pictures()

    log = Logs(tmp_path, log_every=1, pictures=pictures_counted)
    log.on_step(step(1))
    assert asked == []
    log.on_validation(validation(1, 1))
    log.on_validation(validation(2, 2))
    log.close()
    assert len(asked) == 2
    for index, picture in enumerate(pictures()):
        events = read(tmp_path).Images(f"predictions/{index}")
        assert [event.step for event in events] == [1, 2]
        data = np.frombuffer(events[-1].encoded_image_string, np.uint8)
        assert np.array_equal(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), picture)


def test_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    """The first run dies in its second epoch, after iteration 8; the checkpoint is of iteration 5."""
    log = Logs(tmp_path, log_every=1)
    for iteration in range(1, 9):
        log.on_step(step(iteration, 1 + (iteration > 5), loss=1.0))
        if iteration == 5:
            log.on_validation(validation(1, 5))
            log.on_save()
    resumed = Logs(tmp_path, log_every=1, iterations=5)
    for iteration in range(6, 11):
        resumed.on_step(step(iteration, 2, loss=2.0))
    resumed.on_validation(validation(2, 10))
    resumed.close()
    expected = [(iteration, 1.0 if iteration <= 5 else 2.0) for iteration in range(1, 11)]
    assert scalars(tmp_path, "train/loss_classification") == expected
    assert scalars(tmp_path, "val/AP") == [(5, 0.25), (10, 0.25)]
    assert [event.step for event in read(tmp_path).Images("predictions/0")] == [5, 10]


def test_a_validation_that_is_made_again_keeps_the_losses_of_its_step(tmp_path: Path) -> None:
    """TensorBoard hides by step alone: the repeated number, which is the same, stands twice at one point."""
    first = Logs(tmp_path)
    first.on_step(step(1))
    first.on_step(step(2))
    first.on_save()
    first.on_validation(validation(1, 2, ap=0.25))
    first.close()
    again = Logs(tmp_path, iterations=2)
    again.on_validation(validation(1, 2, ap=0.25))
    again.close()
    assert {place for place, _ in scalars(tmp_path, "val/AP")} == {2}
    assert [place for place, _ in scalars(tmp_path, "train/loss_box")][-1] == 2


def test_steps_before_an_early_end_are_kept(tmp_path: Path) -> None:
    log = Logs(tmp_path, log_every=10)
    log.on_step(step(1))
    log.on_step(step(2))
    log.close()
    assert scalars(tmp_path, "train/loss_box") == [(2, 3)]


def test_a_run_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    Logs(tmp_path).close()
    assert list((tmp_path / "tensorboard").iterdir()) == []


def test_absent_tensorboard_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # an import of it fails
    with pytest.raises(InputError, match="pip install tensorboard, or set"):
        Logs(tmp_path)
    assert not (tmp_path / "tensorboard").exists()


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(InputError, match="cannot be written") as caught:
        Logs(tmp_path)
    assert str(tmp_path / "tensorboard") in str(caught.value)
