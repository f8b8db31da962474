"""What commands with a detector share: --weights --size --class-names --input --device, --score and --classes."""

import argparse
import difflib
from collections.abc import Sequence

from rtmdet.cli.command import split_names
from rtmdet.cli.parser import INPUT_SIDE
from rtmdet.core.errors import InputError
from rtmdet.core.paths import user_path
from rtmdet.core.wording import shortened, size_text
from rtmdet.deploy.exported import nms_inside
from rtmdet.detector import Detector
from rtmdet.evaluation.score_curve import DEFAULT_SCORE


def load_detector(arguments: argparse.Namespace, *, fold: bool = True, half: bool = False) -> Detector:
    """Load the detector that the options name, and print a line about it."""
    detector = Detector(
        arguments.weights,
        size=arguments.size,
        classes=split_names(arguments.class_names),
        input_size=None if arguments.input is None else (arguments.input, arguments.input),
        device=arguments.device,
        fold=fold,
        half=half,
    )
    count = f"{len(detector.classes)} class{'es' if len(detector.classes) > 1 else ''}"
    name = detector.path if user_path(arguments.weights).is_dir() else arguments.weights
    print(f"{name}: {count} ({shortened(detector.classes)}), input {size_text(detector.input_size)}")
    return detector


def check_score(score: float | str) -> None:
    """Raise InputError unless --score is `auto` or a number that scores can have."""
    if not isinstance(score, str) and not 0 <= score <= 1:
        raise InputError(f"--score {score}: expected a number from 0 to 1, or auto")


def choose_windows(side: int | None, detector: Detector, *, augmented: bool = False) -> int:
    """The side of the windows of --tile, by default of those of the training run; 0: none, INPUT_SIDE: as the input.

    With --tta, which has views of its own, none. Prints a line about them.
    """
    if augmented:
        if side is None and detector.facts.tiling is not None:
            print("--tta detects in whole pictures: without the windows of the training run (data.tile)")
        return 0
    tiling = detector.choose_tiling(max(detector.input_size) if side == INPUT_SIDE else side)
    if tiling is not None:
        print(f"{tiling}{', as in the training run (--tile 0: whole pictures only)' if side is None else ''}")
    return 0 if tiling is None else tiling.side


def describe_score(score: float | str, detector: Detector, classes: Sequence[str]) -> str:
    """One line with the thresholds of these classes, and where they come from."""
    nms = nms_inside(detector.backend)
    own = detector.thresholds(score)
    least = f" (from {nms.score:g} on: the NMS in the file drops all below)" if nms and nms.score > min(own) else ""
    if not isinstance(score, str):
        return f"showing detections above {score:g}{least}"
    if not detector.score_thresholds:
        return (
            f"showing detections above {DEFAULT_SCORE:g}{least} (these weights store no tuned thresholds; "
            "change with --score)"
        )
    known = dict(zip(detector.classes, detector.score_thresholds, strict=True))
    texts = [f"{name} {known[name]:.3f}{' (not tuned)' if known[name] == DEFAULT_SCORE else ''}" for name in classes]
    return f"thresholds tuned on your validation images: {shortened(texts)}{least}"


def choose_thresholds(detector: Detector, score: float | str, classes: Sequence[str] | None) -> dict[str, float]:
    """The score threshold of each class that is chosen by one of the texts, or by a list in it.

    Raises InputError for unknown classes.
    """
    thresholds = dict(zip(detector.classes, detector.thresholds(score), strict=True))
    if classes is None:
        return thresholds
    lists = ([text] if text in thresholds else split_names(text) or [] for text in classes)
    wanted = [name for names in lists for name in names if name]
    for name in wanted:
        if name not in thresholds:
            raise InputError(f"--classes {name}: these weights have no such class: {hint_class(name, detector)}")
    if not wanted:
        raise InputError(f"--classes {','.join(classes)!r}: expected names separated by commas, found none")
    return {name: thresholds[name] for name in wanted}


def hint_class(name: str, detector: Detector) -> str:
    """Help for an unknown class name: the nearest one, and the list."""
    near = difflib.get_close_matches(name.casefold(), [known.casefold() for known in detector.classes], n=1)
    meant = [known for known in detector.classes if known.casefold() in near][:1]
    text = f"did you mean {meant[0]}? " if meant else ""
    naming = "" if detector.named else "; name them with --class-names"
    return f"{text}known classes: {shortened(detector.classes)}{naming}"
