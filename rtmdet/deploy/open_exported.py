"""Opens exported files by the library that runs them; only that library is imported."""

from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.deploy.exported import ExportedBackend

EXPORTED_SUFFIXES = (".onnx", ".xml")


def is_exported(path: str | Path) -> bool:
    """Whether a path is that of an exported file, by its suffix."""
    return Path(path).suffix.lower() in EXPORTED_SUFFIXES


def open_exported(path: Path, device: str = "auto", threads: int | None = None) -> ExportedBackend:
    """The network of a file with one of EXPORTED_SUFFIXES, on a device. Raises InputError.

    `threads` None: as many as cores.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads {threads}: expected at least 1: leave it out for as many as cores")
    if path.suffix.lower() == ".onnx":
        from rtmdet.deploy.onnx_backend import open_onnx

        return open_onnx(path, device, threads)
    from rtmdet.deploy.openvino_backend import open_openvino

    return open_openvino(path, device, threads)
