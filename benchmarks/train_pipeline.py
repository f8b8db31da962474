"""Images per second of the data pipelines on one core, and where the time goes.

`python benchmarks/train_pipeline.py [--json PATH]` paints its own 1024 x 768 photographs into a temporary folder.
Each rate is the median of several runs over the same samples, with minimum and maximum.
"""

import argparse
import cProfile
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import torch

import rtmdet.data.samples
from rtmdet.core.structures import Sample
from rtmdet.data.augment.transforms import make_tile, mixup, render, shift_hsv
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.loader import TrainingLoader
from rtmdet.data.samples import CACHE_MEMORY, EvaluationSamples, TrainingSamples
from rtmdet.data.synthetic import write_dataset
from rtmdet.images.reading import read_image

PHOTO = (768, 1024)  # (H, W)
INPUT = (640, 640)
PHOTOS = 64
COPIES = 4  # listed per photograph, so that an epoch is longer than any cache
WARM_UP = 32  # positions that fill the caches: the windows of mosaic and mixup
MEASURED = 64  # positions of one run
BATCH = 16
WORKERS = 2
STAGE2 = 1  # epoch
DECODE_EPOCHS = 2
DECODE_WORKERS = (1, 2, 4)
LITTLE_MEMORY = 200 * 2**20  # bytes for cached tiles, of which the data set has 300 MB
PARTS = {"decode": read_image, "tiles": make_tile, "render": render, "colors": shift_hsv, "mixup": mixup}

Rates = list[float]


def make_dataset(folder: Path) -> CocoDataset:
    """The painted photographs, each listed several times."""
    path = write_dataset(folder, count=PHOTOS, seed=0, size=PHOTO)
    content = json.loads(path.read_text())
    images, annotations = content["images"], content["annotations"]
    content["images"] = [i | {"id": i["id"] + k * len(images)} for k in range(COPIES) for i in images]
    content["annotations"] = [
        a | {"id": a["id"] + k * len(annotations), "image_id": a["image_id"] + k * len(images)}
        for k in range(COPIES)
        for a in annotations
    ]
    path.write_text(json.dumps(content))
    return CocoDataset(path, folder / "images", training=True)


def training_samples(dataset: CocoDataset) -> TrainingSamples:
    """Mosaic and, with probability 1/2, mixup in epoch 0, stage 2 afterwards."""
    return TrainingSamples(dataset, input_size=INPUT, seed=0, stage2_start=STAGE2)


def training_rate(dataset: CocoDataset, epoch: int) -> float:
    """Images per second of an epoch in this process."""
    samples = training_samples(dataset)
    for position in range(WARM_UP):
        samples[epoch, position]
    start = time.perf_counter()
    for position in range(WARM_UP, WARM_UP + MEASURED):
        samples[epoch, position]
    return MEASURED / (time.perf_counter() - start)


def loader_rate(dataset: CocoDataset) -> float:
    """Images per second of epoch 0 from loader processes, after their start."""
    loader = TrainingLoader(training_samples(dataset), batch_size=BATCH, workers=WORKERS)
    batches = iter(loader)
    for _ in range(2 * WORKERS):  # prefetched samples
        next(batches)
    start = time.perf_counter()
    images = sum(len(batch.metas) for batch in batches)
    return images / (time.perf_counter() - start)


class CountingDataset(CocoDataset):
    """Counts how often an image is decoded, in all loader processes together."""

    def load(self, index: int) -> Sample:
        """The decoded image with its boxes."""
        with self.decoded.get_lock():
            self.decoded.value += 1
        return super().load(index)


def decodes(dataset: CocoDataset, workers: int, memory: int) -> float:
    """How often an image is decoded for each sample of the first epochs with mosaic and mixup."""
    rtmdet.data.samples.CACHE_MEMORY = memory
    counting = object.__new__(CountingDataset)
    vars(counting).update(vars(dataset), decoded=multiprocessing.Value("q", 0))
    samples = TrainingSamples(counting, input_size=INPUT, seed=0, stage2_start=DECODE_EPOCHS)
    loader = TrainingLoader(samples, batch_size=BATCH, workers=workers)
    shown = 0
    for epoch in range(DECODE_EPOCHS):
        loader.set_epoch(epoch)
        shown += sum(len(batch.metas) for batch in loader)
    return counting.decoded.value / shown


