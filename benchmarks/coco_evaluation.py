"""pycocotools against hotcoco on generated detections of the size of COCO's validation set.

    python benchmarks/coco_evaluation.py
    python benchmarks/coco_evaluation.py --images 500 --json evaluation.json

Every image has some objects of a few of the 80 classes and 100 detections: jittered objects, duplicates and false
positives. CocoEvaluator.evaluate(curves=False) is timed as a whole, including the index of the detections; one more
run of hotcoco is profiled. Exits with code 1 if the 12 metrics or the class tables differ.
Dimension legend: N objects and D detections per image.
"""

import argparse
import contextlib
import cProfile
import io
import json
import os
import pstats
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from pycocotools.coco import COCO

from rtmdet.core.detections import Detections
from rtmdet.core.structures import ImageMeta
from rtmdet.evaluation.coco import NAMES, CocoEvaluator, CocoMetrics

SIZE = (480, 640)  # (H, W) of every image
TOLERANCE = 1e-12
Truth = list[dict[str, object]]


def main() -> int:
    """Measure both backends, print a table; returns 1 if they differ."""
    arguments = parse_arguments()
    evaluators = build_evaluators(arguments)
    runs = {"pycocotools": arguments.slow_runs, "hotcoco": arguments.runs}
    report: dict[str, object] = {
        "images": arguments.images, "boxes": arguments.boxes, "classes": arguments.classes, "cores": os.cpu_count(),
    }  # fmt: skip
    metrics, medians = {}, {}
    for name, evaluator in evaluators.items():
        metrics[name], seconds = measure(partial(evaluator.evaluate, curves=False), runs[name])
        medians[name] = statistics.median(seconds)
        report[name] = {"median": medians[name], "seconds": seconds}
        text = ", ".join(f"{value:.2f}" for value in seconds)
        print(f"{name:<12} {medians[name]:8.2f} s   median of {len(seconds)} ({text})")
    report["hotcoco_parts"] = parts = largest_parts(partial(evaluators["hotcoco"].evaluate, curves=False), 6)
    for part, own in parts.items():
        print(f"    {own:6.3f} s in {part}")
    report["faster"] = medians["pycocotools"] / medians["hotcoco"]
    report["largest_difference"] = difference = largest_difference(*metrics.values())
    print(f"hotcoco is {report['faster']:.0f} times as fast; largest difference of any metric {difference:.1e}")
    report["numbers"] = dict(zip(NAMES, metrics["hotcoco"].numbers, strict=True))
    print(", ".join(f"{name} {value:.3f}" for name, value in zip(NAMES, metrics["hotcoco"].numbers, strict=True)))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    return int(difference > TOLERANCE)


def parse_arguments() -> argparse.Namespace:
    """What to generate, and how often to measure."""
    parser = argparse.ArgumentParser(description="pycocotools against hotcoco.")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--boxes", type=int, default=100, help="detections per image (default 100)")
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=5, help="runs of hotcoco (default 5)")
    parser.add_argument("--slow-runs", type=int, default=1, help="runs of pycocotools, a minute each (default 1)")
    parser.add_argument("--json", type=Path, help="write the measurements here")
    return parser.parse_args()


def build_evaluators(arguments: argparse.Namespace) -> dict[str, CocoEvaluator]:
    """An evaluator for each backend, with the same detections."""
    rng = np.random.default_rng(arguments.seed)
    frequencies = 1 / np.arange(1, arguments.classes + 1)  # a few classes are frequent
    annotations: Truth = []
    metas, detections = [], []
    for image in range(1, arguments.images + 1):
        boxes, labels = generate_objects(rng, frequencies / frequencies.sum())
        crowds = rng.random(len(labels)) < 0.01
        annotations += coco_annotations(image, boxes, labels, crowds, first_id=len(annotations) + 1)
        metas.append(ImageMeta(image, f"{image}.jpg", SIZE))
        detections.append(generate_detections(rng, boxes, labels, arguments.boxes, arguments.classes))
    coco = index(annotations, arguments.images, arguments.classes)
    evaluators = {}
    for name in ("pycocotools", "hotcoco"):
        evaluators[name] = CocoEvaluator(coco, range(1, arguments.classes + 1), name)
        evaluators[name].add(metas, detections)
    print(
        f"{arguments.images} images, {len(annotations)} objects, {evaluators['hotcoco'].detection_count} detections"
    )
    return evaluators


