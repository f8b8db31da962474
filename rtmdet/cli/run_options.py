"""The options that train and check share."""

from __future__ import annotations

import argparse

from rtmdet.runs.options import RunOptions


def read_run_options(arguments: argparse.Namespace) -> RunOptions:
    """The options of a run, from the arguments."""
    check = arguments.command == "check"
    return RunOptions(
        config=arguments.config,
        data=arguments.data,
        images=arguments.images,
        weights=arguments.weights,
        keep_classes=arguments.keep_classes,
        overrides=tuple(arguments.overrides),
        resume=not check and arguments.resume,
        minutes=None if check else arguments.minutes,
        folds=None if check else arguments.folds,
        one_image_is_enough=check and arguments.overfit,
        began=arguments.began,
    )
