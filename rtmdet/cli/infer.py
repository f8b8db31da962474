"""`rtmdet infer`: objects in images, as drawn pictures and one detections.json.

DetectionsFile below defines detections.json; docs/detections.md explains it to users. Fields may be added; existing
ones keep their names and meaning.
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

import torch
from tqdm import tqdm

from rtmdet.cli.model_options import check_score, describe_score, hint_class, load_detector
from rtmdet.core.detections import DetectedImage
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.picture_source import free_path
from rtmdet.data.files import files_below
from rtmdet.data.images import IMAGE_SUFFIXES, read_image
from rtmdet.data.json_file import write_json
from rtmdet.detector import Detector


class DetectedFile(DetectedImage):
    """An image file, and the picture with its detections."""

    picture: str  # relative to the folder of detections.json


class InputSide(TypedDict):
    """Size of the network's input in pixels."""

    width: int
    height: int


class DetectionsFile(TypedDict):
    """The settings, then one entry per image; images that could not be read have none."""

    weights: str
    input: InputSide
    score_thresholds: dict[str, float]  # of each class that was detected
    images: list[DetectedFile]


def run(arguments: argparse.Namespace) -> int:
    """Detect in every image; returns 0, or 1 if some of several images could not be read."""
    check_score(arguments.score)
    places = find_images(arguments.paths, recursive=arguments.recursive, skip=arguments.out)
    pictures = name_pictures(places, arguments.out)
    detector = load_detector(arguments)
    thresholds = choose_thresholds(detector, arguments.score, arguments.classes)
    cut = [thresholds.get(name, 1.0) for name in detector.classes]
    wanted = torch.tensor([name in thresholds for name in detector.classes])
    images: list[DetectedFile] = []
    failures: list[InputError] = []
    # None: draws the bar only if stderr is a terminal
    for path, picture in tqdm(pictures, desc="detecting", disable=True if len(pictures) == 1 else None):
        try:
            image = read_image(path, detector.value_range)
        except InputError as error:
            failures.append(error)
            continue
        found = detector(image, score=cut)
        found = replace(found[wanted[found.labels]], path=path)
        images.append(_detected_file(found.to_dict(), picture.relative_to(arguments.out)))
        save_image(picture, found.draw(labels=not arguments.hide_labels), source=path)
    if failures and not images:
        raise failures[0]
    height, width = detector.input_size
    document = DetectionsFile(
        weights=str(arguments.weights),
        input=InputSide(width=width, height=height),
        score_thresholds=thresholds,
        images=images,
    )
    write_json(arguments.out / "detections.json", document, indent=1)
    print(describe_score(arguments.score, detector, list(thresholds)))
    report(images, failures, arguments.out)
    return 1 if failures else 0


def _detected_file(image: DetectedImage, picture: Path) -> DetectedFile:
    return DetectedFile(
        file=image["file"],
        picture=picture.as_posix(),
        width=image["width"],
        height=image["height"],
        objects=image["objects"],
    )


def choose_thresholds(detector: Detector, score: float | str, classes: str | None) -> dict[str, float]:
    """The score threshold of each chosen class. Raises InputError for unknown classes."""
    scores = detector.thresholds(score)
    scores = scores * len(detector.classes) if len(scores) == 1 else scores
    thresholds = dict(zip(detector.classes, scores, strict=True))
    if classes is None:
        return thresholds
    wanted = [name.strip() for name in classes.split(",") if name.strip()]
    for name in wanted:
        if name not in thresholds:
            raise InputError(f"--classes {name}: these weights have no such class: {hint_class(name, detector)}")
    if not wanted:
        raise InputError(f"--classes {classes!r}: expected names separated by commas, found none")
    return {name: thresholds[name] for name in wanted}


def find_images(patterns: Sequence[str], *, recursive: bool = False, skip: Path | None = None) -> dict[Path, Path]:
    """The image files of paths, folders and glob patterns, each once, sorted within each pattern.

    Maps each file to its subfolder below the given folder. Files below `skip`, the output folder, are left out unless
    it is the given folder itself.
    """
    found: dict[Path, Path] = {}
    seen: set[Path] = set()
    for pattern in patterns:
        path = Path(os.path.expanduser(pattern))
        if path.is_dir():
            matches = {match: match.parent.relative_to(path) for match in _images_in(path, recursive, skip)}
        elif path.exists():
            matches = {path: Path()}
        else:
            globbed = map(Path, glob.glob(str(path), recursive=True))
            matches = {match: Path() for match in sorted(filter(_is_image, globbed))}
        if not matches:
            raise InputError(f"{path}: expected an image, a folder with images or a glob pattern, found no image")
        real = {match: match.resolve() for match in matches}
        found |= {match: place for match, place in matches.items() if real[match] not in seen}
        seen.update(real.values())
    return found


def _images_in(folder: Path, recursive: bool, skip: Path | None) -> list[Path]:
    """The images of a folder; prints a line about subfolders that are not searched."""
    below = [*filter(_is_image, files_below(folder, IMAGE_SUFFIXES, levels=None if recursive else 2))]
    if skip is not None and folder.resolve() != (out := skip.resolve()):
        below = [path for path in below if out not in path.resolve().parents]
    here = below if recursive else [path for path in below if path.parent == folder]
    if count := len({path.parent for path in below} - {path.parent for path in here} - {folder}):
        what = "1 subfolder with images was" if count == 1 else f"{count} subfolders with images were"
        text = f"{what} not searched: add --recursive to include {'it' if count == 1 else 'them'}"
        if not here:
            raise InputError(f"{folder}: no image in the folder itself: {text}")
        print(text)
    return here


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def name_pictures(places: Mapping[Path, Path], folder: Path) -> list[tuple[Path, Path]]:
    """Each image with the path of its drawn picture: in its subfolder, with a number if the name is taken.

    Raises InputError if a picture would replace a photo.
    """
    pairs: list[tuple[Path, Path]] = []
    taken: set[str] = set()
    photos = {path.resolve() for path in places}
    for path, place in places.items():
        wanted = folder / place / f"{path.stem}.jpg"
        if wanted.resolve() in photos:
            raise InputError(f"--out {folder}: {wanted.name} would replace the photo itself: choose another folder")
        pairs.append((path, free_path(wanted, path, taken)))
    return pairs


def report(images: Sequence[DetectedFile], failures: Sequence[InputError], folder: Path) -> None:
    """Print what was found, where each picture is, and which images could not be read."""
    for entry in images[:20]:
        counts: dict[str, int] = {}
        for item in entry["objects"]:
            counts[item["class_name"]] = counts.get(item["class_name"], 0) + 1
        summary = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        print(f"{entry['file']}: {summary} -> {folder / entry['picture']}")
    if len(images) > 20:
        print(f"... and {len(images) - 20} more images: see detections.json")
    for failure in failures:
        print(f"skipped: {failure}", file=sys.stderr)
    print(f"pictures and detections.json: {folder}")
