"""Exports int8 files: calibrated on training images, with as many layers in float as the AP needs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rtmdet.core.console import progress, say
from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, spread
from rtmdet.data.formats.open import find_dataset
from rtmdet.deploy.export import ENDINGS, RUNS_ALONE, write_graph
from rtmdet.deploy.export_result import ExportedFile, Exports
from rtmdet.detector import Detector
from rtmdet.exporting.verified_export import (
    CheckImages,
    ExportJob,
    named_by_result,
    nothing_left,
    record,
    unverified,
    verify_file,
)
from rtmdet.images.reading import IMAGE_SUFFIXES, read_image
from rtmdet.measuring.ground_truth import open_coco, open_ground_truth, stored_split

if TYPE_CHECKING:
    from onnx import ModelProto

CALIBRATION_IMAGES = 300
LARGEST_DROP = 0.015  # of AP
# Layers in float beside the decoding of the boxes and the depthwise convolutions, from one attempt to the next: those
# that AP is most sensitive to. NNCF's quantize_with_accuracy_control would measure AP once per layer, for hours.
FIRST_LAYERS = ("backbone.stem", "backbone.stage1")
FLOAT_LAYERS = ((), FIRST_LAYERS, (*FIRST_LAYERS, "bbox_head.rtm_cls", "bbox_head.rtm_reg"))


def check_int8(formats: Sequence[str], images: CheckImages, *, half: bool, most_drop: float) -> None:
    """Raise InputError if int8 files cannot be written as asked for, or not be measured."""
    if images.dataset is None:
        raise InputError(
            f"--int8 costs AP, which {images.name} cannot show without annotations: give annotated images with --data"
        )
    if half:
        raise InputError("--half and --int8: 16-bit floats or 8-bit integers, give one of them")
    if others := [name for name in formats if name not in RUNS_ALONE]:
        raise InputError(
            f"--int8 is for {' and '.join(RUNS_ALONE)}, found {', '.join(others)}: export that without it"
        )
    if not 0 <= most_drop <= 1:
        raise InputError(f"--max-drop {most_drop:g}: expected a loss of AP between 0 and 1, such as 0.015")
    from rtmdet.deploy import quantize  # noqa: F401  # if its package is missing, this is the time to say so


def choose_calibration_images(
    detector: Detector, weights: Path, *, data: Path | None, images: Path | None, folder: Path | None
) -> tuple[Path, ...]:
    """At most CALIBRATION_IMAGES training images, spread over all, or of any images of a `folder`.

    They are those of the data set `data` (`images` the folder of its images), by default those of the run
    that made the weights. Raises InputError.
    """
    remedy = "give a folder of images like those of the training: --calibrate FOLDER"
    if folder is not None:
        paths = files_below(folder, IMAGE_SUFFIXES)
        if not paths:
            raise InputError(f"--calibrate {folder}: expected a folder with images, found none: give another one")
    elif data is not None:
        if "train" not in (names := find_dataset(data, images).names):
            raise InputError(f"--int8 calibrates on training images, {data} has only {', '.join(names)}: {remedy}")
        paths = open_ground_truth(detector, weights, data=data, images=images, split="train").paths
    else:
        stored = stored_split(detector.config, weights, "train")
        if stored is None:
            raise InputError(f"{weights} does not store which images it was trained on: {remedy}")
        paths = open_coco(detector, Path(stored.annotations), Path(stored.images)).paths
    return tuple(spread(paths, CALIBRATION_IMAGES))


def add_int8(job: ExportJob, exports: Exports, images: Sequence[Path], *, most_drop: float) -> Exports:
    """Write an int8 file beside each float file, `<stem>-int8` with its ending, and join both tables.

    They are calibrated on `images`. If AP drops by more than `most_drop`, further attempts keep more layers in float
    (FLOAT_LAYERS). A file whose AP is too low even then gets a name with `unverified`. Raises InputError.
    """
    from rtmdet.deploy.quantize import quantize_onnx

    facts = replace(job.tracer.facts, int8=True)
    graph = job.tracer.graph()
    calibration = _Inputs(job.network, images, facts.fixed_batch or 1)
    waiting = {file.format: file for file in exports.files}
    paths = {name: job.stem.with_name(f"{job.stem.name}-int8{ENDINGS[name]}") for name in waiting}
    made: dict[str, ExportedFile] = {}
    for layers in attempts(graph):
        also = f", also in float: {', '.join(layers)}" if layers else ""
        say(f"calibrating int8 on {len(images)} images{also}")
        quantized = quantize_onnx(graph, calibration, count=len(calibration), float_layers=layers)
        for name, file in tuple(waiting.items()):
            path = unverified(paths[name])
            with nothing_left(path):
                write_graph(quantized, facts, path, name)
            ap = file.ap[0] if file.ap else None
            found = verify_file(job, path, name, ap, most_drop=most_drop)
            made[name] = named_by_result(replace(found, note=_note(found, file, layers)), paths[name])
            if found.verified:
                record(job, [made[name]])  # at once: a later file may not fit on the disk
                del waiting[name]
        if not waiting:
            break
    record(job, [made[name] for name in waiting])
    return replace(exports, files=(*exports.files, *made.values()))


def attempts(graph: "ModelProto") -> list[tuple[str, ...]]:
    """FLOAT_LAYERS without those that the network lacks, as timm backbones do, each attempt once."""
    from rtmdet.deploy.quantize import layer_of

    names = [layer_of(node) for node in graph.graph.node]
    kept = [tuple(layer for layer in layers if any(n.startswith(layer) for n in names)) for layers in FLOAT_LAYERS]
    return list(dict.fromkeys(kept))


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Network inputs (B, 3, H, W) uint8 RGB, made of image files whenever they are iterated."""

    detector: Detector
    paths: Sequence[Path]
    batch: int  # B; the last one begins again with the first images

    def __len__(self) -> int:
        return -(-len(self.paths) // self.batch)

    def __iter__(self) -> Iterator[np.ndarray]:
        paths = cycle(self.paths)
        for _ in progress(range(len(self)), "calibrating"):
            images = [read_image(path, self.detector.value_range) for path in islice(paths, self.batch)]
            yield np.ascontiguousarray(self.detector.preprocess(images)[0])


def _note(file: ExportedFile, whole: ExportedFile, layers: Sequence[str]) -> str:
    """What stayed in float, and how the speed is, measured beside that of the network in both files."""
    speed, before = (
        exported.agreement.seconds[0] / max(exported.agreement.seconds[1], 1e-9) for exported in (file, whole)
    )
    kept = ", ".join(("the decoding of the boxes", "the depthwise convolutions", *layers))
    return f"in float: {kept}; {speed / max(before, 1e-9):.2f} times as fast as {whole.path.name} on this machine"
