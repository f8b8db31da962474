"""Examines a whole data set: `examine` collects all findings and counts what training would use."""

from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.core.json_file import write_json
from rtmdet.data.coco.file import CocoImage
from rtmdet.data.coco.usable import reason_against
from rtmdet.data.doctor import boxes, classes, image_files
from rtmdet.data.doctor.annotation_file import AnnotationFile, read_annotation_file
from rtmdet.data.doctor.copies import find_copies
from rtmdet.data.doctor.finding import ALL, SEVERITIES, Finding, Item, Purpose, Report, SplitFiles, Summary
from rtmdet.data.doctor.healthcheck import find_with_hotcoco
from rtmdet.data.doctor.sizes import find_small_boxes, find_tiles, fractions_by_stride, sides_at_input
from rtmdet.data.formats.faults import Fault, collect_faults
from rtmdet.data.formats.open import FoundDataset, find_dataset

Watch = Callable[[Sequence[CocoImage], str], Iterable[CocoImage]]  # iterates images and shows progress under a title


def examine_path(
    path: Path,
    purpose: Purpose,
    *,
    images: Path | None = None,
    validation: SplitFiles | None = None,
    decode: bool = False,
    watch: Watch = lambda images, _: images,
) -> Report:
    """Examine every split of a data set in any known format; `images` is the folder of the images.

    `validation` replaces the data set's own. Raises InputError as `examine` does, and if nothing of the data set can
    be read; its notes are then the faults found so far.
    """
    with TemporaryDirectory() as folder:  # for annotations of other formats
        with collect_faults() as faults:
            try:
                splits, remarks, others = _open(path, images, Path(folder))
            except InputError as error:  # perhaps because no entry is left after these faults
                for fault in dict.fromkeys(faults):
                    error.add_note(fault.text)
                raise
        if validation is not None:
            splits = [splits[0], validation]
        faults = list(dict.fromkeys(faults))
        found = examine(splits, purpose, faults=faults, decode=decode, watch=watch, others=others)
    return replace(found, remarks=tuple(remarks))


def _open(path: Path, images: Path | None, folder: Path) -> tuple[list[SplitFiles], list[str], set[str]]:
    """The splits, remarks about the format, and the real paths of images that only splits not examined name.

    COCO files are not converted, so that all their faults are found.
    """
    try:
        found = find_dataset(path, images)
    except InputError:
        if images is None or path.is_dir():
            raise
        return [SplitFiles("train", path, images)], [], set()  # as COCO, so that its reader says what is wrong
    rest = found.others(*found.usual)
    unread = [f"{found.path}: the {name} split is not checked, since training does not use it" for name in rest]
    unread += found.remarks
    if found.locate is not None:
        files = found.locate(found.usual)
        splits = [SplitFiles(name, *file_and_images) for name, file_and_images in files.items()]
        return splits, unread, _images_of(found, rest)
    source, splits = found.read(*found.usual), []
    for name, split in source.splits.items():
        write_json(folder / f"{name}.json", split.coco)
        splits.append(SplitFiles(name, folder / f"{name}.json", split.images, found.path))
    remarks = [f"{found.path}: {source.format} format", *unread, *source.split_remarks]
    return splits, remarks, _images_of(found, rest)


def _images_of(found: FoundDataset, names: Sequence[str]) -> set[str]:
    """The real paths of the images of some splits; none of what cannot be read."""
    with suppress(InputError), collect_faults():  # faults of these splits matter to nobody here
        splits = found.read(*names).splits.values() if names else ()
        named = (split.images / image["file_name"] for split in splits for image in split.coco["images"])
        return image_files.real_paths(named)
    return set()


