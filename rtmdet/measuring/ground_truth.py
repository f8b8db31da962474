"""The annotated images that a detector is measured on: a data set in any format, or its run's validation split."""

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from rtmdet.config.file import moved, parse_config
from rtmdet.config.schema import SplitConfig
from rtmdet.core.errors import InputError
from rtmdet.core.wording import as_given, named_as_given
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.coco.file import read_boxes
from rtmdet.data.coco.layout import file_names, is_coco
from rtmdet.data.copies import count_equal
from rtmdet.data.formats.open import FoundDataset, find_dataset
from rtmdet.data.formats.splits import Split
from rtmdet.data.formats.yolo_layout import MissingFolderError
from rtmdet.data.image_names import ImageNames
from rtmdet.detector import Detector
from rtmdet.evaluation.coco import crowded_remark
from rtmdet.images.depth import depth_remarks


def open_ground_truth(
    detector: Detector,
    weights: Path,
    *,
    data: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
) -> CocoDataset:
    """The images and boxes of the classes that a detector has, with remarks, also on 16-bit photos.

    `data` is a file or folder in any known format (`images` the folder of its images), with its `split`
    train, val or test, by default val, else test, else train. Without `data`, the validation data of the run that
    made the `weights`, or with the split train its training data. Raises InputError.
    """
    if not detector.named:
        raise InputError(
            f"{weights} stores no names for its {len(detector.classes)} classes, which are matched by name with the "
            "annotations: give them in order, --class-names a,b,c"
        )
    if data is None:
        dataset = _open_stored(detector, weights, images, split)
    else:
        dataset = _open_given(detector, data, images, split)
        dataset.remarks += overlap_remark(detector, weights, dataset)
    dataset.remarks += depth_remarks(dataset.few_paths, detector.value_range)
    dataset.remarks += crowded_remark(dataset.coco, dataset.category_ids)
    return dataset


def _open_stored(detector: Detector, weights: Path, images: Path | None, split: str | None) -> CocoDataset:
    if images is not None or split not in (None, "val", "train"):
        raise InputError("images and split belong to a data set: give --data, too")
    stored = stored_split(detector.config, weights, split or "val")
    done = "trained" if split == "train" else "validated"
    if stored is None:
        raise InputError(f"{weights} does not store which images it was {done} on: give --data, or --annotations")
    for path in (stored.annotations, stored.images):
        if not os.path.exists(path):
            raise InputError(
                f"{weights} was {done} on {path}, which no longer exists: give --data with its new place"
            )
    return open_coco(detector, Path(stored.annotations), Path(stored.images))


def _open_given(detector: Detector, data: Path, images: Path | None, split: str | None) -> CocoDataset:
    source = find_dataset(data, images)
    name, found = _choose_split(source, split)
    with TemporaryDirectory() as folder:
        temporary = Path(folder) / f"{name}.json"  # named in no message: it will be gone
        with named_as_given({str(temporary): f"the {name} split of {data}"}):
            dataset = open_coco(detector, found.write(temporary), found.images)
            remarks = [*source.remarks, *map(as_given, dataset.remarks)]
    if found.annotations is None:
        remarks[:0] = found.remarks
    if split is None and name == "train" and data.is_dir():
        note = "has no validation split: all of its images are measured, also those that a run learned from"
        remarks.insert(0, f"{data} {note}")
    dataset.remarks = remarks
    return dataset


def _choose_split(source: FoundDataset, split: str | None) -> tuple[str, Split]:
    """The name and the content of a split, by default val, else test, else train; one without a folder is skipped."""
    if split is not None:
        return split, source.read_one(split)
    *first, last = [name for name in ("val", "test", "train") if name in source.names]
    for name in first:
        with suppress(MissingFolderError):
            return name, source.read_one(name)
    return last, source.read_one(last)


def stored_split(config: str, weights: Path, name: str) -> SplitConfig | None:
    """The train or val data that weights were trained with, from the `config` in them; None if that is empty.

    Paths inside the run's folder are resolved to the present folder of the weights. Raises InputError for a
    configuration of another version.
    """
    if not config:
        return None
    found = parse_config(config, f"settings stored in {weights}")
    data = moved(found, found.train.output, weights.parent).data
    return data.val if name == "val" else data.train


def overlap_remark(detector: Detector, weights: Path, dataset: CocoDataset) -> list[str]:
    """A line if a detector was trained on some of these images; none if not, or if its weights do not tell."""
    common = trained_on(detector.config, weights, dataset)
    words = f"{weights}: trained on {common} of the {len(dataset)} images: its AP is too optimistic"
    return [words] if common else []


def trained_on(config: str, weights: Path, dataset: CocoDataset) -> int:
    """How many images of a data set the weights with this `config` learned from; 0 also if they do not tell."""
    try:
        split = stored_split(config, weights, "train")
        document = None if split is None else read_boxes(Path(split.annotations))
    except InputError:  # settings of another version, or missing data
        return 0
    if split is None or not is_coco(document):
        return 0
    index = ImageNames(Path(split.images))
    files = (Path(split.images) / file for name in file_names(document) for file in index.find(name))
    return count_equal(files, dataset.paths)


def open_coco(detector: Detector, annotations: Path, images: Path) -> CocoDataset:
    """The images and boxes of a COCO file, of the classes that a detector has. Raises InputError."""
    return CocoDataset(
        annotations, images, classes=detector.classes, training=False, value_range=detector.value_range
    )
