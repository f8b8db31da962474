"""`rtmdet data` convert, export, split, merge and synthesize; each prints a line about its result.

All functions raise InputError for files that cannot be read, used or written. Only `export` copies images.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rtmdet.cli.command import split_names
from rtmdet.core.errors import InputError
from rtmdet.data.class_names import similar_name_remarks
from rtmdet.data.coco.edit import merge_coco, split_coco
from rtmdet.data.coco.file import CocoFile, read_and_repair, read_coco
from rtmdet.data.coco.layout import find_images, is_coco
from rtmdet.data.copies import group_copies
from rtmdet.data.formats.cvat import convert_cvat
from rtmdet.data.formats.labeled_image import Split
from rtmdet.data.formats.labelme import convert_labelme
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.formats.via import DEFAULT_CLASS, class_attribute, convert_via
from rtmdet.data.formats.voc import convert_voc, write_voc
from rtmdet.data.formats.yolo import convert_yolo, write_yolo
from rtmdet.data.image_names import place_images
from rtmdet.data.json_file import check_output, read_json, write_json
from rtmdet.data.synthetic import write_dataset

WRITERS = {"yolo": write_yolo, "voc": write_voc}


def run(given: argparse.Namespace) -> int:
    """Run the chosen action; returns 0."""
    if given.action in ("convert", "merge"):
        inputs = given.annotations if given.action == "merge" else [given.annotations]
        check_output(given.out, *inputs)
    if given.action == "convert" and given.format == "via":
        report(convert_regions(given.annotations, given.images, given.class_name, given.class_key), given.out)
    elif given.action == "convert":
        classes = split_names(given.classes)
        report(convert(given.format, given.annotations, given.images, classes, given.split), given.out)
    elif given.action == "export":
        export(given.format, given.annotations, given.images, given.out, given.split)
    elif given.action == "split":
        split(given.data, given.images, given.out, share=given.val, seed=given.seed)
    elif given.action == "merge":
        merge(given.annotations, given.images, given.out, similar=given.merge_similar)
    else:
        height, width = given.size
        synthesize(given.out, train=given.train, val=given.val, size=(height, width), seed=given.seed)
    return 0


def convert_regions(path: Path, images: Path | None, class_name: str | None, class_key: str | None) -> Split:
    """VIA regions as COCO: of one class, or of classes in the attribute `class_key` (default: the one all have)."""
    if class_name is None and class_key is None:
        class_key = class_attribute(path)
    return convert_via(path, images, class_name=class_name or DEFAULT_CLASS, class_key=class_key)


def convert(
    format_name: str, path: Path, images: Path | None, classes: Sequence[str] | None, split: str | None
) -> Split:
    """A data set of another format as COCO; `classes` in the order of their ids, None: all, sorted."""
    if format_name == "yolo":
        return convert_yolo(path, split or "train")
    if format_name == "voc":
        return convert_voc(path, images, classes, split=split)
    return (convert_cvat if format_name == "cvat" else convert_labelme)(path, images, classes)


def report(converted: Split, out: Path) -> None:
    """Write the converted data set, and print its counts."""
    write_json(out, converted.coco)
    names = [category["name"] for category in converted.coco["categories"]]
    classes = f"{len(names)} class{'' if len(names) == 1 else 'es'} ({', '.join(names)})"
    print(f"{_counts(converted.coco)}, {classes} -> {out}")
    _print_all([*converted.remarks, *similar_name_remarks(names), f"images: {converted.images}"])


def export(format_name: str, path: Path, images: Path, out: Path, split: str) -> None:
    """Write a COCO file and its images in another format, as the split of that name; existing splits are kept."""
    if not split.isidentifier():
        raise InputError(f"--split {split}: expected a word such as train, val or test; give another name")
    file = _read(path)
    _print_all(place_images(path, file, images))
    losses = WRITERS[format_name](file, images, out, split)
    _print_all([f"{_counts(file)} -> {out}", *losses])


def split(path: Path, images: Path | None, out: Path, *, share: float, seed: int) -> None:
    """Write OUT/train.json and OUT/val.json; `share` is the validation fraction; copies of a photo stay together."""
    targets = [out / "train.json", out / "val.json"]
    document = read_json(path) if path.suffix.lower() == ".json" else None
    if is_coco(document):
        file = _read(path, document)
        copies = _find_copies(path, file, images)
    else:
        whole = _open_whole(path, images)
        file = whole.coco
        copies, remark = group_copies(file, whole.images)
        _print_all([*whole.remarks, *([remark] if remark else []), f"images: {whole.images}"])
    for target in targets:
        check_output(target, path)
    parts = split_coco(file, share, seed, copies)
    for target, part in zip(targets, parts, strict=True):
        if target.is_file() and read_json(target) != json.loads(json.dumps(part)):
            raise InputError(f"{target} holds another split, which would be lost; give another --out")
    for target, part, other in zip(targets, parts, reversed(parts), strict=True):
        write_json(target, part)
        alone = sorted(_used_classes(part) - _used_classes(other))
        print(f"{target}: {_counts(part)}" + (f"; only here: {', '.join(alone)}" if alone else ""))


def merge(paths: Sequence[Path], images: Sequence[Path] | None, out: Path, *, similar: bool) -> None:
    """Write several COCO files as one; `similar` joins classes that differ only in letter case or spaces."""
    if images and len(images) != len(paths):
        raise InputError(
            f"--images: expected a folder for each of {len(paths)} files, found {len(images)}; give one each"
        )
    files = [_read(path) for path in paths]
    folders = images or [find_images(path, file) for path, file in zip(paths, files, strict=True)]
    for path, file, folder in zip(paths, files, folders, strict=True):
        _print_all(place_images(path, file, folder))
    folders = [Path(os.path.abspath(folder)) for folder in folders]  # symbolic links are not resolved
    common = Path(os.path.commonpath(folders))
    merged = merge_coco(files, [folder.relative_to(common).as_posix() for folder in folders], similar=similar)
    write_json(out, merged)
    names = ", ".join(category["name"] for category in merged["categories"])
    _print_all([f"{_counts(merged)}, classes: {names} -> {out}", f"images: {common}"])


def synthesize(out: Path, *, train: int, val: int, size: tuple[int, int], seed: int) -> None:
    """Write OUT/train and OUT/val, balloon scenes of `size` (H, W), each with images/ and annotations.json."""
    for option, least, found in (("train", 1, train), ("val", 1, val), ("seed", 0, seed)):
        if found < least:
            raise InputError(f"--{option}: expected at least {least}, found {found}; give a larger number")
    # Two split seeds for each seed of the user: no scene is in two splits, whatever seeds are chosen.
    for name, count, split_seed in (("train", train, 2 * seed), ("val", val, 2 * seed + 1)):
        path = write_dataset(out / name, count=count, seed=split_seed, size=size)
        print(f"{path}: {_counts(read_coco(path))}")


def _read(path: Path, document: object = None) -> CocoFile:
    """Read a COCO file, unless its content is given, and print what had to be repaired."""
    file, remarks = read_and_repair(path, document=document)
    _print_all(remarks)
    return file


def _print_all(lines: Sequence[str]) -> None:
    for line in lines:
        print(line)


def _counts(file: CocoFile) -> str:
    return f"{len(file['images'])} images, {len(file['annotations'])} objects"


def _open_whole(path: Path, images: Path | None) -> Split:
    """The only split of a data set of any format."""
    source = open_dataset(path, images)
    if len(source.splits) > 1:
        raise InputError(f"{path}: expected one split, found {' and '.join(source.splits)}; it needs no other one")
    return source.splits["train"]


def _find_copies(path: Path, file: CocoFile, images: Path | None) -> list[set[int]]:
    """Groups of images that show the same photo, with a printed line about them."""
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: no such folder of images; check --images")
    try:
        folder = images or find_images(path, file)
    except InputError:
        print("images not found: copies of a photo may end up in both splits; give their folder with --images")
        return []
    together, remark = group_copies(file, folder)
    _print_all([remark] if remark else [])
    return together


def _used_classes(file: CocoFile) -> set[str]:
    """The classes of the file's objects."""
    used = {annotation["category_id"] for annotation in file["annotations"]}
    return {category["name"] for category in file["categories"] if category["id"] in used}
