"""Curves: a readable PNG of any log, empty ones included."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from rtmdet.evaluation import NAMES
from rtmdet.structures import InputError
from rtmdet.viz.curves import draw_curves

Row = dict[str, str | int | float | bool]


def train_rows(count: int, losses: float = 1.0) -> list[Row]:
    return [
        {
            "kind": "train",
            "iteration": iteration,
            "learning_rate": 0.004,
            "loss_classification": losses / iteration,
            "loss_box": 2 * losses / iteration,
        }
        for iteration in range(1, count + 1)
    ]


def val_rows(precision: list[float]) -> list[Row]:
    return [
        {"kind": "val", "iteration": 10 * number, **dict.fromkeys(NAMES, ap)}
        for number, ap in enumerate(precision, start=1)
    ]


def picture(folder: Path, rows: list[Row]) -> np.ndarray:
    draw_curves(rows, folder / "curves.png")
    image = cv2.imread(str(folder / "curves.png"))
    assert image is not None
    return image


def test_draws_losses_rates_and_precision(tmp_path: Path) -> None:
    whole = picture(tmp_path, train_rows(100) + val_rows([0.1, 0.5, 0.7]))
    assert min(whole.shape[:2]) > 600
    third = whole.shape[0] // 2
    without_ap = picture(tmp_path, train_rows(100))
    assert (without_ap[-third:] != whole[-third:]).any()
    lower = picture(tmp_path, train_rows(100, losses=0.5) + val_rows([0.1, 0.5, 0.7]))
    assert (lower[:third] != whole[:third]).any()


@pytest.mark.parametrize("rows", [[], train_rows(1), val_rows([0.5])], ids=["none", "one step", "only validation"])
def test_short_logs_are_drawn(tmp_path: Path, rows: list[Row]) -> None:
    assert picture(tmp_path, rows).std() > 0


def test_losses_that_are_no_numbers_are_gaps(tmp_path: Path) -> None:
    rows = train_rows(10)
    rows[4]["loss_box"] = float("nan")
    assert picture(tmp_path, rows).std() > 0


def test_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written") as caught:
        draw_curves(train_rows(3), tmp_path / "none" / "curves.png")
    assert str(tmp_path / "none" / "curves.png") in str(caught.value)
