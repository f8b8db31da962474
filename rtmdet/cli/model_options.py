"""The options that every command with a detector shares: --weights --size --classes --input --device."""

from __future__ import annotations

import argparse

from rtmdet.detector import Detector


def load_detector(arguments: argparse.Namespace, *, fold: bool = True) -> Detector:
    """The detector that the options describe."""
    classes = [name.strip() for name in arguments.classes.split(",")] if arguments.classes else None
    return Detector.from_weights(
        arguments.weights,
        size=arguments.size,
        classes=classes,
        input_size=None if arguments.input is None else (arguments.input, arguments.input),
        device=arguments.device,
        fold=fold,
    )
