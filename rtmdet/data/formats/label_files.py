"""For formats with one label file per image: finds the image folder and the image of a label file, and vice versa."""

import filecmp
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from rtmdet.core.errors import InputError
from rtmdet.core.files import as_on_disk, files_below
from rtmdet.core.json_file import read_json
from rtmdet.core.paths import comparable
from rtmdet.core.whole_file import first_line, read_whole, write_whole
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.formats.faults import one_entry
from rtmdet.data.split_names import split_name
from rtmdet.images.reading import IMAGE_SUFFIXES

LABEL_FOLDERS = ("annotations", "labels", "ann", "xml", "xmls", "json", "jsons", "labelme")  # in any letter case
IMAGE_FOLDERS = ("JPEGImages", "images", "imgs", "img", "data")

T = TypeVar("T")


def label_folder(path: Path, suffix: str) -> Path:
    """The folder of a data set's label files: Annotations/ or similar if it has some, else the path itself.

    Raises InputError if there is no such folder.
    """
    if not path.exists():
        raise InputError(f"{path}: no such folder; check the path")
    for folder in (as_on_disk(path / name) for name in LABEL_FOLDERS):
        if folder.is_dir() and files_below(folder, (suffix,)):
            return folder
    return path


def image_folder(labels: Path, named: Sequence[str] = ()) -> Path:
    """The folder of the images: JPEGImages/ beside Annotations/ or similar, else that of the label files.

    For label files in annotations/train it is images/train, or images/ if there is no such folder. Images may also be
    in the folder directly above the label files; else they are in the common folder of the `named` files, if all
    exist, in the only folder beside the label files with images of the same names, or with those that exist.
    """
    beside = [
        as_on_disk(folder.parent / name / below)
        for folder in (labels, labels.parent)
        if folder.name.lower() in LABEL_FOLDERS
        for below in (labels.relative_to(folder), Path())
        for name in IMAGE_FOLDERS
    ]
    for folder in (*beside, labels):
        if files_below(folder, IMAGE_SUFFIXES):
            return folder
    if labels.name.lower() in LABEL_FOLDERS and files_below(labels.parent, IMAGE_SUFFIXES, levels=0):
        return labels.parent
    above = [os.path.dirname(file) for file in named if os.path.isfile(file)]
    if (not named or len(above) < len(named)) and len(alike := _folders_with_same_names(labels)) == 1:
        return alike[0]
    if above:
        return Path(os.path.commonpath(above))
    return next((folder for folder in beside if folder.is_dir()), labels)  # for the message about missing images


def _folders_with_same_names(labels: Path) -> list[Path]:
    """The folders beside that of label files that have images with the same names."""
    names = {comparable(path.stem) for path in files_below(labels, (".json", ".xml"))}
    folders = [folder for folder in labels.parent.iterdir() if folder.is_dir() and folder != labels]
    return [
        folder
        for folder in folders
        if any(comparable(path.stem) in names for path in files_below(folder, IMAGE_SUFFIXES, levels=0))
    ]


def image_lists(folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES) -> dict[str, list[Path]]:
    """The text files of each split directly in a folder whose first line is a path that ends like this."""
    found: dict[str, list[Path]] = {}
    for file in files_below(folder, (".txt",), levels=0):
        if (name := split_name(Path(file.name))) and first_line(file).strip().lower().endswith(suffixes):
            found.setdefault(name, []).append(file)
    return found


def read_without_photo(path: Path) -> object:
    """The content of a JSON file without the photo in it, as LabelMe's have: all files of a folder are in memory."""
    return read_json(path, _without_photo)


def _without_photo(entry: dict[str, object]) -> dict[str, object]:
    if "shapes" in entry:
        entry.pop("imageData", None)
    return entry


def read_all(
    folder: Path, suffix: str, read: Callable[[Path], T], folders: Collection[Path] | None
) -> dict[Path, T | None]:
    """The content of the label files below a folder, or directly in one of `folders`; None for unusable ones."""
    found: dict[Path, T | None] = {}
    for path in files_below(folder, (suffix,)):
        if folders is None or path.parent in folders:
            found[path] = None
            with one_entry():
                found[path] = read(path)
    return found


