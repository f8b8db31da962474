"""Labels of other formats beside those that are read: a data set has one format, the others get a remark."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, spread
from rtmdet.core.json_file import read_json
from rtmdet.data.coco.layout import is_coco
from rtmdet.data.formats.labelme import is_labelme
from rtmdet.data.formats.via import is_via
from rtmdet.data.formats.xml_file import root_tag
from rtmdet.data.formats.yolo import holds_labels

FEW = 4  # files that are read to tell the format of others
LARGE = 20e6  # bytes; larger JSON files are not read for this
OF_JSON: Mapping[str, Callable[[object], bool]] = {"COCO": is_coco, "VIA": is_via, "LabelMe": is_labelme}
OF_XML = {"annotations": "CVAT", "annotation": "VOC"}  # by the tag of the root


def labels_beside(path: Path, format: str, documents: Mapping[Path, object]) -> list[str]:
    """A line about each other format, and results, in the folder of a data set that is read in this one.

    `documents` are the JSON files that were read already, if any were.
    """
    if path.is_file():
        return []
    read = [file for file, content in documents.items() if format == "COCO" and is_coco(content)]
    results = [file.relative_to(path).as_posix() for file, content in documents.items() if _is_results(content)]
    remarks = [f"{path}: {name} has detections, which are no labels: not read (see rtmdet label)" for name in results]
    others: dict[str, list[Path]] = {}
    for kind, file in _with_formats(path, format, documents):
        others.setdefault(kind, []).append(file)
    for kind, files in others.items():
        if kind != format:
            some = files[0].relative_to(path).as_posix()
            text = f"{path}: {kind} labels, such as {some}, are not read, since the {format} labels are"
            newer = read and max(map(_changed, files)) > max(map(_changed, read))
            remarks.append(f"{text} (older: if they were made of these, convert these again)" if newer else text)
    return remarks


def _is_results(document: object) -> bool:
    """Whether the content of a JSON file is COCO's list of detections."""
    first = document[0] if isinstance(document, list) and document else None
    return isinstance(first, dict) and {"image_id", "category_id", "score"} <= first.keys()


def _with_formats(path: Path, format: str, documents: Mapping[Path, object]) -> Iterator[tuple[str, Path]]:
    """Some label files of each format below the path of a data set in one of them."""
    for file, content in (documents or dict(_few_documents(path))).items():
        yield from ((kind, file) for kind, holds in OF_JSON.items() if holds(content))
    others: dict[Path, list[Path]] = {}
    for file in files_below(path, (".xml",) if format == "YOLO" else (".xml", ".txt")):
        others.setdefault(file.parent, []).append(file)
    for files in spread(list(others.values()), FEW):
        for file in spread(files, FEW):
            if file.suffix.lower() == ".txt":
                if holds_labels(file):
                    yield "YOLO", file
            elif (tag := root_tag(file)) in OF_XML:
                yield OF_XML[tag], file


def _few_documents(path: Path) -> Iterator[tuple[Path, object]]:
    for file in spread(files_below(path, (".json",), levels=2), FEW):
        with suppress(InputError, OSError):
            if file.stat().st_size <= LARGE:
                yield file, read_json(file)


def _changed(file: Path) -> float:
    return file.stat().st_mtime
