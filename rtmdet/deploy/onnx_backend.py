"""Exported ONNX files, run by ONNX Runtime on the CPU or on a CUDA GPU."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.facts import read_facts
from rtmdet.core.whole_file import read_whole
from rtmdet.core.wording import one_line
from rtmdet.deploy.exported import ExportedBackend, check_interface
from rtmdet.deploy.telemetry import refuse_telemetry

refuse_telemetry()
try:
    import onnxruntime
except ImportError as error:
    raise InputError(
        'files of ONNX need the package onnxruntime, which is missing: pip install "plain-rtmdet[onnx]"'
    ) from error


def open_onnx(path: Path, device: str, threads: int | None = None) -> ExportedBackend:
    """The network of a file of `rtmdet export`. Raises InputError.

    `device` is cpu, cuda, cuda:1 or auto, which is CUDA where ONNX Runtime has it. `threads` None: as many as cores.
    """
    content = read_whole(path)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # its errors reach the user once, below
    # Ours have their weights inside; those of others could be any file of the current folder. In this one is none.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would slow other programs
    if threads is not None:
        options.intra_op_num_threads = threads
    provider, settings = _provider(device)
    try:
        session = onnxruntime.InferenceSession(content, options, [(provider, settings)])
    except Exception as error:  # ONNX Runtime has a dozen types for files that it cannot use
        blame_memory(error)
        raise InputError(
            f"{path}: not an ONNX file that can be run, or a damaged one ({one_line(error)[:200]}): export it again"
        ) from error
    if provider not in session.get_providers():  # ONNX Runtime falls back to the CPU without a word
        if not device.startswith("auto"):
            raise InputError(f"device {device!r}: ONNX Runtime cannot use CUDA here: try cpu")
        provider = "CPUExecutionProvider"
    facts = read_facts(path, session.get_modelmeta().custom_metadata_map)
    inputs, outputs = (
        {value.name: _shape(value.shape) for value in ends} for ends in (session.get_inputs(), session.get_outputs())
    )
    check_interface(str(path), facts, inputs, outputs)

    def run(images: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {"images": images})

    name = "cpu" if provider == "CPUExecutionProvider" else f"cuda:{settings['device_id']}"
    return ExportedBackend(str(path), run, facts, name, partial(open_onnx, path.resolve(), name, threads))


def _shape(shape: Sequence[int | str | None]) -> list[int | None]:
    return [side if isinstance(side, int) else None for side in shape]


def _provider(device: str) -> tuple[str, dict[str, int]]:
    """ONNX Runtime's name of a device, and its settings. Raises InputError for one that is not there."""
    kind, _, number = device.partition(":")
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if kind == "cpu" or (kind == "auto" and not has_cuda):
        return "CPUExecutionProvider", {}
    if kind in ("cuda", "auto") and has_cuda and (not number or number.isdecimal()):
        return "CUDAExecutionProvider", {"device_id": int(number or 0)}
    raise InputError(
        f"device {device!r} cannot be used here by ONNX Runtime: try cpu"
        + (", or install onnxruntime-gpu" if kind == "cuda" and not has_cuda else "")
    )
