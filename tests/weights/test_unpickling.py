"""Files of torch.save: plain ones as torch.load reads them, OpenMMLab's objects dead, all else refused."""

import builtins
import copyreg
import functools
import importlib
import operator
import os
import pickle
import sys
import tracemalloc
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from rtmdet.core.errors import InputError
from rtmdet.weights.unpickling import DeadObject, read_pickled

LAYOUTS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


class Malicious:
    """Pickles as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


@pytest.fixture
def history_buffer(monkeypatch: pytest.MonkeyPatch) -> type:
    """A class under the name of mmengine's logging buffer, while the test writes its file.

    It pickles as the original does: arrays, and its own methods by getattr.
    """
    home = "mmengine.logging.history_buffer"

    class HistoryBuffer:
        def __init__(self) -> None:
            self.history = np.arange(5.0)
            self.last = np.float64(3.0)
            self.none = np.zeros(0)

        def mean(self) -> float:
            return float(self.history.mean())

        def __getstate__(self) -> dict[str, object]:
            return {**self.__dict__, "statistics_methods": {"mean": HistoryBuffer.mean}}

    for item, name in ((HistoryBuffer, "HistoryBuffer"), (HistoryBuffer.mean, "HistoryBuffer.mean")):
        item.__module__, item.__qualname__ = home, name
    for part in ("mmengine", "mmengine.logging", home):
        monkeypatch.setitem(sys.modules, part, ModuleType(part))
    monkeypatch.setattr(sys.modules[home], "HistoryBuffer", HistoryBuffer, raising=False)
    return HistoryBuffer


def write_zip(path: Path, program: bytes) -> Path:
    """A file in torch's layout whose pickle is `program`, byte for byte."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/version", "3\n")
    return path


def save_openmmlab(path: Path, buffer: type, *, zipped: bool) -> None:
    """A training checkpoint as mmengine leaves it."""
    content = {
        "meta": {"epoch": 3, "seed": np.int64(7), "dataset_meta": {"classes": ("balloon",)}},
        "state_dict": OrderedDict(weight=torch.arange(4.0)),
        "ema_state_dict": OrderedDict({"module.weight": torch.ones(4), "steps": torch.tensor(9)}),
        "message_hub": {
            "log_scalars": OrderedDict({"train/loss": buffer()}),
            "runtime_info": {"keep_ckpt_ids": [1, 2]},
        },
        "optimizer": {"state": {0: {"step": torch.tensor(5.0)}}, "param_groups": [{"betas": (0.9, 0.999)}]},
    }
    torch.save(content, path, _use_new_zipfile_serialization=zipped)


