"""For the message about unknown annotations: names what a path contains instead, and the way out."""

from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below
from rtmdet.core.json_file import read_json
from rtmdet.core.whole_file import first_line
from rtmdet.data.formats.yolo import holds_labels
from rtmdet.images.reading import IMAGE_SUFFIXES

ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar")
EXPORT = "export as COCO JSON, Pascal VOC or YOLO"
KINDS = {
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
OF_JSON = {  # by their keys
    "VoTT's JSON": {"asset", "regions"},
    "VoTT's export": {"assets", "tags"},
    "Supervisely's JSON": {"objects", "tags", "size"},
    "Darwin's JSON (V7)": {"item", "annotations"},
    "VIA 3's project": {"project", "metadata", "file"},
    "Datumaro's JSON": {"items", "categories"},
    "FiftyOne's own JSON": {"samples"},
}
KERAS_LABELS = "_annotations.txt"  # of Roboflow, beside _classes.txt
YOLO_NEEDS = "YOLO labels need a data.yaml or a classes.txt with the class names"


def advise(path: Path) -> str:
    """What the path contains instead of known annotations, and what to do."""
    files = [path] if path.is_file() else files_below(path, (".json", ".txt", *KINDS, *ARCHIVES), levels=2)
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
    return _describe_json(path) if suffix == ".json" else KINDS.get(suffix, "")


def _describe_csv(path: Path) -> str:
    head = first_line(path).lower().replace(" ", "").replace('"', "").replace("#", "")
    return next((text for start, text in KNOWN_CSV.items() if head.startswith(start)), KINDS[".csv"])


def _describe_json(path: Path) -> str:
    try:
        document = read_json(path)
    except InputError:
        return ""
    keys = document.keys() if isinstance(document, dict) else set()
    if known := next((name for name, those in OF_JSON.items() if those <= keys), ""):
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
