"""The annotated images that a detector is measured on: a data set in any format, or its run's validation split."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rtmdet.config.file import parse_config
from rtmdet.config.schema import SplitConfig
from rtmdet.core.errors import InputError
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.json_file import write_json
from rtmdet.detector import Detector
from rtmdet.runs.folder import moved


def open_ground_truth(
    detector: Detector,
    weights: Path,
    *,
    data: Path | None = None,
    images: Path | None = None,
    split: str | None = None,
) -> CocoDataset:
    """The images and boxes of the classes that a detector has.

    `data` is a file or folder in any known format (`images` the folder of a COCO file's images), with its `split`,
    by default val, or train if that is the only one. Without `data`, the validation data of the run that made the
    `weights`. Raises InputError.
    """
    if not detector.named:
        raise InputError(
            f"{weights} stores no names for its {len(detector.classes)} classes, which are matched by name with the "
            "annotations: give them in order, --class-names a,b,c"
        )
    if data is None:
        if images is not None or split is not None:
            raise InputError("images and split belong to a data set: give --data, too")
        stored = stored_split(detector.config, weights, "val")
        if stored is None:
            raise InputError(
                f"{weights} does not store which images it was validated on: give --data, or --annotations"
            )
        return open_coco(detector, Path(stored.annotations), Path(stored.images))
    source = open_dataset(data, images)
    name = split or ("val" if "val" in source.splits else "train")
    if name not in source.splits:
        raise InputError(
            f"{data}: expected the split {name}, found only {', '.join(source.splits)}; leave --split out"
        )
    found = source.splits[name]
    if found.annotations is not None:
        dataset = open_coco(detector, found.annotations, found.images)
        dataset.remarks[:0] = _note_split(data, name, split)
        return dataset
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.json"
        write_json(file, found.coco)
        try:
            dataset = open_coco(detector, file, found.images)
        except InputError as error:  # the temporary file will be gone
            raise InputError(str(error).replace(str(file), f"{data}, as COCO")) from error
        remarks = [remark.replace(str(file), f"{data}, as COCO") for remark in dataset.remarks]
        dataset.remarks = [*_note_split(data, name, split), *found.remarks, *remarks]
        return dataset


def _note_split(data: Path, name: str, asked: str | None) -> list[str]:
    if asked or name == "val" or not data.is_dir():
        return []
    return [f"{data} has no validation split: all of its images are measured, also those that a run learned from"]


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


def open_coco(detector: Detector, annotations: Path, images: Path) -> CocoDataset:
    """The images and boxes of a COCO file, of the classes that a detector has. Raises InputError."""
    return CocoDataset(
        annotations, images, classes=detector.classes, training=False, value_range=detector.value_range
    )
