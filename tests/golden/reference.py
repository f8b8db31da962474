"""Where the reference's numbers lie, and the images that its authors' rules generate."""

import importlib.util
import os
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np

HERE = Path(__file__).parent


def shared_folder() -> Path | None:
    """The folder with real photos, weights and all golden files, or None where it is absent."""
    candidates = [os.environ.get("RTMDET_SHARED"), HERE.parents[2] / "shared"]
    return next((Path(c) for c in candidates if c and (Path(c) / "golden").is_dir()), None)


def load(name: str) -> dict[str, np.ndarray]:
    """All arrays of one golden file."""
    with np.load(HERE / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def compare_module() -> ModuleType:
    """golden/compare.py: the regeneration rules of weights and images."""
    spec = importlib.util.spec_from_file_location("golden_compare", HERE / "compare.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crc32(array: np.ndarray) -> int:
    """Checksum of an array's bytes, row by row."""
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
