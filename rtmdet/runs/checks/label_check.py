"""Checks of the labels before the first step: sizes, ids and boxes survive encoding, decoding and evaluation.

Dimension legend: B batch, N ground truths.
"""

import math
from collections.abc import Sequence

import torch
from pycocotools.coco import COCO
from torch import Tensor

from rtmdet.core.backend import Selection
from rtmdet.core.boxes import encode_distances, grid_priors, level_sizes
from rtmdet.core.console import say
from rtmdet.core.distributed import rank, world_size
from rtmdet.core.errors import InputError
from rtmdet.core.files import spread
from rtmdet.core.letterbox import Letterbox
from rtmdet.core.nms import NmsSettings
from rtmdet.core.postprocess import postprocess
from rtmdet.core.strides import STRIDES
from rtmdet.core.structures import DenseOutputs, ImageMeta, Target
from rtmdet.core.wording import size_text
from rtmdet.data.coco.dataset import CocoDataset, index_coco
from rtmdet.data.coco.file import CocoAnnotation, CocoFile
from rtmdet.data.coco.usable import reason_against
from rtmdet.evaluation.coco import CocoEvaluator

IMAGES = 200  # evaluated at most
BOXES = 100  # per image at most: COCO counts no more detections
HEADERS = 1000  # images per split whose size is checked, at most
EXACT, USABLE = 0.995, 0.5  # AP of the ground truth: reported below the first, refused below the second
MOST_WITHOUT_PRIOR = 0.01  # share of boxes; above it, a larger input is recommended
SURE = 10.0  # logit of the priors that predict a ground truth


def check_sizes(dataset: CocoDataset) -> None:
    """Raise InputError for images whose size differs from the annotation file.

    Of more than HEADERS images only some are checked, evenly spread over the file.
    """
    for index in spread(range(len(dataset)), HEADERS):
        dataset.check_size(index)


def check_labels(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """Pass the ground truth through encoding, decoding and evaluation; returns its AP. Raises InputError."""
    most = min(BOXES, math.prod(level_sizes(input_size)[0]))  # each needs a prior of its own
    images = [target_of(dataset, index, most) for index in range(min(IMAGES, len(dataset)))]
    index = index_of(dataset, [meta for meta, _ in images], most=most)
    ap = ground_truth_ap(index, dataset.category_ids, images[rank() :: world_size()], input_size)
    text = f"the validation labels, scored as if they were detections, reach AP {ap:.3f}"
    if -1 < ap < USABLE:
        raise InputError(
            f"{text}, expected 1: boxes lie outside of their images, or ids are mixed up: look with rtmdet data show"
        )
    if -1 < ap < EXACT:
        say(f"{text} instead of 1: some boxes extend beyond their images")
    return ap


def target_of(dataset: CocoDataset, index: int, most: int) -> tuple[ImageMeta, Target]:
    """The ground truth of an image in its own pixels, the first objects, at most `most`."""
    meta, truth = dataset.truth(index)
    return meta, Target(torch.from_numpy(truth.boxes[:most]), torch.from_numpy(truth.labels[:most]))


def index_of(dataset: CocoDataset, metas: Sequence[ImageMeta], most: int | None = None) -> COCO:
    """A COCO index of these images with the annotations that are used, or the first `most` of each."""
    annotations: list[CocoAnnotation] = []
    for meta in metas:
        found = dataset.coco.imgToAnns[meta.image_id]
        usable = [annotation for annotation in found if not reason_against(annotation, dataset.category_ids)]
        annotations += usable[:most]
    file: CocoFile = {
        "categories": dataset.coco.dataset["categories"],
        "images": [dataset.coco.imgs[meta.image_id] for meta in metas],
        "annotations": annotations,
    }
    return index_coco(file)


def encode(target: Target, input_size: tuple[int, int], num_classes: int) -> DenseOutputs:
    """The outputs (B = 1) of a perfect model: the free prior nearest to its center predicts each ground truth.

    Only priors of the finest level are used; ground truths beyond their number are left out.
    """
    sizes = level_sizes(input_size)
    logits = [torch.full((1, num_classes, *size), -SURE) for size in sizes]
    distances = [torch.zeros(1, 4, *size) for size in sizes]
    points, _ = grid_priors(sizes[:1], strides=STRIDES[:1])
    centers = (target.boxes[:, :2] + target.boxes[:, 2:]) / 2  # (N, 2)
    free = torch.ones(len(points), dtype=torch.bool)
    for center, box, label in zip(centers[: len(points)], target.boxes, target.labels.tolist(), strict=False):
        away = (points - center).square().sum(1).where(free, math.inf)
        prior = int(away.argmin())
        free[prior] = False
        row, column = divmod(prior, sizes[0][1])
        logits[0][0, label, row, column] = SURE
        distances[0][0, :, row, column] = encode_distances(points[prior], box)
    return DenseOutputs(tuple(logits), tuple(distances))


def ground_truth_ap(
    coco: COCO,
    category_ids: Sequence[int],
    images: Sequence[tuple[ImageMeta, Target]],
    input_size: tuple[int, int],
) -> float:
    """The AP of the ground truth itself, encoded, decoded and evaluated: 1 if ids and boxes are correct.

    `images`: those of the index, or this process's share of them; boxes in original pixels. -1 without any box.
    """
    evaluator = CocoEvaluator(coco, category_ids)
    for meta, target in images:
        letterbox = Letterbox.fit(meta.original_size, input_size)
        outputs = encode(Target(letterbox.to_input(target.boxes), target.labels), input_size, len(category_ids))
        selection = Selection(0.5, NmsSettings(iou_threshold=1.0), max_detections=max(len(target.labels), 1))
        evaluator.add([meta], postprocess(outputs, selection, input_size=input_size, letterboxes=[letterbox]))
    return evaluator.evaluate().ap


def report_small_boxes(dataset: CocoDataset, input_size: tuple[int, int]) -> float:
    """The share 0 .. 1 of training boxes too small to be matched at this input size; prints a line if many are."""
    boxes, _ = boxes_in_input(dataset, input_size)
    lost = without_prior(boxes, input_size)
    if lost > MOST_WITHOUT_PRIOR * len(boxes):
        say(
            f"{lost} of {len(boxes)} training boxes are too small at {size_text(input_size)} to be matched: use a "
            "larger data.input_size (rtmdet data check suggests one)"
        )
    return lost / len(boxes)


def boxes_in_input(dataset: CocoDataset, input_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The boxes of all images in input pixels, (N, 4), and labels (N,); of cut pictures those in the windows."""
    dataset = dataset.without_reduced()
    boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.long)]
    for index in range(len(dataset)):
        meta, truth = dataset.truth(index)
        letterbox = Letterbox.fit(meta.original_size, input_size)
        boxes.append(letterbox.to_input(torch.from_numpy(truth.boxes)))
        labels.append(torch.from_numpy(truth.labels))
    return torch.cat(boxes), torch.cat(labels)


def without_prior(boxes: Tensor, input_size: tuple[int, int]) -> int:
    """How many boxes (N, 4), in input pixels, have no prior strictly inside and cannot be matched."""
    inside = torch.zeros(len(boxes), dtype=torch.bool)
    for stride, (height, width) in zip(STRIDES, level_sizes(input_size), strict=True):
        first = (boxes[:, :2] / stride).floor() + 1  # the first point right of and below the corner
        first = first.clamp(min=0)
        last = (boxes[:, 2:] / stride).ceil() - 1
        last = torch.minimum(last, last.new_tensor([width - 1, height - 1]))
        inside |= (first <= last).all(1)
    return int((~inside).sum())
