"""A run over many images: same results as one by one, in order, in batches; faults, and what an early end leaves."""

import json
import re
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from bright import BrightBackend, scene

import rtmdet.stream.detecting as detecting
from rtmdet.core import threads
from rtmdet.core.errors import InputError
from rtmdet.core.tiling import Tiling
from rtmdet.deploy.views import View
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.frames import Failure, Frame
from rtmdet.stream.infer import Outcome, OutputSettings, infer
from rtmdet.stream.sources import find_sources

THRESHOLDS = {"bright": 0.3, "white": 0.3}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """25 scenes of different shapes, without loss."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(25):
        image = scene(number, (64 + number, 100 - number))
        cv2.imwrite(str(folder / f"{number:02d}.png"), image)
    return folder


def run(detector: Detector, folder: Path, out: Path, **options: object) -> list[Outcome]:
    settings = DetectSettings(**{"thresholds": THRESHOLDS, **options})  # type: ignore[arg-type]
    return list(
        infer(detector, find_sources([str(folder)]).sources, settings, OutputSettings(out), weights="bright.onnx")
    )


@pytest.mark.parametrize("batch", [1, 4, 7])
def test_results_are_those_of_single_images(detector: Detector, photos: Path, tmp_path: Path, batch: int) -> None:
    outcomes = run(detector, photos, tmp_path / "out", batch=batch)
    backend = detector.backend
    assert isinstance(backend, BrightBackend)
    assert backend.batches == [batch] * (25 // batch) + [25 % batch] * (25 % batch > 0)
    expected = [detector(path, score=0.3) for path in sorted(photos.iterdir())]
    assert all(len(one) == 2 for one in expected)
    assert [one.entry and one.entry["objects"] for one in outcomes] == [one.to_dict()["objects"] for one in expected]
    document = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert document["images"] == [one.entry for one in outcomes]
    for found in expected:
        assert found.path is not None
        drawn = read_image(tmp_path / "out" / f"{found.path.stem}.jpg").astype(int)
        assert np.abs(drawn - found.draw()).mean() < 10


def test_few_large_pictures_are_in_memory(
    detector: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of those that are cut. In the caller's hand, drawn, waiting to be written, decoded: one each."""
    opened: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []
    original = detecting._prepare

    def spy(views: Sequence[View], frame: Frame | Failure) -> object:
        made = original(views, frame)
        assert isinstance(made, detecting._Prepared)
        opened.append(weakref.ref(made.image.pixels))
        alive.append(sum(one() is not None for one in opened))
        return made

    monkeypatch.setattr(detecting, "_prepare", spy)
    run(detector, photos, tmp_path / "out", batch=8)
    assert max(alive) >= 8
    opened.clear()
    alive.clear()
    run(detector, photos, tmp_path / "out", batch=8, tiling=Tiling(64))
    assert len(alive) == 25
    assert max(alive) <= 5
    opened.clear()
    alive.clear()
    for module in (threads, detecting):
        monkeypatch.setattr(module, "MOST_ROOM", 1000)
    outcomes = run(detector, photos, tmp_path / "out", batch=8)
    assert [one.entry["file"][-6:] for one in outcomes if one.entry] == [f"{n:02d}.png" for n in range(25)]
    assert max(alive) <= 5


def test_classes_and_their_number(detector: Detector, photos: Path, tmp_path: Path) -> None:
    def names(**options: object) -> set[tuple[str, ...]]:
        outcomes = run(detector, photos, tmp_path, **options)
        return {tuple(item["class_name"] for item in one.entry["objects"]) for one in outcomes if one.entry}

    assert names() == {("bright", "white")}
    assert names(max_boxes=1) == {("bright",)}
    assert names(thresholds={"white": 0.3}, max_boxes=1) == {("white",)}
    assert DetectSettings({"white": 0.3}).least("bright") > 1, "also a certain box of another class takes no place"
    assert names(thresholds={"bright": 0.3, "white": 0.6}) == {("bright",)}
    with pytest.raises(InputError, match="--max-boxes 0: expected at least 1"):
        names(max_boxes=0)


def test_unreadable_images_have_their_place(detector: Detector, photos: Path, tmp_path: Path) -> None:
    for name in ("00.png", "07.png", "24.png"):
        (photos / name).write_bytes(b"")
    outcomes = run(detector, photos, tmp_path / "out", batch=4)
    assert [number for number, one in enumerate(outcomes) if one.failure] == [0, 7, 24]
    assert str(outcomes[7].failure).startswith(f"skipped: {photos / '07.png'}: expected an image, found an empty")
    assert [one.entry["file"][-6:] for one in outcomes[:4] if one.entry] == ["01.png", "02.png", "03.png"]


def test_an_early_end_keeps_what_was_written(detector: Detector, photos: Path, tmp_path: Path) -> None:
    sources = find_sources([str(photos)]).sources
    outcomes = infer(
        detector, sources, DetectSettings(THRESHOLDS, batch=2), OutputSettings(tmp_path / "out"), weights="a"
    )
    first = [next(outcomes) for _ in range(5)]
    outcomes.close()
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert entries[:5] == [one.entry for one in first]
    assert len(entries) < 25
    assert all((tmp_path / "out" / entry["picture"]).is_file() for entry in entries)


def test_a_picture_that_cannot_be_drawn_keeps_its_entry(detector: Detector, tmp_path: Path) -> None:
    """JPEG ends at 65,535 pixels a side."""
    (tmp_path / "photos").mkdir()
    wide = np.zeros((1000, 70000, 3), np.uint8)
    wide[:, :20000] = 255
    cv2.imwrite(str(tmp_path / "photos" / "long.png"), wide)
    (outcome,) = run(detector, tmp_path / "photos", tmp_path / "out")
    assert outcome.entry is not None
    assert outcome.entry["width"] == 70000
    assert outcome.failure is not None
    assert re.fullmatch(
        r"incomplete: .*long\.png: not drawn, 70000 x 1000 pixels are too many for a \.jpg; its boxes are found",
        str(outcome.failure),
    )
    assert "picture" not in outcome.entry
    sources, output = find_sources([str(tmp_path / "photos")]).sources, OutputSettings(tmp_path / "out", crops=True)
    (outcome,) = infer(detector, sources, DetectSettings(THRESHOLDS), output, weights="bright.onnx")
    assert len(list((tmp_path / "out" / "crops").rglob("*.jpg"))) == len(outcome.entry["objects"]) > 0
    assert json.loads((tmp_path / "out" / "detections.json").read_text())["images"] == [outcome.entry]


def test_ctrl_c_keeps_all_that_was_detected(
    detector: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = detector.backend
    assert isinstance(backend, BrightBackend)
    forward = BrightBackend.forward

    def stopped(self: BrightBackend, images: Any) -> Any:
        if len(self.batches) == 3:
            raise KeyboardInterrupt
        return forward(self, images)

    monkeypatch.setattr(BrightBackend, "forward", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(detector, photos, tmp_path / "out", batch=4)
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert [entry["picture"] for entry in entries] == [f"{number:02d}.jpg" for number in range(12)]
    assert all((tmp_path / "out" / entry["picture"]).is_file() for entry in entries)
