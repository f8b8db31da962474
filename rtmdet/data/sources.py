"""What a path holds: the annotation format of a data set, its splits, and where their images lie.

A format is recognised by the content of its files, a split by the names of file and folders.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rtmdet.data.coco_file import CocoFile, read_and_repair
from rtmdet.data.coco_layout import file_by_split, find_coco, find_folder, read_documents
from rtmdet.data.files import files_below
from rtmdet.data.formats.cvat import convert_cvat, cvat_subsets, is_cvat
from rtmdet.data.formats.image_folder import label_folder
from rtmdet.data.formats.labelled_image import ConvertedSet
from rtmdet.data.formats.labelme import convert_labelme, is_labelme
from rtmdet.data.formats.via import DEFAULT_CLASS, class_attribute, convert_via, is_via, via_file_names
from rtmdet.data.formats.voc import LISTS, convert_voc
from rtmdet.data.formats.yolo import convert_yolo
from rtmdet.data.formats.yolo_layout import MissingFolderError, find_layout, find_names, read_layout
from rtmdet.data.images import IMAGE_SUFFIXES
from rtmdet.data.split_names import group_by_split, split_name
from rtmdet.structures import InputError

LAYOUTS = "COCO, YOLO, VIA, LabelMe, CVAT or Pascal VOC"
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

Convert = Callable[..., ConvertedSet]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split of a data set."""

    coco: CocoFile
    images: Path  # the folder that its file names are relative to
    annotations: Path | None = None  # the COCO file that says it; None where it was converted
    remarks: tuple[str, ...] = ()  # what had to be mended, and what became of entries that COCO has no equal for


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A data set as it was found."""

    format: str  # COCO, YOLO, ...
    splits: Mapping[str, Split]  # train, and val where there is one


def open_source(path: Path) -> Source:
    """Find out the format of a file or folder, and read its train and val splits.

    A folder may hold COCO files with their images beside, in the layouts of COCO, Roboflow or `rtmdet data`; a
    YOLO data.yaml or list of names; VIA region files; LabelMe files; CVAT's XML file; or Pascal VOC, with the lists
    of ImageSets/ or a folder a split. Where no name says train or val, the one file is train. Raises InputError where
    nothing is recognised, a split has several files, or what is found cannot be used.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of data; check the path")
    if (description := find_layout(path)) is not None:
        return Source("YOLO", _yolo_splits(description))
    documents = dict(read_documents(path))
    if coco := find_coco(path, documents):
        return Source("COCO", {name: _coco(file, images) for name, (file, images) in coco.items()})
    if via := [file for file, content in documents.items() if is_via(content)]:
        return Source("VIA", _joined((name, partial(_via, at)) for name, at in file_by_split(path, via).items()))
    if labelme := [file for file, content in documents.items() if is_labelme(content)]:
        folders = (
            _folders_by_split(path, {file.parent for file in labelme}) if path.is_dir() else {"train": path.parent}
        )
        return Source("LabelMe", _joined((name, partial(convert_labelme, at)) for name, at in folders.items()))
    if (cvat := _find_cvat(path)) is not None:
        return Source("CVAT", _joined(_cvat_places(cvat)))
    if voc := _voc_places(path):
        return Source("VOC", _joined(voc))
    if find_names(path) is not None:
        return Source("YOLO", _yolo_splits(path))
    raise InputError(f"{path}: expected {LAYOUTS} annotations, recognised none; {_what_is_there(path)}")


def _coco(file: Path, images: Path) -> Split:
    coco, remarks = read_and_repair(file)
    return Split(coco, images, file, tuple(remarks))


def _yolo_splits(path: Path) -> dict[str, Split]:
    """The splits of a YOLO data set; a val folder that does not exist is none, and that is said."""
    layout = read_layout(path)
    if "train" not in layout.places:
        found = ", ".join(layout.places) or "no split"
        raise InputError(f"{path}: expected a folder of images under 'train', found {found}; add it")
    train = convert_yolo(path, "train")
    splits = {"train": Split(train.coco, train.images)}
    if "val" in layout.places:
        try:
            val = convert_yolo(path, "val")
        except MissingFolderError as error:
            splits["train"] = replace(splits["train"], remarks=(f"no validation split: {error}",))
        else:
            splits["val"] = Split(val.coco, val.images)
    return splits


