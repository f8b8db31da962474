"""The order of the images in an epoch; oversamples images with rare classes. Reference: LVIS, arXiv 1908.03195.

Windows of one picture come near each other, so that each loader process decodes it once in an epoch.

Dimension legend: M images of the data set, n positions of an epoch.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from rtmdet.data.caches import LruCache
from rtmdet.data.coco.dataset import CocoDataset

SOON = 64  # an image that replaces another is drawn from this many neighbors in the order


def repeat_factors(classes: Sequence[Collection[int]], threshold: float) -> np.ndarray:
    """LVIS repeat factors (M,) float64 >= 1 from the classes of each image.

    A class present in a fraction f of the images has the factor sqrt(threshold / f); an image takes its largest.
    """
    images_with = Counter(label for image in classes for label in set(image))
    of_class = {label: sqrt(threshold * len(classes) / count) for label, count in images_with.items()}
    return np.array([max((1.0, *(of_class[label] for label in image))) for image in classes])


@dataclass(frozen=True, slots=True, eq=False)
class Neighbors:
    """Images that are cheaper near each other: those of one picture."""

    pictures: np.ndarray  # (M,) int64 number of the picture of each image, from 0
    at_once: int  # pictures whose images are mixed


def neighbors_of(dataset: CocoDataset) -> Neighbors | None:
    """The pictures of a data set with windows, if more than fit into memory together."""
    if not dataset.window_count:
        return None
    found = Neighbors(dataset.pictures, dataset.pictures_in_memory)
    return found if found.at_once <= found.pictures.max() else None


class EpochOrder:
    """A new order of the images in every epoch, from the seed alone.

    A sample index is a position counted over all epochs.

    Without factors an epoch is a permutation of the images. With factors every epoch has as many positions as their
    sum, rounded down: a constant number, which learning-rate schedules need.

    With `neighbors` the pictures come in a random order, and at any time the images of `at_once` of them are mixed.
    """

    def __init__(
        self, count: int, seed: int, factors: np.ndarray | None = None, neighbors: Neighbors | None = None
    ) -> None:
        self._count = count
        self._seed = seed
        self._edges = None if factors is None else np.cumsum(factors)  # (M,)
        self._length = count if self._edges is None else int(self._edges[-1])
        self._neighbors = neighbors
        self._epochs: LruCache[np.ndarray] = LruCache(4)

    def __len__(self) -> int:
        return self._length

    def index(self, sample_index: int) -> int:
        """The index of the image that a sample shows."""
        epoch, position = divmod(sample_index, self._length)
        return int(self._epochs.get(epoch, self._draw)[position])

    def another(self, sample_index: int, rng: np.random.Generator) -> int:
        """The index of a random image in place of a sample's own; with neighbors, of one that comes soon."""
        if self._neighbors is None:
            return int(rng.integers(self._count))
        epoch, position = divmod(sample_index, self._length)
        return self.index(epoch * self._length + (position + int(rng.integers(SOON))) % self._length)

    def _draw(self, epoch: int) -> np.ndarray:
        """The image indices of an epoch, (n,)."""
        rng = np.random.default_rng([self._seed, epoch])
        images = self._count if self._edges is None else _systematic_sample(self._edges, self._length, rng)
        order = rng.permutation(images)
        if self._neighbors is None:
            return order
        pictures = self._neighbors.pictures
        ranks = rng.permutation(pictures.max() + 1)[pictures[order]]
        delays = rng.uniform(0, self._neighbors.at_once - 1, len(order))
        return order[np.argsort(ranks + delays, kind="stable")]


def _systematic_sample(edges: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Systematic sampling: `number` image indices, each as often as its factor, rounded randomly up or down.

    `edges` (M,) is the cumulative sum of the factors; equal steps from a random start pick the images.
    """
    steps = (np.arange(number) + rng.random()) * (edges[-1] / number)
    indices = np.searchsorted(edges, steps, side="right")
    return np.minimum(indices, len(edges) - 1)  # the last step may round up to the last edge