@LAYOUTS
def test_plain_files_are_read_as_torch_reads_them(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    content = {
        "types": [torch.ones(3, dtype=d) for d in (torch.float64, torch.float16, torch.bfloat16, torch.uint8)],
        "flags": torch.tensor([True, False]),
        "count": torch.tensor(5),
        "empty": torch.zeros(0, 3),
        "view": base[1:, ::2],
        "same storage": base.T,
        "parameter": torch.nn.Parameter(torch.full((2,), 3.0)),
        "plain": {"numbers": (1, 2.5, None, True), "names": ["a", "b"], "size": torch.Size([1, 2]), "set": {1, 2}},
        "bytes": b"\xff\x00",
        "dtype": torch.float16,
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    ours = read_pickled(tmp_path / "a.pth")
    theirs = torch.load(tmp_path / "a.pth", weights_only=False)
    assert isinstance(ours, dict)
    assert list(ours) == list(theirs)
    for name in ("plain", "bytes", "dtype"):
        assert ours[name] == theirs[name] == content[name]
    pairs = [(ours[name], theirs[name]) for name in ("flags", "count", "empty", "view", "same storage", "parameter")]
    for found, expected in [*pairs, *zip(ours["types"], theirs["types"], strict=True)]:
        assert found.dtype == expected.dtype
        assert torch.equal(found, expected)


@LAYOUTS
def test_openmmlab_objects_are_dead_and_never_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, history_buffer: type, zipped: bool
) -> None:
    path = tmp_path / "epoch_3.pth"
    save_openmmlab(path, history_buffer, zipped=zipped)
    stored = zipfile.ZipFile(path).read("epoch_3/data.pkl") if zipped else path.read_bytes()
    assert b"getattr" in stored  # as in the real files; else this test would be too easy
    for name in [name for name in sys.modules if name.split(".")[0] == "mmengine"]:
        monkeypatch.delitem(sys.modules, name)
    content = read_pickled(path)
    assert isinstance(content, dict)
    assert torch.equal(content["state_dict"]["weight"], torch.arange(4.0))
    assert content["meta"]["dataset_meta"]["classes"] == ("balloon",)
    assert content["optimizer"]["param_groups"][0]["betas"] == (0.9, 0.999)
    assert content["message_hub"]["runtime_info"] == {"keep_ckpt_ids": [1, 2]}
    assert type(content["message_hub"]["log_scalars"]["train/loss"]) is DeadObject
    assert type(content["meta"]["seed"]) is DeadObject  # numpy's objects are not built either
    assert not any(name.split(".")[0] == "mmengine" for name in sys.modules)


ATTACKS = {
    "posix.system": lambda sentinel: Malicious(os.system, f"touch {sentinel}"),
    "builtins.eval": lambda sentinel: Malicious(eval, f"open({str(sentinel)!r}, 'w')"),
    "builtins.exec": lambda sentinel: Malicious(exec, f"open({str(sentinel)!r}, 'w')"),
    f"{open.__module__}.open": lambda sentinel: Malicious(open, str(sentinel), "w"),
    "builtins.__import__": lambda sentinel: Malicious(builtins.__import__, "os"),
    "importlib.import_module": lambda sentinel: Malicious(importlib.import_module, "os"),
    "torch.hub.load": lambda sentinel: Malicious(torch.hub.load, str(sentinel), "x"),
    "torch.serialization.load": lambda sentinel: Malicious(torch.load, str(sentinel)),
    "functools.partial": lambda sentinel: Malicious(functools.partial, print),
    "operator.attrgetter": lambda sentinel: Malicious(operator.attrgetter, "__class__"),
    "copy_reg._reconstructor": lambda sentinel: Malicious(copyreg._reconstructor, dict, dict, {}),
    "numpy.fromfile": lambda sentinel: Malicious(np.fromfile, str(sentinel)),
}


@LAYOUTS
@pytest.mark.parametrize("name", ATTACKS)
def test_calls_are_refused_by_name(tmp_path: Path, name: str, zipped: bool) -> None:
    sentinel, path = tmp_path / "sentinel", tmp_path / "evil.pth"
    attack = ATTACKS[name](sentinel)
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": attack}, path, _use_new_zipfile_serialization=zipped)
    shown = name.removeprefix("builtins.").replace("copy_reg", "copyreg")  # as torch names it
    with pytest.raises(InputError, match=rf"evil\.pth: asks for {shown}, which would run code: refused") as caught:
        read_pickled(path)
    assert "\n" not in str(caught.value)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("collections", "OrderedDict.__init__.__globals__"),
        ("torch", "serialization.os.system"),
        ("numpy", "ndarray.__reduce__"),
        ("torch._utils", "_import_dotted_name"),
        ("torch.storage", "_load_from_bytes"),  # reads another pickle inside
        ("torch", "load"),
        ("builtins", "object"),
        ("sys", "modules"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_hand_written_names_are_refused(tmp_path: Path, module: str, name: str, protocol: int) -> None:
    program = b"\x80" + bytes([protocol]) + f"c{module}\n{name}\n.".encode()
    for path in (write_zip(tmp_path / "a.pth", program), tmp_path / "b.pth"):
        if path.name == "b.pth":
            path.write_bytes(program)
        shown = f"{module}.{name}".removeprefix("builtins.")
        with pytest.raises(InputError, match=f"asks for {shown}, which would run code: refused"):
            read_pickled(path)


@LAYOUTS
def test_containers_that_torch_does_not_build(tmp_path: Path, zipped: bool) -> None:
    content = {
        "deque": deque([1, 2], maxlen=4),
        "dict": defaultdict(list, {"a": [1]}),
        "set": frozenset({1, 2}),
        "slice": slice(1, 2),
    }
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_pickled(tmp_path / "a.pth")
    assert found == {**content, "deque": [1, 2]}
    assert (type(found["dict"]), type(found["set"])) == (dict, frozenset)


def test_attributes_of_a_class_are_dead(tmp_path: Path) -> None:
    torch.save({"a": Malicious(getattr, OrderedDict, "__init__")}, tmp_path / "a.pth")
    assert type(read_pickled(tmp_path / "a.pth")["a"]) is DeadObject


def test_torch_s_advice_to_run_the_code_is_not_given(tmp_path: Path) -> None:
    """Items of a dict of OpenMMLab's, which torch refuses to set."""
    with pytest.raises(InputError, match=r"a\.pth: holds more than tensors, containers and numbers, which") as caught:
        read_pickled(write_zip(tmp_path / "a.pth", b"\x80\x02cmmcv.utils.config\nConfigDict\n)\x81(K\x01K\x02u."))
    assert "weights_only" not in str(caught.value)


def test_what_one_file_may_build_another_may_not(tmp_path: Path) -> None:
    """The names that torch.load accepts are a setting of the whole process."""
    before = set(torch.serialization.get_safe_globals())
    read_pickled(write_zip(tmp_path / "a.pth", b"\x80\x02cmmengine.a\nf\n)R."))
    assert set(torch.serialization.get_safe_globals()) == before


def test_attributes_of_what_a_file_may_call_cannot_be_set(tmp_path: Path) -> None:
    for target in ("torch._utils\n_rebuild_tensor_v2", "collections\nOrderedDict", "mmengine.a\nB", "torch\nfloat32"):
        state = pickle.dumps((None, {"__defaults__": (1,), "find_class": 2}), protocol=2)[2:-1]
        path = write_zip(tmp_path / "a.pth", f"\x80\x02c{target}\n".encode("latin-1") + state + b"b.")
        with pytest.raises(InputError, match="holds more than tensors, containers and numbers"):
            read_pickled(path)


def test_dead_objects_swallow_arguments_and_states(tmp_path: Path) -> None:
    programs = {
        "call": b"cmmengine.a\nf\n(K\x01K\x02tR",
        "new": b"cmmengine.a\nC\n(K\x01t\x81",
        "state": b"cmmengine.a\nC\n)\x81(K\x01K\x02tb",
        "dotted": b"cmmengine.a\nB.C.d\n)R",
    }
    for program in programs.values():
        assert type(read_pickled(write_zip(tmp_path / "a.pth", b"\x80\x04" + program + b"."))) is DeadObject


def test_tensor_reaching_beyond_its_storage_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.arange(7.0)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    program = entries["a/data.pkl"]
    assert program.count(b"QK\x00K\x07") == 1  # offset 0, size (7,)
    entries["a/data.pkl"] = program.replace(b"QK\x00K\x07", b"QK\x00K\x09")
    with zipfile.ZipFile(tmp_path / "b.pth", "w") as archive:
        for name, value in entries.items():
            archive.writestr(name, value)
    with pytest.raises(InputError, match=r"b\.pth: not a checkpoint.*storage"):
        read_pickled(tmp_path / "b.pth")


@LAYOUTS
@pytest.mark.parametrize("share", [0.2, 0.6, 0.97])
def test_truncated_files_are_named(tmp_path: Path, zipped: bool, share: float) -> None:
    path = tmp_path / "cut.pth"
    torch.save({"a": torch.randn(500), "b": torch.randn(500)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match=r"cut\.pth: not a checkpoint, or a damaged one") as caught:
        read_pickled(path)
    assert "\n" not in str(caught.value)
    assert zipped or share < 0.5 or "more bytes" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello world\n", b'{"a": 1}', b"\x89PNG\r\n\x1a\n" + bytes(50), pickle.dumps({"a": 1}, protocol=2)],
)
def test_other_files_are_no_checkpoints(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.pth"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.pth: not a checkpoint") as caught:
        read_pickled(path)
    assert "\n" not in str(caught.value)


def test_protocols_that_torch_does_not_read_are_named(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth", pickle_protocol=4)
    with pytest.raises(InputError, match=r"a\.pth: expected a file with pickle protocol 2.*save its state_dict"):
        read_pickled(tmp_path / "a.pth")


def test_zip_folder_and_missing_file_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("a.txt", "x")
    with pytest.raises(InputError, match=r"photos\.zip: expected a checkpoint, found a zip archive"):
        read_pickled(tmp_path / "photos.zip")
    with pytest.raises(InputError, match="expected a checkpoint file, found a folder"):
        read_pickled(tmp_path)
    with pytest.raises(InputError, match=r"gone\.pth: expected a checkpoint file, found nothing"):
        read_pickled(tmp_path / "gone.pth")


def test_compiled_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pth"
    write_zip(path, b"\x80\x02c__torch__\nModel\n)\x81.")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    with pytest.raises(InputError, match=r"holds more than tensors|TorchScript"):  # where warnings are errors
        read_pickled(path)


@LAYOUTS
def test_a_file_cannot_ask_for_memory_that_it_does_not_fill(tmp_path: Path, zipped: bool) -> None:
    """Of 150 bytes, torch.load would make 2 GB."""
    path = tmp_path / "a.pth"
    tracemalloc.start()
    torch.save({"state_dict": Malicious(bytearray, 2**31 - 1)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"a\.pth: asks for builtins\.bytearray, which would .*refused"):
        read_pickled(path)
    torch.save({"a": Malicious(bytes, 2**31 - 1)}, path, _use_new_zipfile_serialization=zipped)
    assert type(read_pickled(path)["a"]) is DeadObject
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_an_archive_cannot_hold_more_than_its_file(tmp_path: Path) -> None:
    """4 MB of zeros in 5 kB; a bomb of a few MB would fill the memory."""
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as archive,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    with pytest.raises(InputError, match=r"b\.pth: expected an archive as torch\.save writes it, found compressed"):
        read_pickled(tmp_path / "b.pth")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["data.pkl", "DATA.PKL"])  # torch reads the first of either
def test_a_repeated_entry_is_refused(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/version", "3\n")
        archive.writestr(f"archive/{name}", b"\x80\x02c__builtin__\nbytearray\nM\xe8\x03\x85R.")
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    with pytest.raises(InputError, match=r"a\.pth: expected an archive .* compressed or repeated entries: load"):
        read_pickled(tmp_path / "a.pth")


def test_the_pickle_that_is_checked_is_the_one_that_torch_reads(tmp_path: Path) -> None:
    """Of two archives in one file, torch reads the first and Python's zipfile the second."""
    evil = b"\x80\x02cbuiltins\nbytearray\nM\xe8\x03\x85R."
    good = b"\x80\x02" + b"N0" * 12 + b"}."
    assert len(evil) == len(good)
    first, second = (write_zip(tmp_path / "a.pth", program).read_bytes() for program in (evil, good))
    (tmp_path / "b.pth").write_bytes(first[:-22] + second)  # without the end of the archive
    with zipfile.ZipFile(tmp_path / "b.pth") as archive:
        assert archive.read("archive/data.pkl") == good
    with pytest.raises(InputError, match=r"b\.pth: asks for builtins\.bytearray"):
        read_pickled(tmp_path / "b.pth")


def test_a_file_of_detections_is_for_compare(tmp_path: Path) -> None:
    (tmp_path / "preds.json").write_text("[]")
    with pytest.raises(InputError, match="expected a checkpoint, found a JSON file") as caught:
        read_pickled(tmp_path / "preds.json")
    assert f"`rtmdet compare {tmp_path / 'preds.json'} OTHER --annotations FILE`, in Python" in str(caught.value)
