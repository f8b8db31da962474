"""Reading files of torch.save without running any code in them.

A pickle is a program: it can call any function that it names. torch.load(weights_only=True) reads plain files;
those of OpenMMLab's training runs, which hold logging objects besides the tensors, are read by the restricted
reader below. It builds containers, numbers and tensors, puts a dead object in place of names from OpenMMLab's
packages and of numpy arrays, and refuses any other name. It never imports what a file names.
"""

import pickle
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, BinaryIO

import torch
from torch import Tensor

from rtmdet.core.errors import InputError
from rtmdet.core.wording import one_line

# Torch's warnings about files that we read or report. Set once for the whole process: warnings.catch_warnings around
# each load would restore the filters of another thread.
warnings.filterwarnings("ignore", "Detected pickle protocol|'torch.load' received", UserWarning)

LEGACY_MAGIC = (
    0x1950A86A20F9469CFC6C  # first number of files in the format before PyTorch 1.6, which OpenMMLab still uses
)

# Only types implemented in C: a pickle can set attributes, which fails on these.
_BUILTIN_TYPES = (bool, int, float, complex, str, list, tuple, dict, set, frozenset, slice)
_TYPES: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("collections", "deque"): deque,
    ("torch", "Size"): torch.Size,
    **{("builtins", kind.__name__): kind for kind in _BUILTIN_TYPES},
    **{("torch", name): value for name, value in vars(torch).items() if isinstance(value, torch.dtype)},
}
_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
# Functions that a file may call, and our method that is called instead.
_FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor"): "rebuild_tensor",
    ("torch._utils", "_rebuild_tensor_v2"): "rebuild_tensor",
    ("torch._utils", "_rebuild_parameter"): "rebuild_parameter",
    ("_codecs", "encode"): "encode",
    ("builtins", "getattr"): "dead_attribute",  # HistoryBuffer lists its own methods
    ("builtins", "bytes"): "bytes_of",
    ("builtins", "bytearray"): "bytearray_of",
}
_DEAD_PACKAGES = ("mmengine", "mmcv", "mmdet", "mmpose", "mmyolo", "mmpretrain", "mmcls", "mmrazor")
_DEAD_NUMPY = {
    (module, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray")
    for name in ("ndarray", "dtype", "scalar", "_reconstruct")
}

_BYTEARRAY = b"bytearray"

LoadStorage = Callable[[torch.dtype, str, int], Tensor]  # dtype, key, length -> flat tensor


class DeadObject:
    """Placeholder for an object that is not built: accepts everything a pickle does and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_: object, **__: object) -> "DeadObject":
        return super().__new__(cls)

    def __call__(self, *_: object) -> "DeadObject":
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Discard an item of a list."""

    def add(self, item: object) -> None:
        """Discard an item of a set."""


def read_pickled(path: Path) -> object:
    """The content of a file of torch.save, tensors on the CPU.

    Raises InputError if it is not such a file, is damaged, or names functions that could run code.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"{path}: expected a checkpoint file, found {found}: check the path")
    try:
        check_sums(path)
        if _may_allocate(path):
            return read_restricted(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception:  # plain files are read above; the restricted reader reports what is wrong with others
        return read_restricted(path)


def check_sums(path: Path) -> None:
    """Raise InputError for a zip archive with a wrong checksum, which torch.load does not notice."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            damaged = archive.testzip() if stored else None  # torch.save compresses nothing
        if damaged is not None:
            raise InputError(
                f"{path}: not a checkpoint, or a damaged one (wrong checksum of {damaged}): fetch or save it again"
            )


def _may_allocate(path: Path) -> bool:
    """Whether a file names bytearray: torch.load would allocate one of any size."""
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            return _names_bytearray(file)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".pkl"):
                with archive.open(name) as entry:
                    if _names_bytearray(entry):
                        return True
    return False


def _names_bytearray(file: IO[bytes]) -> bool:
    """Whether the word is in a file, which is read in pieces."""
    end = b""
    while piece := file.read(1 << 20):
        if _BYTEARRAY in end + piece:
            return True
        end = piece[-len(_BYTEARRAY) :]
    return False


