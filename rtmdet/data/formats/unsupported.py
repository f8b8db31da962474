"""Recognizes annotation formats that are not supported, and names an export of the same tool that is."""

from __future__ import annotations

from pathlib import Path

from rtmdet.core.errors import InputError
from rtmdet.data.json_file import read_json

HEADS = {  # start of the first line of a CSV file, without spaces and quotes
    "filename,file_size,file_attributes,region_count": "VIA's CSV: choose 'Export Annotations (as JSON)' in VIA",
    "filename,width,height,class,xmin": "TensorFlow's CSV: export the data as COCO JSON or Pascal VOC",
    "imageid,source,labelname,confidence": "Open Images' CSV: convert it to COCO JSON, for instance with FiftyOne",
}


def describe_unsupported(path: Path) -> str:
    """The name of an unsupported format, with what to do; "" if the file is not recognized."""
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
        return "COCO detection results, without images and classes: give the annotation file they belong to"
    if isinstance(first.get("annotations"), list) and ("image" in first or "imagefilename" in first):
        return "CreateML's JSON: export the data as COCO JSON or YOLO"
    if isinstance(first.get("data"), dict) or {"annotation_id", "annotator"} & first.keys():
        return "Label Studio's own JSON: export as 'COCO' or 'YOLO' there"
    return ""
