"""The network on a CUDA GPU, one graph per input shape: at batch 1, launching the kernels one by one takes longer.

Dimension legend: B images, H, W height and width of the input.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

from rtmdet.core.structures import DenseOutputs
from rtmdet.models.rtmdet import RTMDet

WARM_UP = 3  # passes before the recording, in which the libraries choose their kernels
MOST_SHAPES = 8  # graphs that are kept: each holds the memory of one pass
_recording = Lock()  # torch records one graph at a time, whichever network it is of


@dataclass(frozen=True, slots=True, eq=False)
class _Recorded:
    """A pass over the network whose input and outputs stay at their places in memory."""

    graph: torch.cuda.CUDAGraph
    images: Tensor  # (B, 3, H, W) uint8
    outputs: DenseOutputs


class RecordedNetwork:
    """Called like the model, in evaluation mode on a CUDA GPU, whose weights must not move any more.

    The first call with a shape records its graph. Several threads may call it.
    """

    def __init__(self, model: RTMDet) -> None:
        self.model = model
        self._recorded: OrderedDict[torch.Size, _Recorded] = OrderedDict()
        self._lock = Lock()

    def __call__(self, images: Tensor) -> DenseOutputs:
        """(B, 3, H, W) uint8 RGB, on any device -> the dense outputs on the GPU."""
        with self._lock:
            recorded = self._recorded.get(images.shape)
            if recorded is None:
                with _recording:
                    recorded = self._record(images)
            self._recorded.move_to_end(images.shape)
            recorded.images.copy_(images, non_blocking=True)
            recorded.graph.replay()
            logits, distances = recorded.outputs
            # Copies: the next pass overwrites its outputs.
            return DenseOutputs(tuple(level.clone() for level in logits), tuple(level.clone() for level in distances))

    def _record(self, images: Tensor) -> _Recorded:
        own = torch.empty(images.shape, dtype=torch.uint8, device=self.model.mean.device)
        own.copy_(images)
        while len(self._recorded) >= MOST_SHAPES:
            self._recorded.popitem(last=False)
        side = torch.cuda.Stream(own.device)
        side.wait_stream(torch.cuda.current_stream(own.device))
        with torch.cuda.stream(side), _fastest_kernels():
            for _ in range(WARM_UP):
                self.model(own)
        torch.cuda.current_stream(own.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with _fastest_kernels(), torch.cuda.graph(graph, stream=side, capture_error_mode="thread_local"):
            outputs = self.model(own)
        self._recorded[images.shape] = recorded = _Recorded(graph, own, outputs)
        return recorded


@contextmanager
def _fastest_kernels() -> Iterator[None]:
    """Let cuDNN measure its kernels for each convolution and take the fastest, inside of the block."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
