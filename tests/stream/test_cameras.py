"""A camera: its frames, one that is not there, and one that vanishes."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from bright import SIDE, BrightBackend, scene

from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.infer import OutputSettings, infer
from rtmdet.stream.output_paths import choose_output_paths
from rtmdet.stream.sources import Camera, find_sources
from rtmdet.stream.video import Video


class Capture:
    """OpenCV's class with a camera 0 that gives three frames and is then unplugged."""

    def __init__(self, number: int) -> None:
        self.number, self.given, self.released = number, 0, False

    def isOpened(self) -> bool:  # noqa: N802
        return self.number == 0

    def get(self, _: int) -> float:
        return 30.0

    def read(self) -> tuple[bool, np.ndarray | None]:
        self.given += 1
        return (True, scene(self.given)[..., ::-1].copy()) if self.given <= 3 else (False, None)

    def release(self) -> None:
        self.released = True


def test_frames_until_the_camera_vanishes(
    detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    monkeypatch.chdir(tmp_path)
    (camera,) = sources = find_sources(["0"]).sources
    assert camera == Camera(0)
    outcomes = list(infer(detector, sources, DetectSettings({"bright": 0.3}), OutputSettings(tmp_path), weights="a"))
    assert str(outcomes[-1].failure) == "incomplete: camera 0: no more frames after 3; check its cable"
    entries = json.loads((tmp_path / "detections.json").read_text())["images"]
    assert [(entry["file"], entry["frame"], len(entry["objects"])) for entry in entries] == [
        ("camera 0", number, 1) for number in range(3)
    ]
    assert isinstance(detector.backend, BrightBackend)
    assert detector.backend.batches == [1, 1, 1]  # no frame waits for others
    assert [frame.read().shape for frame in Video(str(tmp_path / "camera_0.mp4")).frames()] == [(SIDE, SIDE, 3)] * 3


def test_a_camera_that_is_not_there(detector: Detector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    (outcome,) = infer(
        detector, [Camera(7)], DetectSettings({"bright": 0.3}), OutputSettings(tmp_path / "out"), weights="a"
    )
    assert str(outcome.failure) == ("skipped: camera 7: no such camera, or another program uses it; check the number")


def test_a_file_with_a_number_as_its_name_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").touch()
    (source,) = find_sources(["7"]).sources
    assert source.name == "7"


@pytest.mark.parametrize("address", ["rtsp://192.168.1.5:554", "rtsp://host/", "udp://@:1234"])
def test_files_of_an_address_without_a_path_have_a_name(address: str, tmp_path: Path) -> None:
    (target,) = choose_output_paths([Video(address, live=True)], tmp_path)
    assert target.picture == tmp_path / "stream.mp4"


def test_an_unknown_frame_rate_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Capture, "get", lambda *_: -1.0)
    monkeypatch.setattr(cv2, "VideoCapture", Capture)
    assert next(iter(Camera(0).frames())).rate is None
