"""Windows of large pictures as training images of their own, beside the whole pictures; and when they are worth it.

Boxes are [x, y, width, height] in files and xyxy in Instances. Dimension legend: N objects.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from rtmdet.core.files import spread
from rtmdet.core.structures import Instances
from rtmdet.core.tiling import Tiling, Window
from rtmdet.data.coco.file import CocoAnnotation, CocoFile, CocoImage, box_annotation, by_image
from rtmdet.data.coco.usable import reason_against

LEAST_VISIBLE = 1 / 3  # share of an object's box inside of a window; with less, one cannot see what it is
LEAST_SIDE = 1.0  # pixels of a box, as in whole pictures
EMPTY_SHARE = 0.25  # windows without objects per window with some; with keep_empty as many as those
SMALL = 16.0  # pixels, two strides of the finest level; larger objects are found well enough without windows
LARGEST_WINDOW = 640  # pixels of a window: the usual input size
ENLARGED = 1.5  # windows must show the objects larger by this factor at least; they cost several times the time


@dataclass(frozen=True, slots=True)
class Cutting:
    """A window as an image of a data set."""

    window: Window
    picture: CocoImage  # that it is cut out of


_Cut = tuple[Cutting, list[CocoAnnotation]]  # a window with the objects that are visible in it


def cut_pictures(
    file: CocoFile, wanted: Container[int], tiling: Tiling, *, keep_empty: bool
) -> tuple[CocoFile, dict[int, Cutting]]:
    """The file with the windows of its large pictures as further images, and what they show, by their new ids.

    An object belongs to each window that shows at least LEAST_VISIBLE of its box, which is clipped to the window.
    A window that shows less of objects and nothing else is left out: it would teach that their parts are background.
    Of the windows that show nothing at all, a part is kept, evenly spread (EMPTY_SHARE). Pictures without usable
    objects are cut only with `keep_empty`. `wanted` has the category ids to learn.
    """
    of_image = by_image(file["annotations"])
    cuts: dict[int, list[_Cut]] = {}  # by the picture's id
    for picture in file["images"]:
        usable = [annotation for annotation in of_image[picture["id"]] if reason_against(annotation, wanted) is None]
        if usable or keep_empty:
            cuts[picture["id"]] = list(_cut(picture, of_image[picture["id"]], wanted, tiling))
    empty = [cutting for own in cuts.values() for cutting, seen in own if not seen]
    full = sum(map(len, cuts.values())) - len(empty)
    kept_empty = {id(cutting) for cutting in spread(empty, full if keep_empty else int(EMPTY_SHARE * full))}
    numbers = count(max((image["id"] for image in file["images"]), default=0) + 1)
    marks = count(max((annotation["id"] for annotation in file["annotations"]), default=0) + 1)
    images, annotations, cuttings = [], list(file["annotations"]), {}
    for picture in file["images"]:
        images.append(picture)
        for cutting, seen in cuts.get(picture["id"], ()):
            if seen or id(cutting) in kept_empty:
                number = next(numbers)
                x1, y1, x2, y2 = cutting.window
                images.append({**picture, "id": number, "width": x2 - x1, "height": y2 - y1})
                annotations += [{**annotation, "id": next(marks), "image_id": number} for annotation in seen]
                cuttings[number] = cutting
    return {**file, "images": images, "annotations": annotations}, cuttings


def _cut(
    picture: CocoImage, annotations: list[CocoAnnotation], wanted: Container[int], tiling: Tiling
) -> Iterator[_Cut]:
    """Those windows of a picture that may be used: they show an object, or nothing of any, used or not."""
    corners = np.array([annotation["bbox"] for annotation in annotations], np.float32).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    objects = Instances(corners, np.arange(len(annotations)))  # labeled by their index in the list
    areas = _areas(objects).clip(1e-6)
    usable = np.array([reason_against(annotation, wanted) is None for annotation in annotations], bool)
    for window in tiling.windows((picture["height"], picture["width"])):
        x1, y1, x2, y2 = window
        seen = objects.affine((1.0, 1.0), (-x1, -y1)).clip((y2 - y1, x2 - x1))
        visible = _areas(seen) / areas  # (N,)
        large = (seen.boxes[:, 2:] - seen.boxes[:, :2]).min(1, initial=np.inf) >= LEAST_SIDE
        inside = seen.select(usable & large & (visible >= LEAST_VISIBLE))
        cut = [
            _clipped(annotations[index], box, float(visible[index]))
            for index, box in zip(inside.labels.tolist(), inside.boxes.tolist(), strict=True)
        ]
        if cut or not visible.any():
            yield Cutting(window, picture), cut


def _clipped(annotation: CocoAnnotation, box: list[float], share: float) -> CocoAnnotation:
    """What a window shows of an object: the clipped xyxy box, the same share of its area, no outline."""
    number, image, category = annotation["id"], annotation["image_id"], annotation["category_id"]
    seen = box_annotation(number, image, category, box=box, crowd=bool(annotation["iscrowd"]))
    return {**seen, "area": annotation["area"] * share}


def _areas(objects: Instances) -> np.ndarray:
    return (objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(1)


@dataclass(frozen=True, slots=True)
class TileAdvice:
    """What windows change for the class that needs them most, in pixels of the input (see `box_sizes`)."""

    label: int  # of the class
    input_side: int  # of the whole pictures
    side: int  # of the windows, and of the input that suits them
    before: float  # half of the objects of the class are smaller than this in the whole pictures
    after: float  # the same in the windows

    def __str__(self) -> str:
        return (
            f"have {self.before:.0f} px or less at {self.input_side} px; "
            f"with --set data.tile={self.side}, in windows of the pictures' own pixels, {self.after:.0f} px"
        )


def window_side(input_size: tuple[int, int]) -> int:
    """The side of the windows that suit an input of (H, W), the one that is recommended everywhere."""
    return min(*input_size, LARGEST_WINDOW)


def advise_tiles(
    sizes: np.ndarray, pictures: np.ndarray, labels: np.ndarray, input_size: tuple[int, int]
) -> TileAdvice | None:
    """Windows of the input's side or smaller, if half of the objects of a class are small, and much larger there.

    `sizes` (N,): those of the objects (see `box_sizes`) in pixels of their picture; `pictures` (N,): the longer side
    of the picture; `input_size` (H, W).
    """
    side = window_side(input_size)
    before, after = sizes * max(input_size) / pictures, sizes * side / np.minimum(pictures, side)
    found = []
    for label in np.unique(labels):
        own = labels == label
        whole, window = float(np.median(before[own])), float(np.median(after[own]))
        if whole < SMALL and window >= ENLARGED * whole:
            found.append(TileAdvice(int(label), max(input_size), side, whole, window))
    return min(found, key=lambda advice: advice.before, default=None)
