"""`rtmdet label`: the photos to label next, with what the detector finds as their first labels."""

import argparse

from rtmdet.cli.command import print_failures
from rtmdet.cli.model_options import check_score, choose_windows, describe_score, load_detector
from rtmdet.stream.label import label


def run(arguments: argparse.Namespace) -> int:
    """Write a data set with the photos that the detector is least sure of; returns 1 if some cannot be read."""
    check_score(arguments.score)
    detector = load_detector(arguments)
    result = label(
        detector,
        arguments.photos,
        format=arguments.format,
        out=arguments.out,
        limit=arguments.limit,
        skip=arguments.skip,
        score=arguments.score,
        recursive=arguments.recursive,
        batch_size=arguments.batch,
        tile=choose_windows(arguments.tile, detector),
    )
    print(describe_score(arguments.score, detector, detector.classes))
    print(result)
    print_failures(result.failures)
    return 1 if result.failures else 0
