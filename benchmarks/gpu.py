"""Detection on a CUDA GPU: each size at batch 1 and 32, as trained and as `Detector(..., half=True)` runs it.

    python benchmarks/gpu.py [--sizes nano tiny] [--batch 1 32] [--input 640] [--json PATH]

Random weights and images; the score threshold lets 300 candidates per image into NMS. The floor is what the layers
need one by one at the card's speed, which is measured first: the larger one of their arithmetic (as fp16 matrix
products) and their traffic (inputs, weights and outputs of the convolutions). Medians, milliseconds for a batch.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rtmdet.core.backend import Selection
from rtmdet.core.facts import ModelFacts
from rtmdet.detector import NMS_PRE, Detector
from rtmdet.models.rtmdet import RTMDet, build_rtmdet
from rtmdet.models.zoo import COSTS, SIZES
from rtmdet.weights.checkpoint import CheckpointMeta, save_checkpoint

CLASSES, CANDIDATES = 80, 300
HALF = 2  # bytes


@dataclass(frozen=True, slots=True)
class Row:
    """A size at a batch: milliseconds."""

    size: str
    batch: int
    plain: float  # the network as trained, float32
    network: float  # fp16, recorded
    floor: float
    letterbox: float  # on the CPU
    boxes: float  # outputs to boxes on the CPU
    total: float  # arrays in memory to boxes in memory

    def __str__(self) -> str:
        return (
            f"{self.size:<5} {self.batch:>5} {self.plain:>8.2f} {self.network:>8.2f} "
            f"{self.plain / self.network:>6.1f} "
            f"{self.floor:>7.3f} {self.floor / self.network:>6.0%} {self.letterbox:>9.2f} {self.boxes:>7.2f} "
            f"{self.total:>8.2f} {1000 * self.batch / self.total:>9.0f}"
        )


def median_ms(action: Callable[[], object], repeats: int = 30) -> float:
    """Median milliseconds after five warm-up runs, with all work of the GPU."""
    times = []
    for _ in range(repeats + 5):
        torch.cuda.synchronize()
        began = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[5:])


def measure_card() -> tuple[float, float]:
    """Operations per second of fp16 matrix products, and bytes per second of device memory."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    products = 2 * 8192**3 / median_ms(lambda: a @ b) * 1000
    source = torch.randint(0, 256, (2**31,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return products, 2 * 2**31 / median_ms(lambda: target.copy_(source)) * 1000


def count_bytes(model: RTMDet, size: tuple[int, int]) -> tuple[int, int]:
    """What the convolutions move in fp16, each map and weight once: bytes per image, and bytes per pass."""
    maps = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal maps
        maps += HALF * (inputs[0].numel() + output.numel())

    handles = [layer.register_forward_hook(add) for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, *size, dtype=torch.uint8))
    for handle in handles:
        handle.remove()
    return maps, HALF * sum(parameter.numel() for parameter in model.parameters())


def measure(size: str, batch: int, side: int, card: tuple[float, float], folder: Path) -> Row:
    """One row."""
    model = build_rtmdet(size, CLASSES).eval()
    shape, names = (side, side), [str(k) for k in range(CLASSES)]
    maps, weights = count_bytes(model, shape)
    operations = 2 * COSTS[size].multiply_adds(shape) * batch  # of nano with one class; its traffic takes longer
    floor = 1000 * max(operations / card[0], (maps * batch + weights) / card[1])
    path = folder / f"{size}.pth"
    save_checkpoint(
        path, model_state=model.state_dict(), meta=CheckpointMeta(ModelFacts(tuple(names), shape, size=size))
    )
    detector = Detector(path, device="cuda", half=True)
    images = [np.random.default_rng(k).integers(0, 256, (side, side, 3), np.uint8) for k in range(batch)]
    stack, places = detector.preprocess(images)
    on_card = torch.as_tensor(stack).cuda()
    plain = model.cuda()
    outputs = detector.backend.forward(on_card)
    scores = torch.cat([level.flatten() for level in outputs.logits]).float().sigmoid()
    threshold = float(scores.kthvalue(len(scores) - CANDIDATES * batch).values)
    selection = Selection(threshold, nms_pre=NMS_PRE, max_detections=100)
    with torch.inference_mode():
        plain_ms = median_ms(lambda: plain(on_card))
    return Row(
        size,
        batch,
        plain=plain_ms,
        network=median_ms(lambda: detector.backend.forward(on_card)),
        floor=floor,
        letterbox=median_ms(lambda: detector.preprocess(images), repeats=5),
        boxes=median_ms(lambda: [one.on_cpu() for one in detector.backend.select(outputs, shape, places, selection)]),
        total=median_ms(lambda: detector(images, score=threshold, batch_size=batch)),
    )


def main() -> None:
    """Measure the card, then every size."""
    parser = argparse.ArgumentParser(description="Detection on a CUDA GPU, next to what the card allows.")
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--input", type=int, default=640, help="input size in pixels")
    parser.add_argument("--json", type=Path, help="write the measurements here")
    arguments = parser.parse_args()
    card = measure_card()
    print(f"{torch.cuda.get_device_name()}: {card[0] / 1e12:.0f} Tflop/s in fp16, {card[1] / 1e12:.2f} TB/s")
    print("size  batch  float32     half   gain   floor  share  letterbox   boxes    total  images/s")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in arguments.sizes:
            for batch in arguments.batch:
                rows.append(measure(size, batch, arguments.input, card, Path(folder)))
                print(rows[-1], flush=True)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")


if __name__ == "__main__":
    main()
