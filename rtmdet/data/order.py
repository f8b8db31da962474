"""Which image is shown where in an epoch; images with rare classes more often. Reference: LVIS, arXiv 1908.03195.

Dimension legend: M images of the data set, n positions of an epoch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from math import sqrt

import numpy as np

from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.lru_cache import LruCache


def image_classes(dataset: CocoDataset) -> list[set[int]]:
    """The category ids, of those the data set wants, that the file annotates in each image; crowds do not count."""
    wanted = set(dataset.category_ids)
    annotations = (dataset.coco.imgToAnns[image_id] for image_id in dataset.image_ids)
    return [wanted & {entry["category_id"] for entry in image if not entry["iscrowd"]} for image in annotations]


def repeat_factors(classes: Sequence[Collection[int]], threshold: float) -> np.ndarray:
    """How often each image is to be shown, (M,) float64, 1 or more, from the classes of each.

    A class that a share f of the images contains asks for sqrt(threshold / f); an image follows its rarest class.
    """
    images_with = Counter(label for image in classes for label in set(image))
    of_class = {label: sqrt(threshold * len(classes) / count) for label, count in images_with.items()}
    return np.array([max((1.0, *(of_class[label] for label in image))) for image in classes])


class EpochOrder:
    """The order of the images, new in every epoch, from the seed alone. Places count positions over all epochs.

    Without factors an epoch is a permutation of the images. With them it has as many positions as the factors'
    sum, rounded down: always the same number, so that schedules hold.
    """

    def __init__(self, count: int, seed: int, factors: np.ndarray | None = None) -> None:
        self._count = count
        self._seed = seed
        self._edges = None if factors is None else np.cumsum(factors)  # (M,)
        self._length = count if self._edges is None else int(self._edges[-1])
        self._epochs: LruCache[np.ndarray] = LruCache(4)

    def __len__(self) -> int:
        return self._length

    def index(self, place: int) -> int:
        """The image shown at a place."""
        epoch, position = divmod(place, self._length)
        return int(self._epochs.get(epoch, self._draw)[position])

    def _draw(self, epoch: int) -> np.ndarray:
        """The images of an epoch, (n,)."""
        rng = np.random.default_rng([self._seed, epoch])
        if self._edges is None:
            return rng.permutation(self._count)
        return rng.permutation(_systematic_sample(self._edges, self._length, rng))


def _systematic_sample(edges: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `number` images by their shares, whose upper edges (M,) rise: on average exactly, else rounded up or down.

    The edges are a ruler, and equal steps from a random start walk along it.
    """
    steps = (np.arange(number) + rng.random()) * (edges[-1] / number)
    indices = np.searchsorted(edges, steps, side="right")
    return np.minimum(indices, len(edges) - 1)  # the last step may round up to the ruler's end
