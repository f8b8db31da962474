"""`rtmdet evaluate`: the 12 COCO metrics of a detector on annotated images."""

import argparse

from rtmdet.api.detectors import draw_mistakes, evaluate
from rtmdet.cli.command import has_keys
from rtmdet.cli.model_options import choose_windows, load_detector
from rtmdet.core.console import warn
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import check_output, write_json
from rtmdet.core.paths import check_new_folder, user_path
from rtmdet.deploy.views import check_views
from rtmdet.evaluation.coco import metric_text
from rtmdet.measuring.measure import describe_interval, describe_settings
from rtmdet.runs.settings.own_data import DEFAULT_WEIGHTS
from rtmdet.viz.figures import SUFFIXES
from rtmdet.viz.score_curves import draw_score_curves


def are_detections(content: object) -> bool:
    """Whether the content of a JSON file is what --out writes."""
    keys = {"image_id", "category_id", "bbox", "score"}
    return isinstance(content, list) and all(isinstance(entry, dict) and keys <= entry.keys() for entry in content)


def run(arguments: argparse.Namespace) -> int:
    """Print the 12 metrics and the table of classes; returns 0, or 1 if AP is below --min-ap."""
    if arguments.min_ap is not None and not 0 <= arguments.min_ap <= 1:
        raise InputError(f"--min-ap {arguments.min_ap:g}: expected a number from 0 to 1")
    if arguments.run_folder is not None:
        if arguments.weights is not None:
            raise InputError(f"{arguments.run_folder} and --weights {arguments.weights}: expected one of them")
        arguments.weights = arguments.run_folder
    check_views(tta=arguments.tta, tile=arguments.tile)
    data = arguments.data or arguments.annotations
    if arguments.weights is None and data is None:
        raise InputError("evaluate: expected the folder of a run, or --data, found neither: give one of them")
    arguments.weights = arguments.weights or DEFAULT_WEIGHTS
    weights = user_path(arguments.weights)
    file = weights if weights.is_file() else None  # into the folder of a run, pictures and numbers may be written
    if arguments.f1 is not None:
        check_output(arguments.f1, data, arguments.images, file, suffixes=SUFFIXES)
    if arguments.out is not None:
        check_output(arguments.out, data, weights, earlier=are_detections)
    if arguments.json is not None:
        check_output(arguments.json, data, arguments.images, file, earlier=has_keys("metrics", "sha256"))
    if arguments.mistakes is not None:
        check_new_folder(arguments.mistakes, "--mistakes")
    detector = load_detector(arguments, half=arguments.half)
    found = evaluate(
        detector,
        data,
        split=arguments.split,
        images=arguments.images,
        batch_size=arguments.batch,
        workers=arguments.workers,
        backend=arguments.backend,
        tile=choose_windows(arguments.tile, detector, augmented=arguments.tta),
        tta=arguments.tta,
    )
    count = found.evaluator.detection_count
    print(f"{found.images} images, {count} detections: {describe_settings(found.settings)} ({found.origin})")
    print(found)
    if not arguments.no_interval:
        print(f"\n{describe_interval(found.metrics, found.matches)}")
    if arguments.f1 is not None:
        draw_score_curves(found.metrics.classes, arguments.f1)
        print(f"F1, precision and recall: {arguments.f1}")
    if arguments.mistakes is not None:
        mistakes, drawn = found.mistakes, draw_mistakes(found, arguments.mistakes)
        print(mistakes)
        print(f"confusion matrix: {arguments.mistakes / 'confusion_matrix.png'}")
        if drawn:
            which = "images with mistakes" if len(drawn) == len(mistakes.images) else "images with most mistakes"
            print(f"{len(drawn)} {which}: {arguments.mistakes}")
    if arguments.out is not None:
        found.evaluator.write_results(arguments.out)
        print(f"detections: {arguments.out}")
    if arguments.json is not None:
        write_json(arguments.json, found.to_dict(interval=not arguments.no_interval), indent=1)
        print(f"numbers: {arguments.json}")
    if arguments.min_ap is not None and found.ap < arguments.min_ap:
        warn(f"AP {metric_text(found.ap)} is below --min-ap {arguments.min_ap:g}")
        return 1
    return 0
