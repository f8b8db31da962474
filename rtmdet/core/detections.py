"""What was found in one image: boxes with scores and classes, as tensors, rows, a picture or plain values.

Boxes are absolute xyxy pixels. Dimension legend: D detections, K classes, H, W height and width of the image.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index as as_index
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict, overload

import numpy as np

from rtmdet.core.arguments import checked, unusable_device
from rtmdet.core.arrays import Array, clip_boxes, constants_like, is_tensor
from rtmdet.core.class_colors import Color, class_colors, track_colors
from rtmdet.core.draw import draw_boxes, save_image
from rtmdet.core.errors import InputError
from rtmdet.core.paths import FilePath, user_path
from rtmdet.core.pictures import to_rgb
from rtmdet.core.wording import shown

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rtmdet.core.pictures import Picture


class CocoResult(TypedDict):
    """One detection in COCO's results format: bbox is x, y, width, height in original pixels."""

    image_id: int
    category_id: int
    bbox: list[float]
    score: float


class DetectedObject(TypedDict):
    """One object; the box is x1, y1, x2, y2 in pixels of the original image."""

    class_name: str
    category_id: NotRequired[int]  # of the class in the training annotation file, if known
    score: float
    box: list[float]
    id: NotRequired[int]  # of the track, if there is one


class DetectedImage(TypedDict):
    """One image with its detections."""

    file: str | None  # None for a picture in memory
    width: int
    height: int
    objects: list[DetectedObject]


@dataclass(frozen=True, slots=True)
class Detection:
    """One object: box x1, y1, x2, y2 in pixels, score 0 .. 1, label 0 .. K-1 and the name of that class.

    `id` is that of its track in a video, from 1; None without one.
    """

    box: tuple[float, float, float, float]
    score: float
    label: int
    name: str
    id: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class InMemory:
    """The picture of detections that lies in memory. Pickle leaves it out: it may have megabytes for one box."""

    read: Callable[[], np.ndarray]

    def __call__(self) -> np.ndarray:
        """The pixels, (H, W, 3) uint8 RGB."""
        return self.read()

    def __deepcopy__(self, memo: object) -> "InMemory":
        return self

    def __reduce__(self) -> "tuple[type[None], tuple[()]]":
        return type(None), ()


