"""Fine-tuning recipes, variants x seeds x data sets: which choice pays where there are few images.

    python benchmarks/small_data.py --weights PERSON.pth --out runs/small_data          # what was screened, seed 0
    python benchmarks/small_data.py --weights PERSON.pth --out runs/small_data base statistics --seeds 0 1 --side 640
    python benchmarks/small_data.py --weights PERSON.pth --out runs/small_data --data scenes60 --classes 5

Data sets: the balloon photos, whose COCO files lie in data/balloon (see README.md), and generated scenes of 20, 60
and 200 images. With several classes the balloons are sorted by their hue. Every finished run is one line of
OUT/results.jsonl and is not made again; a run that was stopped goes on. Prints the means over the seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from rtmdet.data.coco_file import read_coco
from rtmdet.data.images import read_image
from rtmdet.data.json_file import write_json
from rtmdet.data.synthetic.scenes import LEVELS, write_dataset

ROOT = Path(__file__).resolve().parents[1]

BASE = {"data.batch_size": "4", "train.learning_rate": "1e-3", "augmentation.stage2_epochs": "5"}
CHOICES: dict[str, dict[str, str]] = {
    "base": {},
    "tutorial": {"data.batch_size": "12", "train.learning_rate": "5e-4"},
    "batch2": {"data.batch_size": "2"},
    "batch8": {"data.batch_size": "8"},
    "statistics": {"model.freeze_statistics": "true"},
    "ema": {"train.ema_gamma": "50", "train.ema_momentum": "0.02"},
    "rate5e-4": {"train.learning_rate": "5e-4"},
    "rate2e-3": {"train.learning_rate": "2e-3"},
    "cosine": {"train.cosine_start": "0"},
    "stage2": {"augmentation.stage2_epochs": "20"},
    "clip": {"train.clip_gradient": "10"},
    "stem": {"model.frozen_stages": "1"},
    "class2": {"train.class_rate_factor": "2"},
    "class5": {"train.class_rate_factor": "5"},
    "class20": {"train.class_rate_factor": "20"},
}
DATA = ("balloon", "scenes20", "scenes60", "scenes200")
VALIDATION_SCENES = 60
SCREENED = ("tutorial", "base", "ema", "rate2e-3", "stage2", "statistics", "statistics+batch2", "statistics+ema")


def settings_of(variant: str) -> dict[str, str]:
    """What a variant, choices joined by +, changes of configs/balloon_nano.yaml."""
    settings = dict(BASE)
    for choice in variant.split("+"):
        settings |= CHOICES[choice]
    return settings


def prepare_data(arguments: argparse.Namespace) -> dict[str, str]:
    """The settings that say where the data set lies, which is made where it is not there yet."""
    settings = {"data.classes": "null"}
    for split in ("train", "val"):
        annotations, images = source_of(arguments, split)
        if arguments.classes > 1:
            target = arguments.out / "data" / f"{arguments.data}-{arguments.classes}-{split}.json"
            write_by_hue(annotations, images, target, classes=arguments.classes)
            annotations = target
        settings |= {f"data.{split}.annotations": str(annotations), f"data.{split}.images": str(images)}
    return settings


def source_of(arguments: argparse.Namespace, split: str) -> tuple[Path, Path]:
    """COCO file and image folder of a split, with the one class balloon."""
    if arguments.data == "balloon":
        return ROOT / "data" / "balloon" / f"{split}.json", ROOT / "data" / "balloon" / split
    folder = arguments.out / "data" / arguments.data / split
    if not (folder / "annotations.json").exists():
        count = int(arguments.data.removeprefix("scenes")) if split == "train" else VALIDATION_SCENES
        write_dataset(folder, count=count, seed=int(split == "val"), size=(320, 320), level=LEVELS["hard"])
    return folder / "annotations.json", folder / "images"


def write_by_hue(annotations: Path, images: Path, target: Path, *, classes: int) -> None:
    """The file with each balloon in the class of the hue of its middle, the circle of hues cut into equal parts."""
    coco = read_coco(annotations)
    photos = {entry["id"]: read_image(images / entry["file_name"]) for entry in coco["images"]}
    for entry in coco["annotations"]:
        x, y, width, height = entry["bbox"]
        rows = slice(int(y + 0.3 * height), int(y + 0.7 * height) + 1)
        columns = slice(int(x + 0.3 * width), int(x + 0.7 * width) + 1)
        colour = photos[entry["image_id"]][rows, columns].reshape(1, -1, 3).mean(1, keepdims=True)
        hue = cv2.cvtColor(colour.astype(np.uint8), cv2.COLOR_RGB2HSV)[0, 0, 0]  # of 180
        entry["category_id"] = int(hue) * classes // 180 + 1
    coco["categories"] = [{"id": k + 1, "name": f"hue {k}"} for k in range(classes)]
    write_json(target, coco)


def train(arguments: argparse.Namespace, variant: str, seed: int) -> dict[str, object]:
    """One run in a process of its own: its settings, its last AP, and what it cost."""
    name = f"{arguments.data}-{arguments.classes}-{variant}-{arguments.side}-{arguments.epochs}-{seed}"
    folder = arguments.out / name
    settings = {
        **prepare_data(arguments),
        "model.weights": str(arguments.weights),
        "data.input_size": f"[{arguments.side}, {arguments.side}]",
        "train.epochs": str(arguments.epochs),
        "train.seed": str(seed),
        "train.output": str(folder),
        **settings_of(variant),
    }
    overrides = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    began = time.perf_counter()
    config = ROOT / "configs" / "balloon_nano.yaml"
    command = [sys.executable, "train.py", "--config", str(config), "--resume", *overrides]
    with (arguments.out / "train.log").open("a") as log:
        subprocess.run(command, cwd=ROOT, check=True, stdout=log, stderr=log)
    seconds = time.perf_counter() - began
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    validations = [row for row in rows if row["kind"] == "val"]
    return {
        "data": arguments.data,
        "classes": arguments.classes,
        "variant": variant,
        "side": arguments.side,
        "epochs": arguments.epochs,
        "seed": seed,
        "seconds": round(seconds),
        "AP": validations[-1]["AP"],
        "AP50": validations[-1]["AP50"],
        "best": max(row["AP"] for row in validations),
        "settings": settings_of(variant),
    }


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", default=SCREENED, help="choices, joined by +")
    parser.add_argument("--weights", type=Path, required=True, help="the published nano person detector")
    parser.add_argument("--out", type=Path, default=Path("runs/small_data"))
    parser.add_argument("--data", choices=DATA, default="balloon")
    parser.add_argument("--classes", type=int, default=1, help="classes by hue")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--side", type=int, default=320, help="network input in pixels")
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.weights = arguments.weights.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {key_of(row) for row in rows}
    for seed in arguments.seeds:
        for variant in arguments.variants:
            key = (arguments.data, arguments.classes, variant, arguments.side, arguments.epochs, seed)
            if key not in done:
                row = train(arguments, variant, seed)
                rows.append(row)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{variant}, seed {seed}: AP {row['AP']:.3f}, {row['seconds']} s", flush=True)
    print_table(rows)


def key_of(row: dict) -> tuple:
    """What tells runs apart."""
    return tuple(row[name] for name in ("data", "classes", "variant", "side", "epochs", "seed"))


def print_table(rows: list[dict]) -> None:
    """Means over the seeds."""
    groups = defaultdict(list)
    for row in rows:
        groups[key_of(row)[:-1]].append(row)
    print("data       classes  side  epochs  variant                         runs     AP   AP50   best  seconds")
    for (data, classes, variant, side, epochs), group in sorted(groups.items()):
        ap, ap50, best, seconds = (
            sum(row[key] for row in group) / len(group) for key in ("AP", "AP50", "best", "seconds")
        )
        head = f"{data:9}  {classes:7}  {side:4}  {epochs:6}  {variant:30}  {len(group):4}"
        print(f"{head}  {ap:.3f}  {ap50:.3f}  {best:.3f}  {seconds:7.0f}")


if __name__ == "__main__":
    main()
