"""`rtmdet info`: the model sizes as a table."""

from __future__ import annotations

import argparse

from rtmdet.models.complexity import count_multiply_adds, count_parameters
from rtmdet.models.rtmdet import build_rtmdet
from rtmdet.models.zoo import SIZES, WEIGHTS
from rtmdet.structures import InputError

COCO_CLASSES = 80


def run(arguments: argparse.Namespace) -> int:
    """Print parameters and multiply-adds of every size, and the published weights; returns 0."""
    if arguments.input < 32 or arguments.input % 32:
        raise InputError(f"--input {arguments.input}: expected a multiple of 32 pixels")
    side = arguments.input
    print(f"size  classes  parameters (M)  multiply-adds at {side} px (G)")
    for size in SIZES:
        classes = 1 if size == "nano" else COCO_CLASSES  # nano is published as a detector of persons
        model = build_rtmdet(size, classes)
        cost = count_multiply_adds(model, (side, side))
        print(f"{size:<5} {classes:7d} {count_parameters(model) / 1e6:14.3f} {cost / 1e9:26.3f}")
    print("\npublished weights" + " " * 8 + "COCO AP")
    for name, weights in WEIGHTS.items():
        print(f"{name:<24} {weights.box_ap if weights.box_ap is not None else '-'}")
    return 0
