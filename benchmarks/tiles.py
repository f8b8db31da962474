"""What windows bring: in training on the craters, and in detection on one large picture with hundreds of objects.

    python benchmarks/tiles.py train --epochs 40 --seeds 0 1 --device cuda
    python benchmarks/tiles.py mosaic --weights runs/craters/last.pth --data ../shared/data/craters --tile 512

`train` fine-tunes with and without data.tile, all with as many images seen (windows count as images), and measures
each with and without windows. `mosaic` puts all validation photos, unscaled, side by side into one picture, and
measures the detector on it with and without windows; COCO's metrics count 100 detections of a class in a picture, so
AP with MOST counted stands beside. Prints a table; each run of `train` is kept in OUT and not repeated.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from pycocotools.cocoeval import COCOeval

import rtmdet
from rtmdet.config.schema import EvaluationConfig
from rtmdet.core.instances import Instances
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.core.tiling import Tiling
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.json_file import write_json
from rtmdet.detector import Detector
from rtmdet.runs.ground_truth import open_coco, open_ground_truth
from rtmdet.runs.measure import Loading, run_detector

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RTMDET_SHARED") or ROOT.parent / "shared")
MOST = 3000  # detections of a class that count in the mosaic
# data.tile, data.input_size: whole photos (640 x 640) at 640, windows at the same scale, and twice as large
VARIANTS = ((None, 640), (None, 320), (320, 320), (320, 640))


def train(arguments: argparse.Namespace) -> None:
    """Fine-tune all variants and print AP of each, with and without windows."""
    data = SHARED / "data" / "craters"
    photos = len(CocoDataset(data / "train.json", data / "train", training=True))
    print("tile  input  epochs  seed  AP whole  AP50 whole  AP windows  AP50 windows", flush=True)
    for tile, side in VARIANTS:
        tiling = None if tile is None else Tiling(tile)
        images = len(CocoDataset(data / "train.json", data / "train", training=True, tiling=tiling))
        epochs = max(round(arguments.epochs * photos / images), 1)
        for seed in arguments.seeds:
            run = fine_tune(arguments, data, tile=tile, side=side, epochs=epochs, seed=seed)
            with contextlib.redirect_stdout(io.StringIO()):
                measured = [rtmdet.evaluate(run, backend="hotcoco", tile=one) for one in (0, tile or 320)]
            whole, windows = ("  ".join(f"{n:.3f}" for n in one.metrics.numbers[:2]) for one in measured)
            print(f"{tile or '-':>4}  {side:>5}  {epochs:>6}  {seed:>4}  {whole}  {windows}", flush=True)


def fine_tune(
    arguments: argparse.Namespace, data: Path, *, tile: int | None, side: int, epochs: int, seed: int
) -> Path:
    """last.pth of one run."""
    folder = arguments.out / f"tile{tile or 0}-input{side}-{arguments.epochs}-{seed}"
    if (folder / "last.pth").exists():
        return folder / "last.pth"
    settings = {
        "data.tile": tile,
        "data.input_size": side,
        "data.workers": arguments.workers,
        "evaluation.choose_input_size": False,
        "train.device": arguments.device,
        "train.seed": seed,
        "train.validate_every": epochs,
    }
    weights = SHARED / "weights" / "rtmdet_nano_person_bn.pth"
    with contextlib.redirect_stdout(io.StringIO()):
        return rtmdet.train(data, weights=weights, epochs=epochs, output=folder, settings=settings).last


def mosaic(arguments: argparse.Namespace) -> None:
    """Print AP on one large picture, with and without windows."""
    detector = Detector(arguments.weights, device=arguments.device)
    photos = open_ground_truth(detector, arguments.weights, data=arguments.data)
    with TemporaryDirectory() as name:
        picture = make_mosaic(photos, Path(name), arguments.columns)
        height, width = picture.truth(0)[0].original_size
        print(f"{width} x {height} pixels, {picture.box_count} objects; input {detector.input_size}")
        for tile in (0, *arguments.tile):
            tiling = Tiling(tile) if tile else None
            settings = EvaluationConfig(max_detections=MOST)
            found = run_detector(detector, open_coco(detector, Path(name) / "a.json", Path(name)), settings,
                                 Loading(workers=0), tiling)  # fmt: skip
            ap, ap50 = found.evaluate().numbers[:2]
            all_ap, all_ap50 = count_all(picture, found.results)
            print(f"tile {tile or '-':>4}: AP {all_ap:.3f}, AP50 {all_ap50:.3f} with {MOST} detections counted; "
                  f"{ap:.3f}, {ap50:.3f} with COCO's 100", flush=True)  # fmt: skip


def make_mosaic(photos: CocoDataset, folder: Path, columns: int | None) -> CocoDataset:
    """All photos side by side in one picture, a.png and a.json in the folder."""
    columns = columns or math.ceil(math.sqrt(len(photos)))
    samples = [photos.load(index) for index in range(len(photos))]
    cell = [max(sample.image.shape[axis] for sample in samples) for axis in (0, 1)]
    canvas = np.full((cell[0] * math.ceil(len(samples) / columns), cell[1] * columns, 3), PAD_VALUE, np.uint8)
    parts: list[Instances] = []
    for number, sample in enumerate(samples):
        top, left = number // columns * cell[0], number % columns * cell[1]
        canvas[top : top + sample.image.shape[0], left : left + sample.image.shape[1]] = sample.image
        parts.append(sample.instances.affine((1, 1), (left, top)))
    cv2.imwrite(str(folder / "a.png"), canvas[..., ::-1])
    joined = Instances.join(parts)
    boxes = np.hstack([joined.boxes[:, :2], joined.boxes[:, 2:] - joined.boxes[:, :2]]).tolist()
    ids = photos.category_ids
    annotations = [
        {"id": number, "image_id": 1, "category_id": ids[label], "bbox": box, "area": box[2] * box[3]}
        for number, (box, label) in enumerate(zip(boxes, joined.labels.tolist(), strict=True), start=1)
    ]
    image = {"id": 1, "file_name": "a.png", "width": canvas.shape[1], "height": canvas.shape[0]}
    categories = [{"id": key, "name": name} for key, name in zip(ids, photos.classes, strict=True)]
    write_json(folder / "a.json", {"images": [image], "annotations": annotations, "categories": categories})
    return CocoDataset(folder / "a.json", folder, classes=photos.classes, training=False)


def count_all(picture: CocoDataset, results: list) -> tuple[float, float]:
    """AP and AP50 with up to MOST detections of a class counted."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(picture.coco, picture.coco.loadRes(results), "bbox")
        evaluation.params.maxDets = [1, 10, MOST]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # (IoU, recall, class)
    return float(precision[precision > -1].mean()), float(precision[0][precision[0] > -1].mean())


def main() -> None:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("--epochs", type=int, default=40, help="passes over the whole photos, and as many windows")
    one.add_argument("--seeds", type=int, nargs="+", default=[0])
    one.add_argument("--workers", type=int, default=2)
    one.add_argument("--out", type=Path, default=Path("runs/tiles"))
    one.set_defaults(run=train)
    other = commands.add_parser("mosaic")
    other.add_argument("--weights", type=Path, required=True)
    other.add_argument("--data", type=Path, help="default: the validation photos of the run")
    other.add_argument("--columns", type=int, help="photos side by side (default: as many as one below the other)")
    other.add_argument("--tile", type=int, nargs="+", default=[512])
    other.set_defaults(run=mosaic)
    for command in (one, other):
        command.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
