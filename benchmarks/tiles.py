"""What windows bring: in training, and in detection on one large picture with hundreds of objects.

    python benchmarks/tiles.py train --epochs 40 --seeds 0 1 --device cuda
    python benchmarks/tiles.py train --epochs 20 --join 4 --variants 640:416 0:640
    python benchmarks/tiles.py mosaic --weights runs/craters/last.pth --data ../shared/data/craters --tile 512

`train` fine-tunes with and without data.tile, all with as many images seen (windows count as images), and measures
each with and without windows; with `--join 4` on pictures of 4 x 4 photos side by side, unscaled. `mosaic` puts all
validation photos into one such picture and measures the detector on it with and without windows. COCO's metrics
count 100 detections of a class in a picture, so both print AP with MOST counted. Prints a table; each run of `train`
is kept in OUT and not repeated.
"""

import argparse
import contextlib
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
from pycocotools.cocoeval import COCOeval

import rtmdet
from rtmdet.config.schema import EvaluationConfig
from rtmdet.core.json_file import write_json
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.core.structures import Instances, Sample
from rtmdet.core.tiling import Tiling
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.detector import Detector
from rtmdet.measuring.ground_truth import open_coco, open_ground_truth
from rtmdet.measuring.measure import Loading, run_detector

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RTMDET_SHARED") or ROOT.parent / "shared")
MOST = 3000  # detections of a class that count in the mosaic
# data.tile, data.input_size: whole photos (640 x 640) at 640, windows at the same scale, and twice as large
VARIANTS = ((None, 640), (None, 320), (320, 320), (320, 640))


def train(arguments: argparse.Namespace) -> None:
    """Fine-tune all variants and print AP of each, with and without windows."""
    data = arguments.data
    with contextlib.redirect_stdout(io.StringIO()):
        layout = [(data / f"{part}.json", find_images(data, part)) for part in ("train", "val")]
        photos = len(CocoDataset(*layout[0], training=True))
        if arguments.join:
            data = arguments.out / f"{data.name}-joined{arguments.join}"
            for part, (annotations, images) in zip(("train", "val"), layout, strict=True):
                join_photos(CocoDataset(annotations, images, training=False), data, part, arguments.join)
            layout = [(data / f"{part}.json", data / part) for part in ("train", "val")]
    print("tile  input  epochs  seed  AP whole  AP50 whole  AP windows  AP50 windows", flush=True)
    for tile, side in arguments.variants:
        tiling = None if tile is None else Tiling(tile)
        images = len(CocoDataset(*layout[0], training=True, tiling=tiling))
        epochs = max(round(arguments.epochs * photos / images), 1)
        for seed in arguments.seeds:
            run = fine_tune(arguments, data, tile=tile, side=side, epochs=epochs, seed=seed)
            detector = Detector(run, device=arguments.device)
            measured = [measure(detector, *layout[1], one)[0] for one in (0, tile or arguments.tile)]
            whole, windows = ("  ".join(f"{n:.3f}" for n in one) for one in measured)
            print(f"{tile or '-':>4}  {side:>5}  {epochs:>6}  {seed:>4}  {whole}  {windows}", flush=True)


def find_images(data: Path, part: str) -> Path:
    """The folder of the images of train or val."""
    return data / part if (data / part).is_dir() else data / "images"


def fine_tune(
    arguments: argparse.Namespace, data: Path, *, tile: int | None, side: int, epochs: int, seed: int
) -> Path:
    """last.pth of one run."""
    folder = arguments.out / f"{data.name}-tile{tile or 0}-input{side}-{arguments.epochs}-{seed}"
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
    columns = arguments.columns or math.ceil(math.sqrt(len(photos)))
    with TemporaryDirectory() as name:
        picture = join_photos(photos, Path(name), "all", columns, math.ceil(len(photos) / columns))
        height, width = picture.truth(0)[0].original_size
        print(f"{width} x {height} pixels, {picture.box_count} objects; input {detector.input_size}")
        for tile in (0, *arguments.tile):
            (all_ap, all_ap50), (ap, ap50) = measure(detector, Path(name) / "all.json", Path(name) / "all", tile)
            print(f"tile {tile or '-':>4}: AP {all_ap:.3f}, AP50 {all_ap50:.3f} with {MOST} detections counted; "
                  f"{ap:.3f}, {ap50:.3f} with COCO's 100", flush=True)  # fmt: skip


