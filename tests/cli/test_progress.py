"""Progress on the terminal: lines of validations, and no bars where nobody watches."""

import pytest

from rtmdet.core.console import progress
from rtmdet.evaluation.coco import CocoMetrics
from rtmdet.training.progress_bar import TrainingBar
from rtmdet.training.records import StepRecord, ValidationRecord

STEP = StepRecord(1, 1, 0.004, 1.0, 2.0, 3.0, 10, 5.0, 0.0, 100.0, 0.5, 0.1)


def validation(ap: float, *, best: bool = True) -> ValidationRecord:
    return ValidationRecord(3, 9, CocoMetrics((ap, ap, -1.0, *[ap] * 9), ()), best=best, input_size=(64, 64))


@pytest.mark.parametrize(
    ("record", "line"),
    [
        (validation(0.25), "epoch 3: AP 0.250, AP50 0.250, AP75 - (best so far)"),
        (validation(0.25, best=False), "epoch 3: AP 0.250, AP50 0.250, AP75 -"),
        (validation(0.0), "epoch 3: AP 0.000, AP50 0.000, AP75 -"),
        (validation(-1.0), "epoch 3: AP -, AP50 -, AP75 -"),
    ],
)
def test_line_of_a_validation(record: ValidationRecord, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    TrainingBar(epochs=4, iterations=3, done=0).on_validation(record)
    assert capsys.readouterr().out == line + "\n"


def test_no_bars_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bar = TrainingBar(epochs=4, iterations=3, done=0)
    bar.on_step(STEP)
    bar.on_new_length(5)
    bar.close()
    assert list(progress([1, 2], "validating")) == [1, 2]
    assert capsys.readouterr() == ("", "")
