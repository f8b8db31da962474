"""The options that commands with a detector share: --weights --size --classes --input --device, and --score."""

from __future__ import annotations

import argparse

from rtmdet.core.errors import InputError
from rtmdet.core.wording import shortened
from rtmdet.detector import Detector
from rtmdet.evaluation.score_curve import DEFAULT_SCORE


def load_detector(arguments: argparse.Namespace, *, fold: bool = True) -> Detector:
    """The detector that the options describe, with a line about it."""
    classes = [name.strip() for name in arguments.classes.split(",")] if arguments.classes else None
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


def describe_score(score: float | str, detector: Detector) -> str:
    """One line that tells the thresholds in use and where they are from."""
    if not isinstance(score, str):
        return f"score above {score:g}"
    if not detector.score_thresholds:
        return f"score above {DEFAULT_SCORE:g}: the checkpoint knows no thresholds of its own"
    pairs = zip(detector.classes, detector.score_thresholds, strict=True)
    return f"score above the best F1 of validation: {shortened(f'{name} {least:.3f}' for name, least in pairs)}"
