"""Time and memory of the assigner, compared with the paper's formula on a full (C, N, K) tensor.

    OMP_WAIT_POLICY=passive python benchmarks/assigner.py [--threads 1] [--json outputs/assigner.json]

An image of 640 x 640 pixels (8400 priors), 80 classes, random predictions and ground truths. Times are for float32,
median and minimum. Memory is the peak that the first call adds to a fresh process (Linux with glibc).
`equal`: both assign the same ground truth to every prior in float64.
Dimension legend: P priors, K classes, N ground truths, C candidates (priors strictly inside any ground truth).
"""

import argparse
import ctypes
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou

from rtmdet.core.boxes import grid_priors, level_sizes
from rtmdet.core.structures import Target
from rtmdet.training.assigner import assign

SIDE, CLASSES, TOPK = 640, 80, 13
NUMBERS = (10, 50, 200, 1000)
DENSE_UP_TO = 200  # 1000 ground truths would need about 15 GB
GROUP = 10  # ground truths at a time when comparing float64 results
Scene = tuple[Tensor, Tensor, Tensor, Tensor, Target]
Row = dict[str, int | float | bool | None]


def make_scene(number: int, dtype: torch.dtype) -> Scene:
    """Logits (P, K), boxes (P, 4), points (P, 2), strides (P,) and `number` ground truths of 8 to 128 pixels."""
    random = torch.Generator().manual_seed(number)
    points, strides = grid_priors(level_sizes((SIDE, SIDE)), dtype=dtype)
    logits = torch.randn(len(points), CLASSES, generator=random, dtype=dtype) * 2 - 4
    sides = torch.rand(len(points), 4, generator=random, dtype=dtype) * 4 * strides[:, None]
    boxes = torch.cat([points - sides[:, :2], points + sides[:, 2:]], dim=1)
    corners = torch.rand(number, 2, generator=random, dtype=dtype) * (SIDE - 40)
    sizes = torch.rand(number, 2, generator=random, dtype=dtype) * 120 + 8
    labels = torch.randint(0, CLASSES, (number,), generator=random)
    return logits, boxes, points, strides, Target(torch.cat([corners, corners + sizes], dim=1), labels)


def dense_costs(logits: Tensor, boxes: Tensor, points: Tensor, strides: Tensor, gt: Target) -> tuple[Tensor, Tensor]:
    """Cost and IoU (C, N) as the paper writes them: soft labels of every candidate, ground truth and class."""
    iou = box_iou(boxes, gt.boxes)  # (C, N)
    soft = F.one_hot(gt.labels, CLASSES) * iou[:, :, None]  # (C, N, K)
    entropy = F.binary_cross_entropy_with_logits(logits[:, None].expand_as(soft), soft, reduction="none")
    classification = (entropy * (soft - logits.sigmoid()[:, None]).abs().square()).sum(-1)
    centers = (gt.boxes[:, :2] + gt.boxes[:, 2:]) / 2
    distance = (points[:, None] - centers).square().sum(-1).sqrt() / strides[:, None]
    return classification - 3 * torch.log(iou + 1e-7) + 10 ** (distance - 3), iou


def dense_assign(scene: Scene, group: int | None = None) -> Tensor:
    """Ground truth (P,) of every prior, -1 = background; `group` ground truths at a time, None all at once."""
    logits, boxes, points, strides, gt = scene
    inside = ((points[:, None] > gt.boxes[:, :2]) & (points[:, None] < gt.boxes[:, 2:])).all(-1).any(1)  # (P,)
    candidates = inside.nonzero().squeeze(1)
    logits, boxes, points, strides = (tensor[candidates] for tensor in (logits, boxes, points, strides))
    step = group or len(gt.labels)
    parts = [Target(gt.boxes[i : i + step], gt.labels[i : i + step]) for i in range(0, len(gt.labels), step)]
    found = [dense_costs(logits, boxes, points, strides, part) for part in parts]
    cost, iou = (torch.cat(columns, dim=1) for columns in zip(*found, strict=True))  # (C, N)
    taken = torch.zeros_like(cost, dtype=torch.bool)
    takes = iou.topk(min(TOPK, len(cost)), dim=0).values.sum(0).int().clamp(min=1)
    for n, count in enumerate(takes.tolist()):
        taken[cost[:, n].topk(count, largest=False).indices, n] = True
    cheapest = torch.where(taken.sum(1) > 1, cost.argmin(1), taken.int().argmax(1))
    gt_index = torch.full((len(inside),), -1)
    gt_index[candidates] = torch.where(taken.any(1), cheapest, -1)
    return gt_index


def resident_memory(field: str) -> float:
    """This process's memory in MB: VmRSS current, VmHWM peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(dense: bool, number: int, threads: int) -> tuple[float, float, float]:
    """Median and minimum milliseconds of a call, and the MB that the first call adds."""
    torch.set_num_threads(threads)
    run = dense_assign if dense else lambda scene: assign(*scene)
    run(make_scene(1, torch.float32))  # excludes one-time allocations of torch
    scene = make_scene(number, torch.float32)
    seconds: list[float] = []
    ctypes.CDLL(None).malloc_trim(0)  # free memory in the process would hide the call's needs
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = resident_memory("VmRSS")
    run(scene)
    memory = resident_memory("VmHWM") - before
    while len(seconds) < 3 or (sum(seconds) < 2 and len(seconds) < 30):
        start = time.perf_counter()
        run(scene)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3, min(seconds) * 1e3, memory


def compare(number: int, threads: int) -> Row:
    """One row of the table; each implementation is measured in its own process."""
    scene = make_scene(number, torch.float64)
    equal = torch.equal(assign(*scene).gt_index, dense_assign(scene, group=GROUP))
    row: Row = {"ground_truths": number, "equal": equal}
    for name, dense in (("assign", False), ("dense", True)):
        found: tuple[float | None, ...] = (None, None, None)
        if not dense or number <= DENSE_UP_TO:
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                found = process.submit(measure, dense, number, threads).result()
        row |= {f"{name}_{unit}": value for unit, value in zip(("ms", "least_ms", "mb"), found, strict=True)}
    return row


def main() -> None:
    """Print the table, and optionally write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default 1)")
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    columns = [f"{name}_{unit}" for name in ("assign", "dense") for unit in ("ms", "least_ms", "mb")]
    print("ground truths " + "".join(f"{column:>17}" for column in columns) + "  equal")
    rows = []
    for number in NUMBERS:
        row = compare(number, arguments.threads)
        cells = "".join("-".rjust(17) if row[name] is None else f"{row[name]:17.1f}" for name in columns)
        print(f"{number:13d} {cells}  {'yes' if row['equal'] else 'NO'}", flush=True)
        rows.append(row)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
