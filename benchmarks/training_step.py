"""One training step of RTMDet-tiny at 640 px, and where its time goes: forward, loss, backward, optimizer and EMA.

    OMP_WAIT_POLICY=passive python benchmarks/training_step.py [--size tiny] [--batch 4] [--repeats 10] [--json PATH]

On a CPU: float32, channels last, compared with a plain step without fused optimizer, foreach EMA and channels last.
With a GPU: float32, bf16, fp16, with --compile also bf16 with torch.compile, and how often a step waits for the GPU.
Random images with 20 objects of 80 classes each; medians.
"""

import argparse
import json
import statistics
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from rtmdet.core.structures import Batch, ImageMeta, Target
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.training.criterion import Criterion
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.optim import build_optimizer
from rtmdet.training.step import Stepper

CLASSES, OBJECTS, INPUT = 80, 20, 640


def make_batch(count: int, device: torch.device) -> Batch:
    """Noise with boxes of 20 to 320 pixels."""
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, INPUT, INPUT, 3), dtype=torch.uint8, generator=random).permute(0, 3, 1, 2)
    targets = []
    for _ in range(count):
        corner = torch.rand(OBJECTS, 2, generator=random) * 480
        side = torch.rand(OBJECTS, 2, generator=random) * 300 + 20
        boxes = torch.cat([corner, (corner + side).clamp(max=INPUT)], dim=1)
        targets.append(Target(boxes, torch.randint(0, CLASSES, (OBJECTS,), generator=random)))
    return Batch(images, targets, [ImageMeta(i, "", (INPUT, INPUT)) for i in range(count)]).to(device)


def make_stepper(model: RTMDet, device: torch.device, precision: str, *, compiled: bool = False) -> Stepper:
    """The stepper as built by `rtmdet train`."""
    network: nn.Module = torch.compile(model) if compiled else model  # type: ignore[assignment]
    optimizer = build_optimizer(model, learning_rate=1e-4, weight_decay=0.05)
    return Stepper(network, criterion=Criterion(CLASSES), optimizer=optimizer, device=device, precision=precision)


def median_seconds(action: Callable[[], object], repeats: int, device: torch.device) -> float:
    """The median time of an action after two warm-up runs."""
    times = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        action()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return statistics.median(times[2:])


def plain_step(
    model: RTMDet, batch: Batch, optimizer: torch.optim.Optimizer, average: dict[str, torch.Tensor]
) -> None:
    """The same step in its simplest form."""
    optimizer.zero_grad()
    criterion = Criterion(CLASSES)
    criterion(model(batch.images), batch.targets).total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    optimizer.step()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                average[name].mul_(0.9998).add_(value, alpha=0.0002)


def measure_parts(
    model: RTMDet, stepper: Stepper, batch: Batch, repeats: int, device: torch.device
) -> dict[str, float]:
    """Times of forward, loss, backward, optimizer and EMA."""
    criterion, average = Criterion(CLASSES), ExponentialMovingAverage(model)
    outputs = model(batch.images)
    forward = median_seconds(lambda: model(batch.images), repeats, device)
    loss = median_seconds(lambda: criterion(outputs, batch.targets), repeats, device)
    whole = median_seconds(lambda: criterion(model(batch.images), batch.targets).total.backward(), repeats, device)
    optimizer = median_seconds(stepper.optimizer.step, repeats, device)
    ema = median_seconds(lambda: average.update(model), repeats, device)
    return {"forward": forward, "loss": loss, "backward": whole - forward - loss, "optimizer": optimizer, "ema": ema}


def measure_cpu(size: str, batch: Batch, repeats: int, device: torch.device) -> list[dict[str, object]]:
    """Our step and the plain one."""
    model = build_rtmdet(size, CLASSES).to(memory_format=torch.channels_last).train()
    stepper, average = make_stepper(model, device, "float32"), ExponentialMovingAverage(model)

    def step() -> None:
        stepper([batch], iteration=0, learning_rate=1e-4)
        average.update(model)

    row: dict[str, object] = {"step": "float32, channels last", "seconds": median_seconds(step, repeats, device)}
    row["parts"] = measure_parts(model, stepper, batch, repeats, device)
    plain = build_rtmdet(size, CLASSES).train()
    values = {name: value.clone() for name, value in plain.state_dict().items()}
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-4, foreach=False)
    seconds = median_seconds(lambda: plain_step(plain, batch, optimizer, values), repeats, device)
    return [row, {"step": "plain: contiguous, loops", "seconds": seconds}]


def measure_gpu(
    size: str, batch: Batch, repeats: int, device: torch.device, *, compiled_too: bool = False
) -> list[dict[str, object]]:
    """The step in each precision for GPUs."""
    rows: list[dict[str, object]] = []
    kinds = [("float32", False), ("bf16", False), ("fp16", False), *([("bf16", True)] if compiled_too else [])]
    for precision, compiled in kinds:
        model = build_rtmdet(size, CLASSES).to(device).train()
        stepper, average = make_stepper(model, device, precision, compiled=compiled), ExponentialMovingAverage(model)

        def step(
            stepper: Stepper = stepper, average: ExponentialMovingAverage = average, model: RTMDet = model
        ) -> None:
            stepper([batch], iteration=0, learning_rate=1e-4)
            average.update(model)

        name = precision + (", compiled" if compiled else "")
        seconds = median_seconds(step, repeats, device)
        rows.append({"step": name, "seconds": seconds, "waits": list_waits(step)})
    return rows


def list_waits(step: Callable[[], object]) -> list[str]:
    """The places, as file:line, where a step waits for the GPU, once for each time."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{Path(one.filename).name}:{one.lineno}" for one in found if "synchroniz" in str(one.message)]


def show(rows: Sequence[dict[str, object]], images: int) -> None:
    """A line per kind of step, then the parts of the first."""
    for row in rows:
        seconds = float(str(row["seconds"]))
        print(f"{row['step']:<26} {seconds:7.3f} s per step  {images / seconds:8.1f} images/s")
        waits = row.get("waits")
        if isinstance(waits, list):
            places = ", ".join(f"{place} x {number}" for place, number in Counter(waits).items())
            print(f"    waits for the GPU {len(waits)} times: {places}")
    parts = rows[0].get("parts")
    if isinstance(parts, dict):
        total = sum(parts.values())
        print("  ".join(f"{name} {seconds:.3f} s ({seconds / total:.0%})" for name, seconds in parts.items()))


def main() -> None:
    """Measure the device of this machine."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--compile", action="store_true", help="on a GPU: also with torch.compile")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    batch = make_batch(arguments.batch, device)
    options = (arguments.size, batch, arguments.repeats, device)
    rows = measure_gpu(*options, compiled_too=arguments.compile) if device.type == "cuda" else measure_cpu(*options)
    print(f"{arguments.size}, batch {arguments.batch}, {INPUT} px, {device}, {torch.get_num_threads()} threads")
    show(rows, arguments.batch)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