@dataclass(frozen=True, slots=True, eq=False)
class InFile:
    """The picture of detections that is read again from its file, wherever the program works by then."""

    path: Path  # absolute
    read: Callable[[Path], np.ndarray]

    def __call__(self) -> np.ndarray:
        """The pixels, (H, W, 3) uint8 RGB. Raises InputError if the file has gone."""
        return self.read(self.path)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Detections:
    """The objects found in one image, sorted by falling score. A Detector returns them on the CPU.

    The arrays are torch tensors; an exported file gives NumPy arrays (`to("cpu")` makes tensors of them, `numpy()`
    NumPy arrays of tensors). A sequence: `len`; an integer gives one Detection; a slice, a mask
    (`found[found.scores > 0.5]`) or a list of indices gives Detections. `draw` and `save` use the image in memory (no
    copy; pickle leaves it out), or read the file again.
    """

    boxes: Array  # (D, 4) float32 xyxy
    scores: Array  # (D,) float32 in 0 .. 1
    labels: Array  # (D,) int64, 0 .. K-1
    classes: tuple[str, ...] = ()  # K names; empty: unknown
    category_ids: tuple[int, ...] = ()  # of the classes in the training annotation file; empty: unknown
    image_size: tuple[int, int] | None = None  # (H, W)
    path: Path | None = None  # of the image file
    picture: Callable[[], np.ndarray] | None = None  # returns the image's pixels, (H, W, 3) uint8 RGB
    ids: Array | None = None  # (D,) int64, of the tracks in a video, from 1; -1: no track (yet); None: not tracked

    def __post_init__(self) -> None:
        for name, values in (("boxes", self.boxes), ("scores", self.scores), ("labels", self.labels)):
            if isinstance(values, list | tuple):
                raise InputError(f"{name}: expected a NumPy array or a tensor, found {shown(values)}: make one of it")

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"Detections({self.summary})"

    def __iter__(self) -> Iterator[Detection]:
        columns = self.boxes.tolist(), self.scores.tolist(), self.labels.tolist(), self._names, self._track_ids
        return (Detection((x1, y1, x2, y2), *rest) for (x1, y1, x2, y2), *rest in zip(*columns, strict=True))

    @overload
    def __getitem__(self, index: int | np.integer) -> Detection: ...

    @overload
    def __getitem__(self, index: "slice | Tensor | np.ndarray | list[int] | list[bool]") -> "Detections": ...

    def __getitem__(self, index: Any) -> "Detection | Detections":
        if isinstance(index, slice):
            index = list(range(len(self)))[index]  # tensors do not support negative steps
        if isinstance(index, list) or np.ndim(index):
            index = _as_index(index, self.scores)
            return self._each(lambda array: array[index])
        if isinstance(index, bool | np.bool_):
            raise InputError(f"index {index}: expected a number, slice, list or mask of {len(self)} values")
        row = range(len(self))[as_index(index)]
        return next(iter(self[[row]]))

    @property
    def names(self) -> np.ndarray:
        """The class name of each detection, (D,) of text: `found[found.names == "person"]`."""
        return np.array(self._names, dtype=np.str_)

    @property
    def summary(self) -> str:
        """Counts as text, such as "2 person, 1 dog"; "nothing" without any."""
        names = self._names
        return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names)) or "nothing"

    @checked
    def above(self, score: float | Sequence[float]) -> "Detections":
        """Only the detections with a score of at least `score`: one for all, or one per class. Raises InputError."""
        if isinstance(score, Sequence):
            if self.classes and len(score) != len(self.classes):
                raise InputError(f"{len(score)} score thresholds for {len(self.classes)} classes: give one per class")
            if len(self) and (most := int(self.labels.max())) >= len(score):
                raise InputError(f"score thresholds: expected one per class, found {len(score)} and a class {most}")
            return self[self.scores >= constants_like(self.scores, score)[self.labels]]
        return self[self.scores >= float(score)]

    def clipped(self, size: tuple[int, int]) -> "Detections":
        """The detections with boxes clipped to an image of (H, W), without those outside of it."""
        boxes = clip_boxes(self.boxes, size)
        return replace(self, boxes=boxes)[(boxes[:, 2:] > boxes[:, :2]).all(1)]

    def without_picture(self) -> "Detections":
        """The same detections without the image, whose memory they no longer hold; `draw` then needs it."""
        return replace(self, picture=None)

    def to(self, device: "torch.device | str") -> "Detections":
        """The same detections as torch tensors on another device. Raises InputError if it cannot be used."""
        import torch  # the arrays may be NumPy's, without torch

        try:
            return self._each(lambda array: torch.as_tensor(array).to(device))
        except (RuntimeError, AssertionError) as error:
            raise unusable_device(device, error) from error

    @staticmethod
    def join(parts: "Sequence[Detections]") -> "Detections":
        """Those of one or more parts as NumPy arrays, one part after the other; all else is that of the first.

        They have ids if those of all parts have.
        """
        arrays = [part.numpy() for part in parts]
        ids = [part.ids for part in arrays if part.ids is not None]
        return replace(
            arrays[0],
            boxes=np.concatenate([part.boxes for part in arrays]),
            scores=np.concatenate([part.scores for part in arrays]),
            labels=np.concatenate([part.labels for part in arrays]),
            ids=np.concatenate(ids) if len(ids) == len(arrays) else None,
        )

    def on_cpu(self) -> "Detections":
        """The same detections in the CPU's memory, NumPy arrays as they are."""
        return self.to("cpu") if is_tensor(self.boxes) else self

    def numpy(self) -> "Detections":
        """The same detections as NumPy arrays."""
        return self._each(lambda array: array.cpu().numpy() if is_tensor(array) else array)

    def _each(self, change: Callable[[Array], Array]) -> "Detections":
        """The same detections with each array changed."""
        ids = None if self.ids is None else change(self.ids)
        return replace(
            self, boxes=change(self.boxes), scores=change(self.scores), labels=change(self.labels), ids=ids
        )

    def draw(self, image: "Picture | None" = None, *, labels: bool = True) -> np.ndarray:
        """A new (H, W, 3) uint8 RGB picture: the image with boxes in class colors, labeled with name and score.

        Tracked objects have the color of their id, gray without one, and are labeled with name and id. `labels=False`
        omits the texts. `image` defaults to the one that was detected on; another one must have
        its size. Raises InputError if the image cannot be used, or the file can no longer be read.
        """
        if image is None and self.picture is None:
            raise InputError("these detections store no image to draw on (pickle keeps none): give it, draw(image)")
        if isinstance(image, str | os.PathLike):
            raise InputError("image to draw on: expected pixels, found a path: open it with PIL.Image.open")
        pixels = self.picture() if image is None and self.picture else to_rgb(image, "image to draw on")
        height, width = pixels.shape[:2]
        if self.image_size not in (None, (height, width)):
            raise InputError(
                f"image to draw on: expected the size (H, W) {self.image_size} of the image that was detected on, "
                f"found {height, width}: give the same image"
            )
        texts = self._texts if labels else [""] * len(self)
        return draw_boxes(pixels, self.numpy().boxes, texts, self._colors)

    @checked
    def save(self, path: FilePath, *, labels: bool = True) -> None:
        """Write the drawn picture in the format of the suffix.

        Raises InputError as `draw` does, if that fails, and if it would replace the image that was read.
        """
        target, source = user_path(path), self.picture.path if isinstance(self.picture, InFile) else self.path
        if source is not None and target.exists() and target.resolve() == source.resolve():
            raise InputError(f"{path}: the picture would replace the photo itself: give another name")
        save_image(target, self.draw(labels=labels))

    @checked
    def to_coco(self, image_id: int) -> list[CocoResult]:
        """Rows of COCO's results format; category ids are those of the training, or 1 .. K if unknown."""
        corners = self.numpy().boxes.astype(np.float64)
        boxes = np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist()  # x, y, width, height
        return [
            CocoResult(image_id=image_id, category_id=self._category_id(label), bbox=box, score=score)
            for box, score, label in zip(boxes, self.scores.tolist(), self.labels.tolist(), strict=True)
        ]

    def to_dict(self) -> DetectedImage:
        """Plain values for JSON, as in `rtmdet infer`: pixels rounded to 1/100, scores to 5 digits.

        Raises InputError if the image's size is unknown.
        """
        if self.image_size is None:
            raise InputError("these detections store no image size: use those returned by a Detector")
        objects = []
        for found in self:
            item = DetectedObject(
                class_name=found.name, score=round(found.score, 5), box=[round(side, 2) for side in found.box]
            )
            if self.category_ids:
                item["category_id"] = self._category_id(found.label)
            if found.id is not None:
                item["id"] = found.id
            objects.append(item)
        height, width = self.image_size
        return DetectedImage(file=str(self.path) if self.path else None, width=width, height=height, objects=objects)

    def to_supervision(self) -> Any:
        """The same as `supervision.Detections`, for its trackers and annotators, with `data["class_name"]`.

        Ids are its `tracker_id`. Raises InputError if supervision is not installed.
        """
        try:
            import supervision  # not a requirement of this package
        except ImportError as error:
            raise InputError(
                "to_supervision needs the package supervision, which is missing: pip install supervision"
            ) from error
        arrays = self.numpy()
        return supervision.Detections(
            xyxy=arrays.boxes,
            confidence=arrays.scores,
            class_id=arrays.labels,
            tracker_id=arrays.ids,
            data={"class_name": self.names},
        )

    def _category_id(self, label: int) -> int:
        return self.category_ids[label] if self.category_ids else label + 1

    @property
    def _names(self) -> list[str]:
        return [self.classes[label] if self.classes else f"class {label}" for label in self.labels.tolist()]

    @property
    def _track_ids(self) -> list[int | None]:
        """The id of each detection."""
        if self.ids is None:
            return [None] * len(self)
        return [number if number >= 0 else None for number in self.ids.tolist()]

    @property
    def _texts(self) -> list[str]:
        """What is written beside each box."""
        if self.ids is None:
            return [f"{found.name} {found.score:.2f}" for found in self]
        return [found.name if found.id is None else f"{found.name} {found.id}" for found in self]

    @property
    def _colors(self) -> list[Color]:
        """The color of each box."""
        if self.ids is not None:
            return track_colors(self._track_ids)
        names = self._names
        all_names = self.classes or tuple(sorted(set(names)))
        colors = dict(zip(all_names, class_colors(all_names), strict=True))
        return [colors[name] for name in names]


def _as_index(index: Any, array: Array) -> Array:
    """A mask or indices, (D,), in the library and on the device of an array."""
    if is_tensor(index) and is_tensor(array):
        return index  # torch indexes with those of another device, too
    values = np.asarray(index.cpu() if is_tensor(index) else index)
    if values.dtype.kind in "iu" or not values.size:  # an empty list has no type
        values = values.astype(np.int64)  # torch takes uint8 for a mask, and no other short integers
    if not is_tensor(array):
        return values
    import torch  # it is imported already

    return torch.from_numpy(np.ascontiguousarray(values))
