"""Videos in and out: frames, times and rotation, damage, and what is drawn of them."""

import json
import struct
import sys
import threading
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from bright import SIDE, scene
from full_disk import file_size_limit

from rtmdet.core.errors import InputError
from rtmdet.detector import Detector
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.frames import Frame
from rtmdet.stream.infer import Outcome, OutputSettings, infer
from rtmdet.stream.sources import find_sources
from rtmdet.stream.video import Video, VideoWriter, _why

RATE = Fraction(30000, 1001)

FRAMES = 20
SHAPE = (SIDE, 96)  # (H, W)


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves a folder, whole files only."""

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A video of FRAMES scenes, one after the other."""
    path = tmp_path / "clips" / "clip.mp4"
    writer = VideoWriter(path, SHAPE, RATE)
    for number in range(FRAMES):
        writer.add(scene(number, SHAPE), float(number / RATE))
    writer.close()
    return path


def frames(path: Path) -> list[Frame]:
    return list(Video(str(path)).frames())


def run(detector: Detector, paths: list[Path], out: Path) -> list[Outcome]:
    sources = find_sources([str(path) for path in paths]).sources
    return list(infer(detector, sources, DetectSettings({"bright": 0.3}), OutputSettings(out), weights="a"))


def test_frames_come_back_with_their_times(clip: Path) -> None:
    assert Video(str(clip)).count() == FRAMES
    for number, frame in enumerate(frames(clip)):
        assert (frame.index, frame.rate) == (number, RATE)
        assert frame.seconds == pytest.approx(number / RATE, abs=1e-4)
        assert np.abs(frame.read().astype(int) - scene(number, SHAPE)).mean() < 4


def test_odd_and_tiny_frames_can_be_written(tmp_path: Path) -> None:
    for size, expected in (((33, 51), (34, 52)), ((1, 1), (16, 16))):
        writer = VideoWriter(tmp_path / "odd.mp4", size, RATE)
        writer.add(np.full((*size, 3), 200, np.uint8), 0.0)
        writer.close()
        (frame,) = frames(tmp_path / "odd.mp4")
        assert frame.read().shape == (*expected, 3)
        assert np.abs(frame.read().astype(int) - 200).max() < 6  # the edge is continued


def test_a_video_that_does_not_fit_on_the_disk_is_removed(tmp_path: Path) -> None:
    """Nothing opens one without its end, and the other files of the run may need the room."""
    noise = np.random.default_rng(0).integers(0, 256, (50, *SHAPE, 3), np.uint8)
    writer = VideoWriter(tmp_path / "a.mp4", SHAPE, RATE)

    def write() -> None:
        for number, picture in enumerate(noise):
            writer.add(picture, float(number / RATE))
        writer.close()

    with (
        file_size_limit(20_000),
        pytest.raises(InputError, match=r"a\.mp4: the video cannot be written .* it is removed"),
    ):
        write()
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((0, 1, -1, 0, SHAPE[0], 0), lambda image: np.rot90(image, -1)),
        ((0, -1, 1, 0, 0, SHAPE[1]), lambda image: np.rot90(image, 1)),
        ((-1, 0, 0, -1, SHAPE[1], SHAPE[0]), lambda image: np.rot90(image, 2)),
        ((-1, 0, 0, 1, SHAPE[1], 0), np.fliplr),
        ((1, 0, 0, -1, 0, SHAPE[0]), np.flipud),
        ((0, 1, 1, 0, 0, 0), lambda image: image.transpose(1, 0, 2)),
    ],
)  # fmt: skip
def test_turned_videos_are_upright(
    clip: Path, matrix: tuple[int, ...], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    """The matrix that a phone writes into the track's header, for x and y of a pixel: a b, c d, and the shift."""
    data = bytearray(clip.read_bytes())
    place = data.index(b"tkhd") + 44
    a, b, c, d, x, y = (value << 16 for value in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, x, y, 1 << 30)
    clip.write_bytes(data)
    for number, frame in enumerate(frames(clip)[:5]):
        assert np.abs(frame.read().astype(int) - turn(scene(number, SHAPE))).mean() < 4


def test_objects_of_each_frame_and_the_drawn_video(detector: Detector, clip: Path, tmp_path: Path) -> None:
    outcomes = run(detector, [clip], tmp_path / "out")
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())["images"]
    assert entries == [outcome.entry for outcome in outcomes]
    for number, entry in enumerate(entries):
        assert (entry["file"], entry["picture"], entry["frame"]) == (str(clip), "clip.mp4", number)
        assert entry["seconds"] == pytest.approx(float(number / RATE), abs=1e-3)
        (found,) = entry["objects"]
        left = 2 * number % (SHAPE[1] - 16)
        assert found["box"] == pytest.approx([left, 8, left + 16, 24], abs=3)
    drawn = frames(tmp_path / "out" / "clip.mp4")
    assert [frame.seconds for frame in drawn] == [frame.seconds for frame in frames(clip)]
    assert drawn[0].rate == RATE
    changed = np.abs(drawn[-1].read().astype(int) - scene(FRAMES - 1, SHAPE)).max(2) > 60
    assert changed.any()
    assert not changed[44:].any()


