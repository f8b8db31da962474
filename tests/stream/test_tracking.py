"""--track: ids through a generated video with known paths, and through boxes that are given."""

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from rtmdet.cli.main import main
from rtmdet.core.arrays import Array
from rtmdet.core.backend import Selection
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.facts import ModelFacts
from rtmdet.core.letterbox import Letterbox
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings, Result, detect_frames
from rtmdet.stream.formats import LabeledResult, TracksTable
from rtmdet.stream.frames import Frame
from rtmdet.stream.infer import Outcome, OutputSettings, infer
from rtmdet.stream.sources import find_sources
from rtmdet.stream.tracking import INSTALL, VideoTracks, track
from rtmdet.stream.video import Video, VideoWriter

RATE = Fraction(25)
NUMBERS = [number for number in range(40) if number not in (30, 31)]  # of the frames: two are missing
SIZE = (96, 160)  # (H, W)
SIDE = 20  # of the objects in pixels
HIDDEN = range(15, 22)  # frames in which something passes before the objects
PATHS = {"green": (10, 4, 3), "blue": (50, 36, -1), "white": (50, 68, 0)}  # first x, y, pixels per frame along x
COLORS = {"green": (20, 220, 20), "blue": (20, 20, 220), "white": (220, 220, 220)}


class MovingBackend:
    """Finds green and blue squares as class a, white ones as class b, in inputs of the picture's size."""

    device = "cpu"

    def forward(self, images: Array) -> Array:
        return images

    def select(
        self, outputs: Array, input_size: tuple[int, int], letterboxes: Sequence[Letterbox], selection: Selection
    ) -> list[Detections]:
        return [self._one(image.transpose(1, 2, 0)) for image in outputs]

    def _one(self, image: np.ndarray) -> Detections:
        masks = [np.abs(image - np.array(color)).max(2) < 60 for color in COLORS.values()]
        seen = [number for number, mask in enumerate(masks) if mask.sum() > SIDE]
        corners = [np.argwhere(cv2.erode(masks[number].astype(np.uint8), np.ones((5, 5)))) for number in seen]
        boxes = [[*corner.min(0)[::-1] - 2, *corner.max(0)[::-1] + 3] for corner in corners]  # x1, y1, x2, y2
        labels = np.array([0, 0, 1])[seen]
        return Detections(np.reshape(boxes, (-1, 4)).astype(np.float32), np.float32([0.9, 0.8, 0.7])[seen], labels)


@pytest.fixture
def detector() -> Detector:
    made = Detector.__new__(Detector)
    made.path, made.backend = None, MovingBackend()
    made.facts = ModelFacts(("a", "b"), SIZE)
    return made


def picture(number: int) -> np.ndarray:
    """A frame of the video: three squares, or what passes in front of them."""
    image = np.full((*SIZE, 3), 20, np.uint8)
    for name, (x, y, speed) in PATHS.items() if number not in HIDDEN else ():
        left = x + speed * number
        image[y : y + SIDE, left : left + SIDE] = COLORS[name]
    return image


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """The video, without its 31st and 32nd frame."""
    path = tmp_path / "clips" / "clip.mp4"
    writer = VideoWriter(path, SIZE, RATE)
    for number in NUMBERS:
        writer.add(picture(number), float(number / RATE))
    writer.close()
    return path


def run(detector: Detector, paths: list[Path], out: Path, *formats: str) -> list[Outcome]:
    sources = find_sources([str(path) for path in paths]).sources
    settings = DetectSettings({"a": 0.3, "b": 0.3}, tracked=True)
    return list(infer(detector, sources, settings, OutputSettings(out, formats=formats), weights="a"))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_ids_are_kept_while_something_passes_in_front(detector: Detector, clip: Path, tmp_path: Path) -> None:
    assert PATHS["green"][2] * len(HIDDEN) > SIDE  # where it comes back it overlaps nothing of where it was
    outcomes = run(detector, [clip], tmp_path / "out", "csv")
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert [outcome.entry for outcome in outcomes] == entries
    assert len(entries) == len(NUMBERS)
    for number, entry in zip(NUMBERS, entries, strict=True):
        objects = entry["objects"]
        ids = [1, 2, 3] if number else [None] * 3  # an id needs a second frame
        assert [item.get("id") for item in objects] == ([] if number in HIDDEN else ids)
        for item, (x, y, speed) in zip(objects, PATHS.values(), strict=number not in HIDDEN):
            left = x + speed * number
            assert item["box"] == pytest.approx([left, y, left + SIDE, y + SIDE], abs=2)
    table = rows(tmp_path / "out" / "detections.csv")
    assert [row["id"] for row in table[:6]] == ["", "", "", "1", "2", "3"]


