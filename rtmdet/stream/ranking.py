"""Photos sorted by how unsure a detector is of them, and the choice of those to label next.

Legend: D detections, K classes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rtmdet.core.console import progress
from rtmdet.core.detections import Detections
from rtmdet.core.errors import InputError
from rtmdet.core.tiling import Tiling
from rtmdet.core.whole_file import read_whole
from rtmdet.data.coco.layout import place_images
from rtmdet.data.copies import DistinctPhotos, digest
from rtmdet.data.formats.open import find_dataset
from rtmdet.detector import Detector, Score
from rtmdet.stream.detecting import DetectSettings, Result, detect_frames
from rtmdet.stream.frames import Failure
from rtmdet.stream.sources import ImageFile

LEAST_SCORE = 0.05  # of the detections that are looked at
MOST_BOXES = 30_000  # of a photo
COPY, NEAR_COPY = "copy", "near copy"


@dataclass(frozen=True, slots=True, eq=False)
class RankedPhoto:
    """A photo with what the detector finds above the score thresholds, and how unsure it is."""

    path: Path
    unsure: float
    shown: Detections


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """All photos that could be read, the detector least sure of the first, and the others."""

    photos: Sequence[RankedPhoto]
    failures: Sequence[Failure]


def closeness(found: Detections, thresholds: np.ndarray) -> np.ndarray:
    """How close each score is to the threshold of its class, (D,): 1 at the threshold, falling to 0 at 0 and 1."""
    limits = np.clip(thresholds[found.labels], 1e-3, 1 - 1e-3)
    scores = np.asarray(found.scores, np.float64)
    return np.where(scores < limits, scores / limits, (1 - scores) / (1 - limits))


def uncertainty(found: Detections, thresholds: np.ndarray) -> float:
    """The sum of closeness over all detections above LEAST_SCORE, as NumPy arrays; 0: not at all.

    Scores are unsure near `thresholds` (K,), where the detector would as soon leave the object out as show it.
    benchmarks/label_study.py compares further measures; docs/label.md has what it found.
    """
    return float(closeness(found, thresholds).sum())


def rank_photos(
    detector: Detector,
    photos: Sequence[ImageFile],
    *,
    score: Score = "auto",
    batch_size: int = 8,
    tiling: Tiling | None = None,
) -> Ranking:
    """Detect in all photos and sort them by `uncertainty`. `score`: see Detector.thresholds.

    Raises InputError for settings out of range, and if no photo can be read.
    """
    thresholds = np.array(detector.thresholds(score))  # (K,)
    looked_for = np.minimum(thresholds, LEAST_SCORE)
    settings = DetectSettings(
        dict(zip(detector.classes, looked_for.tolist(), strict=True)), MOST_BOXES, batch_size, tiling=tiling
    )
    ranked: list[RankedPhoto] = []
    failures: list[Failure] = []
    for photo, result in zip(progress(photos, "detecting"), detect_frames(detector, photos, settings), strict=True):
        if isinstance(result, Result):
            found = result.found.numpy().without_picture()  # do not keep the pixels
            ranked.append(RankedPhoto(photo.path, uncertainty(found, thresholds), found.above(thresholds.tolist())))
        else:
            failures.append(result)
    if failures and not ranked:
        raise failures[0].error
    return Ranking(sorted(ranked, key=lambda photo: -photo.unsure), failures)


def choose(ranking: Ranking, limit: int, labeled: Iterable[Path] = ()) -> tuple[list[RankedPhoto], dict[Path, str]]:
    """The first `limit` photos of a ranking, of copies one only, and no copies of `labeled` photos.

    Near copies, such as bursts, follow only if there are too few others: where the camera does not move, all photos
    may be near copies. Also which photos are a COPY or NEAR_COPY of others, as far as the ranking was looked through.
    Raises InputError if a file cannot be read.
    """
    distinct, contents = DistinctPhotos(), set()
    for path in labeled:
        content = read_whole(path)
        contents.add(digest(content))
        distinct.add(content)
    chosen: list[RankedPhoto] = []
    near: list[RankedPhoto] = []
    copies: dict[Path, str] = {}
    for photo in ranking.photos:
        if len(chosen) == limit:
            break
        content = read_whole(photo.path)
        if (same := digest(content)) in contents:
            copies[photo.path] = COPY
            continue
        contents.add(same)
        if distinct.add(content):
            chosen.append(photo)
        else:
            near.append(photo)
            copies[photo.path] = NEAR_COPY
    return [*chosen, *near][:limit], copies


def labeled_photos(data: Path) -> list[Path]:
    """The image files of a data set in any known format. Raises InputError if it cannot be used."""
    paths: list[Path] = []
    found = find_dataset(data)
    for split in found.read(*found.usual).splits.values():
        if split.annotations is not None:
            place_images(split.annotations, split.coco, split.images)
        paths += [split.images / image["file_name"] for image in split.coco["images"]]
    return paths


def check_photos(sources: Iterable[object]) -> list[ImageFile]:
    """The sources, if all are image files. Raises InputError for videos, cameras and addresses."""
    photos = []
    for source in sources:
        if not isinstance(source, ImageFile):
            name = getattr(source, "name", source)
            raise InputError(f"{name}: expected photos, found a video, camera or address: save its pictures first")
        photos.append(source)
    return photos
