"""Labels that are not read: of other formats beside those of a data set, and what a path has instead of one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, spread
from rtmdet.core.json_file import read_json
from rtmdet.core.whole_file import first_line
from rtmdet.data.coco.layout import is_coco
from rtmdet.data.formats.labelme import is_labelme
from rtmdet.data.formats.via import is_via
from rtmdet.data.formats.xml_file import root_tag
from rtmdet.data.formats.yolo import FEW, holds_labels
from rtmdet.images.reading import IMAGE_SUFFIXES

LEVELS = 3  # how far below a folder they are looked for: V7 has releases/latest/annotations
LARGE = 20e6  # bytes; larger JSON files are not read for this
OF_JSON: Mapping[str, Callable[[object], bool]] = {"COCO": is_coco, "VIA": is_via, "LabelMe": is_labelme}
OF_XML = {"annotations": "CVAT", "annotation": "VOC"}  # by the tag of the root

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
EXPORT = "export as COCO JSON, Pascal VOC or YOLO"
UNREAD = {
    ".csv": f"CSV is not read: {EXPORT}",
    ".parquet": f"Parquet is not read: {EXPORT}",
    ".record": f"TFRecord is not read: {EXPORT}",
    ".tfrecord": f"TFRecord is not read: {EXPORT}",
    ".ndjson": f"lines of JSON are not read: {EXPORT}",
    ".vott": f"VoTT's project is not read: {EXPORT}",
}
KNOWN_CSV = {  # by the start of its first line, without spaces and quotes
    "filename,file_size,file_attributes,region_count": "VIA's CSV: choose 'Export Annotations (as JSON)' in VIA",
    "imageid,source,labelname,confidence": "Open Images' CSV: convert it to COCO JSON, for instance with FiftyOne",
}
UNREAD_JSON = {  # by their keys
    "VoTT's JSON": {"asset", "regions"},
    "VoTT's export": {"assets", "tags"},
    "Supervisely's JSON": {"objects", "tags", "size"},
    "Darwin's JSON (V7)": {"item", "annotations"},
    "VIA 3's project": {"project", "metadata", "file"},
    "Datumaro's JSON": {"items", "categories"},
    "FiftyOne's own JSON": {"samples"},
    "ISAT's JSON": {"info", "objects"},
}
KERAS_LABELS = "_annotations.txt"  # of Roboflow, beside _classes.txt
DOTA_FOLDER = "labelTxt"  # or labelTxt-v1.5 and similar
YOLO_NEEDS = "YOLO labels need a data.yaml or a classes.txt with the class names"


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


def advise(path: Path) -> str:
    """What the path contains instead of known annotations, and what to do."""
    files = [path] if path.is_file() else files_below(path, (".json", ".txt", *UNREAD, *ARCHIVES), levels=LEVELS)
    for file in sorted(files, key=lambda file: (file.suffix.lower() in ARCHIVES, len(file.parts))):
        name = file.name if file == path else file.relative_to(path).as_posix()
        if file.suffix.lower() in ARCHIVES:
            return f"unpack {name} and give its folder"
        if known := _describe(file):
            return f"found {name}: {known}"
    if path.is_file():
        return "give the folder, or the annotation file; see rtmdet data convert"
    found = {suffix: files_below(path, (suffix,)) for suffix in (".json", ".xml", ".txt")}
    images, is_yolo = len(files_below(path, IMAGE_SUFFIXES)), any(map(holds_labels, found[".txt"]))
    if images and not (found[".json"] or found[".xml"] or is_yolo):
        return (
            "these are photos without labels: give the folder that has the labels, too, or label them first "
            "(docs/label.md shows how to let a detector help)"
        )
    counts = ", ".join(f"{len(files)} {suffix}" for suffix, files in found.items() if files)
    text = f"the folder has {images} images and {counts or 'no .json, .xml or .txt'} files"
    return f"{text}; {YOLO_NEEDS if is_yolo else 'check the path'}"


def _describe(path: Path) -> str:
    """The name of an unsupported format, with an export that is supported; "" if it is not recognized."""
    suffix = path.suffix.lower()
    if suffix == ".csv":
        return _describe_csv(path)
    if path.name == KERAS_LABELS:
        return f"Roboflow's text for Keras is not read: {EXPORT}"
    if suffix == ".txt" and path.parent.name.startswith(DOTA_FOLDER):
        return f"DOTA's text is not read: {EXPORT}"
    return _describe_json(path) if suffix == ".json" else UNREAD.get(suffix, "")


def _describe_csv(path: Path) -> str:
    head = first_line(path).lower().replace(" ", "").replace('"', "").replace("#", "")
    return next((text for start, text in KNOWN_CSV.items() if head.startswith(start)), UNREAD[".csv"])


def _describe_json(path: Path) -> str:
    try:
        document = read_json(path)
    except InputError:
        return ""
    keys = document.keys() if isinstance(document, dict) else set()
    if known := next((name for name, those in UNREAD_JSON.items() if those <= keys), ""):
        return f"{known} is not read: {EXPORT}"
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict):
        return ""
    if {"image_id", "category_id", "bbox"} <= first.keys():
        return "COCO detection results, without images and classes: give the annotation file they belong to"
    if isinstance(first.get("annotations"), list) and ("image" in first or "imagefilename" in first):
        return "CreateML's JSON: export the data as COCO JSON or YOLO"
    if isinstance(first.get("data"), dict) or {"annotation_id", "annotator"} & first.keys():
        return "Label Studio's own JSON: export as 'COCO' or 'YOLO' there"
    return ""
