"""Opens a data set: recognizes the annotation format by the content of files, the splits by file and folder names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoFile, read_and_repair
from rtmdet.data.coco.layout import file_by_split, find_coco, find_folder, read_documents
from rtmdet.data.files import files_below
from rtmdet.data.formats.cvat import convert_cvat, cvat_subsets, is_cvat
from rtmdet.data.formats.image_folder import label_folder
from rtmdet.data.formats.labeled_image import ConvertedSet
from rtmdet.data.formats.labelme import convert_labelme, is_labelme
from rtmdet.data.formats.unsupported import describe_unsupported
from rtmdet.data.formats.via import DEFAULT_CLASS, class_attribute, convert_via, is_via, via_file_names
from rtmdet.data.formats.voc import LISTS, convert_voc
from rtmdet.data.formats.yolo import convert_yolo
from rtmdet.data.formats.yolo_layout import MissingFolderError, find_layout, find_names, read_layout
from rtmdet.data.images import IMAGE_SUFFIXES
from rtmdet.data.split_names import SPLITS, by_split, group_by_split

LAYOUTS = "COCO, YOLO, VIA, LabelMe, CVAT or Pascal VOC"
FEW_FILES = 4  # XML files checked for CVAT if none is called annotations.xml
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")

Convert = Callable[[], ConvertedSet]


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split of a data set."""

    coco: CocoFile
    images: Path  # its file names are relative to this folder
    annotations: Path | None = None  # the COCO file; None if the split was converted
    remarks: tuple[str, ...] = ()  # one line about each kind of repair or skipped entry


@dataclass(frozen=True, slots=True, eq=False)
class OpenedDataset:
    """A data set of a recognized format."""

    format: str  # COCO, YOLO, ...
    splits: Mapping[str, Split]  # train, and val if there is one


def open_dataset(path: Path, images: Path | None = None) -> OpenedDataset:
    """Recognize the format of a file or folder, and read its train and val splits.

    A folder may contain COCO files with their images, in the layouts of COCO, Roboflow or `rtmdet data`; a YOLO
    data.yaml or list of names; VIA region files; LabelMe files; CVAT's XML file; or Pascal VOC, with lists in
    ImageSets/ or one folder per split. A single file without a split in its name is train. With `images`, an image
    folder, the path must be one COCO file.

    Raises InputError if no format is recognized, a split has several files, or the data cannot be used.
    """
    if images is not None:
        return _one_coco_file(path, images)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if (description := find_layout(path)) is not None:
        return OpenedDataset("YOLO", _yolo_splits(description))
    documents = dict(read_documents(path))
    if coco := find_coco(path, documents):
        return OpenedDataset("COCO", _coco_splits(coco, documents))
    if via := [file for file, content in documents.items() if is_via(content)]:
        files = file_by_split(path, via)
        key = class_attribute(*files.values())
        return OpenedDataset("VIA", _joined((name, partial(_via, file, key)) for name, file in files.items()))
    if labelme := [file for file, content in documents.items() if is_labelme(content)]:
        above = {file.parent for file in labelme}
        groups = group_by_split(path, above) if path.is_dir() else {"train": list(above)}
        return OpenedDataset("LabelMe", _joined(_folder_places(convert_labelme, groups)))
    if cvat := _cvat_places(path):
        return OpenedDataset("CVAT", _joined(cvat))
    if voc := _voc_places(path):
        return OpenedDataset("VOC", _joined(voc))
    if find_names(path) is not None:
        return OpenedDataset("YOLO", _yolo_splits(path))
    raise InputError(f"{path}: expected {LAYOUTS} annotations, recognized none; {_advice(path)}")


def _one_coco_file(path: Path, images: Path) -> OpenedDataset:
    if not path.is_file():
        raise InputError(f"{path}: expected a COCO file, since an image folder is given, found none; check the path")
    if not images.is_dir():
        raise InputError(f"{images}: expected the image folder of {path}, found none; check the path")
    return OpenedDataset("COCO", _coco_splits({"train": (path, images)}, {}))


def _coco_splits(found: Mapping[str, tuple[Path, Path]], documents: Mapping[Path, object]) -> dict[str, Split]:
    """The COCO files, without categories that are not a class in any split; `documents` are read already."""
    read = {name: read_and_repair(file, document=documents.get(file)) for name, (file, _) in found.items()}
    if len(read) > 1 and any(remarks for _, remarks in read.values()):
        classes = {category["name"] for coco, _ in read.values() for category in coco["categories"]}
        read = {name: read_and_repair(file, classes) for name, (file, _) in found.items()}
    return {
        name: Split(coco, found[name][1], found[name][0], tuple(remarks)) for name, (coco, remarks) in read.items()
    }


