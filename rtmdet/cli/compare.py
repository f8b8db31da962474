"""`rtmdet compare`: which of two runs is better, and whether the difference is more than chance."""

import argparse

from rtmdet.cli.command import has_keys
from rtmdet.core.json_file import check_output, write_json
from rtmdet.core.paths import user_path
from rtmdet.measuring.compare import compare


def run(arguments: argparse.Namespace) -> int:
    """Print AP of both, the difference with its interval, and the verdict; returns 0."""
    if arguments.json is not None:
        runs = user_path(arguments.run_a), user_path(arguments.run_b)
        given = [run for run in runs if run.is_file()]  # into the folder of a run, it may be written
        check_output(arguments.json, *given, arguments.annotations, arguments.images, earlier=has_keys("verdict"))
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
    if arguments.json is not None:
        write_json(arguments.json, found.to_dict(), indent=1)
        print(f"numbers: {arguments.json}")
    return 0
