"""What threads on the CPU cost that wait for each other: a batch in one pass and side by side, sleeping and awake.

    python benchmarks/cpu_threads.py --weights best.pth --input 320 [--busy] [--json FILE]

Each row is a process of its own, since torch reads `GOMP_SPINCOUNT` when it is imported. `--busy` runs a program
beside it that takes one core. Milliseconds per image, the network alone; the ratios are to sleeping at once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch

import torch

from rtmdet.core.structures import DenseOutputs
from rtmdet.deploy.side_by_side import forward_side_by_side
from rtmdet.deploy.torch_backend import open_checkpoint

TURNS = (0, 500, 1000, 2000, 5000)  # that a thread waits awake
BATCH, CALLS = 8, 15
WAYS = ("one image", "batch in one pass", "side by side")


def main() -> None:
    """Measure every number of turns and print a table."""
    parser = argparse.ArgumentParser(description="Waiting threads: one image, a batch, a batch side by side.")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--input", type=int, default=320)
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.weights, arguments.input)))
        return
    neighbor = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if arguments.busy else None
    try:
        found = {turns: in_child(turns) for turns in TURNS}
    finally:
        if neighbor is not None:
            neighbor.kill()
            neighbor.wait()
    print(f"{'turns awake':<12}" + "".join(f"{way:>26}" for way in WAYS))
    for turns, row in found.items():
        cells = (f"{row[way]:.1f} ms ({row[way] / found[0][way]:.2f})" for way in WAYS)
        print(f"{turns:<12}" + "".join(f"{cell:>26}" for cell in cells))
    if arguments.json:
        arguments.json.write_text(json.dumps(found))


def in_child(turns: int) -> dict[str, float]:
    """What a process measures whose threads wait awake for so many turns."""
    environment = {**os.environ, "GOMP_SPINCOUNT": str(turns)}
    child = subprocess.run(
        [sys.executable, *sys.argv, "--child"], env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(child.stdout)


def measure(weights: Path, side: int) -> dict[str, float]:
    """Milliseconds per image of each way, the median of CALLS."""
    backend, _ = open_checkpoint(weights, size=None, device="cpu", fold=True)
    images = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8)
    ways: dict[str, tuple[Callable[[torch.Tensor], DenseOutputs], torch.Tensor]] = {
        "one image": (backend.model, images[:1]),
        "batch in one pass": (backend.model, images),
        "side by side": (lambda batch: forward_side_by_side(backend.model, batch), images),
    }
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        for number in range(CALLS + 2):  # in turns
            for way, (network, batch) in ways.items():
                began = time.perf_counter()
                network(batch)
                if number >= 2:  # warm
                    seconds[way].append((time.perf_counter() - began) / len(batch))
    return {way: 1000 * statistics.median(each) for way, each in seconds.items()}


if __name__ == "__main__":
    main()
