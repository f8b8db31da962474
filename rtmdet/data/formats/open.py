"""Opens a data set: recognizes the annotation format by the content of files, the splits by file and folder names."""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.files import subfolders
from rtmdet.core.json_file import read_json
from rtmdet.core.paths import refuse_python, with_own_name
from rtmdet.core.wording import shortened
from rtmdet.data.coco.file import CocoAnnotation, CocoCategory, read_and_repair
from rtmdet.data.coco.layout import images_of, is_coco, read_documents
from rtmdet.data.formats.cvat import find_cvat
from rtmdet.data.formats.labeled_image import number_classes
from rtmdet.data.formats.labelme import find_labelme
from rtmdet.data.formats.splits import Convert, Split
from rtmdet.data.formats.unread_labels import advise, labels_beside
from rtmdet.data.formats.via import find_via
from rtmdet.data.formats.voc import find_voc
from rtmdet.data.formats.yolo import convert_yolo, unused_labels
from rtmdet.data.formats.yolo_layout import MissingFolderError, absent_splits, find_layout, find_names, read_layout
from rtmdet.data.split_names import SPLITS, group_files, only_file, unused_remark, usual_split

LAYOUTS = "COCO, YOLO, VIA, LabelMe, CVAT or Pascal VOC"
YOLO_PHOTOS = "put them into images/ beside labels/, or where data.yaml says"
LEVELS_BELOW = 3  # how far below a folder that is no data set one is looked for


@dataclass(frozen=True, slots=True, eq=False)
class OpenedDataset:
    """A data set of a recognized format, some of whose splits are read."""

    path: Path  # that given, or a folder below
    format: str  # COCO, YOLO, ...
    splits: Mapping[str, Split]
    unread: Sequence[str] = ()  # the names of its other splits
    remarks: Sequence[str] = ()  # about labels beside them

    @property
    def split_remarks(self) -> list[str]:
        """The remarks on the splits that were converted, with their names where there are several."""
        converted = {name: split for name, split in self.splits.items() if split.annotations is None}
        return [
            f"{name}: {remark}" if len(self.splits) > 1 else remark
            for name, split in converted.items()
            for remark in split.remarks
        ]


@dataclass(frozen=True, slots=True, eq=False)
class FoundDataset:
    """A data set of a recognized format, whose splits are not read yet."""

    path: Path
    format: str
    names: tuple[str, ...]  # of its splits, one or more of train, val and test
    _read: Callable[[Sequence[str]], dict[str, Split]]
    locate: Callable[[Sequence[str]], dict[str, tuple[Path, Path]]] | None = None  # of COCO: file and image folder
    absent: Sequence[str] = ()  # splits of YOLO whose images do not exist
    remarks: Sequence[str] = ()  # about labels beside the splits, which are not used

    @property
    def usual(self) -> list[str]:
        """The splits of a training run, train and val; a data set without them: what it has."""
        return [name for name in ("train", "val") if name in self.names] or [*self.names]

    def others(self, *names: str) -> list[str]:
        """The names of the other splits that there are."""
        return [name for name in self.names if name not in (*names, *self.absent)]

    def read(self, *names: str) -> OpenedDataset:
        """The splits of these names that there are; classes have the same ids in all. Raises InputError."""
        splits = self._read([name for name in names if name in self.names])
        return OpenedDataset(self.path, self.format, splits, self.others(*names), self.remarks)

    def name_of(self, word: str) -> str:
        """The name of the split that a word means, such as valid. Raises InputError without such a split."""
        name = usual_split(word)
        if name not in self.names:
            has = ", ".join(self.names)
            raise InputError(f"{self.path}: expected the split {name}, found only {has}: give one of these")
        return name

    def read_one(self, word: str) -> Split:
        """The split that a word means. Raises InputError."""
        name = self.name_of(word)
        return self.read(name).splits[name]


def open_dataset(path: Path, images: Path | None = None) -> OpenedDataset:
    """The train split of a data set, and val if there is one; see `find_dataset`. Raises InputError."""
    found = find_dataset(path, images)
    if "train" not in found.names:
        raise InputError(
            f"{path}: expected images for training, found only {' and '.join(found.names)}; name a split train, or "
            "give the label file itself"
        )
    return found.read("train", "val")


def find_dataset(path: Path, images: Path | None = None) -> FoundDataset:
    """Recognize the format of a file or folder, and which splits there are.

    A folder may contain COCO files with their images, in the layouts of COCO, Roboflow or `rtmdet data`; a YOLO
    data.yaml or list of names; VIA region files; LabelMe files; CVAT's XML file; or Pascal VOC, with lists in
    ImageSets/ or one folder per split. A single file without a split in its name is train. `images` is the image
    folder, by default found near the labels; YOLO names its own. A folder that is no data set may contain one, some
    levels below.

    Raises InputError if no format is recognized, the data cannot be used, or there is no split.
    """
    if images is not None and not images.is_dir():
        raise InputError(f"{images}: expected the image folder of {path}, found none; check the path")
    if not os.path.exists(path):  # also for a text that no path can be
        raise InputError(f"{path}: no such file or folder; check the path")
    refuse_python(path, "the folder or file of the labels")
    own = with_own_name(path)
    found = _recognize(own, images) or _search_below(own, images)
    if found is None:
        raise InputError(f"{path}: expected {LAYOUTS} annotations, recognized none; {advise(own)}")
    if not found.names and found.format == "YOLO" and find_layout(own) is None:
        raise InputError(f"{path}: found no photos of the YOLO labels: {YOLO_PHOTOS}")
    if not found.names:
        raise InputError(f"{path}: expected images for train, val or test, found none of these splits; name them")
    return found


def _search_below(path: Path, images: Path | None) -> FoundDataset | None:
    """The data set in a folder below, nearest first; None without one. Raises InputError if there are several."""
    folders, faults = [path], list[InputError]()
    for _ in range(LEVELS_BELOW):
        inside = {os.path.realpath(below): below for folder in folders for below in subfolders(folder)}
        folders, found = [*inside.values()], list[FoundDataset]()
        for folder in folders:
            try:
                found += filter(None, [_recognize(folder, images)])
            except InputError as error:
                faults.append(error)
            except OSError:  # a folder of the system, perhaps
                continue
        if len(found) > 1:
            few = shortened((dataset.path for dataset in found), 3)
            raise InputError(f"{path}: found data sets in {few}: give one of them")
        if found:
            return found[0]
    if faults:
        raise faults[0]
    return None


def _recognize(path: Path, images: Path | None) -> FoundDataset | None:
    """The data set at a path, with remarks about other labels there, or None."""
    described = find_layout(path, levels=[0]) if images is None else None
    documents = dict(read_documents(path)) if described is None else {}
    found = _read_as(path, documents, images) if described is None else _yolo(path, described)
    if found is None:
        return None
    return replace(found, remarks=[*found.remarks, *labels_beside(path, found.format, documents)])


def _read_as(path: Path, documents: dict[Path, object], images: Path | None) -> FoundDataset | None:
    """The data set at a path without a data.yaml of YOLO, or None; `documents` are its JSON files."""
    if images is not None and path.is_file() and not documents:
        with suppress(InputError):  # COCO may have another suffix
            documents = {path: read_json(path)}
    coco, unnamed = group_files(path, [file for file, content in documents.items() if is_coco(content)])
    if coco:
        return _coco(path, coco, documents, images, unused_remark(path, unnamed))
    finders = {
        "VIA": partial(find_via, path, documents, images),
        "LabelMe": partial(find_labelme, path, documents, images),
        "CVAT": partial(find_cvat, path, images),
        "VOC": partial(find_voc, path, images),
    }
    for name, find in finders.items():
        if found := find():
            converts = {split: cache(convert) for split, convert in found.converts.items()}  # each is read once
            read = partial(_join_classes, converts, images)
            return FoundDataset(path, name, _in_order(converts), read, remarks=found.remarks)
    if (description := find_layout(path) or (path if find_names(path) else None)) is None:
        return None
    if images is not None:
        raise InputError(f"{path}: YOLO labels, whose photos have a fixed place: {YOLO_PHOTOS}, without --images")
    return _yolo(path, description)


def _in_order(names: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in SPLITS if name in names)


def _coco(
    path: Path,
    files: Mapping[str, list[Path]],
    documents: Mapping[Path, object],
    images: Path | None,
    remarks: Sequence[str],
) -> FoundDataset:
    """COCO files by split; `documents` are read already."""

    def locate(names: Sequence[str]) -> dict[str, tuple[Path, Path]]:
        only = {name: only_file(path, name, files[name]) for name in names}
        return {name: (file, images or images_of(file, documents[file], name)) for name, file in only.items()}

    def read(names: Sequence[str]) -> dict[str, Split]:
        """The splits, without categories that are not a class in any of them."""
        found = locate(names)
        contents = {
            name: read_and_repair(file, document=documents[file], images=folder)
            for name, (file, folder) in found.items()
        }
        if len(contents) > 1 and any(remarks for _, remarks in contents.values()):
            classes = {category["name"] for coco, _ in contents.values() for category in coco["categories"]}
            contents = {name: read_and_repair(file, classes, images=folder) for name, (file, folder) in found.items()}
        return {name: Split(coco, found[name][1], told, found[name][0]) for name, (coco, told) in contents.items()}

    return FoundDataset(path, "COCO", _in_order(files), read, locate, remarks=remarks)


def _yolo(path: Path, description: Path) -> FoundDataset:
    layout = read_layout(description)
    read = partial(_yolo_splits, description)
    absent = absent_splits(layout)
    remarks = [*layout.remarks, *unused_labels(layout)]
    return FoundDataset(path, "YOLO", _in_order(layout.image_paths), read, absent=absent, remarks=remarks)


def _yolo_splits(path: Path, names: Sequence[str]) -> dict[str, Split]:
    """Splits of a YOLO data set; a val folder that does not exist adds a remark to train."""
    splits: dict[str, Split] = {}
    for name in names:
        try:
            splits[name] = convert_yolo(path, name)
        except MissingFolderError as error:
            if name != "val" or "train" not in splits:
                raise
            train = splits["train"]
            splits["train"] = replace(train, remarks=[*train.remarks, f"no validation split: {error}"])
    return splits


def _join_classes(converts: Mapping[str, Convert], images: Path | None, names: Sequence[str]) -> dict[str, Split]:
    """The converted splits of these names, each with the classes of all splits, numbered from 1.

    Those of train and val come first, so that the numbers are always those of a training run.
    """
    everything = dict.fromkeys([*(name for name in ("train", "val") if name in converts), *names])
    splits = {}
    for name in everything:
        try:
            splits[name] = converts[name]()
        except InputError as error:
            if images is None or name in names:
                raise
            raise InputError(
                f"{error} (the classes of {name} are needed, too, and {images} is to hold the images of all splits: "
                "if they have different folders, give a label file itself)"
            ) from error
    ids = number_classes(
        dict.fromkeys(category["name"] for each in splits.values() for category in each.coco["categories"])
    )
    joined = {}
    for name in names:
        coco = splits[name].coco
        new = {category["id"]: ids[category["name"]] for category in coco["categories"]}
        objects: list[CocoAnnotation] = [
            {**annotation, "category_id": new[annotation["category_id"]]} for annotation in coco["annotations"]
        ]
        categories: list[CocoCategory] = [{"id": number, "name": text} for text, number in ids.items()]
        joined[name] = replace(
            splits[name], coco={"images": coco["images"], "annotations": objects, "categories": categories}
        )
    return joined
