"""Samples for training and evaluation. Paper: section 3.4, table 1 (two stages).

Every training sample is a pure function of (seed, epoch, position in the epoch): the number of loader processes does
not matter, and a run can resume anywhere. A sample index is a position counted over all epochs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace

import numpy as np
from torch.utils.data import Dataset

from rtmdet.core.errors import InputError
from rtmdet.core.letterbox import letterbox
from rtmdet.core.structures import Sample
from rtmdet.data.augment.albumentations import ExtraTransforms
from rtmdet.data.augment.transforms import (
    Composition,
    compose,
    crop,
    flip,
    make_tile,
    mixup,
    mosaic,
    pad,
    render,
    resize,
    shift_hsv,
)
from rtmdet.data.caches import LruCache, SharedSamples, slot_size
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.data.order import EpochOrder, neighbors_of, repeat_factors

CROP_ATTEMPTS = 100  # a crop without objects is drawn again, at most this often
PARTNER_DRAWS = 15  # mixup draws at most this often for a partner with objects
CACHE_MEMORY = 512 * 2**20  # bytes at most of cached tiles, and as many of samples before mixup
MIXUP_STREAM = 1_000_003  # keeps mixup's random numbers apart from those of the crop attempts

_Cache = LruCache[Sample] | SharedSamples


@dataclass(eq=False, repr=False)
class TrainingSamples(Dataset[Sample]):
    """Augmented samples of the network's input size, indexed by (epoch, position).

    Stage 1: mosaic, resize, crop, HSV shift, flip, mixup; stage 2, from epoch `stage2_start` on: the same without
    mosaic and mixup. Partners come from the last `mosaic_cache` (`mixup_cache`) samples, except the newest, the own.
    Differs from mmdet: the original has a cache in every loader process and, for sizes s to x, drops random elements
    of it. A crop without objects draws another image for this sample only; so does an image that cannot be read, once
    `unreadable` is a list, to which its fault is added. Until then it raises InputError.

    `repeat_threshold` oversamples images with a class present in less than this fraction of the images (data/order):
    every epoch is then longer than the data set, by the same number of positions.
    """

    dataset: CocoDataset
    _: KW_ONLY
    input_size: tuple[int, int]
    seed: int
    stage2_start: int
    use_mosaic: bool = True
    mosaic_cache: int = 20
    mixup_probability: float = 0.5
    mixup_cache: int = 10
    resize_range: tuple[float, float] = (0.5, 2.0)
    hsv: tuple[int, int, int] = (5, 30, 30)
    flip_probability: float = 0.5
    extra: Sequence[tuple[str, Mapping[str, object]]] = ()
    keep_empty: bool = False
    repeat_threshold: float = 0.0
    unreadable: list[str] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        (height, width), threshold = self.input_size, self.repeat_threshold
        factors = repeat_factors(self.dataset.image_classes, threshold) if threshold else None
        self.order = EpochOrder(len(self.dataset), self.seed, factors, neighbors_of(self.dataset))
        self._extra = ExtraTransforms(self.extra) if self.extra else None
        # Tiles rather than whole photos: none is larger than the input, and mosaics are scaled twice, as in the
        # original. All of a small data set are kept, by image; otherwise those of the last samples, by sample index.
        self._keeps_all = 3 * height * width * len(self.dataset) <= CACHE_MEMORY
        self._tiles: _Cache = LruCache(len(self.dataset) if self._keeps_all else 2 * self.mosaic_cache)
        self._unmixed: _Cache = LruCache(2 * self.mixup_cache)

    def __len__(self) -> int:
        return len(self.order)

    def share(self, span: int) -> None:
        """Share the caches among processes, started later, that make samples within `span` consecutive indices.

        The image of each sample is then decoded once in all of them together, and each sample before mixup made once.
        Where CACHE_MEMORY is too small for the span, some are made again.
        """
        truths = [self.dataset.truth(index) for index in range(len(self.dataset))]
        size = max(slot_size(self.input_size, 4 * len(instances), meta) for meta, instances in truths)
        window = self.mosaic_cache + self.mixup_cache  # samples whose tiles one and its mixup partner may show
        most = max(CACHE_MEMORY // size, window)
        if self.use_mosaic:
            self._tiles = SharedSamples(len(truths) if self._keeps_all else min(span + window, most), size)
        if self.mixup_probability:
            self._unmixed = SharedSamples(min(span + self.mixup_cache, most), size)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, position = key
        sample_index = epoch * len(self.order) + position
        if epoch >= self.stage2_start:
            return self._make_unmixed(sample_index)
        sample = self._unmixed.get(sample_index, self._make_unmixed)
        if sample_index == 0:
            return sample
        rng = np.random.default_rng([self.seed, sample_index, MIXUP_STREAM])
        if rng.random() > self.mixup_probability:
            return sample
        return self._mix(sample, sample_index, rng)

    def _mix(self, sample: Sample, sample_index: int, rng: np.random.Generator) -> Sample:
        """Mixup with one of the samples before that has objects."""
        mirrored = rng.random() > 0.5
        for _ in range(PARTNER_DRAWS):
            earlier = sample_index - self._age(rng, sample_index, self.mixup_cache)
            partner = self._unmixed.get(earlier, self._make_unmixed)
            if len(partner.instances):
                return mixup(sample, partner, mirrored=mirrored)
        return sample

    def _make_unmixed(self, sample_index: int) -> Sample:
        """A sample before mixup, drawn again while an image is unreadable or the crop has no objects."""
        for attempt in range(CROP_ATTEMPTS):
            rng = np.random.default_rng([self.seed, sample_index, attempt])
            index = self.order.index(sample_index) if attempt == 0 else self.order.another(sample_index, rng)
            last = attempt == CROP_ATTEMPTS - 1  # used even without objects
            try:
                composition = self._compose(index, sample_index, rng)
            except InputError as error:
                if self.unreadable is None or last:
                    raise
                self.unreadable.append(str(error))
                continue
            if len(composition.instances) or self.keep_empty or last:
                sample = self._finish(render(composition), rng)
                if len(sample.instances) or self.keep_empty:
                    break
        return sample

    def _compose(self, index: int, sample_index: int, rng: np.random.Generator) -> Composition:
        """Plan the scaled crop of one image or mosaic, without making pixels."""
        large = self.use_mosaic and sample_index < self.stage2_start * len(self.order)
        mixed = large and sample_index >= 4  # the original's cache needs more than four images to start
        composition = self._mosaic(index, sample_index, rng) if mixed else compose(self.dataset.load(index))
        base = 2 if large else 1
        factor = rng.uniform(*self.resize_range)
        height, width = self.input_size
        composition = resize(composition, (int(base * height * factor), int(base * width * factor)))
        return self._random_crop(composition, rng)

    def _mosaic(self, index: int, sample_index: int, rng: np.random.Generator) -> Composition:
        """The image with three partners around a random center."""
        partners = [sample_index - self._age(rng, sample_index, self.mosaic_cache) for _ in range(3)]
        height, width = self.input_size
        center = int(rng.uniform(0.5, 1.5) * width), int(rng.uniform(0.5, 1.5) * height)
        own = self._tile(index, sample_index)
        tiles = [own, *(self._tile(self.order.index(partner), partner) for partner in partners)]
        return mosaic(tiles, center, self.input_size)

    def _tile(self, index: int, sample_index: int) -> Sample:
        """The tile of an image, shown by a sample."""
        if self._keeps_all:
            return self._tiles.get(index, self._make_tile)
        if index != self.order.index(sample_index):
            return self._make_tile(index)  # drawn for a crop without objects, so no partner of other samples
        return self._tiles.get(sample_index, lambda _: self._make_tile(index))

    def _random_crop(self, composition: Composition, rng: np.random.Generator) -> Composition:
        height, width = composition.size
        top = int(rng.integers(max(height - self.input_size[0], 0) + 1))
        left = int(rng.integers(max(width - self.input_size[1], 0) + 1))
        return crop(composition, top, left, self.input_size)

    def _finish(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """HSV shift, flip and the user's own transforms, padded to the input."""
        shift = np.trunc(rng.uniform(-1, 1, 3) * self.hsv * rng.integers(0, 2, 3)).astype(int)
        sample = shift_hsv(sample, tuple(shift))
        if rng.random() < self.flip_probability:
            sample = flip(sample)
        if self._extra is not None:
            sample = render(crop(compose(self._extra(sample, rng)), 0, 0, self.input_size))
        return pad(sample, self.input_size)

    def _age(self, rng: np.random.Generator, sample_index: int, window: int) -> int:
        """How many samples back a partner is, at least 1: the original's draw leaves out the newest of its cache."""
        return 1 + int(rng.integers(min(window - 1, sample_index)))

    def _make_tile(self, index: int) -> Sample:
        return make_tile(self.dataset.load(index), self.input_size)


@dataclass(eq=False, repr=False)
class EvaluationSamples(Dataset[Sample]):
    """Every image once, in the file's order, letterboxed to the network's input; boxes in input pixels."""

    dataset: CocoDataset
    _: KW_ONLY
    input_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        sample = self.dataset.load(index)
        image, geometry = letterbox(sample.image, self.input_size)
        return Sample(image, sample.instances.affine(geometry.scale), replace(sample.meta, letterbox=geometry))
