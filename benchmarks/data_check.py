"""Images per second of `rtmdet data check`, without and with --decode, on generated JPEGs.

    python benchmarks/data_check.py
    python benchmarks/data_check.py --images 500 --json check.json

The whole check is timed, from the annotation file to the findings, with the files in the system's cache. Noise makes
the JPEGs as large as real photos.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from rtmdet.data.doctor.finding import Purpose, SplitFiles
from rtmdet.data.doctor.report import examine

SIZE = (480, 640)  # (H, W) of every image
OBJECTS = 10  # per image


def main() -> None:
    """Write the images, measure, print a table."""
    parser = argparse.ArgumentParser(description="Images a second of rtmdet data check.")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the measurements here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        source, size = write_images(Path(folder), arguments.images)
        print(f"{arguments.images} JPEGs of {SIZE[1]} x {SIZE[0]}, {size / arguments.images / 1000:.0f} kB each")
        report = {}
        for name, decode in (("headers", False), ("decode", True)):
            rates = [arguments.images / measure(source, decode=decode) for _ in range(arguments.runs)]
            report[name] = {"median": statistics.median(rates), "rates": rates}
            print(f"{name:<8} {report[name]['median']:8.0f} images/s   median of {len(rates)}")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")


def write_images(folder: Path, count: int) -> tuple[SplitFiles, int]:
    """A data set of `count` images with boxes, and the bytes of its images."""
    rng = np.random.default_rng(0)
    annotations: list[dict[str, object]] = []
    size = 0
    for image_id in range(1, count + 1):
        coarse = rng.integers(0, 256, (12, 16, 3), np.uint8)
        picture = cv2.resize(coarse, SIZE[::-1], interpolation=cv2.INTER_CUBIC)
        noisy = cv2.add(picture, rng.integers(0, 24, picture.shape, np.uint8))
        data = cv2.imencode(".jpg", noisy)[1].tobytes()
        (folder / f"{image_id}.jpg").write_bytes(data)
        size += len(data)
        for x, y in rng.integers(0, (SIZE[1] - 100, SIZE[0] - 100), (OBJECTS, 2)).tolist():
            box = [x, y, *rng.integers(10, 100, 2).tolist()]
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "bbox": box})
    images = [
        {"id": image_id, "file_name": f"{image_id}.jpg", "width": SIZE[1], "height": SIZE[0]}
        for image_id in range(1, count + 1)
    ]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "thing"}]}
    (folder / "annotations.json").write_text(json.dumps(document))
    return SplitFiles("train", folder / "annotations.json", folder), size


def measure(source: SplitFiles, *, decode: bool) -> float:
    """Seconds of one whole check."""
    start = time.perf_counter()
    report = examine([source], Purpose(), decode=decode)
    seconds = time.perf_counter() - start
    assert all(finding.severity != "error" for finding in report.findings), report.findings
    return seconds


if __name__ == "__main__":
    main()