def generate_objects(rng: np.random.Generator, frequencies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) xyxy of all sizes inside the image, and labels (N,) of at most three classes."""
    count = int(rng.poisson(7))
    sides = np.exp(rng.uniform(np.log(6), np.log(400), (count, 2)))
    corners = rng.random((count, 2)) * (SIZE[1], SIZE[0])
    boxes = np.concatenate([corners - sides / 2, corners + sides / 2], axis=1)
    boxes = boxes.clip(0, (SIZE[1], SIZE[0]) * 2)
    present = rng.choice(len(frequencies), 3, p=frequencies)
    return boxes, rng.choice(present, count)


def generate_detections(
    rng: np.random.Generator, boxes: np.ndarray, labels: np.ndarray, count: int, classes: int
) -> Detections:
    """`count` detections: two of most objects, the second less accurate and less confident, and false positives."""
    found = np.flatnonzero(rng.random(len(boxes)) < 0.85).repeat(2)[:count]
    second = np.arange(len(found)) % 2 == 1
    sides = np.tile(boxes[found, 2:] - boxes[found, :2], 2)
    exact = boxes[found] + sides * rng.normal(0, 1, sides.shape) * np.where(second, 0.15, 0.05)[:, None]
    alarms = rng.random((count - len(found), 4)) * np.tile((SIZE[1], SIZE[0]), 2)
    table = np.concatenate([exact, alarms])
    table = np.concatenate([np.minimum(table[:, :2], table[:, 2:]), np.maximum(table[:, :2], table[:, 2:]) + 1], 1)
    scores = np.concatenate([rng.beta(4, 2, len(found)) * np.where(second, 0.5, 1), rng.beta(1, 12, len(alarms))])
    guesses = np.concatenate([labels[found], rng.integers(0, classes, len(alarms))])
    order = np.argsort(-scores)
    return Detections(
        torch.from_numpy(table[order]).float(),
        torch.from_numpy(scores[order]).float(),
        torch.from_numpy(guesses[order]),
    )


def coco_annotations(
    image: int, boxes: np.ndarray, labels: np.ndarray, crowds: np.ndarray, *, first_id: int
) -> Truth:
    """COCO's annotations of the objects of one image; class k has the category id k + 1."""
    return [
        {"id": first_id + number, "image_id": image, "category_id": label + 1, "iscrowd": int(crowd),
         "bbox": [x1, y1, x2 - x1, y2 - y1], "area": 0.7 * (x2 - x1) * (y2 - y1)}
        for number, ((x1, y1, x2, y2), label, crowd) in enumerate(
            zip(boxes.tolist(), labels.tolist(), crowds.tolist(), strict=True)
        )
    ]  # fmt: skip


def index(annotations: Truth, images: int, classes: int) -> COCO:
    """pycocotools' index of the objects."""
    coco = COCO()
    coco.dataset = {
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "height": SIZE[0], "width": SIZE[1]}
            for number in range(1, images + 1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": f"class {number}"} for number in range(1, classes + 1)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def measure(call: Callable[[], CocoMetrics], runs: int) -> tuple[CocoMetrics, list[float]]:
    """The result of a call, and the seconds of each run."""
    seconds = []
    for _ in range(runs):
        start = time.perf_counter()
        metrics = call()
        seconds.append(time.perf_counter() - start)
    return metrics, seconds


def largest_parts(call: Callable[[], CocoMetrics], count: int) -> dict[str, float]:
    """The functions with the most own time in a call."""
    profile = cProfile.Profile()
    profile.runcall(call)
    own = {name: part.tottime for name, part in pstats.Stats(profile).get_stats_profile().func_profiles.items()}
    return {name: own[name] for name in sorted(own, key=own.__getitem__, reverse=True)[:count]}


def largest_difference(first: CocoMetrics, second: CocoMetrics) -> float:
    """The largest difference of the 12 metrics and the class tables; names and objects must be equal."""
    assert [(row.name, row.objects) for row in first.classes] == [(row.name, row.objects) for row in second.classes]
    tables = [
        np.array([*metrics.numbers, *(row.ap for row in metrics.classes), *(row.ap50 for row in metrics.classes)])
        for metrics in (first, second)
    ]
    return float(np.abs(tables[0] - tables[1]).max())


if __name__ == "__main__":
    sys.exit(main())
