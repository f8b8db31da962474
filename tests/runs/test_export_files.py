"""The files of an export: their names say whether they were verified."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lively import CLASSES, SIZE, lively_model
from PIL import Image

import rtmdet
import rtmdet.runs.export
from rtmdet.core.facts import ModelFacts
from rtmdet.deploy.export import ExportOptions, Tracer, write_network
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

NAMES = {"best-openmmlab.pth", "best-openmmlab.py"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "best.pth"
    save_checkpoint(
        path, model_state=lively_model().state_dict(), meta=CheckpointMeta(ModelFacts(CLASSES, SIZE, size="nano"))
    )
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def test_a_verified_file(weights: Path, photos: Path, tmp_path: Path) -> None:
    exports = rtmdet.export(weights, ["openmmlab"], out=tmp_path, images=photos)
    (file,) = exports.files
    assert file.verified
    assert file.agreement.boxes > 3
    assert {path.name for path in tmp_path.iterdir()} == NAMES | {"best.check.json"}
    assert json.loads((tmp_path / "best.check.json").read_text())["files"]["best-openmmlab.pth"]["verified"]


def test_both_files_of_one_that_differs_are_renamed(
    weights: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_others(
        tracer: Tracer, facts: ModelFacts, path: Path, format: str, options: ExportOptions, *, source: Path | None
    ) -> None:
        torch.manual_seed(1)
        write_network(Tracer(rtmdet.build_rtmdet("nano", 3)), facts, path, format, options, source=source)

    monkeypatch.setattr(rtmdet.runs.export, "write_network", write_others)
    (file,) = rtmdet.export(weights, ["openmmlab"], out=tmp_path, images=photos).files
    assert not file.verified
    assert file.path.name == "best-openmmlab.unverified.pth"
    assert {path.name for path in tmp_path.iterdir()} == {
        "best-openmmlab.unverified.pth", "best-openmmlab.unverified.py", "best.check.json",
    }  # fmt: skip
