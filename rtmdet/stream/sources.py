"""From the words of a command to sources: image files, folders, glob patterns, addresses, videos and cameras."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.pictures import ValueRange
from rtmdet.data.files import files_below
from rtmdet.data.images import IMAGE_SUFFIXES, read_image
from rtmdet.stream.frames import Frame, Source


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file; `folder` is its subfolder below a folder that was searched."""

    path: Path
    folder: Path = Path()
    value_range: ValueRange | None = None  # of 16-bit images, see read_image
    live: bool = False
    moving: bool = False

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def place(self) -> Path:
        """Its name, in its subfolder."""
        return self.folder / self.path.name

    def count(self) -> int:
        """One picture."""
        return 1

    def frames(self) -> Iterator[Frame]:
        """The image."""
        yield Frame(self, partial(read_image, self.path, self.value_range))


@dataclass(frozen=True, slots=True)
class Found:
    """The sources, and a line about each thing that was left out."""

    sources: list[Source] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def find_sources(
    words: Sequence[str],
    *,
    recursive: bool = False,
    skip: Path | None = None,
    value_range: ValueRange | None = None,
) -> Found:
    """The sources that the words name, each file once, sorted within each word.

    Files below `skip`, the output folder, are left out of a folder unless it is that folder itself. Raises InputError
    for a word that names nothing.
    """
    found = Found()
    seen: set[Path] = set()
    for word in words:
        files = _files(Path(os.path.expanduser(word)), recursive, skip, found.remarks)
        real = {file: file.resolve() for file in files}
        new = {file: folder for file, folder in files.items() if real[file] not in seen}
        found.sources.extend(ImageFile(file, folder, value_range) for file, folder in new.items())
        seen.update(real.values())
    return found


def _files(path: Path, recursive: bool, skip: Path | None, remarks: list[str]) -> dict[Path, Path]:
    """The files of a path, folder or glob pattern, with their subfolders."""
    if path.is_dir():
        files = {file: file.parent.relative_to(path) for file in _images_in(path, recursive, skip, remarks)}
    elif path.exists():
        files = {path: Path()}
    else:
        globbed = map(Path, glob.glob(str(path), recursive=True))
        files = {file: Path() for file in sorted(filter(_is_image, globbed))}
    if not files:
        raise InputError(f"{path}: expected an image, a folder with images or a glob pattern, found no image")
    return files


def _images_in(folder: Path, recursive: bool, skip: Path | None, remarks: list[str]) -> list[Path]:
    """The images of a folder; adds a remark about subfolders that are not searched."""
    below = [*filter(_is_image, files_below(folder, IMAGE_SUFFIXES, levels=None if recursive else 2))]
    if skip is not None and folder.resolve() != (out := skip.resolve()):
        below = [path for path in below if out not in path.resolve().parents]
    here = below if recursive else [path for path in below if path.parent == folder]
    if count := len({path.parent for path in below} - {path.parent for path in here} - {folder}):
        what = "1 subfolder with images was" if count == 1 else f"{count} subfolders with images were"
        text = f"{what} not searched: add --recursive to include {'it' if count == 1 else 'them'}"
        if not here:
            raise InputError(f"{folder}: no image in the folder itself: {text}")
        remarks.append(text)
    return here


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES
