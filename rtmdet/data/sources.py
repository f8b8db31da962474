"""What a path holds: the annotation format of a data set, its splits, and where their images lie.

A format is recognised by the content of its files, a split by the names of file and folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rtmdet.data.coco_file import CocoFile, read_coco
from rtmdet.data.formats.cvat import convert_cvat
from rtmdet.data.formats.labelled_image import ConvertedSet
from rtmdet.data.formats.labelme import convert_labelme, is_labelme
from rtmdet.data.formats.via import class_attribute, convert_via, is_via
from rtmdet.data.formats.voc import LISTS, convert_voc
from rtmdet.data.formats.yolo import convert_yolo
from rtmdet.data.formats.yolo_layout import find_layout, find_names, read_layout
from rtmdet.data.json_file import read_json
from rtmdet.data.split_names import SPLITS, split_name
from rtmdet.structures import InputError

LAYOUTS = "COCO, YOLO, VIA, LabelMe, CVAT or Pascal VOC"


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One split of a data set."""

    coco: CocoFile
    images: Path  # the folder that its file names are relative to
    annotations: Path | None = None  # the COCO file that says it; None where it was converted
    remarks: Sequence[str] = ()  # what became of entries that COCO has no equal for


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A data set as it was found."""

    format: str  # COCO, YOLO, ...
    splits: Mapping[str, Split]  # train, and val where there is one


def open_source(path: Path) -> Source:
    """Find out the format of a file or folder, and read its train and val splits.

    A folder may hold COCO files with their images beside, in the layouts of COCO, Roboflow or `rtmdet data`; a
    YOLO data.yaml; VIA region files; LabelMe files; CVAT's annotations.xml; or Pascal VOC, with the lists of
    ImageSets/ or a folder a split. Where no name says train or val, the one file is train. Raises InputError where
    nothing is recognised, a split has several files, or what is found cannot be used.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder of data; check the path")
    if (description := find_layout(path)) is not None:
        return Source("YOLO", _yolo_splits(description))
    documents = {file: read_json(file) for file in _json_files(path)}
    if coco := [file for file, content in documents.items() if _is_coco(content)]:
        return Source("COCO", {name: _coco_split(file, name) for name, file in _by_split(path, coco).items()})
    if via := [file for file, content in documents.items() if is_via(content)]:
        return Source("VIA", {name: _via_split(file) for name, file in _by_split(path, via).items()})
    if labelme := [file for file, content in documents.items() if is_labelme(content)]:
        folders = _by_split(path, {file.parent for file in labelme} if path.is_dir() else [path.parent])
        return Source("LabelMe", _joined((name, partial(convert_labelme, at)) for name, at in folders.items()))
    if (cvat := path / "annotations.xml" if path.is_dir() else path).suffix == ".xml" and cvat.is_file():
        return Source("CVAT", _joined([("train", partial(convert_cvat, cvat))]))
    if voc := _voc_places(path):
        return Source("VOC", _joined(voc))
    if find_names(path) is not None:
        return Source("YOLO", _yolo_splits(path))
    raise InputError(
        f"{path}: expected {LAYOUTS} annotations, recognised none in {len(documents)} JSON files; "
        "see rtmdet data convert, or name the files in a config"
    )


def _yolo_splits(path: Path) -> dict[str, Split]:
    names = [name for name in read_layout(path).places if name != "test"]
    if "train" not in names:
        raise InputError(f"{path}: expected a folder of images under 'train', found {names or 'no split'}; add it")
    splits = {name: convert_yolo(path, name) for name in names}
    return {name: Split(split.coco, split.images) for name, split in splits.items()}


def _joined(places: Iterable[tuple[str, Callable[..., ConvertedSet]]]) -> dict[str, Split]:
    """The converted splits, all with the classes of train."""
    splits: dict[str, Split] = {}
    names: list[str] | None = None
    for name, convert in places:
        found = convert(names=names)
        names = names or [category["name"] for category in found.coco["categories"]]
        splits[name] = Split(found.coco, found.images, remarks=found.remarks)
    return splits


def _voc_places(path: Path) -> list[tuple[str, Callable[..., ConvertedSet]]]:
    """The splits of Pascal VOC: those of its lists, or a folder each, or all as train; none without XML files."""
    if path.is_file():
        return []
    lists = [name for name in ("train", "val") if (path / LISTS / f"{name}.txt").is_file()]
    if any(any(folder.glob("*.xml")) for folder in (path, path / "Annotations")):
        return [(name, partial(convert_voc, path, split=name)) for name in lists] or [
            ("train", partial(convert_voc, path))
        ]
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and any(folder.rglob("*.xml"))]
    found = _by_split(path, folders) if folders else {}
    return [(name, partial(convert_voc, folder)) for name, folder in found.items()]


def _json_files(path: Path) -> list[Path]:
    """The file itself, or the JSON files of a folder and of two levels below it."""
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return [file for pattern in ("*.json", "*/*.json", "*/*/*.json") for file in sorted(path.glob(pattern))]


def _is_coco(document: object) -> bool:
    keys = ("images", "annotations", "categories")
    return isinstance(document, dict) and all(isinstance(document.get(key), list) for key in keys)


def _by_split(path: Path, files: Iterable[Path]) -> dict[str, Path]:
    """The file of each split; those of `test` are left alone."""
    found: dict[str, list[Path]] = {}
    for file in files:
        found.setdefault(split_name(file.relative_to(path) if file != path else Path(file.name)), []).append(file)
    unnamed = found.pop("", [])
    if "train" not in found and unnamed:
        found["train"] = unnamed
    if "train" not in found:
        names = ", ".join(str(file) for group in found.values() for file in group)
        raise InputError(f"{path}: expected annotations for training, found only {names}; name one of them train")
    return {name: _only(path, name, found[name]) for name in ("train", "val") if name in found}


def _only(path: Path, name: str, files: list[Path]) -> Path:
    """The one file of a split; of COCO's own several, the one with boxes."""
    chosen = [file for file in files if file.name.startswith("instances")] or files
    if len(chosen) > 1:
        names = ", ".join(map(str, chosen[:3])) + (", ..." if len(chosen) > 3 else "")
        raise InputError(f"{path}: expected one annotation file for {name}, found {names}; give --data one file")
    return chosen[0]


def _coco_split(file: Path, name: str) -> Split:
    coco = read_coco(file)
    return Split(coco, find_images(file, coco, name), file)


def find_images(file: Path, coco: CocoFile, split: str | None = None) -> Path:
    """The folder of the images of a COCO file, in the layouts of `open_source`; `split` where its name is known.

    Raises InputError where the first image is in none of the folders in question.
    """
    first = coco["images"][0]["file_name"]
    for folder in _image_folders(file, split or split_name(Path(file.name))):
        if (folder / first).is_file():
            return folder
    raise InputError(
        f"{file}: its images (the first is {first!r}) lie in none of the folders where they are looked for, such as "
        f"{file.parent / 'images'}; put them beside the file, or name their folder in a config"
    )


def _image_folders(file: Path, split: str) -> Iterator[Path]:
    """Where the images of a COCO file may lie, the likeliest first."""
    words = [file.stem, file.stem.rpartition("_")[2], *(word for word, name in SPLITS.items() if name == split)]
    for base in (file.parent, file.parent.parent):
        yield base
        yield base / "images"
        for word in words:
            yield from (base / word, base / word / "images", base / "images" / word)


def _via_split(file: Path) -> Split:
    key = class_attribute(file)
    return Split(convert_via(file, file.parent, class_name="object", class_key=key), file.parent)
