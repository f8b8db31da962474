"""Finds image files by the names that annotation files have for them.

Tools write paths of other machines, web addresses, another letter case or Unicode form. A name is taken as it is
written where that is a file in the images' folder; otherwise the file that shares most of its last parts is, where
there is only one such file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.files import comparable, files_below
from rtmdet.data.formats.faults import raise_or_collect
from rtmdet.data.images import IMAGE_SUFFIXES


class ImageNames:
    """The image files in and below a folder, to be found by name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find(self, name: str) -> list[str]:
        """The file that is meant, relative to the folder; several where that is ambiguous, none where none fits."""
        if self.has(name):
            return [name]
        for spelling in _spellings(name):
            if files := self._nearest(spelling):
                return files
        return []

    def has(self, name: str) -> bool:
        """Whether the name, as it is written, is a file inside the folder."""
        return not _leaves_folder(name) and os.path.isfile(os.path.join(self._folder, name))

    @cached_property
    def _by_last_part(self) -> dict[str, list[tuple[str, str]]]:
        """The files, each with its comparable form, by the comparable form of their last part."""
        files: dict[str, list[tuple[str, str]]] = {}
        for path in files_below(self._folder, IMAGE_SUFFIXES):
            name = path.relative_to(self._folder).as_posix()
            files.setdefault(comparable(path.name), []).append((name, comparable(name)))
        return files

    @cached_property
    def _folders(self) -> set[str]:
        """The comparable names of the folders that hold files."""
        everything = (form for files in self._by_last_part.values() for _, form in files)
        return {form.split("/")[-2] for form in everything if "/" in form}

    def _nearest(self, name: str) -> list[str]:
        """The files of this last part that have most of the other last parts, too.

        Where the name states a folder that there is, files of other folders are not meant: theirs is missing.
        """
        form = comparable(name)
        *above, last = form.split("/")
        least = 2 if above and above[-1] in self._folders else 1
        ranks = {
            file: (shared, _common_parts(file, name))
            for file, other in self._by_last_part.get(last, [])
            if (shared := _common_parts(other, form)) >= least
        }
        best = max(ranks.values(), default=None)
        return [file for file, rank in ranks.items() if rank == best]


def locate_images(source: Path, folder: Path, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The files that an annotation file `source` names, by these names, relative to `folder`; remarks, a line each.

    Raises InputError where the folder or a file is missing, or a name fits several files, or two names one file.
    Where faults are collected, missing and ambiguous names have no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images; check the path")
    index = ImageNames(folder)
    found = {name: index.find(name) for name in dict.fromkeys(names)}
    if missing := [name for name, files in found.items() if not files]:
        few = shortened(map(repr, missing), 3)
        text = f"{len(missing)} of {len(names)} image files are not in {folder} ({few})"
        raise_or_collect(f"{source}: {text}; check the folder or take the images out of the file", "missing-image")
    for name, files in found.items():
        if len(files) > 1:
            text = f"the image {name!r} could be any of {shortened(map(repr, files), 3)} in {folder}"
            raise_or_collect(f"{source}: {text}; write the one that is meant", "ambiguous-image")
    chosen = {name: files[0] for name, files in found.items() if len(files) == 1}
    taken: dict[str, str] = {}
    for name, file in chosen.items():
        if (other := taken.setdefault(file, name)) != name:
            text = f"expected a file for each image, found only {file!r} in {folder} for both {other!r} and {name!r}"
            raise_or_collect(f"{source}: {text}; add the other one", "shared-image")
    return chosen, _remarks(source, folder, chosen)


def place_images(source: Path, file: CocoFile, folder: Path) -> list[str]:
    """Give the images of a COCO file, in place, the names of their files in `folder`; returns remarks, a line each.

    Raises InputError as `locate_images` does.
    """
    found, remarks = locate_images(source, folder, [image["file_name"] for image in file["images"]])
    for image in file["images"]:
        image["file_name"] = found.get(image["file_name"], image["file_name"])
    return remarks


def _remarks(source: Path, folder: Path, found: dict[str, str]) -> list[str]:
    """A line where files were found under other names than the annotation file has for them."""
    others = {name: file for name, file in found.items() if name != file}
    if not others:
        return []
    name, file = next(iter(others.items()))
    return [
        f"{source}: {len(others)} of {len(found)} image names are not written as their files in {folder} are, "
        f"such as {name!r} for {file!r}: matched by their last parts"
    ]


def _leaves_folder(name: str) -> bool:
    """Whether a file name could lead out of the images' folder."""
    path = PureWindowsPath(name)  # knows both separators
    return bool(path.anchor) or ".." in path.parts


def _spellings(name: str) -> Iterator[str]:
    """What a name may mean: itself, the path of an address, or what the address asks for, as Label Studio's ?d=."""
    written = name.replace("\\", "/")
    yield written
    yield unquote(written)
    try:
        address = urlsplit(written)
    except ValueError:  # such as "http://[x.jpg"
        return
    yield unquote(address.path)
    yield from parse_qs(address.query).get("d", [])


def _common_parts(first: str, second: str) -> int:
    """How many last parts two paths share."""
    pairs = zip(reversed(first.split("/")), reversed(second.split("/")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
