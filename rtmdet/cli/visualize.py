"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

import argparse
import sys
from pathlib import Path

import numpy as np

from rtmdet.api.visualizers import FEATURE_LAYERS, TOPK, draw_box_am, draw_feature_maps
from rtmdet.cli.model_options import check_score, choose_thresholds, describe_score, load_detector
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.paths import storable_name
from rtmdet.core.picture_source import free_path
from rtmdet.detector import Detector, Score
from rtmdet.stream.frames import Failure
from rtmdet.stream.sources import ImageFile, find_sources
from rtmdet.viz.box_targets import GRADIENT_METHODS
from rtmdet.viz.hooks import find_layer, layer_names


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths, or print the names of the layers; 1 if some photos were skipped."""
    if not arguments.paths and not arguments.list_layers:
        raise InputError("visualize: expected an image file, found none: give one, or use --list-layers")
    check_score(arguments.score)
    check_options(arguments)
    photos = find_photos(arguments)
    detector = load_detector(arguments, fold=False)
    if arguments.list_layers:
        print("\n".join(layer_names(detector.model)))
        return 0
    thresholds = choose_thresholds(detector, arguments.score, arguments.classes)
    for layer in arguments.layers or ():
        find_layer(detector.model, layer)  # before the first photo
    print(describe_score(arguments.score, detector, list(thresholds)))
    score: Score = arguments.score
    if arguments.classes is not None:
        score = [thresholds.get(name, 1.0) for name in detector.classes]  # no score exceeds 1
    failures = []
    for photo in photos:
        try:
            for name, picture in draw_layers(detector, photo, arguments, score).items():
                print(save(picture, photo, name, detector, arguments))
        except InputError as error:
            failures.append(Failure(error))
    last = failures.pop() if len(failures) == len(photos) else None
    for failure in failures:
        print(failure, file=sys.stderr)
    if last is not None:
        raise last.error
    return 1 if failures else 0


def find_photos(arguments: argparse.Namespace) -> list[Path]:
    """The photos that the paths name; prints what was left out. Raises InputError for videos and addresses."""
    if not arguments.paths:
        return []
    found = find_sources(arguments.paths, recursive=arguments.recursive, skip=arguments.out)
    print(*found.remarks, sep="\n", end="\n" if found.remarks else "")
    photos = []
    for source in found.sources:
        if not isinstance(source, ImageFile):
            raise InputError(
                f"{source.name}: expected a photo's file, found a video, camera or address: save a picture"
            )
        photos.append(source.path)
    return photos


def draw_layers(detector: Detector, photo: Path, given: argparse.Namespace, score: Score) -> dict[str, np.ndarray]:
    """The pictures of one photo by name."""
    if given.method is None:
        return draw_feature_maps(
            detector,
            photo,
            layers=given.layers or FEATURE_LAYERS,
            reduction=given.reduction or "squeeze_mean",
            topk=TOPK if given.topk is None else given.topk,
            score=score,
            labels=not given.hide_labels,
        )
    return draw_box_am(
        detector,
        photo,
        layers=given.layers,
        method=given.method,
        target=given.target or "score",
        norm_in_box=given.norm_in_box,
        score=score,
        labels=not given.hide_labels,
    )


def save(picture: np.ndarray, photo: Path, name: str, detector: Detector, given: argparse.Namespace) -> Path:
    """Write a picture and return its path: it replaces one of the same photo, weights and options, but no other."""
    options = ("topk", "target", "norm_in_box", "score", "hide_labels", "input")
    values = [(option, getattr(given, option)) for option in options]
    values.append(("classes", ",".join(given.classes) if given.classes else None))
    chosen = {name: value for name, value in values if value is not None and value is not False and value != "auto"}
    texts = [option if value is True else f"{option}_{value}" for option, value in chosen.items()]
    what = "_".join([given.method or given.reduction or "squeeze_mean", *texts])
    origin = Path(f"{photo.resolve()} {detector.path} {given.class_names} {chosen}")
    path = free_path(given.out / f"{photo.stem}_{name}_{storable_name(what)}.png", origin, set())
    save_image(path, picture, source=origin)
    return path


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
