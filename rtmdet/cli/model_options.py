"""The options that commands with a detector share: --weights --size --class-names --input --device, and --score."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.detector import Detector
from rtmdet.evaluation.score_curve import DEFAULT_SCORE


def load_detector(arguments: argparse.Namespace, *, fold: bool = True) -> Detector:
    """The detector that the options describe, with a line about it."""
    names = arguments.class_names
    classes = [name.strip() for name in names.split(",")] if names else None
    detector = Detector(
        arguments.weights,
        size=arguments.size,
        classes=classes,
        input_size=None if arguments.input is None else (arguments.input, arguments.input),
        device=arguments.device,
        fold=fold,
    )
    height, width = detector.input_size
    count = f"{len(detector.classes)} class{'es' if len(detector.classes) > 1 else ''}"
    print(f"{arguments.weights}: {count} ({shortened(detector.classes)}), input {width} x {height} pixels")
    return detector


def check_score(score: float | str) -> None:
    """Raise InputError unless --score is `auto` or a number that scores can have."""
    if not isinstance(score, str) and not 0 <= score <= 1:
        raise InputError(f"--score {score}: expected 0 .. 1")


def describe_score(score: float | str, detector: Detector, classes: Sequence[str]) -> str:
    """One line with the thresholds in use of some classes, and where they are from."""
    if not isinstance(score, str):
        return f"showing detections above {score:g}"
    if not detector.score_thresholds:
        return (
            f"showing detections above {DEFAULT_SCORE:g} (these weights store no tuned thresholds; "
            "change with --score)"
        )
    known = dict(zip(detector.classes, detector.score_thresholds, strict=True))
    return (
        f"thresholds tuned on your validation images: {shortened([f'{name} {known[name]:.3f}' for name in classes])}"
    )


def hint_class(name: str, detector: Detector) -> str:
    """What to do about a name that no class has: the nearest one, and which there are."""
    near = difflib.get_close_matches(name.casefold(), [one.casefold() for one in detector.classes], n=1)
    meant = [one for one in detector.classes if one.casefold() in near][:1]
    text = f"did you mean {meant[0]}? " if meant else ""
    naming = "" if detector.named else "; --class-names gives them names"
    return f"{text}the {len(detector.classes)} are {shortened(detector.classes)}{naming}"
