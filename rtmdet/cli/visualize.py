"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rtmdet.api.visualizers import TOPK, draw_box_am, draw_feature_maps
from rtmdet.cli.model_options import check_score, choose_thresholds, describe_score, load_detector
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.paths import storable_name
from rtmdet.core.picture_source import free_path
from rtmdet.detector import Score
from rtmdet.stream.frames import Failure
from rtmdet.stream.ranking import check_photos
from rtmdet.stream.sources import find_sources
from rtmdet.viz.box_targets import GRADIENT_METHODS
from rtmdet.viz.feature_maps import REDUCTIONS
from rtmdet.viz.hooks import find_layer, layer_names

MOST_LETTERS = 40  # of class names in the name of a picture


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths, or print the names of the layers; 1 if some photos were skipped."""
    given = arguments
    if not given.paths and not given.list_layers:
        raise InputError("visualize: expected an image file, found none: give one, or use --list-layers")
    check_score(given.score)
    check_options(given)
    photos = find_photos(given.paths, recursive=given.recursive, skip=given.out) if given.paths else []
    detector = load_detector(given, fold=False)
    if given.list_layers:
        print("\n".join(layer_names(detector.model)))
        return 0
    thresholds = choose_thresholds(detector, given.score, given.classes)
    for layer in given.layers or ():
        find_layer(detector.model, layer)  # before the first photo
    print(describe_score(given.score, detector, list(thresholds)))
    score: Score = given.score
    if given.classes is not None:
        score = [thresholds.get(name, 1.0) for name in detector.classes]  # no score exceeds 1
    draw: Callable[..., dict[str, np.ndarray]]
    if given.method:
        target = given.target or "score"
        draw = partial(draw_box_am, method=given.method, target=target, norm_in_box=given.norm_in_box)
    else:
        topk = TOPK if given.topk is None else given.topk
        draw = partial(draw_feature_maps, reduction=given.reduction or REDUCTIONS[0], topk=topk)
    if given.layers:
        draw = partial(draw, layers=given.layers)
    method, chosen = given.method or given.reduction or REDUCTIONS[0], chosen_options(given)
    failures = []
    for photo in photos:
        try:
            for layer, picture in draw(detector, photo, score=score, labels=not given.hide_labels).items():
                path = given.out / f"{photo.stem}_{layer}_{storable_name('_'.join([method, *chosen]))}.png"
                print(save(picture, path, f"{photo.resolve()} {detector.path} {given.class_names} {chosen}"))
        except InputError as error:
            known = len(photos) == 1 or str(photo) in str(error)
            failures.append(Failure(error if known else InputError(f"{photo}: {error}")))
    last = failures.pop() if len(failures) == len(photos) else None
    for failure in failures:
        print(failure, file=sys.stderr)
    if last is not None:
        raise last.error
    return 1 if failures else 0


def find_photos(paths: Sequence[str], *, recursive: bool, skip: Path) -> list[Path]:
    """The photos that the paths name; prints what was left out. Raises InputError for videos and addresses."""
    found = find_sources(paths, recursive=recursive, skip=skip)
    for remark in found.remarks:
        print(remark)
    return [photo.path for photo in check_photos(found.sources)]


def chosen_options(given: argparse.Namespace) -> list[str]:
    """The options that change a picture, besides the method, as words for its name."""
    words = []
    for name in ("topk", "target", "norm_in_box", "score", "hide_labels", "input", "classes"):
        value = getattr(given, name)
        if value is not None and value is not False and value != "auto":
            text = ",".join(value)[:MOST_LETTERS] if isinstance(value, list) else value
            words.append(name if value is True else f"{name}_{text}")
    return words


def save(picture: np.ndarray, path: Path, origin: str) -> Path:
    """Write a picture and return its path: it replaces one of the same origin, but no other."""
    free = free_path(path, Path(origin), set())
    save_image(free, picture, source=Path(origin))
    return free


def check_options(given: argparse.Namespace) -> None:
    """Raise InputError for options that would do nothing."""
    of_maps = "feature maps: leave out this option or --method"
    wrong = {
        "--reduction": (given.reduction and given.method, of_maps),
        "--topk": (
            given.topk is not None and given.reduction != "topk",
            of_maps if given.method else "--reduction topk: give that, too",
        ),
        "--target": (
            given.target and given.method not in GRADIENT_METHODS,
            f"--method {' or '.join(GRADIENT_METHODS)}: give one of these, too",
        ),
        "--norm-in-box": (given.norm_in_box and not given.method, "Box AM: give --method, too"),
    }
    for option, (is_given, where) in wrong.items():
        if is_given:
            raise InputError(f"{option} is for {where}")
    if given.topk is not None and given.topk < 1:
        raise InputError(f"--topk {given.topk}: expected at least 1 channel")
    if given.out.exists() and not given.out.is_dir():
        raise InputError(f"--out {given.out}: expected a folder, found a file: choose another one")
