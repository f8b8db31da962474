"""Data sets for Python: look for faults, convert, export, split, merge.

The functions that write print their counts and what had to be repaired. Only `export_data` copies images.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rtmdet.core.arguments import check_choice, checked
from rtmdet.core.console import progress, say
from rtmdet.core.errors import InputError
from rtmdet.core.facts import check_names
from rtmdet.core.json_file import check_output, read_json, write_json
from rtmdet.core.paths import FilePath, common_folder, path_or_none, user_path
from rtmdet.core.processes import check_main_guard
from rtmdet.core.wording import shortened
from rtmdet.data.class_names import name_key, similar_name_remarks
from rtmdet.data.coco.edit import merge_coco, rename_classes, split_coco
from rtmdet.data.coco.file import CocoFile, by_image, check_entry_size, read_and_repair
from rtmdet.data.coco.layout import file_names, images_of, is_coco, place_images
from rtmdet.data.coco.usable import FRACTIONS, are_fractions
from rtmdet.data.copies import group_copies
from rtmdet.data.doctor.boxes import SAME_OBJECT, overlapping_pairs
from rtmdet.data.doctor.finding import Report
from rtmdet.data.doctor.report import examine_path
from rtmdet.data.formats.cvat import convert_cvat
from rtmdet.data.formats.labelme import convert_labelme
from rtmdet.data.formats.open import find_dataset
from rtmdet.data.formats.via import DEFAULT_CLASS, class_attribute, convert_via
from rtmdet.data.formats.voc import convert_voc, write_voc
from rtmdet.data.formats.yolo import convert_yolo, write_yolo
from rtmdet.data.formats.yolo_layout import absent_splits, read_layout
from rtmdet.data.image_names import ImageNames
from rtmdet.data.split_names import usual_split
from rtmdet.images.reading import image_size
from rtmdet.runs.data_purpose import read_purpose

WRITERS = {"yolo": write_yolo, "voc": write_voc}
LABELED_IMAGES = ("images", "classes")
CONVERT_OPTIONS = {  # of convert_data, by format
    "via": ("images", "class_name", "class_key"),
    "yolo": ("split",),
    "voc": (*LABELED_IMAGES, "split"),
    "labelme": LABELED_IMAGES,
    "cvat": LABELED_IMAGES,
}


@checked
def check_data(
    data: FilePath,
    *,
    images: FilePath | None = None,
    weights: FilePath | None = None,
    input_size: int | None = None,
    decode: bool = False,
) -> Report:
    """Look for faults in a data set of any known format; `print` the result for the findings and their remedies.

    `images` is the folder of the images, by default found near the labels. Object sizes and classes are judged for a
    training from `weights` with a square input of `input_size` pixels. `decode` also reads the pixels. Raises
    InputError only if nothing of the data set can be read.
    """
    check_main_guard()
    purpose = read_purpose(None, None if weights is None else os.fspath(weights), input_size)
    return examine_path(user_path(data), purpose, images=path_or_none(images), decode=decode, watch=progress)


@checked
def convert_data(
    data: FilePath,
    out: FilePath,
    *,
    format: str,
    images: FilePath | None = None,
    classes: Sequence[str] | None = None,
    split: str | None = None,
    class_name: str | None = None,
    class_key: str | None = None,
) -> Path:
    """Write annotations of another format as one COCO file `out`, and return its path.

    `format` is one of via, yolo, voc, labelme and cvat. `images` is the folder of the images, for all but yolo;
    `classes` are the names in the order of their ids, for voc, labelme and cvat, by default all, sorted. `split` is
    that of a YOLO data set (default train), or a list of a VOC one (default all images). VIA's regions are of the one
    class `class_name`, or of those in their attribute `class_key`, by default the one that all have.

    Raises InputError for files that cannot be read, used or written, and for options of another format.
    """
    path, target, folder = user_path(data), user_path(out), path_or_none(images)
    given = {"images": images, "classes": classes, "split": split, "class_name": class_name, "class_key": class_key}
    check_choice("format", format, CONVERT_OPTIONS)
    for option, value in given.items():
        if value is not None and option not in CONVERT_OPTIONS[format]:
            raise InputError(f"{option}: the format {format} has none; leave it out")
    if class_name is not None and class_key is not None:
        raise InputError("class_name and class_key: expected one of them, found both; leave one out")
    if class_name is not None:
        check_names([class_name := class_name.strip()])
    # What was written here and is unchanged may be replaced, also among the labels.
    check_output(target, path if path.is_file() or not _is_own(target) else None)
    if format == "via":
        key = class_attribute(path) if class_name is None and class_key is None else class_key
        converted = convert_via(path, folder, class_name=class_name or DEFAULT_CLASS, class_key=key)
    elif format == "yolo":
        converted = convert_yolo(path, usual_split(split or "train"))
        if split is None:
            layout = read_layout(path)
            if others := [name for name in layout.image_paths if name not in ("train", *absent_splits(layout))]:
                say(f"{path}: has the splits train, which is converted, and {', '.join(others)}: see --split")
    elif format == "voc":
        converted = convert_voc(path, folder, classes, split=split)
    else:
        converted = (convert_cvat if format == "cvat" else convert_labelme)(path, folder, classes)
    _check_classes(path, converted.coco)
    _write_annotations(target, converted.coco, converted.images)
    names = names_in(converted.coco)
    found = f"{len(names)} class{'' if len(names) == 1 else 'es'}" + (f" ({shortened(names)})" if names else "")
    say(f"{count_objects(converted.coco)}, {found} -> {target}")
    say(*converted.remarks, *similar_name_remarks(names), f"images: {converted.images}")
    return target


@checked
def export_data(data: FilePath, images: FilePath | None, out: FilePath, *, format: str, split: str = "train") -> Path:
    """Write a data set of any known format, with its images, as the `split` of one in the folder `out`.

    Returns the folder; other splits that it holds are kept. `format` is yolo or voc. `images` is the folder of the
    images, None: found near the labels. Objects marked 'ignore' are written like crowd regions. Raises InputError,
    also for images of another size than their labels say.
    """
    path, target = user_path(data), user_path(out)
    split = usual_split(split)
    check_choice("format", format, WRITERS)
    if not split.isidentifier():
        raise InputError(f"--split {split}: expected a word such as train, val or test; give another name")
    file, folder = _open_with_images(path, path_or_none(images))
    _check_classes(path, file)
    for image in file["images"]:
        check_entry_size(folder / image["file_name"], image_size(folder / image["file_name"]), image, path)
    for annotation in file["annotations"]:
        annotation["iscrowd"] = int(annotation["iscrowd"] or bool(annotation.get("ignore")))
    losses = WRITERS[format](file, folder, target, split)
    say(f"{count_objects(file)} -> {target}", *losses)
    return target


@checked
def split_data(
    data: FilePath, out: FilePath, *, images: FilePath | None = None, val: float = 0.2, seed: int = 0
) -> tuple[Path, Path]:
    """Split a data set of any known format; returns the COCO files out/train.json and out/val.json.

    `val` is the fraction of the images for validation, stratified by class; copies of a photo stay together. `images`
    is the folder of the images, by default found near the labels. A file that is there already is not replaced by
    another split. Raises InputError.
    """
    path, folder, target = user_path(data), path_or_none(images), user_path(out)
    targets = target / "train.json", target / "val.json"
    file, folder = _open_whole(path, folder)
    _check_classes(path, file)
    lost = "images not found: copies of a photo may end up in both splits; give their folder with --images"
    copies, remark = ([], lost) if folder is None else group_copies(file, folder)
    say(*filter(None, [remark]))
    for target in targets:
        check_output(target, path)
    parts = split_coco(file, val, seed, copies)
    for target, part in zip(targets, parts, strict=True):
        if target.is_file() and _without_info(read_json(target)) != _without_info(json.loads(json.dumps(part))):
            raise InputError(f"{target} holds another split, which would be lost; give another --out")
    for target, part, other in zip(targets, parts, reversed(parts), strict=True):
        write_json(target, _naming_images(part, target, folder))
        alone = sorted(_used_classes(part) - _used_classes(other))
        say(f"{target}: {count_objects(part)}" + (f"; only here: {shortened(alone)}" if alone else ""))
    return targets


@checked
def merge_data(
    annotations: Sequence[FilePath],
    out: FilePath,
    *,
    images: Sequence[FilePath] | None = None,
    split: str | None = None,
    rename: Mapping[str, str] | None = None,
    merge_similar: bool = False,
    replace: bool = False,
) -> Path:
    """Write data sets of any known formats as one COCO file `out`; returns the common folder of the images.

    `split` is the one to take of each, by default the only one; a single COCO file is taken whole. Classes are joined
    by name, after those in `rename` got their new names; `merge_similar` joins also classes that differ only in
    letter case or spaces. An image that is in several data sets gets the labels of all, with `replace` those of the
    last one alone, such as corrected ones. `images` are the image folders, by default found near the labels. Raises
    InputError.
    """
    if not annotations:
        raise InputError("annotations: expected data sets, found none: give at least one")
    paths, target = [user_path(path) for path in annotations], user_path(out)
    check_output(target, *paths)
    if images is not None and len(images) != len(paths):
        raise InputError(
            f"--images: expected a folder for each of {len(paths)} files, found {len(images)}; give one each"
        )
    places = [user_path(folder) for folder in images] if images is not None else [None] * len(paths)
    opened = [_open_with_images(path, folder, split) for path, folder in zip(paths, places, strict=True)]
    if rename:
        check_names(list(dict.fromkeys(rename.values())))
    given = [file for file, _ in opened]
    files = rename_classes(given, rename or {})
    folders = [folder.resolve() for _, folder in opened]  # else photos reached through a link would be others
    common = common_folder(folders)
    prefixes = [folder.relative_to(common).as_posix() for folder in folders]
    merged = merge_coco(files, prefixes, similar=merge_similar, replace=replace)
    _write_annotations(target, merged, common)
    names = names_in(merged)
    say(f"{count_objects(merged)}, classes: {shortened(names)} -> {target}", f"images: {common}")
    if shared := sum(len(file["images"]) for file in files) - len(merged["images"]):
        have = "the boxes of the last one" if replace else "the boxes of all, equal ones once"
        say(f"images that were in several files: {shared}; they have {have}")
        if doubled := _count_doubles([merged]) - _count_doubles(files):
            twice = (
                f"pairs of their boxes that overlap as those of an object labeled twice (IoU {SAME_OBJECT} or more)"
            )
            say(f"{twice}: {doubled}; --replace takes the boxes of the last file of each image")
    if joined := _count_doubles(files, name_key if merge_similar else str) - _count_doubles(given, str):
        say(f"pairs of boxes of one object that now have one class: {joined}; see rtmdet data check")
    told = {remark for file in files for remark in similar_name_remarks(names_in(file))}
    say(*(remark for remark in similar_name_remarks(names) if remark not in told))
    return common


def _count_doubles(files: Sequence[CocoFile], key: Callable[[str], str] = lambda name: "") -> int:
    """Pairs of objects whose boxes are nearly equal and whose class names have the same key."""
    count = 0
    for file in files:
        keys = {category["id"]: key(category["name"]) for category in file["categories"]}
        for objects in by_image(file["annotations"]).values():
            classes = [keys[entry["category_id"]] for entry in objects]
            count += sum(classes[first] == classes[second] for first, second, _ in overlapping_pairs(objects))
    return count


def _is_own(path: Path, coco: CocoFile | None = None) -> bool:
    """Whether a file was written by `_write_annotations` and is unchanged, or is the same as `coco`."""
    with suppress(InputError):
        content = read_json(path)
        info = content.get("info") if isinstance(content, dict) else None
        signed = isinstance(info, dict) and info.get("digest") == _digest(content)
        return signed or (coco is not None and content == json.loads(json.dumps(coco)))
    return False


def _write_annotations(target: Path, coco: CocoFile, images: Path) -> None:
    """Write a COCO file with a digest. Raises InputError where it would replace others, or changed ones."""
    if target.is_file() and not _is_own(target, coco):
        raise InputError(
            f"{target} holds other annotations, or changed ones, which would be lost; give another --out"
        )
    content = _naming_images(coco, target, images)
    content["info"] = {"description": "written by rtmdet data", "digest": _digest(coco), **content["info"]}
    write_json(target, content)


def _naming_images(coco: CocoFile, target: Path, images: Path | None) -> dict[str, Any]:
    """The content of a COCO file that names its image folder, relative to the place it is written to."""
    content: dict[str, Any] = {"info": {}, **coco}
    info = content["info"] if isinstance(content["info"], dict) else {}
    content["info"] = {key: value for key, value in info.items() if key not in ("images", "digest")}
    if images is not None:
        folder = images.resolve()
        with suppress(ValueError):  # on another drive
            folder = Path(os.path.relpath(folder, target.parent.resolve()))
        content["info"]["images"] = folder.as_posix()
    return content


def _without_info(content: object) -> object:
    return {key: content[key] for key in content if key != "info"} if isinstance(content, dict) else content


def _digest(coco: object) -> str:
    """A digest of annotations, by which they are known as written here and unchanged."""
    return hashlib.sha256(json.dumps(_without_info(coco)).encode()).hexdigest()


def names_in(file: CocoFile) -> list[str]:
    """The class names of a file, in its order."""
    return [category["name"] for category in file["categories"]]


def count_objects(file: CocoFile) -> str:
    """How many images and objects a file has, in words."""
    return f"{len(file['images'])} images, {len(file['annotations'])} objects"


def _check_classes(path: Path, file: CocoFile) -> None:
    """Raise InputError for photos without any object, whose classes nothing names."""
    if not file["categories"]:
        raise InputError(
            f"{path}: expected objects, found none on {len(file['images'])} images: join them with labeled ones "
            "(rtmdet data merge), or name the classes (rtmdet data convert --classes)"
        )


def _open_whole(path: Path, images: Path | None, split: str | None = None) -> tuple[CocoFile, Path | None]:
    """The only split of a data set of any format, and its image folder; None if that of a COCO file is not found.

    Of several splits it is the one of the name `split`. Prints what had to be repaired.
    """
    document = read_json(path) if path.suffix.lower() == ".json" else None
    if is_coco(document):
        folder = _image_folder(path, document, images)
        file, remarks = read_and_repair(path, document=document, images=folder)
        say(*remarks)
        if file["annotations"] and are_fractions(file["annotations"]):
            raise InputError(f"{path}: expected boxes in pixels, found none above 1: {FRACTIONS}")
        return file, folder
    found = find_dataset(path, images)
    source = found.read(*found.usual if split is None else [found.name_of(split)])
    if len(source.splits) != 1:
        raise InputError(
            f"{path}: expected one split, found {' and '.join(source.splits)}: it is split already; "
            "give the labels of one (to merge: --split; for YOLO: rtmdet data convert yolo --split)"
        )
    (whole,) = source.splits.values()
    unread = [f"{path}: the {name} split is left out" for name in source.unread]
    say(*source.remarks, *unread, *whole.remarks, *similar_name_remarks(names_in(whole.coco)))
    say(f"images: {whole.images}")
    return whole.coco, whole.images


def _open_with_images(path: Path, images: Path | None, split: str | None = None) -> tuple[CocoFile, Path]:
    """As `_open_whole`, with the names of the images as in their folder. Raises InputError if it is not found."""
    file, folder = _open_whole(path, images, split)
    folder = folder or images_of(path, file)  # which says where it looked
    say(*place_images(path, file, folder))
    return file, folder


def _image_folder(path: Path, document: object, images: Path | None) -> Path | None:
    """The folder of the images of a COCO file, the given one or that near it; None without one."""
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such folder of images; check --images")
    if images is not None and not any(map(ImageNames(images).find, file_names(document))):
        raise InputError(f"{images}: expected the images of {path}, found none of them; check --images")
    try:
        return images or images_of(path, document)
    except InputError:
        return None


def _used_classes(file: CocoFile) -> set[str]:
    """The classes of the file's objects."""
    used = {annotation["category_id"] for annotation in file["annotations"]}
    return {category["name"] for category in file["categories"] if category["id"] in used}
