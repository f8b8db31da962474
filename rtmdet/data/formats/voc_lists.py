"""The image lists of Pascal VOC: ImageSets/Main/SPLIT.txt in the folder of each year, such as VOC2007 and VOC2012."""

import re
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, sorted_paths
from rtmdet.core.whole_file import read_text
from rtmdet.core.wording import shown
from rtmdet.data.formats.label_files import LABEL_FOLDERS, label_folder
from rtmdet.data.split_names import SPLIT_WORDS, usual_split
from rtmdet.images.reading import IMAGE_SUFFIXES

LISTS = Path("ImageSets", "Main")


def find_lists(path: Path, split: str) -> list[Path]:
    """The image lists of one name, one of each year. Raises InputError if there is none."""
    known = _list_files(path)
    chosen: dict[Path, Path] = {}  # one of a folder, with this name or else another word for it
    for file in sorted(known, key=lambda file: file.stem != split):
        if usual_split(file.stem) == usual_split(split):
            chosen.setdefault(file.parent, file)
    if chosen:
        return [chosen[folder] for folder in sorted_paths(chosen)]
    have = ", ".join(sorted({file.stem for file in known})) or "no lists"
    raise InputError(f"{path}: expected the image list {LISTS / split}.txt, found {have}; choose another split")


def join_years(path: Path, files: Sequence[Path]) -> dict[str, list[Path]]:
    """The image lists of train, val and test, one of each year that holds some of the XML `files`."""
    years: dict[Path, dict[str, Path]] = {}
    for file in _list_files(path):
        if file.parent in years or any(
            label_folder(file.parents[2], ".xml") in xml_file.parents for xml_file in files
        ):
            years.setdefault(file.parent, {})[file.stem.lower()] = file
    joined: dict[str, list[Path]] = {}
    for lists in years.values():
        named = {SPLIT_WORDS[word]: file for word, file in lists.items() if word in SPLIT_WORDS}
        if "train" not in named and "trainval" in lists:  # which the validation images belong to
            named = {"train": lists["trainval"]} | {name: file for name, file in named.items() if name == "test"}
        for name, file in named.items():
            joined.setdefault(name, []).append(file)
    return joined


def _list_files(path: Path) -> list[Path]:
    """The image lists at any depth; for a folder of XML files also those beside it."""
    own = path.parent / LISTS if path.name.lower() in LABEL_FOLDERS else path / LISTS
    if own.is_dir():
        return files_below(own, (".txt",), levels=0)
    return [file for file in files_below(path, (".txt",)) if file.parent.parts[-2:] == LISTS.parts]


def find_unlisted(files: Iterable[Path], lists: Iterable[Path]) -> list[Path]:
    """The XML files that are in none of the lists."""
    named: set[Path] = set()
    for file in lists:
        folder, lines = label_folder(file.parents[2], ".xml"), read_text(file, "list of images").splitlines()
        named |= {folder / stem for line in lines for stem in _possible_stems(line.strip())}
    return [file for file in files if file.with_suffix("") not in named]


def read_list(path: Path, folder: Path, files: Container[str]) -> list[str]:
    """The image names of a split. Raises InputError if one has no XML file in the folder."""
    lines = [line.strip() for line in read_text(path, "list of images").splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: expected one image name per line, found none; fill the list")
    stems = [next((stem for stem in _possible_stems(line) if stem in files), line) for line in lines]
    unknown = [stem for stem in stems if stem not in files]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} images have no XML file in {folder}, {shown(unknown[0])} first; add it"
        )
    return list(dict.fromkeys(stems))


def _possible_stems(line: str) -> Iterator[str]:
    """The names that a line of a list may mean: without an image's suffix, without the mark of a class (-1, 0, 1)."""
    for name in (line, re.sub(r"\s+(-1|0|1)$", "", line)):
        yield name
        if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES:
            yield PurePosixPath(name).with_suffix("").as_posix()
