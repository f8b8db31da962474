"""Exports a detector and compares each file with the network on real images: boxes, and AP if they are annotated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from rtmdet import __version__
from rtmdet.core.console import progress, say
from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below, spread
from rtmdet.core.json_file import read_json, write_json
from rtmdet.core.whole_file import replace_file, writing
from rtmdet.core.wording import shortened
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.deploy.export import ENDINGS, SECOND_FILE, Tracer, write_network
from rtmdet.deploy.export_result import ExportedFile, Exports
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import metric_text
from rtmdet.exporting.agreement import LARGEST_AP_DIFFERENCE, SAME_BOX, SAME_HALF_BOX, compare_detections
from rtmdet.images.reading import IMAGE_SUFFIXES, read_image
from rtmdet.measuring.ground_truth import open_ground_truth
from rtmdet.measuring.measure import Loading, evaluate_detector

CHECK_IMAGES = 100
UNVERIFIED = "unverified"
LEAST_AP = 0.01  # below, an AP alone shows nothing


@dataclass(frozen=True, slots=True)
class CheckImages:
    """The images that files are compared on."""

    name: str  # for messages
    paths: tuple[Path, ...]
    dataset: CocoDataset | None  # the same images with annotations, if they have any


@dataclass(frozen=True, slots=True)
class ExportJob:
    """What is exported, and what its files are compared with and on."""

    network: Detector  # may have merged batch norms, which is faster
    tracer: Tracer  # of the same network with its batch norms
    half: bool  # in 16 bits
    images: CheckImages
    stem: Path  # the files have this path, with their endings


def export_detector(job: ExportJob, formats: Sequence[str]) -> Exports:
    """Write one file of each format and compare each with the network. Raises InputError.

    Until it is compared, and if it differs, a file has a name with `unverified`: an earlier verified one stays.
    The results of all files are in `<stem>.check.json`.
    """
    ap = None
    _check_writable(job.stem.parent)
    if job.images.dataset is not None:
        say(f"measuring the network on {job.images.name}")
        ap = _precision(job.network, job.images.dataset)
    exported = []
    for name in dict.fromkeys(formats):
        path = job.stem.with_name(job.stem.name + ENDINGS[name])
        say(f"writing {path}")
        with nothing_left(unverified(path)):
            write_network(job.tracer, unverified(path), name, half=job.half, source=job.network.path)
        exported.append(named_by_result(verify_file(job, unverified(path), name, ap), path))
        record(job, exported[-1:])
    return Exports(tuple(exported), job.images.name)


@contextmanager
def nothing_left(path: Path) -> Iterator[None]:
    """Remove a file, and the second one of its format, if the block that writes it fails, as on a full disk."""
    try:
        yield
    except BaseException:
        for part in (path, path.with_suffix(SECOND_FILE.get(path.suffix, path.suffix))):
            part.unlink(missing_ok=True)
        raise


def check_stem(stem: Path, formats: Sequence[str], weights: Path | None) -> None:
    """Raise InputError where files of a name would replace the weights themselves, or those of other weights."""
    if weights is None:
        return
    targets = [stem.with_name(stem.name + ENDINGS[name]) for name in formats]
    if any(target.exists() and target.samefile(weights) for target in targets):
        raise InputError(f"{weights}: the exported file would replace the weights: choose another folder (--out)")
    earlier = _earlier_results(stem)
    for target in filter(Path.exists, targets):
        row = earlier.get(target.name)
        other = row.get("weights") if isinstance(row, dict) else None
        if isinstance(other, str) and Path(other).exists() and not weights.samefile(other):
            raise InputError(f"{target} is a file of {other}, and would be replaced: choose another folder (--out)")


def _results_path(stem: Path) -> Path:
    return stem.with_name(f"{stem.name}.check.json")


def _earlier_results(stem: Path) -> dict[str, object]:
    """The results by file name of earlier exports of the same name; none of a damaged file."""
    content: object = None
    with suppress(InputError):
        content = read_json(_results_path(stem))
    known = content.get("files") if isinstance(content, dict) else None
    return known if isinstance(known, dict) else {}


def _check_writable(folder: Path) -> None:
    """Raise InputError unless files can be made in a folder, which is made, too: what follows takes minutes."""
    with writing(folder, "folder"):
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass


def choose_check_images(
    detector: Detector, weights: Path, *, data: Path | None, images: Path | None, split: str | None, most: int
) -> CheckImages:
    """The images to compare files on: a folder, a data set's split, or the validation images of the run.

    At most `most` of them, spread over all. Raises InputError.
    """
    if most < 1:
        raise InputError(f"--check-images {most}: expected at least 1")
    if images is not None and data is None:
        if split is not None:
            raise InputError("--split: a folder of images has none: give --data, too, or leave it out")
        paths = files_below(images, IMAGE_SUFFIXES) if images.is_dir() else [images]
        if not paths:
            raise InputError(f"{images}: expected a folder with images, found none in it: give another folder")
        if not images.is_dir():
            read_image(images)  # before anything is written
        chosen = tuple(spread(paths, most))
        return CheckImages(f"{len(chosen)} images of {images}", chosen, None)
    if data is None and not detector.config:
        raise InputError(
            f"{weights} does not store which images it was validated on, and every exported file is compared on real "
            "images: give --images FOLDER, or --data for its AP, too"
        )
    dataset = open_ground_truth(detector, weights, data=data, images=images, split=split)
    dataset = dataset.part(spread(range(len(dataset)), most))
    what = f"{data}" if data is not None else "the validation images of the run"
    return CheckImages(f"{len(dataset)} images of {what}", tuple(dataset.paths), dataset)


def verify_file(
    job: ExportJob, path: Path, format: str, ap: float | None, *, most_drop: float | None = None
) -> ExportedFile:
    """Compare a file with the network, whose AP is `ap`; `most_drop`: only AP is judged, it may drop by this much."""
    detector, images = job.network, job.images
    file = Detector(path, device=str(detector.device), input_size=detector.input_size)
    same_box = SAME_HALF_BOX if job.half else SAME_BOX
    agreement = compare_detections(detector, file, _pictures(images, detector), same_box=same_box)
    measured = None
    faults = agreement.faults if most_drop is None else []
    if not agreement.boxes and (ap or 0) < LEAST_AP:
        faults.append("no boxes above the score thresholds to compare: give images with objects, or --data for AP")
    if ap is not None and images.dataset is not None:
        measured = (ap, _precision(file, images.dataset))
        worse = abs(measured[1] - ap) > LARGEST_AP_DIFFERENCE if most_drop is None else ap - measured[1] > most_drop
        if worse:
            limit = LARGEST_AP_DIFFERENCE if most_drop is None else most_drop
            ap_text = f"AP is {metric_text(measured[1])} instead of {metric_text(ap)}"
            faults.append(f"{ap_text}: it may differ by {limit:g}, found {abs(ap - measured[1]):.2g}")
    ids = [*detector.category_ids]
    note = ""
    if format == "openmmlab" and ids != sorted(ids):
        note = f"mmdet numbers classes as the JSON lists its categories: let it list {shortened(detector.classes)}"
    return ExportedFile(path, format, agreement, measured, tuple(faults), note)


def unverified(path: Path) -> Path:
    """The name of a file that is not compared yet, or differs: one that nobody deploys by mistake."""
    return path.with_name(f"{path.stem}.{UNVERIFIED}{path.suffix}")


def named_by_result(file: ExportedFile, path: Path) -> ExportedFile:
    """Move a verified file, and the second one of its format, to `path`, its final name."""
    if not file.verified:
        return file
    second = SECOND_FILE.get(path.suffix)
    with writing(path):
        if second:
            replace_file(file.path.with_suffix(second), path.with_suffix(second))
        replace_file(file.path, path)
    return replace(file, path=path)


def _pictures(images: CheckImages, detector: Detector) -> Iterator[np.ndarray]:
    """The pictures or, for a detector that was trained with data.tile, as many windows of them."""
    tiling = detector.facts.tiling
    for path in progress(images.paths, "comparing"):
        picture = read_image(path, detector.value_range)
        if tiling is None:
            yield picture
            continue
        windows = tiling.views((picture.shape[0], picture.shape[1]))
        for x1, y1, x2, y2 in spread(windows, max(CHECK_IMAGES // len(images.paths), 1)):
            yield picture[y1:y2, x1:x2]


def _precision(detector: Detector, dataset: CocoDataset) -> float:
    tiling = detector.facts.tiling
    return evaluate_detector(detector, dataset, name=str(detector.path), loading=Loading(workers=0), tiling=tiling).ap


def record(job: ExportJob, files: Sequence[ExportedFile]) -> None:
    """Add the results to those of earlier exports of the same name, in `<stem>.check.json`."""
    weights, earlier = str(job.network.path and job.network.path.resolve()), _earlier_results(job.stem)
    for file in files:
        earlier.pop(unverified(file.path).name, None)  # it has been replaced
        earlier[file.path.name] = {
            **asdict(file.agreement),
            "format": file.format,
            "verified": file.verified,
            "faults": list(file.faults),
            "compared_on": job.images.name,
            "weights": weights,
            **({"note": file.note} if file.note else {}),
            "ap": None if file.ap is None else dict(zip(("torch", "file"), file.ap, strict=True)),
        }
    write_json(_results_path(job.stem), {"weights": weights, "version": __version__, "files": earlier}, indent=1)
