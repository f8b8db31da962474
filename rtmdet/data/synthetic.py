"""Synthetic balloon scenes with exact outlines: a data set that needs no download.

A scene is painted from back to front on a canvas of twice its size and halved at the end, which smooths the edges.
The canvas records which balloon each pixel shows and rejects a shape that would hide too much of a balloon, so every
balloon in a picture is annotated, with the outline of its largest visible part.

Frames: canvas pixels (x, y), two per image pixel, while painting; image pixels in results; the unit frame (u, v) of
a thing, in which its radius is 1 and v points down to a balloon's knot.
Dimension legend: H, W image; V vertices of an outline; N balloons; h, w patch of the canvas.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from rtmdet.core.errors import InputError
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, box_annotation
from rtmdet.data.json_file import write_json
from rtmdet.data.painters import LOOK_ALIKES, Painter, backdrop, balloon_outline, latex, rgb

SMALLEST_IMAGE = 64  # pixels; in smaller images balloons are too small to show a knot
SMALLEST_BALLOON = 8  # image pixels, visible width and height
FINE = 2  # canvas pixels per image pixel
JPEG_QUALITY = 90
TRIES = 12  # positions tried for a balloon before it is dropped
# How difficult the scenes are; pairs are (min, max).
BALLOONS = (2, 6)  # attempted; a crowded scene may get fewer
RADIUS = (0.07, 0.2)  # half width of a balloon divided by the image's shorter side
BUNCHED = 0.5  # fraction of the balloons that hang in a bunch
VISIBLE = 0.5  # minimum visible fraction of a balloon
CLUTTER = (2, 6)  # things behind the balloons
OCCLUDERS = (0, 1)  # things in front of them
CONTRAST = (0.9, 1.1)  # 1 = as painted
BLUR = (0.0, 0.6)  # sigma in image pixels
NOISE = (0.0, 0.015)  # sigma, intensities 0 .. 1

Window = tuple[slice, slice]  # rows and columns of the canvas


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture with the outlines of its balloons in image pixels."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    polygons: tuple[np.ndarray, ...]  # N x (V, 2) float32 xy, largest visible part, with knot, without string
    owners: np.ndarray  # (2H, 2W) int16: index of the balloon that each canvas pixel shows, -1 = none

    @property
    def boxes(self) -> np.ndarray:
        """The (N, 4) float32 xyxy bounding boxes of the polygons."""
        return np.array([[*p.min(axis=0), *p.max(axis=0)] for p in self.polygons], np.float32).reshape(-1, 4)


def scene_seed(split_seed: int, index: int) -> int:
    """The 128-bit seed of one scene, different for every (split seed, index); both must be at least 0."""
    words = SeedSequence(split_seed, spawn_key=(index,)).generate_state(4)
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def write_dataset(folder: Path, *, count: int, seed: int, size: tuple[int, int]) -> Path:
    """Write `count` scenes of `size` (H, W) as folder/images/*.jpg and return folder/annotations.json, COCO.

    Raises InputError for a count below 1, a negative seed, a side below SMALLEST_IMAGE, and a folder that
    cannot be written.
    """
    if count < 1 or seed < 0:
        raise InputError(f"{folder}: expected count >= 1 and seed >= 0, found {count} and {seed}; change them")
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            scene = render_scene(scene_seed(seed, index), size=size)
            name = f"{index:06d}.jpg"
            bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)  # the order of channels that cv2 writes
            encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            (folder / "images" / name).write_bytes(encoded.tobytes())
            images.append({"id": index + 1, "file_name": name, "width": size[1], "height": size[0]})
            for polygon, box in zip(scene.polygons, scene.boxes, strict=True):
                outline = polygon.ravel().tolist()
                found = box_annotation(len(annotations) + 1, index + 1, 1, box=box.tolist(), polygon=outline)
                annotations.append({**found, "area": float(cv2.contourArea(polygon))})
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}); choose another folder") from error
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "balloon"}]}
    target = folder / "annotations.json"
    write_json(target, content)
    return target


def render_scene(seed: int, *, size: tuple[int, int]) -> Scene:
    """Paint the scene of one seed at `size` (H, W): the same seed and size give the same bytes.

    Raises InputError for a side below SMALLEST_IMAGE.
    """
    if min(size) < SMALLEST_IMAGE:
        expected = f"expected sides of at least {SMALLEST_IMAGE} pixels"
        raise InputError(f"image size: {expected}, found {size[0]} x {size[1]}; choose a larger size")
    rng = default_rng(seed)
    scenery = cv2.resize(backdrop(rng, size), None, fx=FINE, fy=FINE)  # soft, as if out of focus
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.4), 1.0])
    canvas = Canvas(scenery, light / np.linalg.norm(light))
    for _ in range(rng.integers(*CLUTTER, endpoint=True)):
        _add_thing(canvas, rng)
    rng.random()  # not used any more; drawn so that the pictures of a seed stay the same
    _add_balloons(canvas, rng)
    for _ in range(rng.integers(*OCCLUDERS, endpoint=True)):
        _add_thing(canvas, rng)
    return Scene(_photograph(canvas.image, rng), tuple(canvas.polygons.values()), canvas.owners)


def _add_balloons(canvas: Canvas, rng: Generator) -> None:
    """Hang balloons in one or two bunches and alone, each on its string."""
    height, width = canvas.owners.shape
    side = min(height, width)
    bunches = rng.uniform((0.2, 0.2), (0.8, 0.65), (2, 2)) * (width, height)
    typical = rng.uniform(*RADIUS)  # balloons of one picture have similar sizes
    for _ in range(rng.integers(*BALLOONS, endpoint=True)):
        bunched = rng.random() < BUNCHED
        bunch = bunches[rng.integers(2)]
        for _ in range(TRIES):
            share = np.clip(typical * rng.lognormal(0, 0.3), *RADIUS)
            radius = max(share * side, SMALLEST_BALLOON * FINE * 0.7)
            hung = bunch + rng.normal(0, 1.6 * radius, 2)
            center = hung if bunched else rng.uniform(0.04, 0.96, 2) * (width, height)
            string = np.array([0, 0.35 * side]) if bunched else np.array([rng.normal(0, radius), 3.5 * radius])
            if _add_balloon(canvas, rng, center, radius, (bunch if bunched else center) + string):
                break


def _add_balloon(canvas: Canvas, rng: Generator, center: np.ndarray, radius: float, end: np.ndarray) -> bool:
    """Paint a balloon whose string runs to `end`; False if it does not fit."""
    tall, taper = rng.uniform(1.08, 1.35), rng.uniform(0.08, 0.28)
    lean = np.arctan2(center[0] - end[0], end[1] - center[1])  # the knot points down the string
    thing = Thing(balloon_outline(tall, taper), center, radius, 0.8 * lean + rng.normal(0, 0.15))
    if not canvas.add(thing, latex(rng, tall, taper), rng, balloon=True):
        return False
    _draw_string(canvas, thing.placed(np.array([[0.0, tall * 1.1]]))[0], end, rng)
    return True


def _add_thing(canvas: Canvas, rng: Generator) -> None:
    """Paint one look-alike on top, unless it would hide too much of a balloon."""
    height, width = canvas.owners.shape
    name = str(rng.choice(list(LOOK_ALIKES)))
    radius = rng.uniform(0.7, 1.0) * rng.uniform(*RADIUS) * min(height, width)
    shape, painter = LOOK_ALIKES[name]
    outline = shape * (1, rng.uniform(0.6, 1.6) if name == "brick" else 1)
    upright = name == "brick"  # it rests on the ground, so it is low in the picture
    center = rng.uniform((0, 0.5 if upright else 0), 1) * (width, height)
    thing = Thing(outline, center, radius, rng.normal(0, 0.1) if upright else rng.uniform(-np.pi, np.pi))
    canvas.add(thing, painter, rng, balloon=False)


def _draw_string(canvas: Canvas, start: np.ndarray, end: np.ndarray, rng: Generator) -> None:
    """A thin translucent curve from a knot to the string's end."""
    sag = (start + end) / 2 + rng.normal(0, 0.12, 2) * np.linalg.norm(end - start)
    share = np.linspace(0, 1, 24)[:, None]
    curve = (1 - share) ** 2 * start + 2 * share * (1 - share) * sag + share**2 * end
    window, coverage = rasterize(curve, canvas.owners.shape, filled=False)
    canvas.blend(window, rgb(0, 0, rng.uniform(0.1, 0.95)), coverage * np.float32(rng.uniform(0.4, 0.8)))


def _photograph(canvas: np.ndarray, rng: Generator) -> np.ndarray:
    """The finished (H, W, 3) uint8 image of a canvas: halved, with vignette, contrast, blur and noise."""
    image = cv2.resize(canvas, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = (1 - rng.uniform(0, 0.15) * (rows**2 + columns**2)).astype(np.float32)
    image = image * corners[..., None]
    mean = image.mean()
    image = mean + rng.uniform(*CONTRAST) * (image - mean)
    sigma = rng.uniform(*BLUR)
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.uniform(*NOISE) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Thing:
    """A placed shape: unit outline (V, 2), center (2,) and radius in canvas pixels, tilt in radians."""

    outline: np.ndarray
    center: np.ndarray
    radius: float
    tilt: float

    @property
    def turn(self) -> np.ndarray:
        """The (2, 2) rotation from the unit frame to the canvas."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[cosine, -sine], [sine, cosine]])

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Unit points (V, 2) on the canvas."""
        return self.center + self.radius * points @ self.turn.T


@dataclass(slots=True, eq=False)
class Canvas:
    """The painting so far, and which balloon each of its pixels shows."""

    image: np.ndarray  # (2H, 2W, 3) float32 RGB, 0 .. 1
    light: np.ndarray  # (3,) unit vector toward the lamp or the sun: x, y, viewer
    owners: np.ndarray = field(init=False)  # (2H, 2W) int16, -1 = none
    polygons: dict[int, np.ndarray] = field(default_factory=dict)  # (V, 2) image pixels, by balloon
    areas: list[float] = field(default_factory=list)  # of the balloons before occlusion, in canvas pixels

    def __post_init__(self) -> None:
        self.owners = np.full(self.image.shape[:2], -1, np.int16)

    def add(self, thing: Thing, painter: Painter, rng: Generator, *, balloon: bool) -> bool:
        """Paint a thing unless too little of some balloon (itself included) would stay visible; returns whether."""
        outline = thing.placed(thing.outline)
        window, coverage = rasterize(outline, self.owners.shape, filled=True)
        color = painter(rng, *self._unit_frame(thing, window))  # (h, w, 4)
        opacity = coverage * color[..., 3]
        if balloon:
            self.areas.append(cv2.contourArea(outline.astype(np.float32)))
        if not self._claim(window, opacity > 0.5, len(self.areas) - 1 if balloon else -1):
            if balloon:
                self.areas.pop()
            return False
        self.blend(window, color[..., :3], opacity)
        return True

    def _unit_frame(self, thing: Thing, window: Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The pixel centers of a window in a thing's unit frame, u and v (h, w), and the light in that frame (3,)."""
        rows, columns = np.mgrid[window].astype(np.float32) + 0.5  # (h, w) pixel centers
        offset = np.stack((columns, rows), axis=-1) - np.float32(thing.center)
        u, v = np.moveaxis(offset @ np.float32(thing.turn / thing.radius), -1, 0)
        return u, v, np.append(self.light[:2] @ thing.turn, self.light[2]).astype(np.float32)

    def blend(self, window: Window, color: np.ndarray, opacity: np.ndarray) -> None:
        """Blend a color (h, w, 3) or (3,) into a window of the canvas with an opacity (h, w)."""
        patch = self.image[window]
        patch += opacity[..., None] * (color - patch)

    def _claim(self, window: Window, solid: np.ndarray, owner: int) -> bool:
        """Assign pixels to a balloon (-1: none), retrace the affected ones; undone if one becomes too hidden."""
        before = self.owners[window].copy()
        touched = set(np.unique(before[solid]).tolist()) | {owner}
        self.owners[window][solid] = owner
        traced = {index: self._trace(index) for index in sorted(touched - {-1})}
        kept = {index: polygon for index, polygon in traced.items() if polygon is not None}
        if len(kept) < len(traced):
            self.owners[window] = before
            return False
        self.polygons.update(kept)
        return True

    def _trace(self, index: int) -> np.ndarray | None:
        """The outline (V, 2) of a balloon's largest visible part in image pixels, None if that is too small."""
        mask = (self.owners == index).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        mask = np.pad(mask[top : top + height, left : left + width], (0, 1))  # room for the last corners
        parts, statistics = cv2.connectedComponentsWithStats(mask)[1:3]
        sizes = statistics[1:, cv2.CC_STAT_AREA]  # without part 0, the background
        if sizes.max(initial=0) < VISIBLE * self.areas[index]:
            return None
        largest = (parts == 1 + sizes.argmax()).view(np.uint8)
        # Use the four corners of each pixel instead of its center, so that the outline runs around the pixels.
        corners = cv2.dilate(largest, np.ones((2, 2), np.uint8), anchor=(1, 1))
        contours = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        contour = cv2.approxPolyDP(contours[0], 0.7, True)[:, 0] + np.array([left, top])
        polygon = contour.astype(np.float32) / FINE
        return polygon if np.ptp(polygon, axis=0).min() >= SMALLEST_BALLOON else None


def rasterize(points: np.ndarray, size: tuple[int, ...], *, filled: bool) -> tuple[Window, np.ndarray]:
    """Rasterize a filled outline or a thin curve (V, 2) on a canvas of `size`.

    Returns the window that it touches and its coverage of the window's pixels, (h, w) 0 .. 1.
    """
    edge = np.array(size[::-1])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 2, 0, edge - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, low + 1, edge)
    mask = np.zeros((high - low)[::-1], np.uint8)
    shifted = [np.round((points - low - 0.5) * 16).astype(np.int32)]  # cv2: from pixel centers, in 1/16 pixels
    if filled:
        cv2.fillPoly(mask, shifted, 255, cv2.LINE_AA, shift=4)
    else:
        cv2.polylines(mask, shifted, False, 255, 2, cv2.LINE_AA, shift=4)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(np.float32) / 255
