"""A picture of what the network is shown: training samples after augmentation, with their boxes."""

import copy
import time
from pathlib import Path

import numpy as np

from rtmdet.config.schema import Config
from rtmdet.core.class_colors import class_colors
from rtmdet.core.console import say
from rtmdet.core.draw import draw_boxes, save_image
from rtmdet.core.structures import Sample
from rtmdet.core.wording import one_line
from rtmdet.data.coco.dataset import CocoDataset
from rtmdet.runs.build import build_training_samples
from rtmdet.viz.grid import add_caption, fit_image, grid

NAME = "samples.png"
COLUMNS = 4
MOST = (8, 4)  # samples of the first epoch, and of the first one without mosaic and mixup
EARLIEST = 4  # position of the first one: the samples before are no mosaics
SIDES = (320, 400)  # least and most pixels of the longer side of each
LONGEST = 3.0  # seconds after which no further one is made: pictures of 100 megapixels take long


def write_samples(config: Config, dataset: CocoDataset, folder: Path, *, again: bool) -> None:
    """Write samples.png into the folder of a run, if it exists only if `again`. A fault is only printed."""
    path = folder / NAME
    if path.exists() and not again:
        return
    try:
        save_image(path, draw_samples(config, dataset))
    except Exception as error:  # what concerns training, it reports itself; for a picture no run should end
        say(f"warning: {path} is missing ({one_line(error)}); the run continues")
    else:
        say(f"samples: {path}")


def draw_samples(config: Config, dataset: CocoDataset) -> np.ndarray:
    """The first samples of the run and of its second stage in one (H, W, 3) uint8 RGB picture, titled by epoch.

    No random state and none of the data set's is touched. Raises InputError if too many images cannot be read.
    """
    samples = build_training_samples(config, copy.copy(dataset))  # the copy keeps its own decoded pictures
    samples.unreadable = []  # other images take their place, as in training
    second = config.stage2_start
    keys = _positions(0, len(samples), MOST[0])
    if 0 < second < config.train.epochs:
        keys += _positions(second, len(samples), MOST[1])
    colors = class_colors(dataset.classes)
    pictures: list[np.ndarray] = []
    titles, began = [], time.monotonic()
    for epoch, position in keys:
        if pictures and time.monotonic() - began > LONGEST:
            break
        sample = samples[epoch, position]
        stage = "" if epoch < second else ", second stage"
        pictures.append(_draw(sample, dataset.classes, colors))
        titles.append(f"epoch {epoch + 1}{stage}: {Path(sample.meta.path).name}")
    height, width = pictures[0].shape[:2]
    text = "Training samples as the network is shown them; a mosaic has the name of its first image"
    return add_caption(grid(pictures, COLUMNS, (height, width), titles), text)


def _positions(epoch: int, length: int, most: int) -> list[tuple[int, int]]:
    """The (epoch, position) of the samples to show, of an epoch with `length`."""
    first = min(EARLIEST, max(length - most, 0))
    return [(epoch, position) for position in range(first, min(first + most, length))]


def _draw(sample: Sample, classes: tuple[str, ...], colors: list[tuple[int, int, int]]) -> np.ndarray:
    """A sample, resized to SIDES, with its boxes and class names."""
    side = min(max(SIDES[0], *sample.image.shape[:2]), SIDES[1])
    picture = fit_image(sample.image, (side, side))
    scale = picture.shape[0] / sample.image.shape[0]
    labels = sample.instances.labels.tolist()
    boxes = sample.instances.boxes * scale
    return draw_boxes(picture, boxes, [classes[label] for label in labels], [colors[label] for label in labels])
