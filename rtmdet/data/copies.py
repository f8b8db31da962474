"""Images of one photo: equal files, and near copies as bursts, videos and re-saved files have them.

Legend: H, W height and width, M images with fingerprints, each of 256 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from rtmdet.data.coco_file import CocoFile
from rtmdet.data.image_names import ImageNames

GRID = 16  # fingerprints compare neighbours on a grid of 16 x 16
NEAR = 20  # bits of 256 that near copies may differ in
_STEP = 2  # grey levels that count as a difference
_PLAIN = 24  # bits that must be set, and not set: fingerprints of plain pictures say too little
_BLOCK = 1024  # fingerprints that are compared with all others at a time
_LEAST_SIDE = 4 * GRID  # pixels of a picture whose fingerprints do not depend on how it was made smaller
_MOST = 0.5  # share of the images that near copies of one photo may be: more are scenes of one video
VIDEO = (
    "most images look alike, as the pictures of one video do: they are split all the same, and AP says little of "
    "other scenes"
)


def fingerprints(image: np.ndarray) -> np.ndarray:
    """(2, 256) bool of a gray picture (H, W): where it gets brighter to the right, on a grid; then mirrored.

    Copies at another size or quality share nearly all of it.
    """
    small = cv2.resize(image, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.stack([(np.diff(view, axis=1) > _STEP).reshape(-1) for view in (small, small[:, ::-1])])


def says_enough(bits: np.ndarray | None) -> bool:
    """Whether fingerprints tell a picture from others; those of plain ones do not."""
    return bits is not None and _PLAIN <= int(bits[0].sum()) <= bits[0].size - _PLAIN


def differing_bits(bits: np.ndarray, start: int, count: int) -> np.ndarray:
    """Bits that differ between fingerprints `start` ... + `count` and all before their end, mirrored or not.

    `bits` (M, 2, 256) bool -> (`count`, `start` + `count`).
    """
    signs = bits[: start + count].astype(np.float32) * 2 - 1
    alike = np.maximum(*(signs[start:, view] @ signs[:, 0].T for view in (0, 1)))
    return (signs.shape[2] - alike) / 2


def group_copies(file: CocoFile, folder: Path) -> tuple[list[set[int]], str]:
    """The ids of images that show one photo, a set each, and a line about them; both empty where there are none.

    Images that are missing or cannot be decoded are in no set: reading them says why.
    """
    index = ImageNames(folder)
    digests: dict[int, bytes] = {}
    prints: dict[int, np.ndarray] = {}
    for image in file["images"]:
        if len(names := index.find(image["file_name"])) == 1:
            content = (folder / names[0]).read_bytes()
            digests[image["id"]] = hashlib.blake2b(content, digest_size=16).digest()
            if (bits := _look(content)) is not None and says_enough(bits):
                prints[image["id"]] = bits
    equal = _equal_pairs(digests)
    groups = _join([*equal, *_near_pairs(prints)])
    if max(map(len, groups), default=0) > _MOST * len(file["images"]):
        return _join(equal), VIDEO
    if not groups:
        return [], ""
    return groups, f"{sum(map(len, groups))} images are copies or near copies of {len(groups)} photos: kept together"


def count_equal(first: Iterable[Path], second: Iterable[Path]) -> int:
    """How many files of the second have the content of one of the first; files that are missing have none."""
    of_size: dict[int, list[Path]] = {}
    for path in first:
        if path.is_file():
            of_size.setdefault(path.stat().st_size, []).append(path)
    digest = cache(lambda path: hashlib.blake2b(path.read_bytes()).digest())
    alike = [(path, of_size.get(path.stat().st_size, [])) for path in second if path.is_file()]
    return sum(any(path.samefile(one) or digest(path) == digest(one) for one in others) for path, others in alike)


def _equal_pairs(digests: dict[int, bytes]) -> list[tuple[int, int]]:
    first: dict[bytes, int] = {}
    pairs = [(first.setdefault(digest, number), number) for number, digest in digests.items()]
    return [pair for pair in pairs if pair[0] != pair[1]]


def _near_pairs(prints: dict[int, np.ndarray]) -> list[tuple[int, int]]:
    numbers, pairs = list(prints), []
    bits = np.array([*prints.values()]).reshape(-1, 2, GRID * GRID)
    for start in range(0, len(numbers), _BLOCK):
        count = min(_BLOCK, len(numbers) - start)
        rows, columns = np.nonzero(differing_bits(bits, start, count) <= NEAR)
        pairs += [(numbers[column], numbers[start + row]) for row, column in zip(rows, columns, strict=True)]
    return pairs


def _look(content: bytes) -> np.ndarray | None:
    """The fingerprints of an image file, decoded at an eighth of its size where that is enough."""
    data = np.frombuffer(content, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if image is not None and min(image.shape) < _LEAST_SIDE:
            image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if image is None else fingerprints(image)


def _join(pairs: Iterable[tuple[int, int]]) -> list[set[int]]:
    """The sets of two numbers and more that pairs connect."""
    group_of: dict[int, set[int]] = {}
    for first, second in pairs:
        joined = group_of.get(first, {first}) | group_of.get(second, {second})
        group_of |= dict.fromkeys(joined, joined)
    groups = {id(group): group for group in group_of.values() if len(group) > 1}
    return sorted(groups.values(), key=min)
