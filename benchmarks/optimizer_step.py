"""Time of AdamW's step and of the EMA update, compared with plain loops over the parameters, and what limits them.

    OMP_WAIT_POLICY=passive python benchmarks/optimizer_step.py [--sizes tiny l] [--threads 1] [--json FILE]

Both read and write every value a few times and compute little. So each row gives the GB moved per second (at the
minimum time), relative to adding two large tensors on this machine (two reads, one write). With a share near 1 the
code is memory-bound and cannot be made faster; a small model that fits into the cache may exceed 1.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.training.ema import ExponentialMovingAverage
from rtmdet.training.optim import build_optimizer

CLASSES, LEARNING_RATE, WEIGHT_DECAY, BETAS, EPSILON = 80, 0.004, 0.05, (0.9, 0.999), 1e-8
STEP_VALUES = 7  # moved for each parameter: weight, gradient and two moments read, all but the gradient written
EMA_VALUES = 3  # average and weight read, average written
FLOAT_BYTES = 4
Row = dict[str, str | int | float]


class LoopAdamW:
    """AdamW as in its paper, one parameter at a time."""

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [(p, WEIGHT_DECAY if p.ndim == 4 else 0.0) for p in model.parameters()]
        self.moments: dict[Tensor, tuple[Tensor, Tensor]] = {}
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter; convolution weights (four dimensions) decay."""
        self.steps += 1
        corrections = [1 - beta**self.steps for beta in BETAS]
        for parameter, decay in self.parameters:
            gradient = parameter.grad
            assert gradient is not None
            if parameter not in self.moments:
                self.moments[parameter] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            mean, square = self.moments[parameter]
            parameter.mul_(1 - LEARNING_RATE * decay)
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            spread = square.sqrt().div_(math.sqrt(corrections[1])).add_(EPSILON)
            parameter.addcdiv_(mean, spread, value=-LEARNING_RATE / corrections[0])


@torch.no_grad()
def loop_ema(average: nn.Module, source: nn.Module, weight: float) -> None:
    """The average of parameters and floating buffers, one tensor at a time; other buffers are copied."""
    averages, sources = ([*model.parameters(), *model.buffers()] for model in (average, source))
    for ours, theirs in zip(averages, sources, strict=True):
        if ours.is_floating_point():
            ours.mul_(1 - weight).add_(theirs, alpha=weight)
        else:
            ours.copy_(theirs)


def milliseconds(function: Callable[[], object], seconds: float = 1.5) -> tuple[float, float]:
    """Median and minimum time of a call."""
    function()
    times: list[float] = []
    while len(times) < 5 or sum(times) < seconds:
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3, min(times) * 1e3


def memory_bandwidth() -> float:
    """GB per second, reads and writes, of adding 256 MB to 256 MB."""
    source, target = torch.ones(64 * 2**20), torch.ones(64 * 2**20)
    return 3 * source.numel() * FLOAT_BYTES / milliseconds(lambda: target.add_(source))[1] / 1e6


def model_with_gradients(size: str) -> nn.Module:
    """A model whose parameters all have a random gradient."""
    torch.manual_seed(0)
    model = build_rtmdet(size, CLASSES)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter) * 1e-3
    return model


def check(size: str) -> None:
    """Assert that both implementations agree after three steps and updates."""
    ours, theirs = model_with_gradients(size), model_with_gradients(size)
    optimizer, loop = build_optimizer(ours, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY), LoopAdamW(theirs)
    ema, average = ExponentialMovingAverage(ours), build_rtmdet(size, CLASSES)
    for number in range(3):
        optimizer.step()
        loop.step()
        weight = ema.weight(number) if number else 1.0  # the first update copies
        ema.update(ours)
        loop_ema(average, theirs, weight)
    for a, b in zip((ours, ema.model), (theirs, average), strict=True):
        for name, value in a.state_dict().items():
            torch.testing.assert_close(value, b.state_dict()[name], rtol=1e-5, atol=1e-6)


def measure(size: str, bandwidth: float) -> list[Row]:
    """The rows of a model size."""
    check(size)
    model = model_with_gradients(size)
    optimizer, loop = build_optimizer(model, learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY), LoopAdamW(model)
    ema = ExponentialMovingAverage(model)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    averaged = parameters + sum(buffer.numel() for buffer in model.buffers() if buffer.is_floating_point())
    cases: list[tuple[str, int, Callable[[], object]]] = [
        ("AdamW, fused", parameters * STEP_VALUES, optimizer.step),
        ("AdamW, loop", parameters * STEP_VALUES, loop.step),
        ("EMA, foreach", averaged * EMA_VALUES, lambda: ema.update(model)),
        ("EMA, loop", averaged * EMA_VALUES, lambda: loop_ema(ema.model, model, ema.weight(100))),
    ]
    rows: list[Row] = []
    for name, values, function in cases:
        median, least = milliseconds(function)
        speed = values * FLOAT_BYTES / least / 1e6
        row: Row = {"size": size, "what": name, "ms": median, "least_ms": least, "mb": values * FLOAT_BYTES / 1e6}
        rows.append(row | {"gb_per_s": speed, "share_of_memory": speed / bandwidth})
    return rows


def main() -> None:
    """Print the table, and optionally write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["tiny", "l"], help="model sizes (default tiny l)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of torch (default 1)")
    parser.add_argument("--json", type=Path, help="write the rows here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bandwidth = memory_bandwidth()
    print(f"adding large tensors: {bandwidth:.1f} GB/s\n")
    print("size  what             ms (median)   (least)   MB moved    GB/s   share of that")
    rows = [row for size in arguments.sizes for row in measure(size, bandwidth)]
    for row in rows:
        print(f"{row['size']:<5} {row['what']:<15} {row['ms']:12.2f} {row['least_ms']:9.2f} {row['mb']:10.1f} "
              f"{row['gb_per_s']:7.1f} {row['share_of_memory']:15.2f}")  # fmt: skip
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps({"memory_gb_per_s": bandwidth, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