def without_suffix(path: Path, folder: Path) -> str:
    """The path of a file relative to `folder`, without suffix: the same for an image and its label file."""
    return path.relative_to(folder).with_suffix("").as_posix()


def images_by_name(folder: Path) -> dict[str, list[str]]:
    """The image files in and below a folder, relative to it, by their names without suffix, for `find_image`."""
    names: dict[str, list[str]] = {}
    for path in files_below(folder, IMAGE_SUFFIXES):
        names.setdefault(comparable(without_suffix(path, folder)), []).append(path.relative_to(folder).as_posix())
    return names


def find_image(label_file: Path, folder: Path, named_inside: str, names: Mapping[str, list[str]]) -> str:
    """The image of a label file in `folder`: one with the same name without suffix, else the one named inside it.

    It is beside the label file or in the image folder that belongs to its label folder. If no image has exactly this
    name, one that differs in letter case or Unicode form is taken; if several have it, the one named inside. `names`
    are those of `images_by_name`. Raises InputError if there is neither.
    """
    # The name inside comes second: people rename images and label files together, but not the name inside.
    named_inside, stem = named_inside.replace("\\", "/"), PurePosixPath(without_suffix(label_file, folder))
    folders = list(_image_folders(stem.parent))
    inside = [*((folder / named_inside).as_posix() for folder in folders), named_inside]
    for own in (folder / stem.name for folder in folders):
        alike = names.get(comparable(str(own)), [])
        if alike := [name for name in alike if os.path.splitext(name)[0] == str(own)] or alike:
            return next((name for name in inside if name in alike), alike[0])
    if not named_inside:
        raise InputError(
            f"{label_file}: expected an image of the same name, or its name inside, found neither; add it"
        )
    return next(
        (name for name in inside if name in names.get(comparable(os.path.splitext(name)[0]), [])), named_inside
    )


def _image_folders(labels: PurePosixPath) -> Iterator[PurePosixPath]:
    """Where the images of a folder of label files may be: there, or in JPEGImages/ for Annotations/ and similar."""
    yield labels
    for folder in (labels, *labels.parents):
        if folder.name.lower() in LABEL_FOLDERS:
            yield from (folder.parent / name / labels.relative_to(folder) for name in IMAGE_FOLDERS)


def label_names(file: CocoFile) -> list[str]:
    """The name of the label file, without suffix, of each image of a COCO file, in order.

    Raises InputError if two images would share a label file because they differ only in their suffix, or in letter
    case, which not all file systems tell apart.
    """
    stems, names = [], dict[str, str]()
    for image in file["images"]:
        name = image["file_name"].replace("\\", "/")
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if other := names.get(comparable(stem)):
            raise InputError(f"images {other!r} and {name!r} would share a label file; rename one of them")
        stems.append(stem)
        names[comparable(stem)] = name
    return stems


def outlines_remark(file: CocoFile) -> list[str]:
    """One line about outlines in a COCO file that is written as boxes; a box with four corners is none."""
    shapes = [each.get("segmentation") for each in file["annotations"] if not each["iscrowd"]]
    polygons = [shape if isinstance(shape, list) else [] for shape in shapes]
    count = sum(any(isinstance(polygon, list) and len(polygon) > 8 for polygon in each) for each in polygons)
    count += sum(isinstance(shape, dict) for shape in shapes)
    return [f"outlines: {count}, written as the boxes around them"] if count else []


def check_copies(folder: Path, file: CocoFile, target: Path) -> None:
    """Raise InputError if copying the images from one folder to another would replace one by another."""
    for image in file["images"]:
        source, copied = _places(folder, image["file_name"], target)
        if copied.exists() and not filecmp.cmp(source, copied, shallow=False):
            raise InputError(f"{copied} is another image than {source} and would be lost; give another --out")


def copy_image(folder: Path, name: str, target: Path) -> None:
    """Copy an image file from one folder to another, with the subfolders in its name; one that is there stays."""
    source, copied = _places(folder, name, target)
    if not copied.exists():  # else labels are written beside the photos
        write_whole(copied, read_whole(source, "image file"))


def _places(folder: Path, name: str, target: Path) -> tuple[Path, Path]:
    return folder / name, target / name.replace("\\", "/")
