"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from rtmdet.api.visualizers import TOPK, draw_box_am, draw_feature_maps
from rtmdet.cli.command import print_failures
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
    if not arguments.paths and not arguments.list_layers:
        raise InputError("visualize: expected an image file, found none: give one, or use --list-layers")
    check_score(arguments.score)
    check_options(arguments)
    photos = (
        find_photos(arguments.paths, recursive=arguments.recursive, skip=arguments.out) if arguments.paths else []
    )
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
    draw: Callable[..., dict[str, np.ndarray]]
    if arguments.method:
        target = arguments.target or "score"
        draw = partial(draw_box_am, method=arguments.method, target=target, norm_in_box=arguments.norm_in_box)
    else:
        topk = TOPK if arguments.topk is None else arguments.topk
        draw = partial(draw_feature_maps, reduction=arguments.reduction or REDUCTIONS[0], topk=topk)
    if arguments.layers:
        draw = partial(draw, layers=arguments.layers)
    method, chosen = arguments.method or arguments.reduction or REDUCTIONS[0], chosen_options(arguments)
    failures = []
    for photo in photos:
        try:
            for layer, picture in draw(detector, photo, score=score, labels=not arguments.hide_labels).items():
                wanted = arguments.out / f"{photo.stem}_{layer}_{storable_name('_'.join([method, *chosen]))}.png"
                origin = f"{photo.resolve()} {detector.path} {arguments.class_names} {arguments.classes} {chosen}"
                if layer == "mean":
                    origin += f" {arguments.layers}"
                path = free_path(wanted, Path(origin), set())  # one of the same origin is replaced, no other
                save_image(path, picture, source=Path(origin))
                print(path)
        except InputError as error:
            known = len(photos) == 1 or str(photo) in str(error)
            failures.append(Failure(error if known else InputError(f"{photo}: {error}")))
    print_failures(failures, nothing_done=len(failures) == len(photos))
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