def test_a_row_for_each_track(detector: Detector, clip: Path, tmp_path: Path) -> None:
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes())
    run(detector, [clip, other], tmp_path / "out")
    table = rows(tmp_path / "out" / "tracks.csv")
    assert [(row["file"], row["id"], row["class_name"]) for row in table] == [
        (str(path), number, name) for path in (clip, other) for number, name in (("1", "a"), ("2", "a"), ("3", "b"))
    ]
    assert list(table[0].values())[3:] == ["1", "37", "0.040", "1.560", "30", "0.90000"]


def test_rows_by_video_and_id_whatever_is_surest(tmp_path: Path) -> None:
    table = TracksTable(tmp_path)
    for video, ids in (("b.mp4", [3, 10, 2]), ("b.mp4", [1, 3]), ("a.mp4", [2, 1])):
        found = Detections(np.zeros((len(ids), 4)), np.ones(len(ids)), np.zeros(len(ids), int), ids=np.array(ids))
        frame = Frame(Video(video), lambda: np.zeros((1, 1, 3), np.uint8), index=0, seconds=0.0)
        table.add(LabeledResult(frame, replace(found, classes=("a",)), Path("b/000"), "b/000.jpg"))
    table.close()
    places = [(row["file"], row["id"]) for row in rows(tmp_path / "tracks.csv")]
    assert places == [("b.mp4", "1"), ("b.mp4", "2"), ("b.mp4", "3"), ("b.mp4", "10"), ("a.mp4", "1"), ("a.mp4", "2")]


def test_rows_of_the_mot_challenge(detector: Detector, clip: Path, tmp_path: Path) -> None:
    other = clip.with_name("other.mp4")
    other.write_bytes(clip.read_bytes())
    run(detector, [clip, other], tmp_path / "out", "mot")
    first, second = ((tmp_path / "out" / "mot" / name).read_text().splitlines() for name in ("clip.txt", "other.txt"))
    assert first == second
    assert len(first) == 3 * (len(NUMBERS) - len(HIDDEN) - 1)
    frame, number, *box, score = map(float, first[0].split(",")[:7])
    assert (frame, number, score) == (2, 1, pytest.approx(0.9))
    assert box == pytest.approx([13, 4, SIDE, SIDE], abs=3)
    assert first[0].endswith(",-1,-1,-1")


def test_unsure_boxes_are_looked_for(detector: Detector, clip: Path) -> None:
    def scores(**options: object) -> list[float]:
        settings = DetectSettings({"a": 0.85}, **options)  # type: ignore[arg-type]
        first = next(iter(detect_frames(detector, find_sources([str(clip)]).sources, settings)))
        assert isinstance(first, Result)
        return first.found.scores.tolist()

    assert scores() == pytest.approx([0.9])
    assert scores(tracked=True) == pytest.approx([0.9, 0.8])  # not those of class b
    assert scores(tracked=True, max_boxes=1) == pytest.approx([0.9, 0.8])  # tracking chooses


def test_the_function(detector: Detector, clip: Path, tmp_path: Path) -> None:
    results = list(track(detector, clip))
    assert [result.frame.index for result in results] == list(range(len(NUMBERS)))
    assert [one.id for one in results[-1].found] == [1, 2, 3]
    assert results[-1].found.draw().shape == (*SIZE, 3)
    clip.write_bytes(clip.read_bytes()[:-100])
    with pytest.raises(InputError, match="the video ends early"):
        list(track(detector, clip))
    with pytest.raises(InputError, match="there is no such file"):
        track(detector, tmp_path / "missing.mp4")


def detections(*objects: tuple[int, float, int]) -> Detections:
    """Boxes of 20 x 20 pixels of a left side, a score and a label each."""
    boxes = np.array([[left, 0, left + 20, 20] for left, _, _ in objects], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in objects], np.float32)
    return Detections(boxes, scores, np.array([label for *_, label in objects], np.int64), classes=("a", "b"))


def follow(
    frames: Sequence[Detections], times: Sequence[float | None] | None = None, **options: object
) -> list[list[int]]:
    """The ids in each frame, 25 a second."""
    settings = DetectSettings(**{"thresholds": {"a": 0.5, "b": 0.3}, "tracked": True, **options})  # type: ignore[arg-type]
    tracks = VideoTracks(settings, RATE)
    times = [number / 25 for number in range(len(frames))] if times is None else times
    found = [tracks.follow(one, time) for one, time in zip(frames, times, strict=True)]
    return [[] if one.ids is None else one.ids.tolist() for one in found]


