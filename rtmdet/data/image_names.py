"""Finds image files by the names in annotation files.

A name is relative to the image folder, or that of a file in it, absolute or relative to the annotation file. Tools
also write paths of other machines, URLs, another letter case or Unicode form. If a name is no such file, it matches
the file with which it shares the most last parts of the path, if there is only one; if there is none, suffixes are
ignored, as where photos were converted to JPEG later.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from urllib.parse import parse_qs, unquote, urlsplit

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below
from rtmdet.core.paths import comparable
from rtmdet.core.wording import shortened
from rtmdet.data.formats.faults import raise_or_collect
from rtmdet.images.reading import HEIC_SUFFIXES, IMAGE_SUFFIXES


class ImageNames:
    """Finds the image files in and below a folder by name; `source` is the annotation file with the names."""

    def __init__(self, folder: Path, source: Path | None = None) -> None:
        self._folder, self._source = folder, source

    def find(self, name: str) -> list[str]:
        """The matching files, relative to the folder: one, several if ambiguous, none if nothing matches."""
        spellings = [*_spellings(name)]
        if not name.lower().endswith(HEIC_SUFFIXES):  # which its JPEG is taken for, if there is one
            if self.has(name):
                return [name]
            if self._source and (file := named_file(self._source, name)):
                real = Path(os.path.realpath(self._folder))
                if file.is_relative_to(real):
                    return [file.relative_to(real).as_posix()]
            if files := next(filter(None, map(self._nearest, spellings)), None):
                return files
        return next(filter(None, map(self._beside, spellings)), [])

    def path(self, name: str) -> Path | None:
        """The only matching file."""
        files = self.find(name)
        return self._folder / files[0] if len(files) == 1 else None

    def _beside(self, name: str) -> list[str]:
        """The files that differ from a name only in their suffix, if at all; HEIC photos if there are no others."""
        path, known = PurePosixPath(name), (*IMAGE_SUFFIXES, *HEIC_SUFFIXES)
        stem = str(path.with_suffix("")) if path.suffix.lower() in known else name
        for suffixes in (IMAGE_SUFFIXES, HEIC_SUFFIXES):
            if found := [file for suffix in suffixes for file in self._nearest(stem + suffix)]:
                return found
        return []

    def has(self, name: str) -> bool:
        """Whether the name as written is a file inside the folder."""
        return not _leaves_folder(name) and os.path.isfile(os.path.join(self._folder, name))

    @cached_property
    def _by_last_part(self) -> dict[str, list[tuple[str, str]]]:
        """(file, comparable form) by the comparable form of the last part."""
        files: dict[str, list[tuple[str, str]]] = {}
        for path in files_below(self._folder, (*IMAGE_SUFFIXES, *HEIC_SUFFIXES)):
            name = path.relative_to(self._folder).as_posix()
            files.setdefault(comparable(path.name), []).append((name, comparable(name)))
        return files

    @cached_property
    def _folders(self) -> set[str]:
        """The comparable names of the folders with files, without and with those above them: b, a/b."""
        files = (form for files in self._by_last_part.values() for _, form in files)
        folders = {tuple(form.split("/")[:-1]) for form in files}
        return {"/".join(parts[start:]) for parts in folders for start in range(len(parts))}

    def _nearest(self, name: str) -> list[str]:
        """The files with the same last part that share the most parts before it, too.

        If the folder in the name exists, with as many above it as exist, files in others do not match: the file is
        missing.
        """
        form = comparable(name)
        *above, last = form.split("/")
        least = 1 + sum("/".join(above[start:]) in self._folders for start in range(len(above)))
        ranks = {
            file: (shared, _common_parts(file, name))
            for file, other in self._by_last_part.get(last, [])
            if (shared := _common_parts(other, form)) >= least
        }
        best = max(ranks.values(), default=None)
        return [file for file, rank in ranks.items() if rank == best]


def named_file(source: Path, name: str) -> Path | None:
    """The file that a name outside of folders means, absolute or relative to the annotation file `source`."""
    if not _leaves_folder(name):
        return None
    file = os.path.join(os.path.realpath(source.parent), name.replace("\\", "/"))
    return Path(os.path.realpath(os.path.dirname(file)), os.path.basename(file)) if os.path.isfile(file) else None


def in_other_folders(found: Mapping[str, str]) -> dict[str, str]:
    """Of image names with their files those found only in another folder, where others are where their names say.

    Where all are elsewhere, the names are those of another machine.
    """
    moved, placed = dict[str, str](), False
    for name, file in found.items():
        folder = comparable(file).rpartition("/")[0]
        named = [comparable(spelling).rpartition("/")[0] for spelling in _spellings(name)]
        if folder and not any(f"/{each}".endswith(f"/{folder}") for each in named):
            moved[name] = file
        else:
            placed = placed or bool(folder) or "" in named
    return moved if placed else {}


def locate_images(source: Path, folder: Path, names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The files (relative to `folder`) of the image names in an annotation file `source`, by name; and remarks.

    Raises InputError if the folder or a file is missing, a name matches several files, or two names match one file.
    While faults are collected, missing and ambiguous names have no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images; check the path")
    index = ImageNames(folder, source)
    found = {name: index.find(name) for name in dict.fromkeys(names)}
    if missing := [name for name, files in found.items() if not files]:
        few = shortened(map(repr, missing), 3)
        text = f"{len(missing)} of {len(names)} image files are not in {folder} ({few})"
        raise_or_collect(f"{source}: {text}; check the folder or remove the images from the file", "missing-image")
    for name, files in found.items():
        if len(files) > 1:
            text = f"the image {name!r} could be any of {shortened(map(repr, files), 3)} in {folder}"
            raise_or_collect(f"{source}: {text}; write the path of the right file", "ambiguous-image")
    chosen = {name: files[0] for name, files in found.items() if len(files) == 1}
    taken: dict[str, str] = {}
    for name, file in chosen.items():
        if (other := taken.setdefault(file, name)) != name:
            text = f"expected a file for each image, found only {file!r} in {folder} for both {other!r} and {name!r}"
            raise_or_collect(f"{source}: {text}; add the missing image", "shared-image")
    return chosen, _remarks(source, folder, chosen)


def _remarks(source: Path, folder: Path, found: dict[str, str]) -> list[str]:
    """A line if files were found under other names than in the annotation file, one if in other folders."""
    moved = in_other_folders(found)
    meant = {name for name in found if named_file(source, name)}
    others = {name: file for name, file in found.items() if name not in (file, *moved, *meant)}
    kinds = (
        (others, "differ from the files", "matched by the last parts of their paths or without suffix"),
        (moved, "are found only in another folder", "make sure that these are the labeled images"),
    )
    return [
        f"{source}: {len(names)} of {len(found)} image names {what} in {folder}, such as {name!r} for {file!r}: {how}"
        for names, what, how in kinds
        for name, file in [*names.items()][:1]
    ]


def _leaves_folder(name: str) -> bool:
    """Whether a file name could lead out of the images' folder."""
    path = PureWindowsPath(name)  # knows both separators
    return bool(path.anchor) or ".." in path.parts


def _spellings(name: str) -> Iterator[str]:
    """The paths that a name may mean: itself, the path of a URL, or its query parameter ?d= (Label Studio)."""
    written = name.replace("\\", "/")
    yield written
    yield unquote(written)
    try:
        address = urlsplit(written)
    except ValueError:  # such as "http://[x.jpg"
        return
    yield unquote(address.path)
    yield from (name.replace("\\", "/") for name in parse_qs(address.query).get("d", []))


def _common_parts(first: str, second: str) -> int:
    """How many parts at the end two paths have in common."""
    pairs = zip(reversed(first.split("/")), reversed(second.split("/")), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
