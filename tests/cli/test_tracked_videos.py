"""`rtmdet infer --track`: what it prints and writes about a video."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from subprocess import CompletedProcess

from rtmdet.images.reading import read_image
from rtmdet.stream.video import VideoWriter

Command = Callable[..., CompletedProcess[str]]


def test_tracks_of_a_video(command: Command, checkpoint: Path, dataset: Path, tmp_path: Path) -> None:
    image = read_image(dataset / "val" / "images" / "000000.jpg")
    writer = VideoWriter(tmp_path / "clip.mp4", (96, 96), Fraction(25))
    for number in range(3):
        writer.add(image, number / 25)
    writer.close()
    out = tmp_path / "out"
    options = ("--track", "--score", 0.001, "--max-boxes", 5, "--device", "cpu", "--out", out)
    words = ("infer", tmp_path / "clip.mp4", "--weights", checkpoint, *options)
    result = command(*words)
    assert (result.returncode, result.stderr) == (0, "")
    entries = json.loads((out / "detections.json").read_text())["images"]
    ids = [{item.get("id") for item in entry["objects"]} for entry in entries]
    assert ids[0] == {None}
    known = sorted((ids[1] | ids[2]) - {None})
    assert known
    rows = (out / "tracks.csv").read_text().splitlines()[1:]
    assert [int(row.split(",")[1]) for row in rows] == known
    assert f"clip.mp4: 3 frames, tracks: {len(known)} balloon -> " in result.stdout
    assert result.stdout.splitlines()[-1] == f"pictures, detections.json and tracks.csv: {out}"
    lines = command(*words, "--stream").stdout.splitlines()
    assert [json.loads(line)["objects"] for line in lines] == [entry["objects"] for entry in entries]
