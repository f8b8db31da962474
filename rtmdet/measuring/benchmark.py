"""How long a detector takes, from the image file to its boxes, by whatever runs it: each in a process of its own.

Rounds alternate between the processes, so that a busy machine slows all of them. Dimension legend: B images.
"""

import multiprocessing
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.processes import environment_variable, peak_memory
from rtmdet.deploy.open_weights import is_exported
from rtmdet.detector import Detector
from rtmdet.images.reading import read_image

PLAIN = "plain torch"  # the network as it was trained: norms not folded, default memory layout
WARM_UP = 3  # rounds that do not count


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured: a file, at an input size (H, W) and a batch; `plain` without any optimization."""

    weights: str
    input_size: tuple[int, int] | None  # None: the detector's
    batch: int
    plain: bool = False

    @property
    def name(self) -> str:
        """The file as it was given, or the name of the baseline."""
        return PLAIN if self.plain else self.weights


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of one round, for B images."""

    read: float  # image file to pixels
    letterbox: float  # pixels to the network's input
    network: float
    boxes: float  # outputs to boxes

    @property
    def total(self) -> float:
        """From the file to the boxes."""
        return self.read + self.letterbox + self.network + self.boxes


@dataclass(frozen=True, slots=True)
class Timing:
    """The result of a case: medians over its rounds, milliseconds for one batch."""

    name: str
    input_size: tuple[int, int]
    batch: int
    read: float
    letterbox: float
    network: float
    boxes: float
    total: float
    p90: float  # of the total: nine of ten rounds took less
    megabytes: float  # peak memory of the process; 0 where it is unknown

    @property
    def images_per_second(self) -> float:
        """Throughput at the median."""
        return 1000 * self.batch / self.total


@dataclass(frozen=True, slots=True)
class Benchmark:
    """All timings; `print` shows them as a table with the ratio to plain torch."""

    image: str
    threads: int
    rounds: int
    timings: tuple[Timing, ...]

    def __str__(self) -> str:
        head = "input      batch   read  letterbox  network  boxes   total     p90  images/s  memory  to plain"
        width = max(len(row.name) for row in self.timings)
        lines = [
            f"median milliseconds of {self.rounds} rounds, {self.threads} threads, {self.image}",
            f"{'':<{width}}  {head}",
        ]
        for row in self.timings:
            size = f"{row.input_size[0]} x {row.input_size[1]}"
            memory = f"{row.megabytes:.0f} MB" if row.megabytes else "-"
            lines.append(
                f"{row.name:<{width}}  {size:<10} {row.batch:>5} {row.read:>6.1f} {row.letterbox:>10.1f} "
                f"{row.network:>8.1f} {row.boxes:>6.1f} {row.total:>7.1f} {row.p90:>7.1f} "
                f"{row.images_per_second:>9.1f} {memory:>7} {self._ratio(row):>9}"
            )
        return "\n".join(lines)

    def _ratio(self, row: Timing) -> str:
        wanted = PLAIN, row.batch, row.input_size
        same = [each for each in self.timings if (each.name, each.batch, each.input_size) == wanted]
        return f"{row.total / same[0].total:.2f}" if same else "-"


def run_benchmark(cases: Sequence[Case], image: Path, *, threads: int, rounds: int) -> Benchmark:
    """Measure all cases on one image file. Raises InputError if one cannot be opened, or for numbers out of range."""
    for name, number, least in (("threads", threads, 1), ("rounds", rounds, 2)):
        if number < least:
            raise InputError(f"--{name} {number}: expected at least {least}")
    from rtmdet.core.console import progress  # not at the top: processes that run exported files need no torch

    read_image(image)
    with ExitStack() as stack:
        workers = [stack.enter_context(_started(case, image, threads)) for case in cases]
        sizes = [_receive(worker) for worker in workers]
        times: list[list[Round]] = [[] for _ in cases]
        for turn in progress(range(WARM_UP + rounds), "measuring"):
            for worker, own in zip(workers, times, strict=True):
                answer = _ask(worker, True)
                if turn >= WARM_UP:
                    own.append(answer)
        memory = [_ask(worker, False) for worker in workers]
    timings = [_timing(*row) for row in zip(cases, sizes, times, memory, strict=True)]
    return Benchmark(image.name, threads, rounds, tuple(timings))


@contextmanager
def _started(case: Case, image: Path, threads: int) -> Iterator[Connection]:
    """A process that measures a case whenever it is asked to."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, case, image, threads), daemon=True)
    with environment_variable("OMP_NUM_THREADS", str(threads)):  # read when the new process loads its libraries
        process.start()
    there.close()
    try:
        yield here
    finally:
        here.close()
        process.join(10)
        process.kill()


def _ask(worker: Connection, again: bool) -> Any:
    """The answer to whether to measure again. Raises the InputError of the process, and one if it ended."""
    with suppress(OSError):  # ended: it has no answer either
        worker.send(again)
    return _receive(worker)


def _receive(worker: Connection) -> Any:
    """The next answer. Raises the InputError of the process, and one if it ended."""
    try:
        answer = worker.recv()
    except (EOFError, OSError) as error:
        raise InputError("a measuring process ended without an answer: there may be too little memory") from error
    if isinstance(answer, InputError):
        raise answer
    return answer


def _serve(connection: Connection, case: Case, image: Path, threads: int) -> None:
    """Answer with the input size, then a Round for each True, then the peak memory in MB."""
    with suppress(OSError, EOFError):  # nobody listens any more: another process was refused
        try:
            detector = open_case(case, threads)
            connection.send(detector.input_size)
            while connection.recv():
                connection.send(measure_round(detector, image, case.batch, plain=case.plain))
            connection.send(peak_memory() / 1e6)
        except InputError as error:
            connection.send(error)


def open_case(case: Case, threads: int) -> Detector:
    """The detector of a case, with this number of threads. Raises InputError."""
    exported = is_exported(case.weights)
    if case.plain and exported:
        raise InputError(f"{case.weights}: plain torch needs a checkpoint")
    own = threads if exported else None  # torch's are set below
    detector = Detector(case.weights, input_size=case.input_size, device="cpu", fold=not case.plain, threads=own)
    if not exported:
        import torch

        torch.set_num_threads(threads)
        if case.plain:
            detector.model.to(memory_format=torch.contiguous_format)
    return detector


def measure_round(detector: Detector, image: Path, batch: int, *, plain: bool = False) -> Round:
    """One pass over B times the same image, its parts apart.

    `plain`: the network's input lies in memory plane by plane, as in most programs; pixel by pixel, torch is faster.
    """
    selection = detector.selection([min(detector.thresholds())], 100)
    began = perf_counter()
    pixels = [read_image(image, detector.value_range) for _ in range(batch)]
    read = perf_counter()
    stack, letterboxes = detector.preprocess(pixels)
    stack = np.ascontiguousarray(stack) if plain else stack
    boxed = perf_counter()
    outputs = detector.backend.forward(stack)
    done = perf_counter()
    detector.backend.select(outputs, detector.input_size, letterboxes, selection)
    return Round(read - began, boxed - read, done - boxed, perf_counter() - done)


def _timing(case: Case, size: tuple[int, int], rounds: Sequence[Round], megabytes: float) -> Timing:
    parts = ("read", "letterbox", "network", "boxes", "total")
    return Timing(
        name=case.name,
        input_size=size,
        batch=case.batch,
        **{part: 1000 * median(getattr(timing, part) for timing in rounds) for part in parts},
        p90=1000 * quantiles([timing.total for timing in rounds], n=10, method="inclusive")[-1],
        megabytes=megabytes,
    )
