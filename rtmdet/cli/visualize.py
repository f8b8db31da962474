"""`rtmdet visualize`: feature maps or Box AM of a detector's layers, drawn over a photo with its detections."""

import argparse

from rtmdet.api.visualizers import FEATURE_LAYERS, TOPK, draw_box_am, draw_feature_maps
from rtmdet.cli.model_options import check_score, describe_score, load_detector
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.picture_source import free_path
from rtmdet.viz.box_targets import GRADIENT_METHODS
from rtmdet.viz.hooks import layer_names


def run(arguments: argparse.Namespace) -> int:
    """Write the pictures and print their paths, or print the names of the layers."""
    if arguments.image is None and not arguments.list_layers:
        raise InputError("visualize: expected an image file, found none: give one, or use --list-layers")
    check_score(arguments.score)
    check_options(arguments)
    detector = load_detector(arguments, fold=False)
    if arguments.list_layers:
        print("\n".join(layer_names(detector.model)))
        return 0
    print(describe_score(arguments.score, detector, detector.classes))
    photo, method = arguments.image, arguments.method
    if method is None:
        what = arguments.reduction or "squeeze_mean"
        pictures = draw_feature_maps(
            detector,
            photo,
            layers=arguments.layers or FEATURE_LAYERS,
            reduction=what,
            topk=TOPK if arguments.topk is None else arguments.topk,
            score=arguments.score,
        )
    else:
        what = method
        pictures = draw_box_am(
            detector,
            photo,
            layers=arguments.layers,
            method=method,
            target=arguments.target or "score",
            norm_in_box=arguments.norm_in_box,
            score=arguments.score,
        )
    for name, picture in pictures.items():
        path = free_path(arguments.out / f"{photo.stem}_{name}_{what}.png", photo, set())
        save_image(path, picture, source=photo)
        print(path)
    return 0


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
