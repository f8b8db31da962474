"""Runs that were interrupted: they end where an uninterrupted one does, and only a run's own checkpoint will do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from training.small_run import META, Recorder, SmallDetector, assert_equal, make_trainer

from rtmdet.structures import InputError


class Interruption(Recorder):
    """Stops the run after its first epoch."""

    def on_epoch_end(self, epoch: int) -> None:
        raise KeyboardInterrupt


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    """Weights, averages, optimizer and best score, to the last bit; dropout needs the same random state."""
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    for folder in (whole, first, second):
        folder.mkdir()
    torch.manual_seed(5)
    expected = make_trainer(whole)
    expected.run()

    torch.manual_seed(5)
    with pytest.raises(KeyboardInterrupt):
        make_trainer(first, observers=[Interruption()]).run()
    torch.manual_seed(99)
    resumed = make_trainer(second, seed=1)
    resumed.resume(first / "last.pth")
    assert (resumed.epoch, resumed.iteration, resumed.best_ap) == (1, 3, 0.5)
    resumed.run()

    assert resumed.loader.epochs == [1]  # type: ignore[attr-defined]
    assert_equal(resumed.model.state_dict(), expected.model.state_dict())
    assert_equal(resumed.ema.model.state_dict(), expected.ema.model.state_dict())
    assert (resumed.iteration, resumed.ema.updates) == (expected.iteration, expected.ema.updates) == (6, 6)
    for a, b in zip(*(t.optimizer.state_dict()["state"].values() for t in (resumed, expected)), strict=True):
        assert_equal(a, b)
    assert not (second / "best.pth").exists(), "0.5 was reached before the interruption"


def test_a_finished_run_has_nothing_to_resume(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    recorder = Recorder()
    resumed = make_trainer(tmp_path, observers=[recorder])
    resumed.resume(tmp_path / "last.pth")
    resumed.run()
    assert recorder.told == []


def test_a_checkpoint_of_another_run_is_refused_with_one_line(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    path = tmp_path / "last.pth"
    wider = SmallDetector()
    wider.logits = nn.Conv2d(4, 7, 1)
    others = [
        (make_trainer(tmp_path, batches=5), r"holds 6 iterations of 2 epochs, but an epoch has 5 here: resume with"),
        (
            make_trainer(tmp_path, meta=replace(META, classes=("kite", "balloon"))),
            r"is of size tiny for balloon, kite at 64 x 64 .*, this run is of size tiny for kite, balloon at .* give",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, size="s")),
            r"is of size tiny for .*, this run is of size s for balloon, kite",
        ),
        (
            make_trainer(tmp_path, meta=replace(META, input_size=(64, 96))),
            r"is of .* at 64 x 64 pixels, this run is of .* at 64 x 96 pixels: give .* train\.output",
        ),
        (make_trainer(tmp_path, model=wider), r"does not fit this run \(.*logits\.weight.*\): give"),
        (make_trainer(tmp_path, frozen=True), r"does not fit this run \(.*parameter group.*\): give"),
    ]
    for trainer, message in others:
        with pytest.raises(InputError, match=rf"last\.pth: {message}") as caught:
            trainer.resume(path)
        assert "\n" not in str(caught.value)
        assert trainer.epoch == 0
