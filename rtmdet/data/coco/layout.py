"""Finds a data set's COCO files, the split of each, and the folder with its images."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeGuard

from rtmdet.core.errors import InputError
from rtmdet.core.files import as_on_disk, files_below
from rtmdet.core.paths import common_folder, with_own_name
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.formats.label_files import IMAGE_FOLDERS, read_without_photo
from rtmdet.data.image_names import ImageNames, locate_images, named_file
from rtmdet.data.split_names import SPLIT_WORDS, split_name

TRIED_NAMES = 10  # image names of a file that are looked for in each candidate folder


def read_documents(path: Path) -> Iterator[tuple[Path, object]]:
    """The JSON files with their content, without photos: the path itself, or those of a folder and two levels below.

    Raises InputError for a file that is not JSON, unless other files are and its name is not that of train or val.
    """
    if path.is_file():
        files = [path] if path.suffix.lower() == ".json" else []
    else:
        files = files_below(path, (".json",), levels=2)
    broken: list[InputError] = []
    for file in files:
        try:
            yield file, read_without_photo(file)
        except InputError as error:
            if split_name(file.relative_to(path) if file != path else Path(file.name)) in ("train", "val"):
                raise
            broken.append(error)
    if files and len(broken) == len(files):
        raise broken[0]


def is_coco(document: object) -> TypeGuard[Mapping[str, list[object]]]:
    """Whether the content of a JSON file is COCO."""
    if not isinstance(document, dict) or not isinstance(document.get("images"), list):
        return False
    return any(isinstance(document.get(key), list) for key in ("annotations", "categories"))


def place_images(source: Path, file: CocoFile, folder: Path) -> list[str]:
    """Replace the image names of a COCO file by those of the matching files in `folder`; returns remarks.

    Raises InputError as `locate_images` does.
    """
    found, remarks = locate_images(source, folder, [image["file_name"] for image in file["images"]])
    for image in file["images"]:
        image["file_name"] = found.get(image["file_name"], image["file_name"])
    return remarks


def images_of(file: Path, document: object, split: str | None = None) -> Path:
    """The image folder of a COCO file, which a file written by `rtmdet data` names; else as `find_folder`."""
    names, info = file_names(document), document.get("info") if isinstance(document, dict) else None
    told = info.get("images") if isinstance(info, dict) else None
    if isinstance(told, str):
        # Resolved first: .. leads out of links' targets.
        folder = Path(os.path.normpath(file.parent.resolve() / told))
        if any(map(ImageNames(folder).find, names[:TRIED_NAMES])):
            return folder
    return find_folder(file, names, split)


def find_folder(file: Path, names: Sequence[str], split: str | None = None) -> Path:
    """The folder with the most of the images that an annotation file names; `split` is its split, if known.

    Of images whose names lead out of folders, absolute or with ../, and exist, it is the common folder. Raises
    InputError if no likely folder has any of the first TRIED_NAMES images.
    """
    if any(named_file(file, name) for name in names[:TRIED_NAMES]):
        there = (named_file(file, name) or file.resolve().parent / name for name in names)
        folder = common_folder(path.parent for path in there if path.is_file())
        if folder == Path(folder.anchor):
            raise InputError(f"{file}: expected images in a folder, found them all over {folder}: move them into one")
        return folder
    names = names[:TRIED_NAMES]
    likely = _image_folders(file, split or split_name(Path(file.name)))
    folders = [folder for folder in dict.fromkeys(map(as_on_disk, likely)) if folder.is_dir()]
    found = Counter({folder: sum(map(ImageNames(folder).has, names)) for folder in folders})
    if not found.total():  # the names may be paths of another machine: match their last parts
        far = file.resolve().parents[1:]  # too general: may contain anything
        inside = [folder for folder in folders if folder.resolve() not in far]
        inside.sort(key=lambda folder: len(folder.parts), reverse=True)  # deepest first: fewer ambiguous names
        found = Counter({folder: sum(map(bool, map(ImageNames(folder).path, names))) for folder in inside})
    if not found.total():
        first = repr(names[0]) if names else "none"
        raise InputError(
            f"{file}: expected its images (the first is {first}) in a folder such as {file.parent / 'images'}, found "
            "none; put them beside the file, or give their folder (--images, or in a config)"
        )
    return max(found, key=lambda folder: found[folder])


def file_names(document: object) -> list[str]:
    """The image names of a COCO file, which may have faults."""
    entries = document["images"] if is_coco(document) else ()
    names = [entry.get("file_name") for entry in entries if isinstance(entry, dict)]
    return [name.replace("\\", "/") for name in names if isinstance(name, str)]


def _image_folders(file: Path, split: str) -> Iterator[Path]:
    """The folders that may hold the images of a file, the likeliest first."""
    words = [file.stem, file.stem.rpartition("_")[2], *(word for word, name in SPLIT_WORDS.items() if name == split)]
    for base in (file.parent, with_own_name(file.parent).parent):
        yield base
        yield from (base / name for name in IMAGE_FOLDERS)
        for word in words:
            yield from (base / word, base / word / "images", base / "images" / word, base / f"{word}_images")
