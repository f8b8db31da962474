"""Fine-tuning on few images: settings x seeds x real data sets, compared with the original implementation.

    python benchmarks/small_data.py --data bccd --epochs 12 default rate1e-3 side320+rate1e-3 --seeds 0 1 2
    python benchmarks/small_data.py --data bccd --epochs 12 --original ENVIRONMENT/bin/python --grid

Data sets are those of ../shared/data (balloon, bccd, craters), or a folder that `train.py --data` takes. A variant is
`default`, i.e. `train.py --data` unchanged, or names of CHOICES joined by +, each of which changes a setting. The
original is fine-tuned by ../shared/tools/original/finetune.py; --grid runs it with every learning rate, batch and
input size of GRID. Each finished run is a line of OUT/results.jsonl and is not repeated. A stopped run of ours is
resumed; its seconds count from there.
AP is that of the last epoch. Prints a table with the mean over the seeds.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections import defaultdict
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("RTMDET_SHARED") or ROOT.parent / "shared")

CHOICES: dict[str, dict[str, str]] = {
    "default": {},
    "batch4": {"data.batch_size": "4"},
    "batch8": {"data.batch_size": "8"},
    "batch16": {"data.batch_size": "16"},
    "keep": {"model.norm_statistics": "keep"},
    "recalibrate": {"model.norm_statistics": "recalibrate"},
    "freeze": {"model.norm_statistics": "freeze"},
    "rate5e-4": {"train.learning_rate": "5e-4"},
    "rate1e-3": {"train.learning_rate": "1e-3"},
    "rate2e-3": {"train.learning_rate": "2e-3"},
    "rate4e-3": {"train.learning_rate": "4e-3"},
    "original_nms": {"evaluation.iou_threshold": "0.65", "evaluation.box_voting": "false"},
    "cosine": {"train.cosine_start": "0"},
    "class1": {"train.class_rate_factor": "1"},
    "class2": {"train.class_rate_factor": "2"},
    "class5": {"train.class_rate_factor": "5"},
    "wide": {"augmentation.resize_range": "[0.5, 2.0]"},
    "mild": {"augmentation.resize_range": "[0.6, 1.6]"},
    "nomix": {"augmentation.mixup_probability": "0"},
    **{f"plain{epochs}": {"augmentation.stage2_epochs": str(epochs)} for epochs in (0, 2, 3, 5, 10, 12, 20, 40)},
    **{f"side{side}": {"data.input_size": f"[{side}, {side}]"} for side in (256, 320, 416, 512, 640)},
    **{f"wide{w}": {"data.input_size": f"[{h}, {w}]"} for h, w in ((256, 320), (320, 416), (384, 512), (480, 640))},
}
RATES, BATCHES, SIDES = ("5e-4", "1e-3", "2e-3"), ("4", "12"), ("320", "640")
KEY = ("data", "weights", "epochs", "variant", "seed")  # identifies a run
GRID = [f"original-{rate}-{batch}-{side}" for side, batch, rate in product(SIDES, BATCHES, RATES)]
CONVERT = {"balloon": ("via", "{split}/via_region_data.json", ("--class-name", "balloon")), "bccd": ("voc", "", ())}


def splits(data: str, folder: Path) -> dict[str, tuple[Path, Path]]:
    """COCO file and image folder of train and val, converted if the set is in another format."""
    root = SHARED / "data" / data
    if data not in CONVERT:
        return {split: (root / f"{split}.json", root / split) for split in ("train", "val")}
    kind, source, options = CONVERT[data]
    found = {}
    for split in ("train", "val"):
        target = folder / "data" / f"{data}-{split}.json"
        images = root / split if kind == "via" else root / "JPEGImages"
        if not target.exists():
            words = [*options, "--split", split] if kind == "voc" else [*options, "--images", str(images)]
            convert = ["data", "convert", kind, str(root / source.format(split=split)), *words, "--out", str(target)]
            subprocess.run([sys.executable, "-m", "rtmdet.cli.main", *convert], cwd=ROOT, check=True)
        found[split] = (target, images)
    return found


def run_ours(arguments: argparse.Namespace, variant: str, seed: int, folder: Path) -> list[dict[str, float]]:
    """Train with `train.py --data`; the validations, the last epoch's at the end."""
    settings = {"train.seed": str(seed), "train.output": str(folder)}
    if arguments.epochs:
        settings["train.epochs"] = str(arguments.epochs)
    for choice in variant.split("+"):
        settings |= CHOICES[choice]
    data = SHARED / "data" / arguments.data
    words = [
        "--data",
        str(data if data.exists() else arguments.data),
        "--weights",
        str(arguments.weights),
        "--resume",
    ]
    words += [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    run([sys.executable, "train.py", *words], ROOT, log_of(folder))
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{"AP": row["AP"], "AP50": row["AP50"]} for row in rows if row["kind"] == "val"]


