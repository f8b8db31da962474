"""Paths, addresses, and names that every file system takes."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from rtmdet.core.errors import InputError
from rtmdet.core.paths import common_folder, is_address, storable_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://host/photo.jpg", True),
        ("rtsp://10.0.0.7:554/stream", True),
        ("C://photos/photo.jpg", False),  # a drive of Windows
        ("photos/https://photo.jpg", False),
        ("photo.jpg", False),
    ],
)
def test_addresses(text: str, expected: bool) -> None:
    assert is_address(text) == expected


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("red cell", "red cell"),
        ("a/b", "a_b"),
        (r"..\..\x.jpg", "_.._x.jpg"),
        (r"C:\users\x.jpg", "C__users_x.jpg"),
        ("photo:1?.jpg", "photo_1_.jpg"),
        ("NUL", "_NUL"),
        ("com1.jpg", "_com1.jpg"),
        ("console", "console"),
        ("COM¹", "_COM¹"),
        ("lpt³.x", "_lpt³.x"),
        ("CONIN$", "_CONIN$"),
        ("conout$.txt", "_conout$.txt"),
        ("LPT1 .x", "_LPT1 .x"),
        ("con air.x", "con air.x"),
        (" . ", "_"),
        ("球", "球"),
        ("球" * 40, "球" * 40),
        ("球" * 5000 + ".jpg", "球" * 26 + "_72dbb066_" + "球" * 8 + ".jpg"),  # no part of a letter
        ("\ud800", "_"),  # half a letter
    ],
)
def test_storable_names(text: str, name: str) -> None:
    assert storable_name(text) == name


def test_long_names_stay_different() -> None:
    one, other = (storable_name("c" * 95 + digit + "d" * 40) for digit in "12")
    assert one != other
    assert len(one) == 120


def test_several_drives_have_no_common_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert common_folder([Path("/a/b"), Path("/a/c/d")]) == Path("/a")

    def refuse(paths: Sequence[Path]) -> str:
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(os.path, "commonpath", refuse)
    with pytest.raises(InputError, match="D:/a and others: expected images on one drive, found several"):
        common_folder([Path("D:/a"), Path("E:/b")])
