"""The whole look at a data set: `examine` joins all checks and says what training would keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoImage
from rtmdet.data.coco.layout import find_coco, read_documents
from rtmdet.data.doctor.annotation_file import AnnotationFile, read_annotation_file
from rtmdet.data.doctor.box_sizes import find_small_boxes, fractions_by_stride, sides_at_input
from rtmdet.data.doctor.boxes import find_misplaced_boxes, find_unusable_objects
from rtmdet.data.doctor.classes import (
    class_names,
    find_class_differences,
    find_rare_classes,
    find_unshared_classes,
    wanted_categories,
)
from rtmdet.data.doctor.copies import find_copies
from rtmdet.data.doctor.finding import (
    ALL,
    SEVERITIES,
    Finding,
    Item,
    Purpose,
    Report,
    SplitFiles,
    Summary,
    without_remedy,
)
from rtmdet.data.doctor.hotcoco_health import find_with_hotcoco
from rtmdet.data.doctor.image_files import (
    ImageFile,
    find_broken_images,
    find_unnamed_files,
    inspect_image,
    of_wrong_size,
)
from rtmdet.data.doctor.learning import find_crowded_images, find_dropped_images, trained_images, usable_annotations
from rtmdet.data.formats.faults import Fault, collect_faults
from rtmdet.data.formats.open import open_dataset
from rtmdet.data.formats.yolo_layout import find_layout
from rtmdet.data.json_file import write_json

Watch = Callable[[Sequence[CocoImage], str], Iterable[CocoImage]]  # goes through images, with a name for the work


def examine_path(
    path: Path,
    purpose: Purpose,
    *,
    images: Path | None = None,
    validation: SplitFiles | None = None,
    decode: bool = False,
    watch: Watch = lambda images, _: images,
) -> Report:
    """Look at every split of a data set in any known format; `images` is the folder of a COCO file's images.

    `validation` takes the place of the data set's own. Raises InputError as `examine` does, and where nothing of the
    data set can be read; its notes are the faults that were found until then.
    """
    with TemporaryDirectory() as folder:  # for annotations of other formats
        with collect_faults() as faults:
            try:
                splits, remarks = _open(path, images, Path(folder))
            except InputError as error:  # what is left of so many faults may be nothing
                for fault in dict.fromkeys(faults):
                    error.add_note(fault.text)
                raise
        if validation is not None:
            splits = [splits[0], validation]
        found = examine(splits, purpose, faults=list(dict.fromkeys(faults)), decode=decode, watch=watch)
    return replace(found, remarks=tuple(remarks))


def _open(path: Path, images: Path | None, folder: Path) -> tuple[list[SplitFiles], list[str]]:
    """The splits, COCO files as they are, with all their faults, and remarks about the format."""
    if images is not None:
        return [SplitFiles("train", path, images)], []
    if path.exists() and find_layout(path) is None and (coco := find_coco(path, dict(read_documents(path)))):
        return [SplitFiles(name, file, place) for name, (file, place) in coco.items()], []
    source = open_dataset(path)
    for name, split in source.splits.items():
        write_json(folder / f"{name}.json", split.coco)
    splits = [SplitFiles(name, folder / f"{name}.json", one.images, path) for name, one in source.splits.items()]
    remarks = [remark for split in source.splits.values() for remark in split.remarks]
    return splits, [f"{path} is {source.format}", *remarks]


def examine(
    sources: Sequence[SplitFiles],
    purpose: Purpose,
    *,
    faults: Sequence[Fault] = (),
    decode: bool = False,
    watch: Watch = lambda images, _: images,
) -> Report:
    """Look at every image and annotation of one split or of training and validation.

    `faults` are those of entries of label files, which their reader left out. `decode` looks at the pixels, too.
    `watch` may show progress. Nothing that a data set can hold stops it: raises InputError only where an annotation
    file is missing, no JSON or without images, or there is no such folder.
    """
    broken = tuple(Item(without_remedy(fault.text)) for fault in faults)
    message, advice = "entries of label files that cannot be used", "correct them, or take them out"
    findings = [Finding("error", "broken-label", ALL, message, advice, broken)]
    files, inspected, summaries = [], [], []
    for source in sources:
        file, found = read_annotation_file(source)
        findings += found
        files.append(file)
    for file in files:
        images = watch(list(file.images.values()), file.source.name)
        inspected.append({image["id"]: inspect_image(file.source.images, image, decode=decode) for image in images})
        findings += _find_in_split(file, inspected[-1], purpose)
        summaries.append(_summarize(file, purpose))
    findings += [*find_unshared_classes(files, purpose), *find_copies(files, inspected), *find_unnamed_files(files)]
    real = [finding for finding in findings if finding.items]
    by_severity = sorted(real, key=lambda finding: SEVERITIES.index(finding.severity))
    return Report(tuple(sources), purpose, tuple(summaries), tuple(by_severity))


def _find_in_split(file: AnnotationFile, inspected: dict[int, ImageFile], purpose: Purpose) -> Iterator[Finding]:
    """All that can be said about one split alone."""
    wanted = wanted_categories(file, purpose)
    usable = usable_annotations(file, wanted)
    sides = sides_at_input(file, usable, purpose.input_size)
    yield from find_broken_images(file, inspected)
    yield from find_misplaced_boxes(file, of_wrong_size(file, inspected))
    yield from find_unusable_objects(file, wanted)
    yield from find_with_hotcoco(file, wanted)
    yield from find_class_differences(file, purpose)
    yield find_crowded_images(file, usable)
    yield from find_small_boxes(file, usable, sides, purpose.input_size)
    if file.source.name == "train":
        yield from find_rare_classes(file, wanted, purpose)
        yield from find_dropped_images(file, usable, keep_empty=purpose.keep_empty)
    if not usable:
        missing = (Item(f"{len(file.annotations)} objects, none of them usable"),)
        advice = "see the other findings: training and evaluation stop without a box"
        yield Finding("error", "no-usable-box", file.source.name, "no box to learn from", advice, missing)


def _summarize(file: AnnotationFile, purpose: Purpose) -> Summary:
    usable = usable_annotations(file, wanted_categories(file, purpose))
    training = file.source.name == "train"
    kept = trained_images(file, usable, keep_empty=purpose.keep_empty) if training else set(file.images)
    sides = sides_at_input(file, usable, purpose.input_size)
    ratios = np.quantile(sides[:, 0] / sides[:, 1], (0.05, 0.5, 0.95)).tolist() if usable else []
    return Summary(
        split=file.source.name,
        images=len(file.images),
        objects=len(file.annotations),
        classes=class_names(file),
        kept_images=len(kept),
        kept_objects=sum(annotation["image_id"] in kept for annotation in usable),
        shorter_sides=fractions_by_stride(sides),
        aspect_ratios=tuple(ratios),
    )
