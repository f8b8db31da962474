"""samples.png in the folder of a run: the samples of the training, drawn without touching anything else."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import cv2
import numpy as np
import pytest
import torch

import rtmdet.runs.sample_sheet as sample_sheet
from rtmdet.config.file import load_config
from rtmdet.core.errors import InputError
from rtmdet.core.structures import Sample
from rtmdet.runs.build import build_training_samples, open_data
from rtmdet.runs.sample_sheet import draw_samples, write_samples

Command = Callable[..., CompletedProcess[str]]
Finished = tuple[Path, CompletedProcess[str]]
EXTRA = "augmentation.extra=[{name: VerticalFlip}]"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """The samples that are drawn."""
    usual, found = sample_sheet._draw, list[Sample]()
    monkeypatch.setattr(sample_sheet, "_draw", lambda sample, *rest: found.append(sample) or usual(sample, *rest))
    return found


def test_the_samples_are_those_of_the_training(config: Path, drawn: list[Sample]) -> None:
    """Six images, two epochs, of which the second has no mosaics."""
    settings = load_config(config, [EXTRA])
    train, _ = open_data(settings)
    picture = draw_samples(settings, train)
    samples = build_training_samples(settings, train)
    keys = [*((0, position) for position in range(6)), *((1, position) for position in range(2, 6))]
    assert len(drawn) == 10
    for sample, key in zip(drawn, keys, strict=True):
        assert np.array_equal(sample.image, samples[key].image)
        assert np.array_equal(sample.instances.boxes, samples[key].instances.boxes)
    assert picture.dtype == np.uint8
    assert picture.shape[1] == 4 * (320 + 8) + 8, "four columns as wide as their titles need"


@pytest.mark.parametrize(("stage2", "count"), [(0, 6), (1, 10), (2, 6)])
def test_a_run_of_one_stage_shows_its_first_epoch(config: Path, drawn: list[Sample], stage2: int, count: int) -> None:
    settings = load_config(config, [f"augmentation.stage2_epochs={stage2}"])
    draw_samples(settings, open_data(settings)[0])
    assert len(drawn) == count


def test_drawing_touches_no_random_state(config: Path) -> None:
    settings = load_config(config, [EXTRA])
    train, _ = open_data(settings)

    def states() -> list[object]:
        numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        return [torch.get_rng_state().tolist(), random.getstate(), str(numpy)]

    before = states()
    draw_samples(settings, train)
    assert states() == before


def test_a_run_draws_it_before_its_first_step_and_learns_the_same(
    finished: Finished, config: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, result = finished
    line = f"samples: {folder / 'run' / 'samples.png'}"
    assert result.stdout.splitlines().count(line) == 1
    assert result.stdout.index(line) < result.stdout.index("epoch 1: ")
    assert cv2.imread(str(folder / "run" / "samples.png")) is not None
    monkeypatch.setattr("rtmdet.runs.train.write_samples", lambda *_, **__: None)
    assert command("train", "--config", config).returncode == 0
    one, other = (torch.load(path / "run" / "last.pth")["state_dict"] for path in (folder, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_run_keeps_the_picture_that_it_has(finished: Finished, tmp_path: Path, command: Command) -> None:
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    words = ["train", "--resume", tmp_path / "run", "--epochs"]
    assert "samples: " not in command(*words, 3).stdout
    (tmp_path / "run" / "samples.png").unlink()
    assert f"\nsamples: {tmp_path / 'run' / 'samples.png'}\n" in command(*words, 4).stdout


def test_a_fault_is_a_warning_and_unreadable_images_are_replaced(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_config(config)
    train, _ = open_data(settings)
    usual = type(train).load

    def load(data: object, index: int) -> Sample:
        if index < 4:
            raise InputError("damaged")
        return usual(train, index)

    monkeypatch.setattr(type(train), "load", load)
    capsys.readouterr()
    write_samples(settings, train, tmp_path, again=True)
    assert capsys.readouterr().out == f"samples: {tmp_path / 'samples.png'}\n"
    (tmp_path / "file").touch()
    write_samples(settings, train, tmp_path / "file", again=True)
    out = capsys.readouterr().out
    assert out.startswith(f"warning: {tmp_path / 'file' / 'samples.png'} is missing (")
    assert out.endswith("; the run continues\n")
    assert out.count("\n") == 1
    monkeypatch.setattr(sample_sheet, "draw_boxes", lambda *_: 1 / 0)
    write_samples(settings, train, tmp_path, again=True)
    assert "is missing (division by zero); the run continues\n" in capsys.readouterr().out
