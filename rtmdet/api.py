"""What the commands do, for Python: train, evaluate, compare, export, label, check data.

    run = rtmdet.train("data/balloon", weights="rtmdet-tiny-coco", epochs=40, output="runs/balloon")
    print(rtmdet.evaluate(run.last, "data/balloon", split="val"))

Like the commands, they print their choices and their progress. Bad input raises InputError.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rtmdet.core.arguments import TorchDevice, checked
from rtmdet.core.console import say, track
from rtmdet.core.errors import InputError
from rtmdet.core.facts import NmsFacts
from rtmdet.core.overlap import Overlap
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.wording import shown
from rtmdet.data.doctor.finding import Report
from rtmdet.data.doctor.report import examine_path
from rtmdet.deploy.export import NMS_MOST, NMS_SCORE, ExportOptions, Tracer
from rtmdet.detector import Detector, Score
from rtmdet.evaluation.coco import NAMES
from rtmdet.runs.compare import Comparison, compare_runs
from rtmdet.runs.data_purpose import read_purpose
from rtmdet.runs.export import CHECK_IMAGES, Exports, choose_check_images, export_detector
from rtmdet.runs.ground_truth import open_ground_truth
from rtmdet.runs.int8 import LARGEST_DROP, Int8Plan, add_int8, check_int8, choose_calibration_images
from rtmdet.runs.measure import Evaluation, Loading, evaluate_detector
from rtmdet.runs.options import RunOptions
from rtmdet.runs.train import carry_out
from rtmdet.stream.label import LIMIT, NextLabels, label_next
from rtmdet.training.log import read_log
from rtmdet.training.records import Callback
from rtmdet.weights.download import cache_folder


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A finished run."""

    folder: Path

    @property
    def last(self) -> Path:
        """The weights of the last epoch: report their AP."""
        return self.folder / "last.pth"

    @property
    def best(self) -> Path:
        """The weights of the best validation; its AP is too optimistic, as it was chosen on the same images."""
        return self.folder / "best.pth"

    @property
    def metrics(self) -> dict[str, float]:
        """The 12 COCO metrics of the last validation by name, AP first; -1 if undefined."""
        rows = [row for row in read_log(self.folder / "log.jsonl") if row["kind"] == "val"]
        return {name: float(rows[-1][name]) for name in NAMES} if rows else {}


