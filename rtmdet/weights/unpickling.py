"""Reading files of torch.save without running any code in them.

A pickle is a program: it can call any function that it names. torch.load(weights_only=True) calls none except those
that build containers and tensors. Files of OpenMMLab's training runs also name logging objects and numpy arrays: they
are read with a dead object in the place of each, so nothing that a file names is imported. A deque is read as a list,
a defaultdict as a dict.
"""

import io
import pickletools
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import torch
from torch.serialization import safe_globals

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.nesting import check_unfolding
from rtmdet.core.paths import refuse_python
from rtmdet.core.wording import one_line

# Torch's warnings about files that we read or report. Set once for the whole process: warnings.catch_warnings around
# each load would restore the filters of another thread.
warnings.filterwarnings("ignore", "Detected pickle protocol|'torch.load' received|Validating sparse", UserWarning)

PICKLES = 5  # of a file in the format before PyTorch 1.6: magic number, version, system, content, storages
_DEAD = re.compile(
    r"(mmengine|mmcv|mmdet|mmpose|mmyolo|mmpretrain|mmcls|mmrazor)\..+"
    r"|numpy(\._?core\.multiarray)?\.(ndarray|dtype|scalar|_reconstruct)"
    r"|builtins\.(getattr|bytes)"  # of a HistoryBuffer, which lists its own methods; no bytes
    r"|builtins\.(list|dict|set|tuple|int|float|str|bool)"  # what a defaultdict would make
)
_BUILT: dict[str, Callable[..., object]] = {
    "builtins.frozenset": frozenset,
    "builtins.slice": slice,
    "collections.deque": lambda *_: [],  # torch fills lists and dicts only
    "collections.defaultdict": lambda *_: {},
}
_REFUSED = re.compile(r"GLOBAL (\S+)")  # in the text of torch's errors
_loading = threading.Lock()  # what torch.load may build is a setting of the whole process


class DeadObject:
    """Placeholder for an object that is not built: accepts arguments and a state, and keeps nothing."""

    __slots__ = ()

    def __new__(cls, *_: object, **__: object) -> "DeadObject":
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


def read_pickled(path: Path) -> object:
    """The content of a file of torch.save, tensors on the CPU.

    Raises InputError if it is not such a file, is damaged, or names functions that could run code.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise InputError(f"{path}: expected a checkpoint file, found {found}: check the path")
    refuse_python(path, "a checkpoint")
    if path.suffix.lower() == ".json":
        raise InputError(
            f"{path}: expected a checkpoint, found a JSON file; two files of detections (COCO results), or one and a "
            f"run, are measured by `rtmdet compare {path} OTHER --annotations FILE`, in Python "
            f'rtmdet.compare("{path}", OTHER, annotations=FILE)'
        )
    try:
        content = _load(path)
        check_unfolding(content, path)
        return content
    except InputError:
        raise
    except Exception as error:
        blame_memory(error)
        if path.suffix == ".bin" and path.with_suffix(".xml").exists():
            raise InputError(f"{path} belongs to {path.with_suffix('.xml').name}: give that") from error
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one ({one_line(error)}): expected a file of torch.save or a "
            "*.safetensors file; fetch it again"
        ) from error


def _load(path: Path) -> object:
    """torch.load with further containers, and dead objects for what it does not build."""
    check_archive(path)
    names = named_objects(path)
    if "builtins.bytearray" in names:  # torch.load would make one of any length
        raise _refusal(path, "builtins.bytearray")
    dead = {name: DeadObject for name in names if _DEAD.fullmatch(name)}
    with _loading:
        own = _allowed_by_user()
        with safe_globals([(maker, name) for name, maker in (_BUILT | dead).items() if name not in own]):
            return _load_checked(path)


def _allowed_by_user() -> set[str]:
    """The names of what the program that uses this package lets torch.load build."""
    allowed = torch.serialization.get_safe_globals()
    return {kind[1] if isinstance(kind, tuple) else f"{kind.__module__}.{kind.__qualname__}" for kind in allowed}


def _load_checked(path: Path) -> object:
    """torch.load, with our words for what it refuses."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if refused := _REFUSED.search(str(error)):
            raise _refusal(path, refused[1]) from error
        if "Unsupported operand" in str(error):
            raise InputError(
                f"{path}: expected a file with pickle protocol 2, as torch.save writes it, found another one: "
                "load it where you trust it, and save its state_dict again"
            ) from error
        if "weights_only" in str(error):  # advice that would run the code in a file
            raise InputError(
                f"{path}: holds more than tensors, containers and numbers, which is not read: save the weights "
                "alone, as a state_dict"
            ) from error
        raise


def check_archive(path: Path) -> None:
    """Raise InputError for a zip archive of other things, of a wrong checksum, or of more than its own length."""
    if not _is_zip(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        names = {entry.filename.lower() for entry in entries}  # as torch compares them
        if not any(name.endswith("/data.pkl") for name in names):
            raise InputError(f"{path}: expected a checkpoint, found a zip archive without data.pkl")
        if len(names) < len(entries) or sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise InputError(
                f"{path}: expected an archive as torch.save writes it, found compressed or repeated entries: load it "
                "where you trust it, and save its state_dict again"
            )
        damaged = archive.testzip()
    if damaged is not None:
        raise InputError(
            f"{path}: not a checkpoint, or a damaged one (wrong checksum of {damaged}): fetch or save it again"
        )


def _is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, as torch decides it."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def named_objects(path: Path) -> set[str]:
    """The names of all classes and functions that the pickles of a file use, such as numpy.ndarray."""
    if not _is_zip(path):
        with path.open("rb") as file:
            return {name for _ in range(PICKLES) if file.peek(1) for name in _names(file)}
    with path.open("rb") as file:  # by torch's reader: another one may find another pickle in a forged archive
        return set(_names(io.BytesIO(torch._C.PyTorchFileReader(file).get_record("data.pkl"))))


def _names(file: IO[bytes]) -> Iterator[str]:
    """The names in a pickle that begins at the position of a file."""
    for code, argument, _ in pickletools.genops(file):
        if code.name == "GLOBAL":  # "module name"; Python 2's name of builtins stands in files of its time's protocol
            yield str(argument).replace("__builtin__ ", "builtins ").replace(" ", ".")


def _refusal(path: Path, name: str) -> InputError:
    """The error for a name that is not on torch's list or ours."""
    expected = "expected tensors, containers and numbers; save the weights alone, as a state_dict"
    if name == "torch.storage._load_from_bytes":  # tensors that torch.save did not write
        expected += (
            "; if these are results (of mmdet's tools/test.py --out), give the *.bbox.json that CocoMetric writes "
            "with outfile_prefix"
        )
    return InputError(f"{path}: asks for {name}, which would run code: refused, the file was not loaded; {expected}")