def _joined(places: Iterable[tuple[str, Convert]]) -> dict[str, Split]:
    """The converted splits, all with the classes of all."""
    converters = dict(places)
    found = {name: convert() for name, convert in converters.items()}
    names = [[category["name"] for category in one.coco["categories"]] for one in found.values()]
    together = list(dict.fromkeys(name for each in names for name in each))
    if any(each != together for each in names):
        found = {name: convert(names=together) for name, convert in converters.items()}
    return {name: Split(one.coco, one.images, remarks=tuple(one.remarks)) for name, one in found.items()}


def _find_cvat(path: Path) -> Path | None:
    """The CVAT file that a path is, or that a folder or one below it holds: annotations.xml, or the only XML file."""
    if path.is_file():
        return path if path.suffix.lower() == ".xml" and is_cvat(path) else None
    files = files_below(path, (".xml",), levels=1)
    named = [file for file in files if file.name == "annotations.xml"] or (files if len(files) == 1 else [])
    return next(filter(is_cvat, named), None)


def _cvat_places(path: Path) -> list[tuple[str, Convert]]:
    """The subsets of a project that are for training or validation; the whole file where there are none."""
    subsets = {split_name(Path(subset)): subset for subset in cvat_subsets(path)}
    if "train" not in subsets:
        return [("train", partial(convert_cvat, path))]
    return [(name, partial(convert_cvat, path, subset=subsets[name])) for name in ("train", "val") if name in subsets]


def _voc_places(path: Path) -> list[tuple[str, Convert]]:
    """The splits of Pascal VOC: those of its lists, or a folder each, or all as train; none without XML files."""
    if path.is_file():
        return []
    labels = label_folder(path, ".xml")
    if files_below(labels, (".xml",), levels=0):
        lists = {name: name for name in ("trainval", "train", "val") if (path / LISTS / f"{name}.txt").is_file()}
        if "trainval" in lists:  # where there is no list of train alone
            lists = {"train": "trainval"} | {name: name for name in lists if name != "trainval"}
        if "train" in lists:
            return [(name, partial(convert_voc, path, split=listed)) for name, listed in lists.items()]
        return [("train", partial(convert_voc, path))]
    inside = [folder for folder in sorted(labels.iterdir()) if folder.is_dir() and files_below(folder, (".xml",))]
    if len(inside) == 1 and not split_name(Path(inside[0].name)):
        return _voc_places(inside[0])  # VOCdevkit/VOC2007, and folders that an archive adds
    folders = _folders_by_split(labels, inside) if inside else {}
    return [(name, partial(convert_voc, folder)) for name, folder in folders.items()]


def _folders_by_split(path: Path, folders: Iterable[Path]) -> dict[str, Path]:
    """The folder of each split, or the one above its several folders."""
    groups = group_by_split(path, folders)
    return {name: Path(os.path.commonpath(groups[name])) for name in ("train", "val") if name in groups}


def _via(file: Path, names: list[str] | None = None) -> ConvertedSet:
    """A VIA file with its images, wherever they lie."""
    folder = find_folder(file, via_file_names(file))
    return convert_via(file, folder, class_name=DEFAULT_CLASS, class_key=class_attribute(file), names=names)


def _what_is_there(path: Path) -> str:
    """What a path holds in place of annotations, and what to do."""
    if path.is_file():
        if path.suffix.lower() in ARCHIVES:
            return "it is an archive: unpack it and give the folder"
        return "give the folder, or the annotation file; see rtmdet data convert"
    counts = {suffix: len(files_below(path, (suffix,))) for suffix in (".json", ".xml", ".txt")}
    found = [f"{count} {suffix}" for suffix, count in counts.items() if count]
    images = len(files_below(path, IMAGE_SUFFIXES))
    text = f"the folder has {images} images and {', '.join(found) or 'no .json, .xml or .txt'} files"
    if counts[".txt"]:
        text += "; YOLO labels want a data.yaml or a classes.txt with the class names"
    return text