def read_restricted(path: Path) -> object:
    """Like read_pickled, by the restricted reader only."""
    try:
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_legacy(path)
    except InputError:
        raise
    except Exception as error:
        if path.suffix == ".bin" and path.with_suffix(".xml").exists():
            raise InputError(f"{path} belongs to {path.with_suffix('.xml').name}: give that") from error
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one ({one_line(error)}): expected a file of torch.save or a "
            "*.safetensors file; fetch it again"
        ) from error


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles containers, numbers and tensors, whose values `load_storage` supplies; refuses all other names."""

    def __init__(self, file: BinaryIO, path: Path, load_storage: LoadStorage | None = None) -> None:
        super().__init__(file, encoding="utf-8")
        self.path = path
        self.load_storage = load_storage

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The replacement of `module_name.global_name`: looked up in tables, never imported."""
        module = "builtins" if module_name == "__builtin__" else module_name
        key = (module, global_name)
        if key in _TYPES:
            return _TYPES[key]
        if key in _FUNCTIONS:
            return getattr(self, _FUNCTIONS[key])  # a bound method: its attributes cannot be set
        if module in ("torch", "torch.storage") and global_name in _STORAGES:
            return _STORAGES[global_name]
        if key in _DEAD_NUMPY or module.split(".")[0] in _DEAD_PACKAGES:
            return DeadObject
        raise self.refusal(f"{module}.{global_name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """The flat tensor behind a tensor: ('storage', type, key, device, length, and None in legacy files)."""
        kind, dtype, key, _, length, *view = pid
        if kind != "storage" or self.load_storage is None or any(part is not None for part in view):
            raise pickle.UnpicklingError(f"unknown reference of kind {kind!r}")
        return self.load_storage(dtype, str(key), int(length))

    def rebuild_tensor(self, flat: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
        """A tensor of `size` over the values `flat`; fails if it would reach beyond them."""
        return torch.as_strided(flat, size, stride, offset)

    def rebuild_parameter(self, data: Tensor, *_: object) -> Tensor:
        """A parameter's plain tensor."""
        return data

    def encode(self, text: str, encoding: str) -> bytes:
        """Bytes as protocol 2 writes them: text in latin-1. Other codecs can run code."""
        if encoding not in ("latin1", "latin-1"):
            raise self.refusal(f"_codecs.encode with {encoding!r}")
        return str.encode(text, "latin-1")

    def bytes_of(self, *content: Any) -> bytes:
        """Bytes of the given content; not of a number, which would allocate that many zeros."""
        if not all(isinstance(part, str | bytes | bytearray | list | tuple) for part in content[:1]):
            raise pickle.UnpicklingError(f"asks for {content[0]} bytes that it does not contain")
        return bytes(*content)

    def bytearray_of(self, *content: Any) -> bytearray:
        """The same as a bytearray."""
        return bytearray(self.bytes_of(*content))

    def dead_attribute(self, owner: object, name: str) -> DeadObject:
        """An attribute of a dead object is a dead object; of anything else it is refused."""
        if owner is not DeadObject and type(owner) is not DeadObject:
            raise self.refusal(f"builtins.getattr with {name!r}")
        return DeadObject()

    def refusal(self, name: str) -> InputError:
        """The error for a name that is not on the list."""
        return InputError(
            f"{self.path}: asks for {name}, which would run code: refused, the file was not loaded; "
            "expected tensors, containers and numbers; save the weights alone, as a state_dict"
        )


def _read_zip(path: Path) -> object:
    """Since PyTorch 1.6: a zip archive with one pickle and one uncompressed entry per storage."""
    with zipfile.ZipFile(path) as archive:
        pickled = next((name for name in archive.namelist() if name.endswith("/data.pkl")), None)
        if pickled is None:
            raise InputError(f"{path}: expected a checkpoint, found a zip archive without data.pkl")
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise InputError(f"{path}: written on a big-endian machine: convert it there to safetensors")
        storages: dict[str, Tensor] = {}

        def load_storage(dtype: torch.dtype, key: str, length: int) -> Tensor:
            entry = archive.getinfo(f"{folder}data/{key}")
            if entry.file_size != length * dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {key} has {entry.file_size} bytes, not {length} values")
            if key not in storages:
                storages[key] = _flat_tensor(bytearray(archive.read(entry)), dtype)
            return storages[key]

        with archive.open(pickled) as file:
            return RestrictedUnpickler(file, path, load_storage).load()  # type: ignore[arg-type]


def _read_legacy(path: Path) -> object:
    """Before PyTorch 1.6: magic number, version, system, pickle, list of keys, then the storages' bytes."""
    size = path.stat().st_size
    storages: dict[str, Tensor] = {}

    def load_storage(dtype: torch.dtype, key: str, length: int) -> Tensor:
        if not 0 <= length * dtype.itemsize <= size:
            raise pickle.UnpicklingError(f"storage {key} of {length} values is larger than the file")
        if key not in storages:
            storages[key] = torch.zeros(length, dtype=dtype)
        return storages[key]

    with path.open("rb") as file:
        magic, _version, _system = (RestrictedUnpickler(file, path).load() for _ in range(3))
        if magic != LEGACY_MAGIC:
            raise pickle.UnpicklingError("a pickle, but not one of torch.save")
        content = RestrictedUnpickler(file, path, load_storage).load()
        for key in RestrictedUnpickler(file, path).load():
            _fill(storages[str(key)], file)
    return content


def _fill(storage: Tensor, file: BinaryIO) -> None:
    """Read a legacy storage: the number of its values as 8 bytes, then the values."""
    if int.from_bytes(file.read(8), "little") != len(storage):
        raise pickle.UnpicklingError("a storage's length is not the one that its tensors state")
    content = bytearray(file.read(storage.nbytes))
    if len(content) != storage.nbytes:
        raise pickle.UnpicklingError(f"it is {storage.nbytes - len(content)} bytes too short")
    storage.copy_(_flat_tensor(content, storage.dtype))


def _flat_tensor(content: bytearray, dtype: torch.dtype) -> Tensor:
    """The values in `content`, (length,); the memory is shared, not copied."""
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
