"""A file is written completely or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rtmdet.core.whole_file import write_whole


def test_the_file_before_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, b"whole")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"another")
    assert path.read_bytes() == b"whole"
    assert os.listdir(path.parent) == ["a.json"]


def test_links_and_devices_stay(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"1")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_bytes()) == (True, b"1")
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"2")
    assert (pipe.is_fifo(), os.read(reader, 9)) == (True, b"2")
    os.close(reader)
