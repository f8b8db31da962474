"""Memory that processes share: sent when they start, or later."""

import multiprocessing
import os
from pathlib import Path

import pytest

from rtmdet.core.memory_file import MemoryFile

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="only Linux has files in memory")


def fill(memory: MemoryFile) -> None:
    memory.bytes[1:] = 7


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_share_it(method: str) -> None:
    memory = MemoryFile(4)
    process = multiprocessing.get_context(method).Process(target=fill, args=(memory,))
    process.start()
    process.join()
    assert memory.bytes.tolist() == [0, 7, 7, 7]


def test_it_leaves_no_open_file() -> None:
    before = os.listdir("/proc/self/fd")
    memory = MemoryFile(4)
    assert Path(f"/proc/self/fd/{memory._file}").readlink().name == "memfd:rtmdet (deleted)"
    del memory
    assert os.listdir("/proc/self/fd") == before


def test_a_system_without_them_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create")
    with pytest.raises(OSError, match="no files in memory"):
        MemoryFile(4)
