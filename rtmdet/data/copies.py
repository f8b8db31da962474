"""Images of one photo: equal files, and near copies as bursts, videos and re-saved files have them.

Legend: H, W height and width, M images with fingerprints, each of 256 bits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from rtmdet.data.coco.file import CocoFile
from rtmdet.data.image_names import ImageNames

GRID = 16  # fingerprints compare neighbors on a grid of 16 x 16
NEAR = 20  # bits of 256 that near copies may differ in
_STEP = 2  # gray levels that count as a difference
_PLAIN = 24  # bits that must be set, and not set: fingerprints of plain pictures say too little
_BLOCK = 1024  # fingerprints that are compared with all others at a time
_MIN_SIDE = 4 * GRID  # pixels of a picture whose fingerprints do not depend on how it was made smaller
_MAX_SHARE = 0.5  # share of the images that near copies of one photo may be: more are scenes of one video
_MAX_DECODED = 10_000  # images that are decoded for it: minutes on one core
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


def is_distinctive(bits: np.ndarray | None) -> bool:
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

    Images that are missing or cannot be decoded are in no set: reading them says why. Of very many images only equal
    files are found.
    """
    index = ImageNames(folder)
    found = {image["id"]: names[0] for image in file["images"] if len(names := index.find(image["file_name"])) == 1}
    digests, prints = [], []
    for name in found.values():
        content = (folder / name).read_bytes()
        digests.append(digest(content))
        prints.append(_look(content) if len(found) <= _MAX_DECODED else None)
    first = {value: place for place, value in reversed(list(enumerate(digests)))}
    equal = np.array([first[value] for value in digests], np.int64)  # (M,) the first image of the same content
    groups = _sets(list(found), _join_near(equal, prints))
    if max(map(len, groups), default=0) > _MAX_SHARE * len(file["images"]):
        return _sets(list(found), equal), VIDEO
    if not groups:
        return [], ""
    return groups, f"{sum(map(len, groups))} images are copies or near copies of {len(groups)} photos: kept together"


def count_equal(first: Iterable[Path], second: Iterable[Path]) -> int:
    """How many files of the second have the content of one of the first; files that are missing have none."""
    of_size: dict[int, list[Path]] = {}
    for path in first:
        if path.is_file():
            of_size.setdefault(path.stat().st_size, []).append(path)
    contents: dict[int, set[bytes]] = {}  # of the first, by size, where the second has files of that size
    count = 0
    for path in second:
        if not path.is_file() or (size := path.stat().st_size) not in of_size:
            continue
        if size not in contents:
            contents[size] = {digest(other.read_bytes()) for other in of_size[size]}
        count += digest(path.read_bytes()) in contents[size]
    return count


def digest(content: bytes) -> bytes:
    """16 bytes that equal contents have in common, and no others."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _join_near(labels: np.ndarray, prints: Sequence[np.ndarray | None]) -> np.ndarray:
    """The labels (M,) of groups, those of near copies made one."""
    labels = labels.copy()
    rich = np.array([place for place, bits in enumerate(prints) if is_distinctive(bits)], np.int64)
    bits = np.array([prints[place] for place in rich]).reshape(-1, 2, GRID * GRID)
    for start in range(0, len(rich), _BLOCK):
        near = differing_bits(bits, start, min(_BLOCK, len(rich) - start)) <= NEAR
        for place, row in enumerate(near, start=start):
            joined = np.unique(labels[rich[: place + 1]][row[: place + 1]])  # the image is near to itself
            if len(joined) > 1:
                labels[np.isin(labels, joined)] = joined[0]
    return labels


def _sets(numbers: Sequence[int], labels: np.ndarray) -> list[set[int]]:
    """The sets of two numbers and more with one label."""
    groups: dict[int, set[int]] = {}
    for number, label in zip(numbers, labels.tolist(), strict=True):
        groups.setdefault(label, set()).add(number)
    return sorted((group for group in groups.values() if len(group) > 1), key=min)


def _look(content: bytes) -> np.ndarray | None:
    """The fingerprints of an image file, decoded at an eighth of its size where that is enough."""
    data = np.frombuffer(content, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if image is not None and min(image.shape) < _MIN_SIDE:
            image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    except cv2.error:
        return None
    return None if image is None else fingerprints(image)
