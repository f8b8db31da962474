"""The whole look at a data set: `check_data` joins all checks and tells what training would keep."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rtmdet.data.coco.file import CocoImage
from rtmdet.data.doctor.annotation_file import AnnotationFile, read_annotation_file
from rtmdet.data.doctor.box_sizes import check_small_boxes, shares_of_strides, sides_at_input
from rtmdet.data.doctor.boxes import check_boxes, check_unusable
from rtmdet.data.doctor.classes import (
    check_classes,
    check_same_classes,
    class_names,
    find_rare_classes,
    wanted_categories,
)
from rtmdet.data.doctor.copies import find_copies
from rtmdet.data.doctor.finding import ALL, SEVERITIES, Finding, Item, Purpose, Source, without_remedy
from rtmdet.data.doctor.hotcoco_health import check_health
from rtmdet.data.doctor.image_files import (
    ImageFile,
    check_image_files,
    find_unnamed_files,
    look_at_image,
    of_wrong_size,
)
from rtmdet.data.doctor.learning import find_crowded_images, find_dropped_images, trained_images, usable_annotations
from rtmdet.data.formats.faults import Fault

Watch = Callable[[Sequence[CocoImage], str], Iterable[CocoImage]]  # goes through images, with a name for the work


@dataclass(frozen=True, slots=True)
class Summary:
    """One split in numbers."""

    split: str
    images: int
    objects: int
    classes: tuple[str, ...]
    kept_images: int  # that training would show, or the evaluation measure
    kept_objects: int  # that it would learn from, or look for
    shorter_sides: dict[str, float]  # share of the usable boxes by shorter side at the input
    aspect_ratios: tuple[float, ...]  # 5 %, 50 %, 95 % quantiles of width / height; () without usable boxes


@dataclass(frozen=True, slots=True)
class Report:
    """What the doctor found: findings by falling severity."""

    summaries: tuple[Summary, ...]
    findings: tuple[Finding, ...]

    @property
    def harmful(self) -> bool:
        """Whether training would stop, be misled or suffer."""
        return any(finding.severity != "hint" for finding in self.findings)


def check_data(
    sources: Sequence[Source],
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
    files, looked, summaries = [], [], []
    for source in sources:
        file, found = read_annotation_file(source)
        findings += found
        files.append(file)
    for file in files:
        images = watch(list(file.images.values()), file.source.name)
        looked.append({image["id"]: look_at_image(file.source.images, image, decode=decode) for image in images})
        findings += _check_split(file, looked[-1], purpose)
        summaries.append(_summarize(file, purpose))
    findings += [*check_same_classes(files, purpose), *find_copies(files, looked), *find_unnamed_files(files)]
    real = [finding for finding in findings if finding.items]
    return Report(tuple(summaries), tuple(sorted(real, key=lambda finding: SEVERITIES.index(finding.severity))))


def _check_split(file: AnnotationFile, looked: dict[int, ImageFile], purpose: Purpose) -> Iterator[Finding]:
    """All that can be said about one split alone."""
    wanted = wanted_categories(file, purpose)
    usable = usable_annotations(file, wanted)
    sides = sides_at_input(file, usable, purpose.input_size)
    yield from check_image_files(file, looked)
    yield from check_boxes(file, of_wrong_size(file, looked))
    yield from check_unusable(file, wanted)
    yield from check_health(file, wanted)
    yield from check_classes(file, purpose)
    yield find_crowded_images(file, usable)
    yield from check_small_boxes(file, usable, sides, purpose.input_size)
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
        shorter_sides=shares_of_strides(sides),
        aspect_ratios=tuple(ratios),
    )
