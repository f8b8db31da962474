"""The photos to label next as a data set, with what the detector finds as their first labels."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rtmdet.core.arguments import checked
from rtmdet.core.console import say
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath, check_new_folder, path_or_none, storable_name, user_path
from rtmdet.core.whole_file import read_whole, unwritable, write_whole
from rtmdet.detector import Detector, Score
from rtmdet.images.reading import read_image
from rtmdet.stream.formats import PHOTO_FOLDERS, LabeledResult, csv_text, open_label_set, write_text
from rtmdet.stream.frames import Failure, Frame
from rtmdet.stream.ranking import RankedPhoto, Ranking, check_photos, choose, labeled_photos, rank_photos
from rtmdet.stream.sources import ImageFile, find_sources, with_range

RANKING = "ranking.csv"
COLUMNS = ("rank", "photo", "unsure", "objects", "labeled_as", "remark")
SHOWN = 10  # photos with a line of their own
LIMIT = 50


@dataclass(frozen=True, slots=True, eq=False)
class LabeledPhoto:
    """A photo to label, and its copy in the new data set."""

    photo: RankedPhoto
    copy: Path


@dataclass(frozen=True, slots=True, eq=False)
class NextLabels:
    """A data set with the photos to label next, the most unsure one first; `print` shows the first ones."""

    folder: Path
    photos: Sequence[LabeledPhoto]
    ranking: Ranking
    copies: dict[Path, str]

    @property
    def failures(self) -> Sequence[Failure]:
        """The photos that could not be read."""
        return self.ranking.failures

    def __str__(self) -> str:
        lines = [
            f"{ranked.photo.unsure:8.3f}  {ranked.photo.path}: {ranked.photo.shown.summary} -> {ranked.copy.name}"
            for ranked in self.photos[:SHOWN]
        ]
        if len(self.photos) > SHOWN:
            lines.append(f"... and {len(self.photos) - SHOWN} more: see {self.folder / RANKING}")
        if self.copies:
            lines.append(
                f"copies and near copies of other photos, labeled ones too: {len(self.copies)}, left out or put last"
            )
        boxes = sum(len(labeled.photo.shown) for labeled in self.photos)
        what = f"{boxes} box{'es' if boxes != 1 else ''} to correct"
        lines.append(f"{len(self.photos)} of {len(self.ranking.photos)} photos with {what}: {self.folder}")
        return "\n".join(["  unsure  photo", *lines])

    __repr__ = __str__  # in a notebook


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
    Their names begin with their rank; out/ranking.csv has all photos. Of near copies one comes first, the others
    only if there are too few photos; those of a data set `skip` are left out.

    `detector` is a weights file, the folder of a run (its last.pth), or a Detector. Boxes are those above `score`, as
    for a Detector; `tile` as in `evaluate`. Raises InputError.
    """
    words = photos if isinstance(photos, Sequence) and not isinstance(photos, str) else [photos]
    detector = detector if isinstance(detector, Detector) else Detector(detector)
    folder, labeled_data = user_path(out), path_or_none(skip)
    if format not in PHOTO_FOLDERS:
        raise InputError(f"--format {format}: expected {', '.join(PHOTO_FOLDERS)}")
    if limit < 1:
        raise InputError(f"--limit {limit}: expected at least 1")
    check_new_folder(folder)
    labeled = [] if labeled_data is None else labeled_photos(labeled_data)
    found = with_range(find_sources([str(word) for word in words], recursive=recursive), detector.value_range)
    say(*found.remarks)
    files = check_photos(found.sources)
    ranking = rank_photos(detector, files, score=score, batch_size=batch_size, tiling=detector.choose_tiling(tile))
    chosen, copies = choose(ranking, limit, labeled)
    if not chosen:
        raise InputError(f"{words[0]}: all {len(ranking.photos)} photos are in {skip} already: give others")
    try:
        written = _write(detector, chosen, format, folder)
        _write_ranking(folder / RANKING, ranking, written, copies)
    except OSError as error:
        raise unwritable(Path(error.filename or folder), error) from error
    return NextLabels(folder, written, ranking, copies)


def _write(detector: Detector, photos: Sequence[RankedPhoto], format: str, out: Path) -> list[LabeledPhoto]:
    folder = out / PHOTO_FOLDERS[format]
    folder.mkdir(parents=True, exist_ok=True)
    digits = max(len(str(len(photos))), 3)
    written = []
    with closing(open_label_set(format, out, detector.classes, detector.category_ids)) as labels:
        for rank, photo in enumerate(photos, start=1):
            # Tools show photos in the order of their names.
            copy = folder / f"{rank:0{digits}}_{storable_name(photo.path.name)}"
            write_whole(copy, read_whole(photo.path, "image file"))
            frame = Frame(ImageFile(copy), partial(read_image, copy))
            labels.add(LabeledResult(frame, photo.shown, Path(copy.stem), copy.name))
            written.append(LabeledPhoto(photo, copy))
    return written


def _write_ranking(
    path: Path, ranking: Ranking, written: Sequence[LabeledPhoto], remarks: Mapping[Path, str]
) -> None:
    """A row per photo, with COLUMNS."""
    rows, copied = [], {labeled.photo.path: labeled.copy.name for labeled in written}
    for rank, photo in enumerate(ranking.photos, start=1):
        name, remark = copied.get(photo.path, ""), remarks.get(photo.path, "")
        rows.append([rank, photo.path, f"{photo.unsure:.5f}", len(photo.shown), name, remark])
    write_text(path, csv_text([COLUMNS, *rows]))
