"""Fine-tuning recipes on the balloon photos, variants x seeds: which choice pays where there are few images.

    python benchmarks/small_data.py --weights PERSON.pth --out runs/small_data          # what was screened, seed 0
    python benchmarks/small_data.py --weights PERSON.pth --out runs/small_data base statistics --seeds 0 1 --side 640

The photos and their COCO files lie in data/balloon (see README.md). Every finished run is one line of
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
}
SCREENED = ("tutorial", "base", "ema", "rate2e-3", "stage2", "statistics", "statistics+batch2", "statistics+ema")


def settings_of(variant: str) -> dict[str, str]:
    """What a variant, choices joined by +, changes of configs/balloon_nano.yaml."""
    settings = dict(BASE)
    for choice in variant.split("+"):
        settings |= CHOICES[choice]
    return settings


def train(arguments: argparse.Namespace, variant: str, seed: int) -> dict[str, object]:
    """One run in a process of its own: its settings, its last AP, and what it cost."""
    folder = arguments.out / f"{variant}-{arguments.side}-{arguments.epochs}-{seed}"
    settings = {
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
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--side", type=int, default=320, help="network input in pixels")
    parser.add_argument("--epochs", type=int, default=40)
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    arguments.weights = arguments.weights.resolve()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    done = {(row["variant"], row["side"], row["epochs"], row["seed"]) for row in rows}
    for seed in arguments.seeds:
        for variant in arguments.variants:
            if (variant, arguments.side, arguments.epochs, seed) not in done:
                row = train(arguments, variant, seed)
                rows.append(row)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                print(f"{variant}, seed {seed}: AP {row['AP']:.3f}, {row['seconds']} s", flush=True)
    print_table(rows)


def print_table(rows: list[dict]) -> None:
    """Means over the seeds."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["side"], row["epochs"], row["variant"]].append(row)
    print("side  epochs  variant                   runs     AP   AP50   best  seconds")
    for (side, epochs, variant), group in sorted(groups.items()):
        ap, ap50, best, seconds = (
            sum(row[key] for row in group) / len(group) for key in ("AP", "AP50", "best", "seconds")
        )
        print(f"{side:4}  {epochs:6}  {variant:24}  {len(group):4}  {ap:.3f}  {ap50:.3f}  {best:.3f}  {seconds:7.0f}")


if __name__ == "__main__":
    main()
