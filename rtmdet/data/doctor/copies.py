"""Duplicate images inside a split and across splits: identical files, and near copies found by fingerprint.

Legend: M images with fingerprints of 256 bits each.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from rtmdet.data.coco.file import by_image
from rtmdet.data.copies import NEAR, differing_rows, is_distinctive
from rtmdet.data.doctor.annotation_file import AnnotationFile
from rtmdet.data.doctor.finding import Finding, Item
from rtmdet.data.doctor.image_files import InspectedImage


@dataclass(frozen=True, slots=True, eq=False)
class _Picture:
    """One image of one split."""

    file: AnnotationFile
    image_id: int
    inspected: InspectedImage
    objects: int

    @property
    def split(self) -> str:
        return self.file.source.name

    @property
    def name(self) -> str:
        return self.file.images[self.image_id]["file_name"]


def find_copies(
    files: Sequence[AnnotationFile], inspected: Sequence[Mapping[int, InspectedImage]]
) -> Iterator[Finding]:
    """Copies of images; `inspected` has the image files of each annotation file, by image id."""
    pictures = []
    for file, found in zip(files, inspected, strict=True):
        objects = by_image(file.annotations)
        pictures += [_Picture(file, key, one, len(objects[key])) for key, one in found.items() if one.digest]
    yield from _report_pairs(_equal_pairs(pictures), near=False)
    yield from _report_pairs(_near_pairs(pictures), near=True)


def _report_pairs(pairs: Sequence[tuple[_Picture, _Picture]], *, near: bool) -> Iterator[Finding]:
    """Findings about (earlier, later) pictures: one per split, and one per split for pairs across splits."""
    items: defaultdict[tuple[str, bool], list[Item]] = defaultdict(list)
    for first, second in pairs:
        items[second.split, first.split != second.split].append(_pair_item(first, second, "near" if near else "="))
    for (split, leak), cases in items.items():
        if leak:
            kind = "near-leak" if near else "leak"
            message = f"{'near' if near else 'identical'} copies of training images"
            advice = "remove them from one split: AP measured on training images is too high"
            yield Finding("warning" if near else "error", kind, split, message, advice, tuple(cases))
        else:
            message = f"{'near' if near else 'identical'} copies of other images of the split"
            advice = "keep one of each, with all its objects: copies count twice and their labels may differ"
            kind = "near-copy" if near else "copy"
            yield Finding("hint" if near else "warning", kind, split, message, advice, tuple(cases))


def _pair_item(first: _Picture, second: _Picture, relation: str) -> Item:
    objects = f" ({second.objects} and {first.objects} objects)" if second.objects != first.objects else ""
    files = (second.file.path(second.image_id), first.file.path(first.image_id))
    return Item(f"{second.name} {relation} {first.split}: {first.name}{objects}", second.image_id, files=files)


def _equal_pairs(pictures: Sequence[_Picture]) -> list[tuple[_Picture, _Picture]]:
    """Pairs of identical files: each later picture with the first such one of its own and of the earlier split."""
    pairs = []
    first_of: dict[tuple[str, bytes], _Picture] = {}
    splits = list(dict.fromkeys(picture.split for picture in pictures))
    for picture in pictures:
        for split in splits[: splits.index(picture.split) + 1]:
            other = first_of.get((split, picture.inspected.digest))
            if other is not None:
                pairs.append((other, picture))
        first_of.setdefault((picture.split, picture.inspected.digest), picture)
    return pairs


def _near_pairs(pictures: Sequence[_Picture]) -> list[tuple[_Picture, _Picture]]:
    """Each picture with the nearest earlier one of each split, mirrored or not, if near but not identical."""
    distinct = [picture for picture in pictures if is_distinctive(picture.inspected.fingerprints)]
    starts = {split: index for index, split in reversed(list(enumerate(picture.split for picture in distinct)))}
    pairs = []
    for index, bits in enumerate(differing_rows([picture.inspected.fingerprints for picture in distinct])):
        edges = [*sorted(edge for edge in starts.values() if edge < index), index]
        for first, last in pairwise(edges):  # the earlier pictures of one split
            nearest = first + int(bits[first:last].argmin())
            earlier, later = distinct[nearest], distinct[index]
            if bits[nearest] <= NEAR and earlier.inspected.digest != later.inspected.digest:
                pairs.append((earlier, later))
    return pairs
