"""Finds images of the same photo: identical files, and near copies such as bursts, video frames and re-saved files.

Legend: H, W height and width, M images with fingerprints of 256 bits each.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from rtmdet.core.errors import InputError, blame_memory
from rtmdet.core.whole_file import read_whole
from rtmdet.data.coco.file import CocoFile
from rtmdet.data.image_names import ImageNames
from rtmdet.images.reading import read_header

GRID = 16  # fingerprints compare neighbors on a grid of 16 x 16
NEAR = 20  # near copies differ in at most this many of 256 bits
_STEP = 2  # gray levels that count as a difference
_PLAIN = 24  # at least this many bits must be set, and unset: fingerprints of plain pictures all look alike
_BLOCK = 1024  # fingerprints compared with all others at a time
_MIN_SIDE = 4 * GRID  # pixels: fingerprints of smaller pictures depend on how they were scaled down
_MAX_SHARE = 0.5  # if near copies of one photo are more than this fraction of the images, they come from one video
_MAX_DECODED = 10_000  # decode at most this many images: minutes on one core
VIDEO = "most images look alike, like frames of one video; where they are split, AP says little about other scenes"


def fingerprints(image: np.ndarray) -> np.ndarray:
    """Difference hash (2, 256) bool of a grayscale picture (H, W) and of its mirror image: where brightness rises to
    the right, on a grid. Copies at another size or quality share nearly all bits.
    """
    small = cv2.resize(image, (GRID + 1, GRID), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.stack([(np.diff(view, axis=1) > _STEP).reshape(-1) for view in (small, small[:, ::-1])])


def is_distinctive(bits: np.ndarray | None) -> bool:
    """Whether fingerprints distinguish a picture from others; those of plain pictures do not."""
    return bits is not None and _PLAIN <= int(bits[0].sum()) <= bits[0].size - _PLAIN


def differing_bits(bits: np.ndarray, start: int, count: int) -> np.ndarray:
    """Differing bits, mirrored or not, of `count` fingerprints from index `start` on and all up to the last of them.

    `bits` (M, 2, 256) bool -> (`count`, `start` + `count`).
    """
    signs = bits[: start + count].astype(np.float32) * 2 - 1
    alike = np.maximum(*(signs[start:, view] @ signs[:, 0].T for view in (0, 1)))
    return (signs.shape[2] - alike) / 2


def differing_rows(prints: Sequence[np.ndarray | None]) -> Iterator[np.ndarray]:
    """For each of M distinctive fingerprints its differing bits to itself, all before it and maybe some after it."""
    bits = np.array(prints).reshape(-1, 2, GRID * GRID)
    for start in range(0, len(bits), _BLOCK):
        yield from differing_bits(bits, start, min(_BLOCK, len(bits) - start))


def group_copies(file: CocoFile, folder: Path) -> tuple[list[set[int]], str]:
    """Sets of ids of images that show the same photo, and one line about them; both empty if there are none.

    Images that are missing or cannot be decoded are in no set. Among more than 10 000 images only identical files are
    found.
    """
    index = ImageNames(folder)
    found = {image["id"]: path for image in file["images"] if (path := index.path(image["file_name"]))}
    digests, prints = [], []
    for path in found.values():
        content = read_whole(path)
        digests.append(digest(content))
        prints.append(_decode_fingerprints(content) if len(found) <= _MAX_DECODED else None)
    numbers = {value: number for number, value in enumerate(dict.fromkeys(digests))}
    equal = np.array([numbers[value] for value in digests], np.int64)  # (M,) the number of the content
    groups = _sets(list(found), _join_near(equal, prints))
    if max(map(len, groups), default=0) > _MAX_SHARE * len(file["images"]):
        return _sets(list(found), equal), VIDEO
    if not groups:
        return [], ""
    count = sum(map(len, groups))
    return groups, f"copies and near copies: {count} images of {len(groups)} different photos, kept in the same split"


class DistinctPhotos:
    """A growing set of photos without near copies."""

    def __init__(self) -> None:
        self._bits = np.empty((0, 2, GRID * GRID), bool)  # (M, 2, 256) fingerprints

    def add(self, content: bytes) -> bool:
        """Add an image file unless it is a near copy of one that was added; returns whether it was added.

        Plain pictures and files that cannot be decoded are near copies of none.
        """
        bits = _decode_fingerprints(content)
        if bits is None or not is_distinctive(bits):
            return True
        everything = np.concatenate([self._bits, bits[None]])
        if (differing_bits(everything, len(self._bits), 1)[0, :-1] <= NEAR).any():
            return False
        self._bits = everything
        return True


def count_equal(first: Iterable[Path], second: Iterable[Path]) -> int:
    """How many files of the second are identical to one of the first; missing files are not."""
    of_size: dict[int, list[Path]] = {}
    for path in first:
        if path.is_file():
            of_size.setdefault(path.stat().st_size, []).append(path)
    contents: dict[int, set[bytes]] = {}  # hashes of the first by size, only of sizes that the second has
    count = 0
    for path in second:
        if not path.is_file() or (size := path.stat().st_size) not in of_size:
            continue
        if size not in contents:
            contents[size] = {digest(read_whole(other)) for other in of_size[size]}
        count += digest(read_whole(path)) in contents[size]
    return count


def digest(content: bytes) -> bytes:
    """A hash of 16 bytes, equal only for equal contents."""
    return hashlib.blake2b(content, digest_size=16).digest()


def _join_near(labels: np.ndarray, prints: Sequence[np.ndarray | None]) -> np.ndarray:
    """The group labels (M,), merged where images are near copies."""
    labels = labels.copy()
    distinct = np.array([index for index, bits in enumerate(prints) if is_distinctive(bits)], np.int64)
    for index, bits in enumerate(differing_rows([prints[image] for image in distinct])):
        joined = np.unique(labels[distinct[: index + 1]][bits[: index + 1] <= NEAR])  # includes the image itself
        if len(joined) > 1:
            labels[np.isin(labels, joined)] = joined[0]
    return labels


def _sets(numbers: Sequence[int], labels: np.ndarray) -> list[set[int]]:
    """The sets of at least two numbers with the same label."""
    groups: dict[int, set[int]] = {}
    for number, label in zip(numbers, labels.tolist(), strict=True):
        groups.setdefault(label, set()).add(number)
    return sorted((group for group in groups.values() if len(group) > 1), key=min)


def _decode_fingerprints(content: bytes) -> np.ndarray | None:
    """The fingerprints of an image file, decoded at an eighth of its size if that is large enough."""
    data = np.frombuffer(content, np.uint8)
    try:
        read_header("", content)  # raises before anything too large is decoded
        image = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8)
        if image is not None and min(image.shape) < _MIN_SIDE:
            image = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)
    except (cv2.error, InputError) as error:
        blame_memory(error)
        return None
    return None if image is None else fingerprints(image)
