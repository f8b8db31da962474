"""`rtmdet compare`: which of two runs is better, and whether the difference is more than chance."""

import argparse

from rtmdet.measuring.compare import compare


def run(arguments: argparse.Namespace) -> int:
    """Print AP of both, the difference with its interval, and the verdict; returns 0."""
    found = compare(
        arguments.run_a,
        arguments.run_b,
        annotations=arguments.annotations,
        images=arguments.images,
        input_size=arguments.input,
        device=arguments.device,
        batch_size=arguments.batch,
        workers=arguments.workers,
        backend=arguments.backend,
    )
    print(found)
    return 0
