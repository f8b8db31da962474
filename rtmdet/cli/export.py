"""`rtmdet export`: a trained detector as a file for other programs, compared with the network on real images."""

import argparse

from rtmdet.api.detectors import export
from rtmdet.cli.model_options import split_names


def run(arguments: argparse.Namespace) -> int:
    """Write the files and print how far they agree; returns 0, or 1 if a file differs from the network."""
    result = export(
        arguments.weights,
        arguments.format or ["onnx"],
        out=arguments.out,
        data=arguments.data,
        images=arguments.images,
        split=arguments.split,
        check_images=arguments.check_images,
        half=arguments.half,
        nms=arguments.nms,
        nms_score=arguments.nms_score,
        nms_iou=arguments.nms_iou,
        fixed=arguments.fixed,
        int8=arguments.int8,
        max_drop=arguments.max_drop,
        calibrate=arguments.calibrate,
        size=arguments.size,
        classes=split_names(arguments.class_names),
        input_size=None if arguments.input is None else (arguments.input, arguments.input),
    )
    print(result)
    return 0 if all(file.verified for file in result.files) else 1
