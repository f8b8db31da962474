"""Trained detectors for Python: measure them, draw their mistakes, export them."""

from collections.abc import Sequence
from copy import copy
from pathlib import Path

from rtmdet.core.arguments import checked
from rtmdet.core.console import say
from rtmdet.core.draw import LARGEST_JPEG, save_image
from rtmdet.core.errors import InputError
from rtmdet.core.facts import NmsFacts
from rtmdet.core.nms import NmsSettings
from rtmdet.core.paths import FilePath, check_new_folder, path_or_none, user_path
from rtmdet.core.processes import check_main_guard
from rtmdet.deploy.export import NMS_MOST, NMS_SCORE, Tracer, check_folder, check_formats, export_facts
from rtmdet.deploy.views import check_views
from rtmdet.detector import Detector
from rtmdet.exporting.int8 import LARGEST_DROP, add_int8, check_int8, choose_calibration_images
from rtmdet.exporting.verified_export import (
    CHECK_IMAGES,
    ExportJob,
    Exports,
    check_stem,
    choose_check_images,
    export_detector,
)
from rtmdet.measuring.ground_truth import open_ground_truth
from rtmdet.measuring.measure import Evaluation, Loading, evaluate_detector
from rtmdet.weights.download import cache_folder


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
    tta: bool = False,
) -> Evaluation:
    """Measure a detector on annotated images; `print` the result for the 12 COCO metrics.

    `detector` may be a weights file, or the folder of a run, whose last.pth is taken. `data` is a data set in any
    known format; `split` is train, val or test, by default val, else test, else train. Without `data`, the validation
    images of the detector's run. `tile` also detects in overlapping windows of this side in pixels, by default as in
    the run; 0 not at all. `tta` (test-time augmentation) detects in 3 sizes of the whole image, each also mirrored,
    as `rtmdet infer --tta`. Raises InputError.
    """
    check_main_guard()
    check_views(tta=tta, tile=tile)
    loading = Loading(batch_size, workers, backend)
    found = copy(detector) if isinstance(detector, Detector) else Detector(detector)  # its settings may change
    name = str(found.path or "the detector")
    dataset = open_ground_truth(found, Path(name), data=path_or_none(data), images=path_or_none(images), split=split)
    say(*dataset.remarks)
    tiling = None if tta else found.choose_tiling(tile)
    evaluation = evaluate_detector(found, dataset, name=name, loading=loading, tiling=tiling, augmented=tta)
    say(*evaluation.remarks)
    return evaluation


@checked
def draw_mistakes(found: Evaluation, out: FilePath, *, most: int = 50) -> list[Path]:
    """Draw the images of an evaluation with the most mistakes into the new folder `out`; returns the pictures.

    The confusion matrix of all images lies beside them, as confusion_matrix.png. Missed objects are yellow, false
    boxes dark red, objects taken for another class purple, found ones green, at the detector's score thresholds and
    IoU 0.5. Raises InputError.
    """
    from rtmdet.viz.mistakes import draw_confusion, draw_marked  # not at the top: matplotlib takes half a second

    folder = user_path(out)
    check_new_folder(folder)
    draw_confusion(found.mistakes, folder / "confusion_matrix.png")
    pictures = []
    for number, marked in enumerate(found.mistakes.images[: max(most, 0)], start=1):
        index = found.dataset.image_ids.index(marked.image_id)
        picture = draw_marked(found.dataset.load(index).image, marked)
        suffix = ".jpg" if max(picture.shape) <= LARGEST_JPEG else ".png"
        pictures.append(folder / f"{number:03d}_{found.dataset.path(index).stem}{suffix}")
        save_image(pictures[-1], picture)
    return pictures


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
    _check_options("int8", int8, calibrate=calibrate is not None, max_drop=max_drop != LARGEST_DROP)
    _check_options("nms", nms, nms_score=nms_score != NMS_SCORE, nms_iou=nms_iou is not None)
    check_formats(formats, plain=not (half or nms or fixed is not None))
    check_folder(path_or_none(out))
    whole, network = _whole_and_merged(detector, size, classes, input_size)
    inside = None
    if nms:  # without box voting, which needs the boxes that it drops
        iou = network.facts.nms.iou_threshold if nms_iou is None else nms_iou
        inside = NmsFacts(nms_score, iou, NMS_MOST)
        network = network.with_nms(NmsSettings(iou))
    facts = export_facts(network.facts, network.path, fixed_batch=fixed, nms=inside)
    weights, own = network.path or Path("detector"), {"data": path_or_none(data), "images": path_or_none(images)}
    stem = _folder(weights, out) / weights.stem
    check_stem(stem, formats, network.path)
    chosen = choose_check_images(network, weights, **own, split=split, most=check_images)
    job = ExportJob(network, Tracer(whole.model, facts), half, chosen, stem)
    if not int8:
        return export_detector(job, formats)
    check_int8(formats, chosen, half=half, most_drop=max_drop)
    calibration = choose_calibration_images(network, weights, **own, folder=path_or_none(calibrate))
    return add_int8(job, export_detector(job, formats), calibration, most_drop=max_drop)


def _check_options(kind: str, wanted: bool, **given: bool) -> None:
    """Raise InputError for options that are given, but are for another kind of file than the wanted one."""
    for name, is_given in given.items():
        if is_given and not wanted:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: it is for files with {kind}: add --{kind}, or leave it out")


def _whole_and_merged(
    detector: Detector | FilePath,
    size: str | None,
    classes: Sequence[str] | None,
    input_size: int | tuple[int, int] | None,
) -> tuple[Detector, Detector]:
    """A detector with its batch norms, and with merged ones, which is faster; an open one is both."""
    if isinstance(detector, Detector):
        given = {"size": size, "classes": classes, "input_size": input_size}
        if unused := [name for name, value in given.items() if value is not None]:
            raise InputError(f"{unused[0]}: the detector is open already: open it with that, or give its file")
        return detector, detector
    whole, merged = (
        Detector(detector, size=size, classes=classes, input_size=input_size, fold=fold) for fold in (False, True)
    )
    return whole, merged


def _folder(weights: Path, out: FilePath | None) -> Path:
    """Where the files of weights go: the folder `out`, else beside them, those of downloaded ones here."""
    downloaded = weights.parent.resolve() == cache_folder().resolve()
    return path_or_none(out) or (Path() if downloaded else weights.parent)