def test_drawn_videos_replace_only_their_own(detector: Detector, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "more" / "clip.mp4"
    other.parent.mkdir()
    other.write_bytes(clip.read_bytes())
    for _ in range(2):
        run(detector, [clip, other], tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["clip.mp4", "clip_2.mp4", "detections.json"]
    with pytest.raises(InputError, match=r"clip\.mp4 would replace the video itself"):
        run(detector, [clip], clip.parent)


def test_a_video_that_ends_early(detector: Detector, clip: Path, tmp_path: Path) -> None:
    data = clip.read_bytes()
    clip.write_bytes(data[:-100])
    *sound, last = run(detector, [clip], tmp_path / "out")
    assert 0 < len(sound) < FRAMES
    assert str(last.failure) == (
        f"incomplete: {clip}: the video ends early, after {len(sound)} of {FRAMES} frames; copy it again"
    )
    assert len(json.loads((tmp_path / "out" / "detections.json").read_text())["images"]) == len(sound)
    assert len(frames(tmp_path / "out" / "clip.mp4")) == len(sound)


def test_what_a_shortened_video_hides_is_not_missing(clip: Path, tmp_path: Path) -> None:
    """Cut without decoding: what is before the first picture that is shown stays, as the next ones depend on it."""
    cut, hidden, first = tmp_path / "cut.mp4", 7, {"movflags": "faststart"}  # with its index in front
    with av.open(str(clip)) as whole, av.open(str(cut), "w", options=first) as part:
        stream = whole.streams.video[0]
        copied = part.add_stream_from_template(stream)
        begin = int(hidden / RATE / stream.time_base)
        for packet in whole.demux(stream):
            if packet.dts is not None:
                packet.pts, packet.dts, packet.stream = packet.pts - begin, packet.dts - begin, copied
                part.mux(packet)
    assert abs(len(frames(cut)) - (FRAMES - hidden)) <= 1
    cut.write_bytes(cut.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"ends early, after \d+ of 1\d frames; copy it again"):
        frames(cut)


def test_a_cut_file_whose_header_has_no_number_of_frames(clip: Path, tmp_path: Path) -> None:
    """Matroska's header has the length, perhaps of a video that does not begin at 0."""
    for name, begin in (("whole.mkv", 0), ("late.mkv", 300)):
        with av.open(str(tmp_path / name), "w") as container:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height = SHAPE[1], SHAPE[0]
            for number in range(40):
                image = av.VideoFrame.from_ndarray(scene(number, SHAPE), format="rgb24")
                image.pts, image.time_base = number + begin, Fraction(1, 10)
                container.mux(stream.encode(image))
            container.mux(stream.encode(None))
        assert len(frames(tmp_path / name)) == 40
    data = (tmp_path / "whole.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"ends early, after \d+ frames, at [12]\.\d of 4\.0 seconds; copy it again"):
        frames(tmp_path / "cut.mkv")


def test_a_sound_video_on_a_server_that_sends_no_parts(tmp_path: Path) -> None:
    """Its index is at its end, as cameras write it, and the pictures before it are out of reach then."""
    noise = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10, options={"b": "50000000"})
        stream.width, stream.height = 320, 240
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))
    assert len(frames(tmp_path / "a.mp4")) == 20
    served = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(tmp_path)))
    threading.Thread(target=served.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{served.server_port}/a.mp4"
    with pytest.raises(
        InputError, match=r"/a\.mp4: no frame can be decoded .*: download the video and give the file"
    ):
        list(Video(address).frames())
    served.shutdown()
    served.server_close()


def test_the_last_picture_may_stand_long(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "slides.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height = SHAPE[1], SHAPE[0]
        for packet in (
            *stream.encode(av.VideoFrame.from_ndarray(scene(1, SHAPE), format="rgb24")),
            *stream.encode(None),
        ):
            packet.duration = int(20 / packet.time_base)
            container.mux(packet)
    assert len(frames(tmp_path / "slides.mkv")) == 1


def test_the_clock_goes_on_where_a_stream_begins_again(tmp_path: Path) -> None:
    """Two transport streams one after the other, as after a new connection."""
    with av.open(str(tmp_path / "one.ts"), "w") as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.width, stream.height = SHAPE[1], SHAPE[0]
        stream.pix_fmt = "yuv420p"
        for number in range(10):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene(number, SHAPE), format="rgb24")))
        container.mux(stream.encode(None))
    (tmp_path / "two.ts").write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    seconds = [frame.seconds for frame in frames(tmp_path / "two.ts")]
    assert len(seconds) > 12
    assert np.diff(seconds) == pytest.approx(1 / 25, abs=0.01)


def test_damaged_frames_are_left_out(detector: Detector, clip: Path, tmp_path: Path) -> None:
    data = bytearray(clip.read_bytes())
    data[-300:-100] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    clip.write_bytes(data)
    *sound, last = run(detector, [clip], tmp_path / "out")
    assert 0 < len(sound) < FRAMES
    assert "damaged pieces of the video were left out" in str(last.failure)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot be opened"),
        (b"no video at all" * 100, "cannot be opened"),
        (None, "without pictures"),
    ],
)
def test_files_that_are_no_videos(
    detector: Detector, clip: Path, tmp_path: Path, data: bytes | None, message: str
) -> None:
    clip.write_bytes(clip.read_bytes()[:100] if data is None else data)
    (outcome,) = run(detector, [clip], tmp_path / "out")
    assert outcome.entry is None
    assert message in str(outcome.failure)
    assert str(outcome.failure).startswith(f"skipped: {clip}: ")
    assert not (tmp_path / "out").exists()


def test_a_time_that_is_over_is_not_called_an_exit() -> None:
    assert _why(av.error.ExitError(1414092869, "Immediate exit requested")) == "no answer for 10 seconds"


def test_without_the_library_one_line_names_the_extra(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match=r"PyAV, which is missing: pip install \"plain-rtmdet\[video\]\""):
        find_sources([str(clip)])