def run_original(arguments: argparse.Namespace, variant: str, seed: int, folder: Path) -> list[dict[str, float]]:
    """Fine-tune the original with learning rate, batch and input size of the variant's name; its validations."""
    rate, batch, side = variant.removeprefix("original-").rsplit("-", 2)
    parts = splits(arguments.data, arguments.out)
    classes = [category["name"] for category in json.loads(parts["train"][0].read_text())["categories"]]
    words = [word for split in ("train", "val") for word in (f"--{split}", *map(str, parts[split]))]
    words += ["--classes", ",".join(classes), "--weights", str(arguments.weights), "--epochs", str(arguments.epochs)]
    words += ["--lr", rate, "--batch", batch, "--input", side, "--seed", str(seed)]
    folder.mkdir(parents=True, exist_ok=True)
    script = SHARED / "tools" / "original" / "finetune.py"
    run([str(arguments.original), str(script), str(folder), *words], folder, log_of(folder))
    text = log_of(folder).read_text()
    pairs = re.findall(r"coco/bbox_mAP: ([-\d.]+)  coco/bbox_mAP_50: ([-\d.]+)", text)
    return [{"AP": float(ap), "AP50": float(ap50)} for ap, ap50 in pairs]


def log_of(folder: Path) -> Path:
    """The file for the output of a run, next to its folder."""
    return folder.parent / f"{folder.name}.log"


def run(command: list[str], folder: Path, log: Path) -> None:
    """Run a command with its output in a file; ends the program if it fails."""
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        code = subprocess.run(command, cwd=folder, stdout=file, stderr=file, env=environment, check=False).returncode
    if code:
        sys.exit(f"exit code {code}: see {log}")


def main() -> None:
    """Make the runs that are missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variants", nargs="*", help="names of CHOICES joined by +, or original-RATE-BATCH-SIDE")
    parser.add_argument("--data", required=True, help="balloon, bccd, craters, or a folder")
    parser.add_argument("--epochs", type=int, help="epochs (default: as train.py chooses)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--weights", type=Path, default=SHARED / "weights" / "rtmdet_nano_person_bn.pth")
    parser.add_argument("--original", type=Path, help="Python of the original's environment")
    parser.add_argument("--grid", action="store_true", help="run all variants of GRID")
    parser.add_argument("--out", type=Path, default=Path("runs/small_data"))
    arguments = parser.parse_args()
    originals = arguments.grid or any(variant.startswith("original-") for variant in arguments.variants)
    if originals and (arguments.original is None or arguments.epochs is None):
        parser.error("runs of the original need --original and --epochs")
    arguments.out, arguments.weights = arguments.out.resolve(), arguments.weights.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {tuple(row[key] for key in KEY) for row in rows}
    for seed, variant in product(arguments.seeds, [*arguments.variants, *(GRID if arguments.grid else [])]):
        if (arguments.data, arguments.weights.name, arguments.epochs, variant, seed) in done:
            continue
        name = f"{Path(arguments.data).name}-{arguments.weights.stem}-{variant}-{arguments.epochs}-{seed}"
        measure = run_original if variant.startswith("original-") else run_ours
        began = time.perf_counter()
        validations = measure(arguments, variant, seed, arguments.out / name)
        values = (arguments.data, arguments.weights.name, arguments.epochs, variant, seed)
        row: dict = dict(zip(KEY, values, strict=True))
        row |= {**validations[-1], "best": max(each["AP"] for each in validations)}
        row["seconds"] = round(time.perf_counter() - began)
        rows.append(row)
        with results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{variant}, seed {seed}: AP {row['AP']:.3f}, {row['seconds']} s", flush=True)
    print_table(rows)


def print_table(rows: list[dict]) -> None:
    """Means over the seeds."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["data"], row["weights"], str(row["epochs"]), row["variant"]].append(row)
    print(
        "data       weights                     epochs  variant                       runs     AP   AP50   best  sec"
    )
    for (data, weights, epochs, variant), group in sorted(groups.items()):
        ap, ap50, best, seconds = (
            sum(row[key] for row in group) / len(group) for key in ("AP", "AP50", "best", "seconds")
        )
        head = f"{Path(data).name:9}  {weights:26}  {epochs:>6}  {variant:28}  {len(group):4}"
        print(f"{head}  {ap:.3f}  {ap50:.3f}  {best:.3f}  {seconds:4.0f}")


if __name__ == "__main__":
    main()
