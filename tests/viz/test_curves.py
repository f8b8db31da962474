"""Curves: what the numbers of a log become, and a readable PNG of any log, one or several, old or empty."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rtmdet.core.errors import InputError
from rtmdet.evaluation.coco import NAMES, CocoMetrics
from rtmdet.training.records import ValidationRecord
from rtmdet.viz.curves import COLORS, CurvePicture, LoggedRun, _draw_run, _finish_panel, _scale, _smooth, draw_curves

Row = dict[str, str | int | float | bool]
STEPS = 10  # an epoch


def train_rows(count: int, losses: float = 1.0, *, old: bool = False, steps: int = STEPS) -> list[Row]:
    recent = {} if old else {"positives_per_object": 6.0, "unassigned": 0.1}
    return [
        {
            "kind": "train",
            "epoch": -(-iteration // steps),
            "iteration": iteration,
            "learning_rate": 0.004,
            "loss_classification": losses / iteration,
            "loss_box": 2 * losses / iteration,
            **recent,
        }
        for iteration in range(1, count + 1)
    ]


def val_rows(precision: list[float], steps: int = STEPS) -> list[Row]:
    return [
        {"kind": "val", "epoch": number, "iteration": steps * number, **dict.fromkeys(NAMES, ap)}
        for number, ap in enumerate(precision, start=1)
    ]


def picture(folder: Path, *runs: list[Row]) -> np.ndarray:
    draw_curves([LoggedRun(f"run {number}", rows) for number, rows in enumerate(runs)], folder / "curves.png")
    image = cv2.imread(str(folder / "curves.png"))
    assert image is not None
    return image


def has_color(image: np.ndarray, color: str) -> bool:
    """Whether a hundred pixels have a color such as #0072b2."""
    rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((image == rgb[::-1]).all(-1).sum() > 100)


def test_epochs_of_runs_with_other_batches_are_comparable() -> None:
    small, large = LoggedRun("a", train_rows(40, steps=10)), LoggedRun("b", train_rows(20, steps=5))
    assert (small.iterations_per_epoch, large.iterations_per_epoch) == (10, 5)
    assert (small.iterations, large.iterations) == (40, 20)
    assert small.column("loss_box")[0][-1] == large.column("loss_box")[0][-1] == 4
    np.testing.assert_allclose(small.column("loss_box")[0][:3], [0.1, 0.2, 0.3])


def test_validations_stand_at_the_ends_of_their_epochs() -> None:
    epochs, values = LoggedRun("a", train_rows(35) + val_rows([0.1, 0.3, 0.2])).column("AP")
    assert epochs.tolist() == [1, 2, 3]
    assert values.tolist() == [0.1, 0.3, 0.2]


def test_best_ap_is_the_first_of_the_highest_and_skips_undefined_ones() -> None:
    assert LoggedRun("a", val_rows([-1.0, 0.2, 0.4, 0.4, -1.0])).best() == (3, 0.4)
    assert LoggedRun("a", val_rows([-1.0])).best() is None
    assert LoggedRun("a", train_rows(3)).best() is None


def test_columns_that_old_logs_lack_are_empty() -> None:
    mixed = LoggedRun("a", train_rows(10, old=True) + train_rows(20)[10:])
    assert mixed.column("unassigned")[0].tolist() == [1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 2.0]
    assert len(LoggedRun("a", train_rows(10, old=True)).column("unassigned")[0]) == 0


def test_running_mean_steps_over_what_is_no_number() -> None:
    values = np.full(100, 2.0)
    values[40] = np.nan
    values[60:70] = 5.0
    smooth = _smooth(values)  # over 3 rows
    assert smooth[:60].tolist() == [2.0] * 60
    assert smooth[60:63].tolist() == [3, 4, 5]
    assert np.isnan(_smooth(np.full(10, np.nan))).all()


def test_first_losses_that_tower_are_neither_cut_nor_hide_the_rest() -> None:
    rows = train_rows(300)
    for row in rows:
        row["loss_box"] = 1.0

    def axes() -> Axes:
        drawn = Figure().add_subplot()
        _scale(drawn, "loss_box", [LoggedRun("a", rows)])
        return drawn

    assert axes().get_yscale() == "linear"
    assert axes().get_ylim()[0] == 0
    rows[0]["loss_box"] = 1000.0
    rows[1]["loss_box"] = 0.0
    assert axes().get_yscale() == "log"
    low, high = axes().get_ylim()
    assert 0.5 < low < 1
    assert high > 1000