@checked
def train(
    data: FilePath | None = None,
    *,
    config: FilePath | None = None,
    images: FilePath | None = None,
    weights: FilePath | None = None,
    keep_classes: bool = False,
    epochs: int | None = None,
    minutes: float | None = None,
    output: FilePath | None = None,
    resume: bool = False,
    settings: Mapping[str, object] | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainedRun:
    """Fine-tune a detector, or train one from scratch; returns the run.

    `data` is a data set in any known format, a file or folder (`images` the folder of a COCO file's images), with
    hyper-parameters derived from it; or `config` is a YAML file as in configs/. `weights` is a checkpoint file, a
    published name, or "none" to train from scratch. `settings` maps dotted keys to values, such as
    {"data.input_size": 320}; `minutes` fits the run on `data` to a time. `callbacks` are called at every step and
    validation.

    Raises InputError if something cannot be used, or the training cannot go on (a loss that is not finite); and, of
    `rtmdet.training.interruption`, Interrupted after Ctrl-C or SIGTERM, with everything saved for `resume`, and under
    torchrun StoppedByAnother in the processes that another one stops, which raises the reason.
    """
    if (data is None) == (config is None):
        raise InputError("train: expected either data or config, found both or neither; give one of them")
    given: dict[str, object] = {} if epochs is None else {"train.epochs": epochs}
    given |= {} if output is None else {"train.output": str(output)}
    given |= settings or {}
    options = RunOptions(
        config=_path(config),
        data=_path(data),
        images=_path(images),
        weights=None if weights is None else str(weights),
        keep_classes=keep_classes,
        overrides=tuple(f"{key}={_as_yaml(key, value)}" for key, value in given.items()),
        resume=resume,
        minutes=minutes,
    )
    return TrainedRun(carry_out(options, callbacks))


@checked
def evaluate(
    detector: Detector | FilePath,
    data: FilePath | None = None,
    *,
    split: str | None = None,
    images: FilePath | None = None,
    batch_size: int = 8,
    workers: int = 2,
    backend: str | None = None,
    tile: int | None = None,
) -> Evaluation:
    """Measure a detector on annotated images; `print` the result for the 12 COCO metrics.

    `detector` may be a weights file, or the folder of a run, whose last.pth is taken. `data` is a data set in any
    known format; `split` defaults to val, or train if there is none. Without `data`, the validation images of the
    detector's run. `tile` also detects in overlapping windows of this side in pixels, by default as in the run; 0 not
    at all. Raises InputError.
    """
    loading = Loading(batch_size, workers, backend)
    found = _open(detector)
    name = str(found.path or "the detector")
    dataset = open_ground_truth(found, Path(name), data=_path(data), images=_path(images), split=split)
    return evaluate_detector(found, dataset, name=name, loading=loading, tiling=found.choose_tiling(tile))


@checked
def compare(
    a: FilePath,
    b: FilePath,
    *,
    annotations: FilePath | None = None,
    images: FilePath | None = None,
    input_size: int | tuple[int, int] | None = None,
    device: str | TorchDevice = "auto",
    batch_size: int = 8,
    workers: int = 2,
    backend: str | None = None,
) -> Comparison:
    """Measure two runs on the same images; `print` the result for the difference of AP with its 95 % interval.

    Each is the folder of a run, a checkpoint, a published name, or COCO results in a file. Without `annotations`, a
    COCO file, and `images`, its folder, they are measured on their common validation images. Raises InputError.
    """
    return compare_runs(
        (str(a), str(b)),
        annotations=_path(annotations),
        images=_path(images),
        input_size=input_size,
        device=str(device),
        batch_size=batch_size,
        workers=workers,
        backend=backend,
    )


@checked
def export(
    detector: Detector | FilePath,
    formats: Sequence[str] = ("onnx",),
    *,
    out: FilePath | None = None,
    data: FilePath | None = None,
    images: FilePath | None = None,
    split: str | None = None,
    check_images: int = CHECK_IMAGES,
    half: bool = False,
    nms: bool = False,
    nms_score: float = NMS_SCORE,
    nms_iou: float | None = None,
    fixed: int | None = None,
    int8: bool = False,
    max_drop: float = LARGEST_DROP,
    calibrate: FilePath | None = None,
    size: str | None = None,
    classes: Sequence[str] | None = None,
    input_size: int | tuple[int, int] | None = None,
) -> Exports:
    """Write a detector as files for other programs, each compared with the network; `print` shows the comparison.

    `formats` are some of onnx, openvino, safetensors and openmmlab, a checkpoint that mmdet 3 loads alone. `detector`
    is a weights file, the folder of a run (its last.pth), or a Detector opened with fold=False. The files lie in
    `out`, by default beside the weights, those of downloaded weights in the current folder. They are compared on at
    most `check_images` of the validation images of the run, of a folder `images`, or of the `split` of a data set
    `data`, which also gives AP; one that differs is named "unverified".

    `half` stores 16-bit floats. `nms` puts NMS without box voting into the file: boxes of a score above `nms_score`,
    none of a class that overlap by more than `nms_iou`, by default that of the training. `fixed` allows only batches
    of this many images of the input size; otherwise the file takes every number of images and all sizes that are
    multiples of 32.

    `int8` writes a second file of each format, `-int8`, that calculates with 8-bit integers, of ranges found on up to
    300 training images: those of the run or of `data`, or any of the folder `calibrate`. It needs annotated images: a
    file whose AP is more than `max_drop` below the network's is named "unverified". Raises InputError.
    """
    whole, network = _whole_and_merged(detector, size, classes, input_size)
    iou = network.facts.overlap.iou_threshold if nms_iou is None else nms_iou
    inside = NmsFacts(nms_score, iou, NMS_MOST) if nms else None
    if inside is not None:  # without box voting, which needs the boxes that it drops
        whole, network = (one.with_overlap(Overlap(inside.iou)) for one in (whole, network))
    elif nms_iou is not None or nms_score != NMS_SCORE:
        raise InputError("nms_score and nms_iou are those of NMS in the file: add nms (--nms), or leave them out")
    weights, own = network.path or Path("detector"), {"data": _path(data), "images": _path(images)}
    chosen = choose_check_images(network, weights, **own, split=split, most=check_images)
    options = ExportOptions(half=half, fixed_input=fixed is not None, fixed_batch=fixed, nms=inside)
    plan = None
    if int8:
        check_int8(formats, options, chosen)
        plan = Int8Plan(choose_calibration_images(network, weights, **own, folder=_path(calibrate)), max_drop)
    beside = Path() if weights.parent.resolve() == cache_folder().resolve() else weights.parent
    stem = (_path(out) or beside) / weights.stem
    tracer = Tracer(whole.model)
    files = export_detector(whole, network, formats, chosen, tracer=tracer, stem=stem, options=options, say=say)
    if plan is not None:
        files = add_int8(files, whole, network, chosen, plan=plan, tracer=tracer, stem=stem, options=options, say=say)
    return files


@checked
def label(
    detector: Detector | FilePath,
    photos: FilePath | Sequence[FilePath],
    *,
    format: str,
    out: FilePath,
    limit: int = LIMIT,
    skip: FilePath | None = None,
    score: Score = "auto",
    recursive: bool = False,
    batch_size: int = 8,
    tile: int | None = None,
) -> NextLabels:
    """Choose the photos to label next, with boxes already drawn; `print` the result for the first ones.

    `photos` are image files, folders or glob patterns; the up to `limit` that the detector is least sure of are
    copied into `out`, a new folder, as a data set in a `format` for labeling tools: labelme, cvat, yolo, voc or coco.
    Their names begin with their place; out/ranking.csv has all photos. Of near copies one comes first, the others
    only if there are too few photos; those of a data set `skip` are left out.

    `detector` is a weights file, the folder of a run (its last.pth), or a Detector. Boxes are those above `score`, as
    for a Detector; `tile` as in `evaluate`. Raises InputError.
    """
    words = photos if isinstance(photos, Sequence) and not isinstance(photos, str) else [photos]
    found = _open(detector)
    return label_next(
        found,
        [str(word) for word in words],
        format=format,
        out=user_path(out),
        limit=limit,
        skip=_path(skip),
        score=score,
        recursive=recursive,
        batch_size=batch_size,
        tiling=found.choose_tiling(tile),
        watch=partial(track, text="detecting"),
    )


@checked
def check_data(
    data: FilePath,
    *,
    images: FilePath | None = None,
    weights: FilePath | None = None,
    input_size: int | None = None,
    decode: bool = False,
) -> Report:
    """Look for faults in a data set of any known format; `print` the result for the findings and their remedies.

    `images` is the folder of a COCO file's images. Object sizes and classes are judged for a training from `weights`
    with a square input of `input_size` pixels. `decode` also reads the pixels. Raises InputError only if nothing of
    the data set can be read.
    """
    purpose = read_purpose(None, None if weights is None else str(weights), input_size)
    return examine_path(user_path(data), purpose, images=_path(images), decode=decode, watch=track)


def _whole_and_merged(
    detector: Detector | FilePath,
    size: str | None,
    classes: Sequence[str] | None,
    input_size: int | tuple[int, int] | None,
) -> tuple[Detector, Detector]:
    """A detector with its batch norms, and with merged ones, which is faster; an open one is both."""
    if isinstance(detector, Detector):
        return detector, detector
    whole, merged = (
        Detector(detector, size=size, classes=classes, input_size=input_size, fold=fold) for fold in (False, True)
    )
    return whole, merged


def _open(detector: Detector | FilePath) -> Detector:
    """A detector itself, or that of a weights file or of a run's folder (its last.pth). Raises InputError."""
    return detector if isinstance(detector, Detector) else Detector(detector)


def _path(path: FilePath | None) -> Path | None:
    return None if path is None else user_path(path)


def _as_yaml(key: str, value: object) -> str:
    """A setting's value as text for --set. Raises InputError for values that no configuration can hold."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain)
    except (TypeError, ValueError) as error:
        raise InputError(f"settings: {key}: expected a number, text, list or dict, found {shown(value)}") from error


def _plain(value: Any) -> object:
    """A path, a device, an array or a number of NumPy or torch, as YAML has it. Raises TypeError for all else."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, TorchDevice):
        return str(value)
    raise TypeError(f"{type(value).__name__} in a setting")