def test_unsure_boxes_continue_tracks_and_begin_none() -> None:
    sure, unsure = (0, 0.6, 0), (0, 0.2, 0)
    assert follow([detections(unsure)] * 4) == [[]] * 4
    assert follow([detections(one) for one in (sure, sure, unsure, unsure)]) == [[-1], [1], [1], [1]]
    assert follow([detections((0, 0.4, 0))] * 3) == [[], [], []]  # each class has its threshold
    assert follow([detections((0, 0.4, 1))] * 3) == [[-1], [1], [1]]


def test_no_id_changes_its_class() -> None:
    a, b = (0, 0.9, 0), (0, 0.8, 1)
    assert follow([detections(one) for one in (a, a, b, b, a)]) == [[-1], [1], [-1], [2], [1]]
    assert follow([detections(a, b)] * 2) == [[-1, -1], [1, 2]]


def test_an_object_that_is_gone_for_long_gets_another_id() -> None:
    seen, nothing = detections((0, 0.9, 0)), detections()
    assert follow([seen, seen, *[nothing] * 20, seen])[-1] == [1]
    assert follow([seen, seen, *[nothing] * 30, seen, seen])[-1] == [2]
    assert follow([seen] * 4, [0.0, 0.04, 5.0, 5.04]) == [[-1], [1], [-1], [2]]


@pytest.mark.parametrize("seconds", [2.0, 0.4, 60.0])
def test_of_slow_videos_frames_count(seconds: float) -> None:
    """Whatever the rate in the header, here 25 a second."""
    seen, nothing = detections((0, 0.9, 0)), detections()
    frames = [seen, seen, *[nothing] * 3, seen, *[nothing] * 4, seen, seen]
    ids = follow(frames, [number * seconds for number in range(len(frames))])
    assert ids[1] == ids[5] == [1]
    assert ids[-1] == [2]


def test_frames_that_are_missing_are_no_obstacle() -> None:
    """The object moves by 5 pixels per frame; 10 frames cannot be decoded."""
    numbers = [*range(10), *range(20, 25)]
    frames = [detections((5 * number, 0.9, 0)) for number in numbers]
    assert follow(frames, [number / 25 for number in numbers])[1:] == [[1]] * 14


@pytest.mark.parametrize("times", [[None] * 5, [0.0] * 5, [90.0, 90.04, 90.08, 0.0, 0.04], [2.0, 1.0, 0.5, 0.2, 0.1]])
def test_times_that_stand_still_or_fall(times: list[float | None]) -> None:
    frames = [detections((5 * number, 0.9, 0)) for number in range(5)]
    assert follow(frames, times)[1:] == [[1]] * 4


def test_the_best_ones_of_all_that_are_tracked() -> None:
    frames = [detections((0, 0.9, 0), (50, 0.8, 0), (100, 0.7, 0))] * 2
    assert follow(frames, max_boxes=2) == [[-1, -1], [1, 2]]


def test_tensors_stay_tensors() -> None:
    tracks = VideoTracks(DetectSettings({"a": 0.5}, tracked=True), None)
    found = [tracks.follow(detections((0, 0.9, 0)).to("cpu"), None) for _ in range(2)][1]
    assert isinstance(found.boxes, torch.Tensor)
    assert isinstance(found.ids, torch.Tensor)
    assert [one.id for one in found] == [1]


def test_what_cannot_be_tracked(
    detector: Detector, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(0))
    with pytest.raises(InputError, match=rf"expected videos or cameras, found a still picture \({photo}\)"):
        run(detector, [clip, photo], tmp_path / "out")
    settings = DetectSettings({"a": 0.3})
    with pytest.raises(InputError, match="--save mot: its rows are tracks: add --track"):
        infer(detector, [], settings, OutputSettings(tmp_path / "out", formats=["mot"]), weights="a")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.5.0.post0")
    with pytest.raises(InputError, match=r"needs trackers 2\.6 or newer, found 2\.5\.0\.post0: pip install"):
        run(detector, [clip], tmp_path / "out")


def test_without_the_package_one_line_says_how_to_install_it(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "trackers", None)
    assert main(["infer", str(clip), "--weights", str(tmp_path / "missing.pth"), "--track"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"the package trackers, which is missing: {INSTALL}" in error


def test_the_package_does_not_import_torch() -> None:
    code = "import sys, rtmdet; rtmdet.track; from rtmdet.stream.tracking import load_trackers; load_trackers()"
    done = subprocess.run([sys.executable, "-c", f"{code}; sys.exit('torch' in sys.modules)"], check=False)
    assert done.returncode == 0