def test_draws_losses_rates_and_precision(tmp_path: Path) -> None:
    whole = picture(tmp_path, train_rows(100) + val_rows([0.1, 0.5, 0.7]))
    assert min(whole.shape[:2]) > 600
    third = whole.shape[0] // 3
    without_ap = picture(tmp_path, train_rows(100))
    assert (without_ap[:third] != whole[:third]).any()
    lower = picture(tmp_path, train_rows(100, losses=0.5) + val_rows([0.1, 0.5, 0.7]))
    assert (lower[third:-third] != whole[third:-third]).any()
    old = picture(tmp_path, train_rows(100, old=True) + val_rows([0.1, 0.5, 0.7]))
    assert (old[-third:] != whole[-third:]).any()


def test_every_run_has_its_color(tmp_path: Path) -> None:
    runs = [train_rows(60, losses=0.5 + k) + val_rows([0.1 + 0.1 * k, 0.2 + 0.1 * k]) for k in range(3)]
    image = picture(tmp_path, *runs)
    assert [has_color(image, color) for color in COLORS] == [True] * 3 + [False] * 5
    more = [train_rows(5)] * (len(COLORS) + 2)
    assert picture(tmp_path, *more).std() > 0


@pytest.mark.parametrize("rows", [[], train_rows(1), val_rows([0.5])], ids=["none", "one step", "only validation"])
def test_short_logs_are_drawn(tmp_path: Path, rows: list[Row]) -> None:
    assert picture(tmp_path, rows).std() > 0
    assert picture(tmp_path, rows, train_rows(30)).std() > 0


@pytest.mark.parametrize("name", ["loss_classification", "loss_box", "learning_rate", "unassigned"])
def test_a_log_of_one_row_shows_its_values(name: str) -> None:
    axes = Figure().subplots()
    _draw_run(axes, LoggedRun("run", train_rows(1)), name, COLORS[0], "-", alone=True)
    assert axes.lines[-1].get_marker() == "o"
    _draw_run(axes, LoggedRun("run", train_rows(2)), name, COLORS[0], "-", alone=True)
    assert axes.lines[-1].get_marker() == "None"


def test_epochs_are_counted_in_whole_numbers_from_none() -> None:
    axes, run = Figure().subplots(), LoggedRun("run", train_rows(1))
    _draw_run(axes, run, "loss_box", COLORS[0], "-", alone=True)
    _finish_panel(axes, "loss_box", [run])
    low, high = axes.get_xlim()
    assert low == 0
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [0, 1]


def test_losses_that_are_no_numbers_are_gaps(tmp_path: Path) -> None:
    rows = train_rows(10)
    rows[4]["loss_box"] = float("nan")
    rows[5]["loss_classification"] = float("inf")
    assert np.isnan(LoggedRun("a", rows).column("loss_box")[1]).nonzero()[0].tolist() == [4]
    assert picture(tmp_path, rows).std() > 0


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written") as caught:
        draw_curves([LoggedRun("a", train_rows(3))], tmp_path / "file" / "curves.png")
    assert str(tmp_path / "file" / "curves.png") in str(caught.value)


def test_observer_draws_at_the_end_of_validated_epochs(tmp_path: Path) -> None:
    log, drawn = tmp_path / "log.jsonl", tmp_path / "curves.png"
    log.write_text("".join(json.dumps(row) + "\n" for row in train_rows(20) + val_rows([0.5])))
    curves = CurvePicture(log, drawn)
    curves.on_epoch_end(1)
    assert not drawn.exists()
    curves.on_validation(ValidationRecord(2, 20, CocoMetrics((0.5,) * 12, ()), best=True, input_size=(64, 64)))
    assert not drawn.exists()
    curves.on_epoch_end(2)
    assert drawn.exists()
    drawn.unlink()
    curves.on_epoch_end(3)
    curves.close()
    assert not drawn.exists()


def test_a_picture_that_cannot_be_written_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    curves = CurvePicture(tmp_path / "log.jsonl", tmp_path / "file" / "curves.png", due=True)
    curves.on_epoch_end(1)
    assert "curves.png: the picture cannot be written" in capsys.readouterr().err


def test_names_that_mean_something_to_matplotlib_are_drawn_as_they_are(tmp_path: Path) -> None:
    runs = [LoggedRun(name, train_rows(3)) for name in ("_a", "_b", "a$_$b", "$x")]
    draw_curves(runs, tmp_path / "curves.svg")
    text = (tmp_path / "curves.svg").read_text()
    assert [text.count(f"{name}: no AP yet") > 0 for name in ("_a", "_b", "a$_$b", "$x")] == [True] * 4
