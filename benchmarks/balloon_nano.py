"""The balloon run of configs/balloon_nano.yaml beside the original implementation's, seeds 0, 1 and 2.

    for seed in 0 1 2; do python train.py --config configs/balloon_nano.yaml --set train.seed=$seed \
        --set train.log_every=1 --set train.output=runs/balloon_nano_$seed; done
    python benchmarks/balloon_nano.py runs/balloon_nano_0 runs/balloon_nano_1 runs/balloon_nano_2

Prints both sides' losses and APs, and draws docs/balloon_nano.png. The original's losses are means over the last
50 iterations; ours are brought to the same form.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rtmdet.evaluation import NAMES
from rtmdet.training.log import Row, read_log

ROOT = Path(__file__).resolve().parents[1]
FACTS = ROOT / "tests" / "golden" / "facts" / "balloon_nano.json"
ORIGINAL_SEEDS = ("b4", "b4s1", "b4s2")
WINDOW = 50


def windowed(rows: list[Row], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Iterations and means of a column over the last WINDOW iterations."""
    train = [row for row in rows if row["kind"] == "train"]
    values = np.array([float(row[name]) for row in train])
    means = np.array([values[max(0, i + 1 - WINDOW) : i + 1].mean() for i in range(len(values))])
    return np.array([int(row["iteration"]) for row in train]), means


def main(folders: list[Path]) -> None:
    """Compare the runs in `folders` with the original's."""
    facts = json.loads(FACTS.read_text())["runs"]
    original = [facts[key] for key in ORIGINAL_SEEDS]
    ours = [read_log(folder / "log.jsonl") for folder in folders]
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, name, column in zip(figure.subplots(1, 2), ("loss_classification", "loss_box"), (2, 3), strict=True):
        for number, run in enumerate(original):
            rows = np.array(run["train"])
            axes.plot(rows[:, 0], rows[:, column], color="black", alpha=0.5, label="original" if not number else None)
        for number, rows in enumerate(ours):
            axes.plot(*windowed(rows, name), color="tab:red", alpha=0.7, label="ours" if not number else None)
        axes.set(title=name.replace("_", " "), xlabel="iteration", ylim=(0, 1.6))
        axes.grid(alpha=0.3)
        axes.legend()
    FigureCanvasAgg(figure)
    figure.savefig(ROOT / "docs" / "balloon_nano.png", dpi=80)
    print_losses(original, ours)
    print_metrics(original, ours)


def print_losses(original: list[dict], ours: list[list[Row]]) -> None:
    """Mean losses of both sides over the seeds."""
    print("iteration   classification: original   ours      box: original   ours")
    columns = [[windowed(rows, name) for rows in ours] for name in ("loss_classification", "loss_box")]
    for index in range(0, len(original[0]["train"]), 6):
        iteration = original[0]["train"][index][0]
        theirs = np.mean([[run["train"][index][2], run["train"][index][3]] for run in original], axis=0)
        mine = [np.mean([means[iterations == iteration] for iterations, means in runs]) for runs in columns]
        print(f"{iteration:9d} {theirs[0]:26.3f} {mine[0]:6.3f} {theirs[1]:18.3f} {mine[1]:6.3f}")


def print_metrics(original: list[dict], ours: list[list[Row]]) -> None:
    """The last validation of every seed; the original's record holds six of the 12 numbers."""
    last = [[row for row in rows if row["kind"] == "val"][-1] for rows in ours]
    theirs = np.array([run["val"][-1][1:] for run in original])
    for index, name in enumerate(NAMES):
        values = [float(row[name]) for row in last]
        text = "  ".join(f"{value:.3f}" for value in values)
        line = f"{name:<9} ours {text}  mean {np.mean(values):.3f}"
        if index < theirs.shape[1]:
            text = "  ".join(f"{value:.3f}" for value in theirs[:, index])
            line += f"   original {text}  mean {theirs[:, index].mean():.3f}"
        print(line)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
