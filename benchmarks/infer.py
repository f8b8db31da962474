"""How much of the network's own rate `rtmdet infer` reaches on JPEGs, reading, drawing and writing included.

    python benchmarks/infer.py --weights best.pth --input 320
    python benchmarks/infer.py --weights best.onnx --images 200 --runs 3

The network's rate is that of the same batches, letterboxed and in memory, through the network and post-processing.
Every run measures it anew before and after the others, in turns, since other work on the machine distorts them all.
The processor time of an image, of all threads together, is distorted least: it tells what is left to gain by overlap.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch, as the commands do
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import cv2
import numpy as np

from rtmdet.core.backend import detect
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image
from rtmdet.stream.detecting import DetectSettings
from rtmdet.stream.infer import OutputSettings, infer
from rtmdet.stream.sources import find_sources

SIZE = (480, 640)  # (H, W) of every image
IN_MEMORY, ROUNDS = 64, 2  # images of the network's own rate, and how often each is given to it
ALONE = 200  # images that are taken one by one


def main() -> None:
    """Write the images, measure, print a table."""
    parser = argparse.ArgumentParser(description="The rate of rtmdet infer beside that of its network.")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--input", type=int, default=320)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--photos", type=Path, help="folder of JPEGs to take instead of generated ones, repeated")
    arguments = parser.parse_args()
    detector = Detector(arguments.weights, input_size=(arguments.input, arguments.input), device="cpu")
    settings = DetectSettings(dict.fromkeys(detector.classes, 0.3), batch=arguments.batch)
    with tempfile.TemporaryDirectory() as folder:
        write_images(Path(folder) / "photos", arguments.images, arguments.photos)
        ways = {
            "network": lambda: run_network(detector, Path(folder), settings),
            "one by one": lambda: run_one_by_one(detector, Path(folder)),
            "detections": lambda: run_infer(detector, Path(folder), settings, pictures=False),
            "pictures": lambda: run_infer(detector, Path(folder), settings, pictures=True),
        }
        measure(ways, arguments.images, arguments.runs)


def write_images(folder: Path, count: int, photos: Path | None) -> None:
    """`count` JPEGs: noise that makes them as large as photos, or copies of photos."""
    folder.mkdir()
    given = sorted(photos.glob("*.jpg")) if photos else []
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if given:
            path.symlink_to(given[number % len(given)].resolve())
            continue
        picture = cv2.resize(rng.integers(0, 256, (12, 16, 3), np.uint8), SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(path), cv2.add(picture, rng.integers(0, 24, picture.shape, np.uint8)))


def run_network(detector: Detector, folder: Path, settings: DetectSettings) -> float:
    """Seconds per image of the network and its post-processing alone."""
    paths = sorted((folder / "photos").iterdir())[:IN_MEMORY]
    batches = [
        detector.preprocess([read_image(path) for path in paths[start : start + settings.batch]])
        for start in range(0, len(paths), settings.batch)
    ]
    selection = detector.selection([0.3] * len(detector.classes), settings.max_boxes)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for images, places in batches:
            detect(detector.backend, images, places, selection)
    return (time.perf_counter() - began) / (ROUNDS * len(paths))


def run_one_by_one(detector: Detector, folder: Path) -> float:
    """Seconds per image of reading, detecting and drawing one image after the other, as before there were threads."""
    paths = sorted((folder / "photos").iterdir())[:ALONE]
    began = time.perf_counter()
    for path in paths:
        detector(path, score=0.3).save(folder / "one" / path.name)
    return (time.perf_counter() - began) / len(paths)


def run_infer(detector: Detector, folder: Path, settings: DetectSettings, *, pictures: bool) -> float:
    """Seconds per image of the whole way, without or with drawn pictures."""
    sources = find_sources([str(folder / "photos")]).sources
    output = OutputSettings(folder / "out", pictures=pictures)
    began = time.perf_counter()
    outcomes = list(infer(detector, sources, settings, output, weights="benchmark"))
    assert all(outcome.failure is None for outcome in outcomes)
    return (time.perf_counter() - began) / len(sources)


def timed(way: Callable[[], float], processor: list[float]) -> float:
    """Seconds per image of a way; its seconds of processor time, of all threads and images, are appended."""
    began = time.process_time()
    seconds = way()
    processor.append(time.process_time() - began)
    return seconds


def measure(ways: dict[str, Callable[[], float]], images: int, runs: int) -> None:
    """Run all in turns and print the median of each, and its share of the network's rate in the same round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    ratios: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    ways["network"]()  # warm
    for _ in range(runs):
        for name, way in ways.items():
            seconds[name].append(timed(way, processor[name]))
            again = ways["network"]()  # right after: the machine may have become slower
            ratios[name].append((seconds["network"][-1] + again) / 2 / seconds[name][-1])
    counts = dict.fromkeys(ways, images)
    counts |= {"network": min(images, IN_MEMORY) * ROUNDS, "one by one": min(images, ALONE)}
    print(f"{images} JPEGs, {runs} rounds, load of the machine {os.getloadavg()[0]:.1f}")
    for name in ways:
        rate, ratio = 1 / statistics.median(seconds[name]), statistics.median(ratios[name])
        each = " ".join(f"{one:.2f}" for one in ratios[name])
        busy = 1000 * min(processor[name]) / counts[name]
        print(
            f"{name:<12} {rate:6.1f} images/s   {ratio:5.2f} of the network's rate   ({each})   {busy:5.0f} ms busy"
        )


if __name__ == "__main__":
    main()
