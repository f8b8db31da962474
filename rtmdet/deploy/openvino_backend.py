"""Exported OpenVINO files (.xml with its .bin), run by OpenVINO on the CPU."""

import contextlib
import functools
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.facts import read_facts
from rtmdet.core.whole_file import read_whole, sha256_of, unwritable
from rtmdet.core.wording import one_line
from rtmdet.deploy.exported import ExportedBackend, check_interface
from rtmdet.deploy.telemetry import refuse_telemetry

refuse_telemetry()
try:
    import openvino
    from openvino.frontend import FrontEndManager
except ImportError as error:
    raise InputError(
        'files of OpenVINO need the package openvino, which is missing: pip install "plain-rtmdet[openvino]"'
    ) from error

REPEATS = 3  # images of a shape, from which on the network is compiled for it
MOST_SHAPES = 3  # that it is compiled for; each takes its memory
ROOM = "rtmdet"  # of the facts among the file's metadata
DIGEST = "bin_sha256"  # of the .bin; the first files lack it


def open_openvino(path: Path, device: str, threads: int | None = None) -> ExportedBackend:
    """The network of a file of `rtmdet export`. Raises InputError.

    `device` is cpu or auto. The network computes in 32 bits: OpenVINO's own choice on some CPUs is bf16, which was
    measured to be slower (112 ms instead of 64 ms for tiny at 640 pixels) and is less exact.
    """
    if device not in ("cpu", "auto"):
        raise InputError(f"device {device!r}: files of OpenVINO run on the CPU here: try cpu")
    if b"<net" not in read_whole(path)[:1000]:  # OpenVINO would write about it itself
        raise InputError(f"{path}: not an OpenVINO file (<net ...>): give one of rtmdet export")
    digest = sha256_of(path.with_suffix(".bin"))
    settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        settings["INFERENCE_NUM_THREADS"] = threads
    with _damaged(path):
        reader = FrontEndManager().load_by_framework("ir")  # read_model would try those of other formats, too
        model = reader.convert(reader.load(path))
        text = read_metadata(model)
    facts = read_facts(path, text)
    if text.get(DIGEST, digest) != digest:
        raise InputError(
            f"{path.with_suffix('.bin')}: not the one of {path.name}, or damaged: copy both of one export"
        )
    inputs, outputs = ({port.any_name: _shape(port) for port in ends} for ends in (model.inputs, model.outputs))
    check_interface(str(path), facts, inputs, outputs)
    with _damaged(path):
        network = _Network(model, settings)
    reopen = functools.partial(open_openvino, path.resolve(), "cpu", threads)
    return ExportedBackend(str(path), network.run, facts, "cpu", reopen)


@contextlib.contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn what OpenVINO raises for a file that it cannot use, RuntimeError of many kinds, into InputError."""
    try:
        yield
    except Exception as error:
        blame_memory(error)
        reason = one_line(error)[:200]
        raise InputError(
            f"{path}: not an OpenVINO file that can be run, or a damaged one ({reason}): export it again"
        ) from error


class _Network:
    """A network for images of any shape, compiled once more for each one that comes again: that is faster.

    Study: docs/speed.md. Several threads may call it.
    """

    def __init__(self, model: Any, settings: Mapping[str, str | int]) -> None:
        self._model = model
        self._settings = settings
        self._general = _core().compile_model(model, "CPU", settings)
        self._own: dict[tuple[int, ...], Any] = {}  # by shape
        self._seen: Counter[tuple[int, ...]] = Counter()
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        """The outputs for images (B, 3, H, W) uint8 RGB."""
        request = self._compiled(images.shape).create_infer_request()
        return [np.array(output) for output in request.infer({0: images}).to_tuple()]

    def _compiled(self, shape: tuple[int, ...]) -> Any:
        with self._lock:
            self._seen[shape] += 1
            is_due = self._seen[shape] == REPEATS and len(self._own) < MOST_SHAPES
            if is_due and self._general.input(0).partial_shape.is_dynamic:
                model = self._model.clone()
                model.reshape(list(shape))
                self._own[shape] = _core().compile_model(model, "CPU", self._settings)
            return self._own.get(shape, self._general)


def _shape(end: Any) -> list[int | None]:
    return [side.get_length() if side.is_static else None for side in end.partial_shape]


@functools.cache
def _core() -> Any:
    """The only core of the process, which stays.

    The CPU plugin of a core gives the thread memory of its own for signal handlers, until it ends. If the first of
    two ended first, the thread was left with memory that is gone, and died at the next signal (openvino 2026.4).
    """
    return openvino.Core()


def read_metadata(model: Any) -> dict[str, str]:
    """What `rtmdet export` wrote into a model; empty if it did not."""
    if not model.has_rt_info([ROOM]):
        return {}
    return {name: str(value) for name, value in model.get_rt_info([ROOM]).value.items()}


def save_as_openvino(onnx_file: Path, text: Mapping[str, str], path: Path, *, half: bool) -> None:
    """Convert an ONNX file into OpenVINO's two, .xml and .bin, with its facts; `half`: weights in 16 bits.

    Raises InputError if they cannot be written.
    """
    model = openvino.convert_model(onnx_file)
    for name, value in text.items():
        model.set_rt_info(value, [ROOM, name])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        openvino.save_model(model, path, compress_to_fp16=half)
        model.set_rt_info(sha256_of(path.with_suffix(".bin")), [ROOM, DIGEST])
        openvino.save_model(model, path, compress_to_fp16=half)
    except (OSError, RuntimeError) as error:  # OpenVINO's own messages name its source files
        known = error if isinstance(error, OSError) else OSError("no space, or no permission")
        raise unwritable(path, known) from error