def _yolo_splits(path: Path) -> dict[str, Split]:
    """The splits of a YOLO data set; a val folder that does not exist adds a remark."""
    layout = read_layout(path)
    if "train" not in layout.places:
        found = ", ".join(layout.places) or "no split"
        raise InputError(f"{path}: expected an image folder under 'train', found {found}; add it")
    train = convert_yolo(path, "train")
    splits = {"train": Split(train.coco, train.images, remarks=tuple(train.remarks))}
    if "val" in layout.places:
        try:
            val = convert_yolo(path, "val")
        except MissingFolderError as error:
            remarks = (*train.remarks, f"no validation split: {error}")
            splits["train"] = replace(splits["train"], remarks=remarks)
        else:
            splits["val"] = Split(val.coco, val.images, remarks=tuple(val.remarks))
    return splits


def _joined(places: Iterable[tuple[str, Convert]]) -> dict[str, Split]:
    """The converted splits, each with the classes of all splits, numbered from 1."""
    found = {name: convert() for name, convert in places}
    names = [category["name"] for one in found.values() for category in one.coco["categories"]]
    ids = {name: number for number, name in enumerate(dict.fromkeys(names), start=1)}
    for one in found.values():
        new = {category["id"]: ids[category["name"]] for category in one.coco["categories"]}
        for annotation in one.coco["annotations"]:
            annotation["category_id"] = new[annotation["category_id"]]
        one.coco["categories"] = [{"id": number, "name": name} for name, number in ids.items()]
    return {name: Split(one.coco, one.images, remarks=tuple(one.remarks)) for name, one in found.items()}


def _folder_places(
    convert: Callable[..., ConvertedSet], groups: Mapping[str, Sequence[Path]]
) -> list[tuple[str, Convert]]:
    """The conversion of each split from its folders of label files, which may be inside those of another split."""
    return [
        (name, partial(convert, Path(os.path.commonpath(groups[name])), folders=frozenset(groups[name])))
        for name in ("train", "val")
        if name in groups
    ]


def _cvat_places(path: Path) -> list[tuple[str, Convert]]:
    """The splits of CVAT: one file each, or the subsets of a project; none without a CVAT file."""
    files = [path] if path.is_file() else files_below(path, (".xml",), levels=1)
    files = [file for file in files if file.name == "annotations.xml"] or files[:FEW_FILES]
    found = [file for file in files if file.suffix.lower() == ".xml" and is_cvat(file)]
    if not found:
        return []
    files_of = file_by_split(path, found)
    if len(files_of) > 1:
        return [(name, partial(convert_cvat, file)) for name, file in files_of.items()]
    groups = by_split(cvat_subsets(files_of["train"]), Path)
    if groups and "train" not in groups:
        raise InputError(f"{path}: expected a subset for training, found {', '.join(groups)}; name one of them train")
    groups.setdefault("train", [])  # for a file without images, which the reader rejects
    return [
        (name, partial(convert_cvat, files_of["train"], subsets=groups[name]))
        for name in ("train", "val")
        if name in groups
    ]


def _voc_places(path: Path) -> list[tuple[str, Convert]]:
    """The splits of Pascal VOC, from its lists or its folders; none without XML files."""
    if path.is_file():
        return []
    labels = label_folder(path, ".xml")
    files = files_below(labels, (".xml",))
    inside = {file.relative_to(labels).parts[0] for file in files}
    if labels == path and len(inside) == 1 and (path / (child := inside.pop()) / LISTS).is_dir():
        return _voc_places(path / child)  # VOCdevkit/VOC2007
    lists = {file.stem.lower(): file.stem for file in (path / LISTS).glob("*.txt")} if files else {}
    named = {SPLITS[word]: stem for word, stem in lists.items() if word in SPLITS}
    if "train" in named:
        return [(name, partial(convert_voc, path, split=named[name])) for name in ("train", "val") if name in named]
    if "trainval" in lists:
        return [("train", partial(convert_voc, path, split=lists["trainval"]))]
    if named:
        raise InputError(
            f"{path / LISTS}: expected a list train.txt or trainval.txt, found {', '.join(lists)}; add it"
        )
    return _folder_places(convert_voc, group_by_split(labels, {file.parent for file in files})) if files else []


def _via(file: Path, key: str | None) -> ConvertedSet:
    """A converted VIA file; its images are searched for."""
    folder = find_folder(file, via_file_names(file))
    return convert_via(file, folder, class_name=DEFAULT_CLASS, class_key=key)


def _advice(path: Path) -> str:
    """What the path contains instead of known annotations, and what to do."""
    if path.is_file():
        if path.suffix.lower() in ARCHIVES:
            return "it is an archive: unpack it and give the folder"
        return describe_unsupported(path) or "give the folder, or the annotation file; see rtmdet data convert"
    for file in files_below(path, (".json", ".csv"), levels=1):
        if known := describe_unsupported(file):
            return f"{file}: {known}"
    counts = {suffix: len(files_below(path, (suffix,))) for suffix in (".json", ".xml", ".txt")}
    found = [f"{count} {suffix}" for suffix, count in counts.items() if count]
    images = len(files_below(path, IMAGE_SUFFIXES))
    text = f"the folder has {images} images and {', '.join(found) or 'no .json, .xml or .txt'} files"
    advice = (
        "YOLO labels need a data.yaml or a classes.txt with the class names" if counts[".txt"] else "check the path"
    )
    return f"{text}; {advice}"
