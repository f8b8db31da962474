"""`rtmdet benchmark`: how long detection takes, part by part, for checkpoints and exported files side by side."""

import argparse
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from rtmdet.cli.command import has_keys
from rtmdet.core.draw import save_image
from rtmdet.core.errors import InputError
from rtmdet.core.json_file import check_output, write_json
from rtmdet.core.paths import user_path
from rtmdet.data.synthetic import render_scene
from rtmdet.deploy.open_weights import is_exported
from rtmdet.measuring.benchmark import Case, run_benchmark

SCENE = (480, 640)  # (H, W) of the image that is generated where none is given


def run(arguments: argparse.Namespace) -> int:
    """Measure and print the table; returns 0."""
    if arguments.json is not None:
        files = map(user_path, arguments.weights)
        check_output(arguments.json, *files, arguments.image, earlier=has_keys("timings"))
    cases = list_cases(arguments.weights, arguments.input, arguments.batch or [1], plain=not arguments.no_plain)
    with TemporaryDirectory() as folder:
        image = arguments.image
        if image is None:
            image = Path(folder) / f"generated {SCENE[1]} x {SCENE[0]}.jpg"
            save_image(image, render_scene(0, size=SCENE).image)
        found = run_benchmark(cases, image, threads=arguments.threads, rounds=arguments.rounds)
    print(found)
    if arguments.json is not None:
        write_json(arguments.json, asdict(found), indent=1)
        print(f"timings: {arguments.json}")
    return 0


def list_cases(weights: list[str], sides: list[int] | None, batches: list[int], *, plain: bool) -> list[Case]:
    """Every file at every input size and batch, the first checkpoint also in plain torch. Raises InputError."""
    for name, numbers, step in (("--input", sides or [], 32), ("--batch", batches, 1)):
        for number in numbers:
            if number < step or number % step:
                expected = "a multiple of 32" if step > 1 else "at least 1"
                raise InputError(f"{name} {number}: expected {expected}")
    sizes = [None] if sides is None else [(side, side) for side in sides]
    checkpoints = [name for name in weights if not is_exported(name)]
    baseline = checkpoints[:1] if plain else []
    return [
        Case(name, size, batch, plain=is_plain)
        for size in sizes
        for batch in batches
        for names, is_plain in ((baseline, True), (weights, False))
        for name in names
    ]