def join_photos(photos: CocoDataset, folder: Path, part: str, columns: int, rows: int | None = None) -> CocoDataset:
    """Pictures of up to columns x rows photos side by side in the folder `part`, and part.json."""
    rows = rows or columns
    ids = photos.category_ids
    images: list[dict] = []
    annotations: list[dict] = []
    (folder / part).mkdir(parents=True, exist_ok=True)
    for first in range(0, len(photos), columns * rows):
        samples = [photos.load(index) for index in range(first, min(first + columns * rows, len(photos)))]
        canvas, joined = join_samples(samples, columns)
        number = len(images) + 1
        cv2.imwrite(str(folder / part / f"{number}.png"), canvas[..., ::-1])
        height, width = canvas.shape[:2]
        images.append({"id": number, "file_name": f"{number}.png", "width": width, "height": height})
        boxes = np.hstack([joined.boxes[:, :2], joined.boxes[:, 2:] - joined.boxes[:, :2]]).tolist()
        annotations += [
            {"id": key, "image_id": number, "category_id": ids[label], "bbox": box, "area": box[2] * box[3]}
            for key, (box, label) in enumerate(zip(boxes, joined.labels.tolist(), strict=True), len(annotations) + 1)
        ]
    categories = [{"id": key, "name": name} for key, name in zip(ids, photos.classes, strict=True)]
    write_json(folder / f"{part}.json", {"images": images, "annotations": annotations, "categories": categories})
    return CocoDataset(folder / f"{part}.json", folder / part, classes=photos.classes, training=False)


def join_samples(samples: Sequence[Sample], columns: int) -> tuple[np.ndarray, Instances]:
    """All photos side by side in one picture, and their objects there."""
    cell = [max(sample.image.shape[axis] for sample in samples) for axis in (0, 1)]
    canvas = np.full((cell[0] * math.ceil(len(samples) / columns), cell[1] * columns, 3), PAD_VALUE, np.uint8)
    parts: list[Instances] = []
    for number, sample in enumerate(samples):
        top, left = number // columns * cell[0], number % columns * cell[1]
        canvas[top : top + sample.image.shape[0], left : left + sample.image.shape[1]] = sample.image
        parts.append(sample.instances.affine((1, 1), (left, top)))
    return canvas, Instances.join(parts)


def measure(
    detector: Detector, annotations: Path, images: Path, tile: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """AP and AP50 with MOST detections of a class counted, and with COCO's 100; 0: without windows."""
    settings = EvaluationConfig(max_detections=MOST)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = open_coco(detector, annotations, images)
        found = run_detector(detector, truth, settings, Loading(workers=0), Tiling(tile) if tile else None)
        ap, ap50 = found.evaluate().numbers[:2]
    return count_all(truth, found.results), (ap, ap50)


def read_variant(text: str) -> tuple[int | None, int]:
    """`640:416` is data.tile 640 and data.input_size 416; `0:640` has no windows."""
    tile, side = map(int, text.split(":"))
    return tile or None, side


def count_all(pictures: CocoDataset, results: list) -> tuple[float, float]:
    """AP and AP50 with up to MOST detections of a class counted."""
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(pictures.coco, pictures.coco.loadRes(results), "bbox")
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
    one.add_argument("--data", type=Path, default=SHARED / "data" / "craters", help="with train.json, val.json")
    one.add_argument("--epochs", type=int, default=40, help="passes over the whole photos, and as many windows")
    one.add_argument("--join", type=int, help="train and measure on pictures of so many x so many photos")
    one.add_argument("--variants", type=read_variant, nargs="+", default=VARIANTS, metavar="TILE:INPUT")
    one.add_argument("--tile", type=int, default=320, help="windows in which runs without data.tile are measured")
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
