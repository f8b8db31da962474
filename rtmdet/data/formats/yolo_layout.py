"""Finds the class names of a YOLO data set and the images of each split.

Ultralytics and Roboflow write both into a data.yaml. Other tools write a list of names (classes.txt of LabelImg and
Label Studio, obj.names of Darknet and CVAT, _darknet.labels of Roboflow). Lists of images beside it or in the root
(train.txt, valid.txt) tell the splits; without them folder names do.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import yaml

from rtmdet.core.errors import InputError
from rtmdet.core.files import as_on_disk, files_below, sorted_paths
from rtmdet.core.nesting import check_unfolding
from rtmdet.core.paths import common_folder
from rtmdet.core.whole_file import read_text
from rtmdet.core.wording import is_one_line, one_line, shortened, shown
from rtmdet.data.coco.file import whole_number
from rtmdet.data.formats.label_files import image_lists
from rtmdet.data.split_names import SPLITS, by_split, unused_remark
from rtmdet.images.reading import IMAGE_SUFFIXES

YAML_SUFFIXES = (".yaml", ".yml")
NAME_LISTS = ("classes.txt", "*.names", "_darknet.labels")


class MissingFolderError(InputError):
    """An image folder that a data.yaml names does not exist."""


@dataclass(frozen=True, slots=True, eq=False)
class YoloLayout:
    """Class names and splits of a data set."""

    file: Path  # with the class names
    names: Mapping[int, str]  # by class number
    image_paths: Mapping[str, Sequence[str]]  # by split, as written: image folders, or text files that list images
    root: Path  # the image paths are relative to it
    has_keypoints: bool = False  # labels have keypoints after the four numbers of a box
    levels: int | None = None  # how many folders below the image paths to search; None: all
    remarks: Sequence[str] = ()  # about folders that belong to no split


def find_layout(path: Path, levels: Sequence[int] = (0, 1)) -> Path | None:
    """The data.yaml, under this or another name, at a path, in a folder or one level below; None if there is none.

    `levels`: how far below to look, one after the other. Raises InputError if there are several.
    """
    if path.is_file():
        return path if path.suffix.lower() in YAML_SUFFIXES else None
    if (usual := path / "data.yaml").is_file():
        keys = _keys(usual)
        if keys is None or keys & {"names", "nc", *SPLITS}:  # a damaged one may be that of a data set
            return usual
    for deep in levels:
        files = files_below(path, YAML_SUFFIXES, levels=deep)
        described = [file for file in files if {"names", "train"} <= (_keys(file) or set())]
        if len(described) > 1:
            few = shortened(described, 3)
            raise InputError(f"{path}: expected one YOLO data.yaml, found {few}; give the right one")
        if described:
            return described[0]
    return None


def _keys(path: Path) -> set[str] | None:
    """What a YAML file describes; None if it cannot be read."""
    try:
        return set(read_data_yaml(path))
    except InputError:
        return None


def find_names(path: Path) -> Path | None:
    """The list of class names at a path, in a folder or up to two levels below; None if there is none.

    Raises InputError if there are different lists.
    """
    if path.is_file() and path.suffix.lower() != ".data":  # of Darknet, whose paths are those of another machine
        return path if any(path.match(pattern) for pattern in NAME_LISTS) else None
    path = path.parent if path.is_file() else path
    texts = files_below(path, (".txt", ".names", ".labels"), levels=2)
    files = [file for file in texts if any(file.match(pattern) for pattern in NAME_LISTS)]
    for other in files[1:]:
        if _listed_names(other) != _listed_names(files[0]):
            raise InputError(
                f"{other}: expected the class names of {files[0]}, found others; give the folder of one of them, or "
                "convert each (rtmdet data convert yolo) and join them (rtmdet data merge)"
            )
    return files[0] if files else None


def read_layout(path: Path) -> YoloLayout:
    """Names and splits, from a data.yaml, a list of names, or a folder with one of them.

    Raises InputError if there is neither or it cannot be used.
    """
    file = find_layout(path) or find_names(path)
    if file is None and path.is_file():
        raise InputError(f"{path}: expected a YOLO data.yaml, a list of names, or their folder; found another file")
    file = file or path / "data.yaml"
    if file.suffix.lower() in YAML_SUFFIXES:
        return _from_data_yaml(file, read_data_yaml(file))
    root = path if path.is_dir() else file.parent
    names = dict(enumerate(_listed_names(file)))
    image_paths, remarks = _splits(root, image_lists(root) or image_lists(file.parent))
    return YoloLayout(file, _distinct(file, names), image_paths, root, levels=0, remarks=remarks)


def absent_splits(layout: YoloLayout) -> list[str]:
    """The splits whose image folders do not exist: many a data.yaml names those of another machine, or too many."""
    absent = []
    for split, image_paths in layout.image_paths.items():
        try:
            for given in image_paths:
                _image_path(layout, split, given)
        except MissingFolderError:
            absent.append(split)
    return absent


def split_images(layout: YoloLayout, split: str) -> tuple[Path, list[Path]]:
    """A folder that contains all images of a split, and the images.

    Raises InputError for a split that is missing or empty.
    """
    if split not in layout.image_paths:
        has = ", ".join(layout.image_paths) or "none"
        raise InputError(f"{layout.file}: expected images under {split!r}, found none (it has {has})")
    image_paths = [_image_path(layout, split, given) for given in layout.image_paths[split]]
    files: list[Path] = []
    for path in image_paths:
        listed = path.is_file()
        files += _listed(path, layout.root) if listed else files_below(path, IMAGE_SUFFIXES, levels=layout.levels)
    files = sorted_paths(dict.fromkeys(files))
    if not files:
        where = ", ".join(map(str, image_paths))
        raise InputError(
            f"{where}: expected images ({', '.join(IMAGE_SUFFIXES)}), found none; check {split!r} in {layout.file}"
        )
    if len(image_paths) == 1 and image_paths[0].is_dir():
        return image_paths[0], files
    files = [Path(os.path.abspath(file)) for file in files]  # links are not resolved
    return common_folder(file.parent for file in files), files


def read_data_yaml(path: Path) -> dict[str, object]:
    """The content of a data.yaml. Raises InputError for a file that is not one."""
    text = read_text(path, "data.yaml")
    try:
        check_unfolding(yaml.compose(text), path)
        document = yaml.safe_load(text)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not YAML ({one_line(error)}); correct the file") from error
    if not isinstance(document, dict):
        raise InputError(f"{path}: expected a YOLO data.yaml with 'names', found {shown(document)}; check the path")
    if "names" in document:  # as written: YAML takes no for False, 12:30 for 750 and 2.50 for 2.5
        document["names"] = yaml.BaseLoader(text).get_single_data().get("names", document["names"])
    return document


def _from_data_yaml(path: Path, description: dict[str, object]) -> YoloLayout:
    names = _numbered(path, description.get("names"))
    if (count := description.get("nc")) is not None and whole_number(count) != len(names):
        found = f"nc: {shown(count)} and {len(names)} names"
        raise InputError(f"{path}: expected as many names as 'nc' says, found {found}; correct one of them")
    root = description.get("path") or ""
    if not isinstance(root, str):
        raise InputError(f"{path}: expected a folder under 'path', found {shown(root)}; correct it")
    root = root.replace("\\", "/")
    valid = description.get("valid") or description.get("validation")
    given = {split: description.get(split) or (split == "val" and valid) for split in SPLITS}
    image_paths = {split: _texts(path, split, value) for split, value in given.items() if value}
    return YoloLayout(path, names, image_paths, path.parent / root, has_keypoints="kpt_shape" in description)


def _numbered(path: Path, names: object) -> dict[int, str]:
    """The names by class number, from a list, or from a mapping with numbers (perhaps as text) as keys."""
    found = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(found, dict) or not found or not all(str(number).isdecimal() for number in found):
        raise InputError(f"{path}: expected class names under 'names', found {shown(names)}; list them in order")
    for name in found.values():
        if not isinstance(name, str):
            raise InputError(f"{path}: expected text under 'names', found {shown(name)}; put it in quotes")
    return _distinct(path, {int(number): found[number].strip() for number in sorted(found, key=int)})


def _distinct(path: Path, names: dict[int, str]) -> dict[int, str]:
    if not names or not all(map(is_one_line, names.values())) or len(set(names.values())) < len(names):
        found = shown([*names.values()])
        raise InputError(f"{path}: expected different class names of one line each, found {found}; rename them")
    return names


def _texts(path: Path, split: str, given: object) -> list[str]:
    """The value under a split, one text or a list, as a list."""
    values = given if isinstance(given, list) else [given]
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) < len(values):
        raise InputError(f"{path}: expected an image folder under {split!r}, found {shown(given)}; correct it")
    return texts


def _image_path(layout: YoloLayout, split: str, given: str) -> Path:
    """The image folder or image list of a path written in a data.yaml. Raises MissingFolderError if there is none."""
    # Some exports write ../train/images for train/images, and moved data sets still have the path of another machine:
    # the last parts of the path, two or more, are looked for beside the data.yaml.
    home = layout.file.parent
    given = given.replace("\\", "/")
    parts = [part for part in Path(given).parts if part not in ("..", Path(given).anchor)]
    tails = [home.joinpath(*parts[start:]) for start in range(max(len(parts) - 1, 1))]
    named = [layout.root / given, home / given]
    for path in map(as_on_disk, (*tails, *named) if ".." in Path(given).parts else (*named, *tails)):
        if os.path.isdir(path) or (path.suffix.lower() == ".txt" and os.path.isfile(path)):
            return path
    raise MissingFolderError(
        f"{layout.file}: the folder of {split!r}, {given}, does not exist; correct 'path' or {split!r}"
    )


def _splits(root: Path, lists: Mapping[str, Sequence[Path]]) -> tuple[dict[str, list[str]], list[str]]:
    """The lists of images of each split, or its folders if it has none; and remarks."""
    folders, unnamed = _folders(root)  # which lists every level
    try:
        listed = {os.path.abspath(image) for file in chain(*lists.values()) for image in _listed(file, root)}
    except InputError as error:  # as where photos were converted to JPEG later
        return folders, [*unused_remark(root, unnamed), f"lists of images are not used: {error}"]
    if not lists:
        return folders, unused_remark(root, unnamed)
    found = {split: paths for split, paths in folders.items() if split not in ("train", *lists)}
    used = {root / path for paths in found.values() for path in paths}
    others = [path for path in files_below(root, IMAGE_SUFFIXES) if path.parent not in used]
    lost = [path for path in others if os.path.abspath(path) not in listed]
    text = f"{root}: {len(lost)} images in no list, such as {lost[0].relative_to(root)}: not used" if lost else ""
    found |= {split: [str(file.relative_to(root)) for file in files] for split, files in lists.items()}
    return {split: found[split] for split in SPLITS if split in found}, [text] if text else []


def _folders(root: Path) -> tuple[dict[str, list[str]], list[str]]:
    """The folders with images by split, and those of none. If none is named for training, those of none are."""
    folders = sorted_paths({file.parent.relative_to(root) for file in files_below(root, IMAGE_SUFFIXES)})
    found, unnamed = by_split(map(str, folders), Path)
    return {split: found[split] for split in SPLITS if split in found}, unnamed


def _listed(path: Path, root: Path) -> list[Path]:
    """The images that a text file lists, relative to itself or to the data set's root, best inside that.

    Paths of another machine are matched by their last parts inside the root. Raises InputError for a missing image.
    """
    files: list[Path] = []
    home = os.path.abspath(root)
    listed: dict[Path, dict[str, list[str]]] = {}
    for line in filter(None, map(str.strip, read_text(path, "text file").splitlines())):
        given = Path(line.replace("\\", "/"))
        direct = [os.path.abspath(base / given) for base in (path.parent, root)]
        starts = () if ".." in given.parts else range(1, len(given.parts))
        tails = [os.path.join(home, *given.parts[start:]) for start in starts]
        inside = [file for file in (*direct, *tails) if Path(file).is_relative_to(home)]
        alike = (as_on_disk(Path(file), listed) for file in inside)
        found = next(filter(os.path.isfile, chain(map(Path, inside), alike, map(Path, direct))), None)
        if found is None:
            raise InputError(f"{path}: expected {line!r} in {root}, found no such image; correct or remove the line")
        files.append(found)
    return files


def _listed_names(path: Path) -> list[str]:
    """The class names in a list, a line each. Raises InputError for an empty line, which would count as a class."""
    lines = [line.strip() for line in read_text(path, "list of class names").rstrip().splitlines()]
    if "" in lines:
        raise InputError(
            f"{path}: expected a class name in line {lines.index('') + 1}, found none; name the class, or remove the "
            "line if it is none: then those below have other numbers"
        )
    return lines