def evaluation_rate(dataset: CocoDataset) -> float:
    """Images per second of letterboxed images in this process."""
    samples = EvaluationSamples(dataset, input_size=INPUT)
    start = time.perf_counter()
    for index in range(MEASURED):
        samples[index]
    return MEASURED / (time.perf_counter() - start)


def time_shares(dataset: CocoDataset, epoch: int) -> dict[str, float]:
    """The share of the time of each part; the rest is the remainder."""
    samples = training_samples(dataset)
    for position in range(WARM_UP):
        samples[epoch, position]
    profile = cProfile.Profile()
    start = time.perf_counter()
    with profile:
        for position in range(WARM_UP, WARM_UP + MEASURED):
            samples[epoch, position]
    total = time.perf_counter() - start
    seconds = {entry.code: entry.totaltime for entry in profile.getstats()}  # including callees
    shares = {name: seconds.get(function.__code__, 0.0) / total for name, function in PARTS.items()}
    return shares | {"rest": 1 - sum(shares.values())}


def run(dataset: CocoDataset, repeats: int) -> dict[str, dict[str, dict[str, float]]]:
    """All rates and shares."""
    measures: dict[str, Callable[[], float]] = {
        "stage 1, mosaic and mixup": lambda: training_rate(dataset, 0),
        "stage 2": lambda: training_rate(dataset, STAGE2),
        f"stage 1, {WORKERS} processes": lambda: loader_rate(dataset),
        "evaluation": lambda: evaluation_rate(dataset),
    }
    rates: dict[str, Rates] = {name: [] for name in measures}
    for _ in range(repeats):  # interleaved, so that a busy machine affects all alike
        for name, measure in measures.items():
            rates[name].append(measure())
    return {
        "images_per_second": {
            name: {"median": statistics.median(values), "min": min(values), "max": max(values)}
            for name, values in rates.items()
        },
        "decodes_per_sample": {
            name: {str(workers): decodes(dataset, workers, memory) for workers in DECODE_WORKERS}
            for name, memory in (("all tiles kept", CACHE_MEMORY), ("more tiles than kept", LITTLE_MEMORY))
        },
        "shares": {"stage 1": time_shares(dataset, 0), "stage 2": time_shares(dataset, STAGE2)},
    }


def print_results(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """Two tables."""
    print(f"{'images per second':<28}{'median':>8}{'min':>8}{'max':>8}")
    for name, rate in results["images_per_second"].items():
        print(f"{name:<28}{rate['median']:8.1f}{rate['min']:8.1f}{rate['max']:8.1f}")
    for name, numbers in results["decodes_per_sample"].items():
        counts = ", ".join(f"{number:.2f} with {workers}" for workers, number in numbers.items())
        print(f"decodes per sample in {DECODE_EPOCHS} epochs, {name}, by number of loader processes: {counts}")
    for name, shares in results["shares"].items():
        print(f"time of {name}: " + ", ".join(f"{part} {share:.0%}" for part, share in shares.items()))


def main() -> None:
    """Paint, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5, help="runs of each measurement (default 5)")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        results = run(make_dataset(Path(folder)), arguments.repeats)
    print(
        f"{PHOTO[1]} x {PHOTO[0]} JPEGs to {INPUT[1]} x {INPUT[0]}, OpenCV {cv2.__version__}, one thread per process"
    )
    print_results(results)
    if arguments.json:
        setting = {"photo": PHOTO, "input": INPUT, "repeats": arguments.repeats, "opencv": cv2.__version__}
        arguments.json.write_text(json.dumps({"setting": setting, **results}, indent=2) + "\n")


if __name__ == "__main__":
    main()
