"""Two threads load weights at the same time, and no one's filters of warnings change."""

import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.weights.load import load_weights, read_checkpoint

PATIENCE = 30  # seconds until a thread that waits in vain goes on


def load(path: Path, classes: int) -> RTMDet:
    model = build_rtmdet("nano", classes)
    load_weights(model, read_checkpoint(path))
    return model


def test_two_threads_load_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first begins first and ends first, while the second is still in torch.load."""
    models = [build_rtmdet("nano", classes) for classes in (1, 2)]
    paths = [tmp_path / "a.pth", tmp_path / "b.pth"]
    for model, path in zip(models, paths, strict=True):
        torch.save(model.state_dict(), path)
    first_inside, second_inside, first_done = Event(), Event(), Event()
    really = torch.load

    def meet(path: Path, **options: Any) -> object:
        (first_inside if path == paths[0] else second_inside).set()
        (second_inside if path == paths[0] else first_done).wait(PATIENCE)
        return really(path, **options)

    monkeypatch.setattr(torch, "load", meet)
    before = list(warnings.filters)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(load, paths[0], 1)
        assert first_inside.wait(PATIENCE)
        second = pool.submit(load, paths[1], 2)
        found = [first.result()]
        first_done.set()
        found.append(second.result())
    assert warnings.filters == before
    for model, loaded in zip(models, found, strict=True):
        expected = model.state_dict()
        assert expected.keys() == loaded.state_dict().keys()
        assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_nothing_is_printed_about_files_that_are_read(tmp_path: Path) -> None:
    """Pickle protocols that torch remarks on, and photos above half of Pillow's limit."""
    script = f"""
import numpy, torch
from PIL import Image
from rtmdet.images.reading import read_image
from rtmdet.weights.unpickling import read_pickled
torch.save({{"a": torch.ones(2)}}, "{tmp_path}/a.pth", pickle_protocol=3)
assert read_pickled(__import__("pathlib").Path("{tmp_path}/a.pth"))["a"].sum() == 2
Image.fromarray(numpy.zeros((48, 64, 3), "uint8")).save("{tmp_path}/a.png")
Image.MAX_IMAGE_PIXELS = 2000
assert read_image("{tmp_path}/a.png").shape == (48, 64, 3)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
