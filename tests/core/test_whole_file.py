"""A file is written completely or not at all, and every fault of reading one is a line."""

import errno
import os
import re
import sys
from pathlib import Path

import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.whole_file import read_text, read_whole, refused, remove_file, replace_file, write_whole


def test_the_file_before_stays_until_the_new_one_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "a.json"
    write_whole(path, b"whole")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match=r"a\.json: the file cannot be written \(No space left on device\)"):
        write_whole(path, b"another")
    assert path.read_bytes() == b"whole"
    assert os.listdir(path.parent) == ["a.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_what_has_no_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").symlink_to("/dev/zero")
    with pytest.raises(
        InputError, match=r"a\.json: the file cannot be read \(it is a device or a pipe\); check the path"
    ):
        read_whole(tmp_path / "a.json")
    os.mkfifo(tmp_path / "b.json")
    with pytest.raises(InputError, match=r"b\.json: the label file cannot be read \(it is a device or a pipe\)"):
        read_whole(tmp_path / "b.json", "label file")


def test_a_full_output_is_one_line() -> None:
    """As of print into a full file, which the error does not name."""
    assert str(refused(OSError(28, "No space left on device"))).startswith("the output: cannot be written (No space")
    with pytest.raises(OSError, match="odd"):
        refused(OSError(5, "odd"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_of_usual_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a.txt").write_text("Größe 5", encoding=encoding)
    assert read_text(tmp_path / "a.txt") == "Größe 5"
    (tmp_path / "a.txt").write_text("Größe 5", encoding="latin-1")
    with pytest.raises(
        InputError, match=r"a\.txt: expected a list in UTF-8, found another encoding: save it as UTF-8"
    ):
        read_text(tmp_path / "a.txt", "list")


def test_links_and_devices_stay(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_whole(tmp_path / "link", b"1")
    assert ((tmp_path / "link").is_symlink(), (tmp_path / "file").read_bytes()) == (True, b"1")
    os.mkfifo(pipe := tmp_path / "pipe")
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_whole(pipe, b"2")
    assert (pipe.is_fifo(), os.read(reader, 9)) == (True, b"2")
    os.close(reader)


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    path = tmp_path / ("\u76f8" * 85)  # 255 bytes
    write_whole(path, b"1")
    assert read_whole(path) == b"1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none", "none: no such picture; check the path"),
        ("", ": expected a file, found a folder; name the picture in it"),
        ("a\0b", "the picture cannot be read \\(.*embedded null"),
        ("x" * 5000, "xxx[.]{3}: the picture cannot be read \\(File name too long\\)"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_whole(tmp_path / name, "picture")
    assert len(str(caught.value)) < 500


def test_a_file_that_is_in_use_on_windows_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual, refusals = os.replace, [PermissionError(), PermissionError()]

    def refuse(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        usual(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    (tmp_path / "a").write_text("new")
    with pytest.raises(PermissionError):  # elsewhere it is not allowed to
        replace_file(tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr(sys, "platform", "win32")
    replace_file(tmp_path / "a", tmp_path / "b")
    assert ((tmp_path / "b").read_text(), refusals) == ("new", [])


def test_a_file_that_cannot_be_removed_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows refuses that while another program has it open; one line says so, once."""
    (tmp_path / "a").write_text("held")
    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", lambda path: os.close(-1))
        remove_file(tmp_path / "a")
        remove_file(tmp_path / "a")
    assert capsys.readouterr().out == (
        f"warning: {tmp_path / 'a'} cannot be removed (Bad file descriptor): remove it by hand\n"
    )
    remove_file(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
        OSError("Matplotlib requires access to a writable cache directory, but"),
        OSError(errno.EROFS, "Read-only file system"),
    ],
)
def test_without_a_folder_for_temporary_files_there_is_one_line(error: OSError) -> None:
    assert re.match(r"temporary files cannot be written \(.*\): set TMPDIR to a folder that ", str(refused(error)))
