"""`rtmdet data check`: what is wrong with a data set, how it affects training, and how to repair it.

With --out also pictures of it: a grid of the first cases, faulty boxes in the middle of a crop. Images are (H, W, 3)
uint8 RGB, boxes xyxy in pixels of the whole image.
"""

import argparse
from dataclasses import asdict
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from rtmdet.cli.command import has_keys
from rtmdet.config.file import load_config
from rtmdet.core.class_colors import palette
from rtmdet.core.console import progress
from rtmdet.core.draw import draw_boxes, save_image
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import check_output, write_json
from rtmdet.core.letterbox import PAD_VALUE
from rtmdet.core.whole_file import remove_file
from rtmdet.data.doctor.finding import ALL, SEVERITIES, Finding, Item, Report, SplitFiles
from rtmdet.data.doctor.report import examine, examine_path
from rtmdet.images.reading import read_image
from rtmdet.runs.data_purpose import read_purpose
from rtmdet.viz.grid import fit_image, grid

CELL = (240, 320)  # (H, W) pixels of each image in the picture
COLUMNS = 4
CASES = 12  # drawn per finding
CONTEXT = 1.0  # shown around a box, in multiples of its longer side
LEAST_FRAME = 4  # pixels of the cell: keeps tiny boxes visible
LEAST_CROP = 128  # pixels; smaller crops show too little context

Box = tuple[float, float, float, float]


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; returns 1 if any would stop or harm training, else 0."""
    if arguments.json is not None:
        inputs = arguments.annotations, arguments.images, arguments.val_annotations, arguments.val_images
        check_output(arguments.json, *inputs, earlier=has_keys("findings", "splits"))
    purpose = read_purpose(arguments.config, arguments.weights, arguments.input)
    validation = read_validation(arguments.val_annotations, arguments.val_images)
    if arguments.annotations is None:
        splits = read_splits(arguments.config, arguments.images)
        splits = splits if validation is None else [splits[0], validation]
        report = examine(splits, purpose, decode=arguments.decode, watch=progress)
    else:
        path, images, decode = arguments.annotations, arguments.images, arguments.decode
        try:
            report = examine_path(path, purpose, images=images, validation=validation, decode=decode, watch=progress)
        except InputError as error:
            for fault in getattr(error, "__notes__", ()):
                print(fault)
            raise
    print(report)
    if arguments.json is not None:
        write_json(arguments.json, plain(report), indent=2)
        print(f"findings: {arguments.json}")
    if arguments.out is not None:
        draw_report(report, arguments.out)
    return int(report.harmful)


def read_splits(config: Path | None, images: Path | None) -> list[SplitFiles]:
    """The splits that the configuration names. Raises InputError if nothing is named."""
    if config is None or images is not None:
        raise InputError("expected a data set, or --config alone with its paths; see --help")
    data = load_config(config).data
    return [
        SplitFiles(name, Path(one.annotations), Path(one.images))
        for name, one in (("train", data.train), ("val", data.val))
    ]


def read_validation(annotations: Path | None, images: Path | None) -> SplitFiles | None:
    """The validation split that the options name."""
    if annotations is None and images is None:
        return None
    if annotations is None or images is None:
        raise InputError("--val-annotations and --val-images: expected both or neither; give the other one as well")
    return SplitFiles("val", annotations, images)


def plain(report: Report) -> dict[str, object]:
    """The report as values for JSON."""
    findings = [
        {
            **asdict(finding),
            "count": len(finding.items),
            "items": [{**asdict(item), "files": list(map(str, item.files))} for item in finding.items],
        }
        for finding in report.findings
    ]
    splits = [
        {**asdict(summary), "annotations": str(source.origin or source.annotations), "folder": str(source.images)}
        for summary, source in zip(report.summaries, report.splits, strict=True)
    ]
    return {
        "harmful": report.harmful,
        "input_size": list(report.purpose.input_size),
        "splits": splits,
        "findings": findings,
    }


def draw_report(report: Report, folder: Path) -> None:
    """Draw every finding that has images; pictures of an earlier report are removed."""
    for severity, split in product(SEVERITIES, (ALL, "train", "val", "test")):
        for old in folder.glob(f"{severity}_{split}_*.png"):
            remove_file(old)
    for finding in report.findings:
        picture = draw_finding(finding)
        if picture is not None:
            path = folder / f"{finding.severity}_{finding.split}_{finding.code}.png"
            save_image(path, picture)
            print(path)


def draw_finding(finding: Finding) -> np.ndarray | None:
    """The first cases with readable images side by side, both images of a pair; None if there are none."""
    pictures, titles = [], []
    for item in (item for item in finding.items if item.files):
        shown = _draw_item(item)
        pictures += shown
        number = "" if item.annotation_id is None else f"{item.annotation_id}: "
        titles += [f"{number}{path.name}" for path in item.files] if shown else []
        if len(pictures) >= CASES:
            break
    return grid(pictures, COLUMNS, CELL, titles) if pictures else None


def view_box(image: np.ndarray, box: Box) -> np.ndarray:
    """The surroundings of a box, enlarged to fit CELL, with its frame; gray outside of the image.

    For a box outside of the image the whole image is shown, and at most one image size beyond each edge.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = _surroundings(box, (height, width))
    crop = _crop(image, (left, top, right, bottom))
    cell = fit_image(crop, CELL)
    scale = np.array([cell.shape[1] / crop.shape[1], cell.shape[0] / crop.shape[0]] * 2)
    frame = (np.array(box) - (left, top, left, top)) * scale
    frame[2:] = np.maximum(frame[2:], frame[:2] + LEAST_FRAME)
    return draw_boxes(cell, frame[None], [""], palette(1))


def _draw_item(item: Item) -> list[np.ndarray]:
    """One cell per image of the case; none if one of them cannot be read."""
    try:
        images = [read_image(path) for path in item.files]
    except InputError:  # the finding itself reports it
        return []
    if item.box is not None:
        return [view_box(images[0], item.box)]
    return [fit_image(image, CELL) for image in images]


def _surroundings(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The part xyxy of the plane to show for a box in an image of (H, W), at most one image beyond each edge."""
    height, width = size
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    reach = max((0.5 + CONTEXT) * max(box[2] - box[0], box[3] - box[1]), LEAST_CROP / 2)
    edges = [x - reach, y - reach, x + reach, y + reach]
    if box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        edges = [min(edges[0], 0), min(edges[1], 0), max(edges[2], width), max(edges[3], height)]
    else:  # no more gray than the frame needs
        rim = reach / 16
        around = (min(box[0] - rim, 0), min(box[1] - rim, 0), max(box[2] + rim, width), max(box[3] + rim, height))
        edges = [*map(max, edges[:2], around[:2]), *map(min, edges[2:], around[2:])]
    left, right = np.clip((edges[0], edges[2]), -width, 2 * width)
    top, bottom = np.clip((edges[1], edges[3]), -height, 2 * height)
    return int(left), int(top), max(int(np.ceil(right)), int(left) + 1), max(int(np.ceil(bottom)), int(top) + 1)


def _crop(image: np.ndarray, part: tuple[int, int, int, int]) -> np.ndarray:
    """The part xyxy of an image, which may reach beyond it."""
    height, width = image.shape[:2]
    left, top, right, bottom = part
    beyond = max(-top, 0), max(bottom - height, 0), max(-left, 0), max(right - width, 0)
    inside = image[max(top, 0) : max(min(bottom, height), 0), max(left, 0) : max(min(right, width), 0)]
    return cv2.copyMakeBorder(inside, *beyond, cv2.BORDER_CONSTANT, value=(PAD_VALUE,) * 3)
