"""Annotation files that are not read here: what they are, and which export of the same tool is."""

from __future__ import annotations

from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.data.json_file import read_json

HEADS = {  # how the first line of a CSV file begins, without spaces and quotes
    "filename,file_size,file_attributes,region_count": "VIA's CSV: choose 'Export Annotations (as JSON)' in VIA",
    "filename,width,height,class,xmin": "TensorFlow's CSV: export the data as COCO JSON or Pascal VOC",
    "imageid,source,labelname,confidence": "Open Images' CSV: convert it to COCO JSON, for instance with FiftyOne",
}


def describe_unsupported(path: Path) -> str:
    """The name of a format that is not read, with what to do; empty where the file is none that is known."""
    if path.suffix.lower() == ".csv":
        return _describe_csv(path)
    return _describe_json(path) if path.suffix.lower() == ".json" else ""


def _describe_csv(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        head = file.readline(1000).lower().replace(" ", "").replace('"', "").replace("#", "")
    return next((text for start, text in HEADS.items() if head.startswith(start)), "")


def _describe_json(path: Path) -> str:
    try:
        document = read_json(path)
    except InputError:
        return ""
    first = document[0] if isinstance(document, list) and document else None
    if not isinstance(first, dict):
        return ""
    if {"image_id", "category_id", "bbox"} <= first.keys():
        return "a COCO list of results, without images and classes: give the file of annotations that belongs to it"
    if isinstance(first.get("annotations"), list) and ("image" in first or "imagefilename" in first):
        return "CreateML's JSON: export the data as COCO JSON or YOLO"
    if isinstance(first.get("data"), dict) or {"annotation_id", "annotator"} & first.keys():
        return "Label Studio's own JSON: choose the export 'COCO' or 'YOLO' there"
    return ""
