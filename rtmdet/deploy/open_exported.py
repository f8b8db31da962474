"""Opens exported files by the library that runs them; only that library is imported."""

from __future__ import annotations

from pathlib import Path

from rtmdet.deploy.exported import ExportedBackend

EXPORTED_SUFFIXES = (".onnx", ".xml")


def open_exported(path: Path, device: str = "auto", threads: int | None = None) -> ExportedBackend:
    """The network of a file with one of EXPORTED_SUFFIXES, on a device. Raises InputError.

    `threads` None: as many as cores.
    """
    if path.suffix == ".onnx":
        from rtmdet.deploy.onnx_backend import open_onnx

        return open_onnx(path, device, threads)
    from rtmdet.deploy.openvino_backend import open_openvino

    return open_openvino(path, device, threads)