def examine(
    sources: Sequence[SplitFiles],
    purpose: Purpose,
    *,
    faults: Sequence[Fault] = (),
    decode: bool = False,
    watch: Watch = lambda images, _: images,
    others: Collection[str] = (),
) -> Report:
    """Examine every image and annotation of one split, or of training and validation.

    `faults` are those of label files, whose entries were skipped, `others` the real paths of images of other splits,
    which may be in the same folders. `decode` examines the pixels, too. `watch` may show
    progress. Raises InputError only if an annotation file or an image folder is missing, or the file is not JSON or
    has no images.
    """
    broken = tuple(Item(fault.text) for fault in faults)
    message, advice = "unusable entries of label files", "do what each line says, or remove the entries"
    findings = [Finding("error", "broken-label", ALL, message, advice, broken)]
    files, inspected, summaries = [], [], []
    for file, found in _read_files(sources):
        findings += found
        files.append(file)
    for file in files:
        images = watch(list(file.images.values()), file.source.name)
        inspected.append(image_files.inspect_images(file, images, decode=decode))
        summary, found = _examine_split(file, inspected[-1], purpose)
        summaries.append(summary)
        findings += found
    findings += classes.find_unshared_classes(files, purpose)
    findings += find_copies(files, inspected)
    if not any(finding.code in ("broken-label", "broken-entry") and finding.items for finding in findings):
        findings += image_files.find_unnamed_files(files, others)  # else also those of the unusable entries
    real = [finding for finding in findings if finding.items]
    by_severity = sorted(real, key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(tuple(sources), purpose, tuple(summaries), tuple(by_severity))


def _read_files(sources: Sequence[SplitFiles]) -> list[tuple[AnnotationFile, list[Finding]]]:
    """Each file with its findings; a category that is a class in one of them is a class in all, as in training."""
    read = [read_annotation_file(source) for source in sources]
    groups = any(finding.code == "group-category" and finding.items for _, found in read for finding in found)
    if groups and len(read) > 1:
        classes = {category["name"] for file, _ in read for category in file.categories.values()}
        read = [read_annotation_file(source, classes) for source in sources]
    return read


def _examine_split(
    file: AnnotationFile, inspected: dict[int, image_files.InspectedImage], purpose: Purpose
) -> tuple[Summary, list[Finding]]:
    """One split in numbers, and the findings about it."""
    name = file.source.name
    wanted = classes.wanted_categories(file, purpose)
    usable = [annotation for annotation in file.annotations if reason_against(annotation, wanted) is None]
    sides = sides_at_input(file, usable, purpose.input_size, purpose.tile)
    found = [
        *image_files.find_broken_images(file, inspected),
        *boxes.find_misplaced_boxes(file, image_files.of_wrong_size(file, inspected)),
        *boxes.find_unusable_objects(file, wanted),
        *boxes.find_double_boxes(file, usable),
        *find_with_hotcoco(file, usable, wanted),
        *classes.find_class_differences(file, purpose),
        boxes.find_crowded_images(file, usable),
        find_small_boxes(file, usable, sides, purpose.input_size),
        find_tiles(file, usable, purpose.input_size, purpose.tile),
    ]
    kept = set(file.images)
    if name == "train":
        found.append(classes.find_rare_classes(file, wanted, purpose))
        kept = boxes.trained_images(file, usable, wanted, keep_empty=purpose.keep_empty)
        found += boxes.find_dropped_images(file, kept)
    if not usable:
        missing = Item(f"{len(file.annotations)} objects, none of them usable")
        advice = "see the other findings: training and evaluation need at least one usable box"
        found.append(file.finding("error", "no-usable-box", "split without a usable box", advice, [missing]))
    ratios = np.quantile(sides[:, 0] / sides[:, 1], (0.05, 0.5, 0.95)).tolist() if usable else []
    summary = Summary(
        split=name,
        images=len(file.images),
        objects=len(file.annotations),
        classes=classes.names_by_label(file),
        kept_images=len(kept),
        kept_objects=sum(annotation["image_id"] in kept for annotation in usable),
        shorter_sides=fractions_by_stride(sides),
        aspect_ratios=tuple(ratios),
    )
    return summary, found
