"""`rtmdet infer`: objects in images, as drawn pictures and one JSON of boxes."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from rtmdet.cli.model_options import check_score, describe_score, load_detector
from rtmdet.core.detections import DetectedImage
from rtmdet.core.errors import InputError
from rtmdet.data.files import files_below
from rtmdet.data.images import IMAGE_SUFFIXES, read_image
from rtmdet.data.json_file import write_json
from rtmdet.viz.draw import save_image


def run(arguments: argparse.Namespace) -> int:
    """Detect in every image; returns 0, or 1 where an image among several could not be read."""
    check_score(arguments.score)
    paths = find_images(arguments.paths)
    detector = load_detector(arguments)
    images: list[DetectedImage] = []
    failures: list[InputError] = []
    for path, picture in tqdm(name_pictures(paths, arguments.out), desc="detecting", disable=len(paths) == 1):
        try:
            image = read_image(path, detector.value_range)
        except InputError as error:
            failures.append(error)
            continue
        found = replace(detector(image, score=arguments.score), path=path)
        images.append(found.to_dict())
        save_image(picture, found.draw())
    if failures and not images:
        raise failures[0]
    write_json(arguments.out / "detections.json", {"images": images}, indent=1)
    print(describe_score(arguments.score, detector))
    report(images, failures, arguments.out)
    return 1 if failures else 0


def find_images(patterns: Sequence[str]) -> list[Path]:
    """The image files that paths, folders and glob patterns name, each once, sorted within each."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        pattern = os.path.expanduser(pattern)
        path = Path(pattern)
        if path.is_dir():
            matches = files_below(path, IMAGE_SUFFIXES, levels=0)
        elif path.exists():
            matches = [path]
        else:
            matches = sorted(filter(_is_image, map(Path, glob.glob(pattern, recursive=True))))
        if not matches:
            raise InputError(f"{pattern}: expected an image, a folder with images or a glob pattern, found no image")
        found.update(dict.fromkeys(matches))
    return list(found)


def _is_image(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES


def name_pictures(paths: Sequence[Path], folder: Path) -> list[tuple[Path, Path]]:
    """Each image with the file of its drawn picture; images of one name in several folders get numbers.

    Raises InputError where a picture would replace a photo.
    """
    pairs, taken = [], set()
    photos = {path.resolve() for path in paths}
    for path in paths:
        name, number = f"{path.stem}.jpg", 2
        while name in taken:
            name, number = f"{path.stem}_{number}.jpg", number + 1
        taken.add(name)
        if (folder / name).resolve() in photos:
            raise InputError(f"--out {folder}: {name} would replace the photo itself: choose another folder")
        pairs.append((path, folder / name))
    return pairs


def report(images: Sequence[DetectedImage], failures: Sequence[InputError], folder: Path) -> None:
    """Say what was found and what could not be read."""
    for entry in images[:20]:
        counts: dict[str, int] = {}
        for item in entry["objects"]:
            counts[item["class_name"]] = counts.get(item["class_name"], 0) + 1
        summary = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        print(f"{entry['file']}: {summary}")
    if len(images) > 20:
        print(f"... and {len(images) - 20} more images")
    for failure in failures:
        print(f"passed over: {failure}", file=sys.stderr)
    print(f"pictures and detections.json: {folder}")
