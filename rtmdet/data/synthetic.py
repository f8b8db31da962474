"""Synthetic balloon scenes with exact outlines: a data set that needs no download.

A scene is painted from back to front on a canvas of twice its size and halved at the end, which smooths the edges.
The canvas records which balloon each pixel shows and rejects a shape that would hide too much of a balloon, so every
balloon in a picture is annotated, with the outline of its largest visible part.

Frames: canvas pixels (x, y), two per image pixel, while painting; image pixels in results; the unit frame (u, v) of a
thing, in which its center is 0 and its radius 1. Colors are RGB 0 .. 1.
Dimension legend: H, W image; V vertices of an outline; N balloons; h, w patch of the canvas.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from rtmdet.core.errors import InputError
from rtmdet.core.files import files_below
from rtmdet.core.whole_file import write_new, writing
from rtmdet.data.coco.file import CocoAnnotation, CocoImage, box_annotation
from rtmdet.images.reading import IMAGE_SUFFIXES

LABELED = (".json", *IMAGE_SUFFIXES)  # files of a data set in COCO
SMALLEST_IMAGE = 64  # pixels; in smaller images balloons are too small to show a knot
SMALLEST_BALLOON = 8  # image pixels, visible width and height
FINE = 2  # canvas pixels per image pixel
JPEG_QUALITY = 90
TALL = 1.2  # height of a balloon divided by its width
TRIES = 12  # positions tried for a balloon before it is dropped
# How difficult the scenes are; pairs are (min, max).
BALLOONS = (2, 6)  # attempted; a crowded scene may get fewer
RADIUS = (0.07, 0.2)  # half width of a balloon divided by the image's shorter side
VISIBLE = 0.5  # minimum visible fraction of a balloon
CLUTTER = (2, 6)  # things behind the balloons
OCCLUDERS = (0, 1)  # things in front of them
BLUR = (0.0, 0.6)  # sigma in image pixels
NOISE = (0.0, 0.015)  # sigma, intensities 0 .. 1

Window = tuple[slice, slice]  # rows and columns of the canvas
Painter = Callable[[np.ndarray, np.ndarray], np.ndarray]  # u and v (h, w) -> color (h, w, 3)


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
    cannot be written, or holds other images or labels than these.
    """
    if count < 1 or seed < 0:
        raise InputError(f"{folder}: expected count >= 1 and seed >= 0, found {count} and {seed}; change them")
    names, target = [f"{index:06d}.jpg" for index in range(count)], folder / "annotations.json"
    ours, present = {target, *(folder / "images" / name for name in names)}, {*files_below(folder, LABELED)}
    if present - ours or (target in present and present != ours):
        raise InputError(f"{folder} holds other images or labels; give another --out")
    images: list[CocoImage] = []
    annotations: list[CocoAnnotation] = []
    with writing(folder, "folder"):
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for index, name in enumerate(names):
            scene = render_scene(scene_seed(seed, index), size=size)
            bgr = cv2.cvtColor(scene.image, cv2.COLOR_RGB2BGR)  # the order of channels that cv2 writes
            encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
            write_new(folder / "images" / name, encoded.tobytes())
            images.append({"id": index + 1, "file_name": name, "width": size[1], "height": size[0]})
            for polygon, box in zip(scene.polygons, scene.boxes, strict=True):
                outline = polygon.ravel().tolist()
                found = box_annotation(len(annotations) + 1, index + 1, 1, box=box.tolist(), polygon=outline)
                annotations.append({**found, "area": float(cv2.contourArea(polygon))})
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "balloon"}]}
    write_new(target, json.dumps(content).encode())
    return target


def render_scene(seed: int, *, size: tuple[int, int]) -> Scene:
    """Paint the scene of one seed at `size` (H, W): the same seed and size give the same bytes.

    Raises InputError for a side below SMALLEST_IMAGE.
    """
    if min(size) < SMALLEST_IMAGE:
        expected = f"expected sides of at least {SMALLEST_IMAGE} pixels"
        raise InputError(f"image size: {expected}, found {size[0]} x {size[1]}; choose a larger size")
    rng = default_rng(seed)
    canvas = Canvas(cv2.resize(_meadow(rng, size), None, fx=FINE, fy=FINE))  # soft, as if out of focus
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.4), 1.0])  # toward the sun: x, y, viewer
    for _ in range(rng.integers(*CLUTTER, endpoint=True)):
        _add_clutter(canvas, rng)
    for _ in range(rng.integers(*BALLOONS, endpoint=True)):
        _add_balloon(canvas, rng, light / np.linalg.norm(light))
    for _ in range(rng.integers(*OCCLUDERS, endpoint=True)):
        _add_clutter(canvas, rng)
    return Scene(_photograph(canvas.image, rng), tuple(canvas.polygons.values()), canvas.owners)


def _add_balloon(canvas: "Canvas", rng: Generator, light: np.ndarray) -> None:
    """Hang a balloon on its string, at the first of TRIES places where there is room."""
    height, width = canvas.owners.shape
    angle = np.linspace(np.pi + 0.08, 3 * np.pi - 0.08, 72)  # around the top, open where the knot is
    egg = np.stack((np.sin(angle) * (1 + 0.18 * np.cos(angle)), -TALL * np.cos(angle)), axis=1)
    knot = np.array([[0.06, 1.03], [0.13, 1.13], [-0.13, 1.13], [-0.06, 1.03]]) * (1, TALL)
    outline = np.concatenate((egg, knot)) @ _rotation(rng.normal(0, 0.25))
    color, gloss = _color(rng), rng.uniform(0.4, 0.95)

    def skin(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        down = v / TALL
        depth = np.sqrt(np.clip(1 - u**2 - down**2, 0, 1))  # 0 at the rim .. 1 in the middle
        facing = u * light[0] + down * light[1] + depth * light[2]
        shade = 0.5 + 0.55 * np.clip(facing, 0, 1) - 0.22 * (1 - depth) ** 3
        distance = (u - 0.6 * light[0]) ** 2 + (down - 0.6 * light[1]) ** 2
        mirrored = gloss * (np.exp(-distance / 0.016) + 0.25 * np.exp(-distance / 0.18))
        lit = np.clip(color * shade[..., None], 0, 1)
        return lit + (1 - lit) * np.clip(mirrored, 0, 1)[..., None]

    for _ in range(TRIES):
        radius = max(rng.uniform(*RADIUS) * min(height, width), SMALLEST_BALLOON * FINE * 0.7)
        center = rng.uniform(0.04, 0.96, 2) * (width, height)
        if canvas.add(outline, center, radius, skin, balloon=True):
            start = center + radius * outline[-2:].mean(axis=0)
            canvas.draw_string(start, start + np.array([rng.normal(0, radius), 2.5 * radius]))
            break


def _add_clutter(canvas: "Canvas", rng: Generator) -> None:
    """Paint one look-alike on top, a round sign or a plank, unless it would hide too much of a balloon."""
    height, width = canvas.owners.shape
    radius = rng.uniform(*RADIUS) * min(height, width)
    center = rng.uniform(0, 1, 2) * (width, height)
    first, second, border = _color(rng), _color(rng), rng.uniform(0.3, 0.8)
    if rng.random() < 0.5:
        angle = np.linspace(0, 2 * np.pi, 48)
        outline = np.stack((np.cos(angle), np.sin(angle)), axis=1)
    else:
        wide = rng.uniform(0.2, 0.7)
        outline = np.array([(-1, -wide), (1, -wide), (1, wide), (-1, wide)]) @ _rotation(rng.uniform(-np.pi, np.pi))

    def paint(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.where((u**2 + v**2 < border)[..., None], first, second)

    canvas.add(outline, center, radius, paint, balloon=False)


def _photograph(canvas: np.ndarray, rng: Generator) -> np.ndarray:
    """The finished (H, W, 3) uint8 image of a canvas: halved, with blur and noise."""
    image = cv2.resize(canvas, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA)
    sigma = rng.uniform(*BLUR)
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.uniform(*NOISE) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


@dataclass(slots=True, eq=False)
class Canvas:
    """The painting so far, and which balloon each of its pixels shows."""

    image: np.ndarray  # (2H, 2W, 3) float32
    owners: np.ndarray = field(init=False)  # (2H, 2W) int16, -1 = none
    polygons: dict[int, np.ndarray] = field(default_factory=dict)  # (V, 2) image pixels, by balloon
    areas: list[float] = field(default_factory=list)  # of the balloons before occlusion, in canvas pixels

    def __post_init__(self) -> None:
        self.owners = np.full(self.image.shape[:2], -1, np.int16)

    def add(self, unit: np.ndarray, center: np.ndarray, radius: float, paint: Painter, *, balloon: bool) -> bool:
        """Paint a thing with the unit outline (V, 2) unless too little of some balloon (itself included) would stay
        visible; returns whether.
        """
        outline = center + radius * unit
        window, coverage = rasterize(outline, self.owners.shape)
        area, owner = cv2.contourArea(outline.astype(np.float32)), len(self.areas) if balloon else -1
        areas = [*self.areas, area] if balloon else self.areas
        before, solid = self.owners[window].copy(), coverage > 0.5
        self.owners[window][solid] = owner
        touched = {owner, *np.unique(before[solid]).tolist()} - {-1}
        traced = {index: self._trace(index, areas[index]) for index in sorted(touched)}
        kept = {index: polygon for index, polygon in traced.items() if polygon is not None}
        if len(kept) < len(traced):
            self.owners[window] = before
            return False
        self.areas = areas
        self.polygons.update(kept)
        rows, columns = np.mgrid[window].astype(np.float32) + 0.5  # pixel centers
        self._blend(window, paint((columns - center[0]) / radius, (rows - center[1]) / radius), coverage)
        return True

    def draw_string(self, start: np.ndarray, end: np.ndarray) -> None:
        """Paint a thin gray line."""
        window, coverage = rasterize(np.stack((start, end)), self.owners.shape)
        self._blend(window, np.full(3, 0.8), 0.6 * coverage)

    def _blend(self, window: Window, color: np.ndarray, opacity: np.ndarray) -> None:
        patch = self.image[window]
        patch += opacity[..., None] * (color - patch)

    def _trace(self, index: int, area: float) -> np.ndarray | None:
        """The outline (V, 2) of a balloon's largest visible part in image pixels, None if that is too small."""
        mask = (self.owners == index).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        mask = np.pad(mask[top : top + height, left : left + width], (0, 1))  # room for the last corners
        parts, statistics = cv2.connectedComponentsWithStats(mask)[1:3]
        sizes = statistics[1:, cv2.CC_STAT_AREA]  # without part 0, the background
        if sizes.max(initial=0) < VISIBLE * area:
            return None
        largest = (parts == 1 + sizes.argmax()).view(np.uint8)
        # Use the four corners of each pixel instead of its center, so that the outline runs around the pixels.
        corners = cv2.dilate(largest, np.ones((2, 2), np.uint8), anchor=(1, 1))
        contours = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        contour = cv2.approxPolyDP(contours[0], 0.7, True)[:, 0] + np.array([left, top])
        polygon = contour.astype(np.float32) / FINE
        return polygon if np.ptp(polygon, axis=0).min() >= SMALLEST_BALLOON else None


def rasterize(points: np.ndarray, size: tuple[int, ...]) -> tuple[Window, np.ndarray]:
    """Rasterize a filled outline (V, 2), or a line if there are only two points, on a canvas of `size`.

    Returns the window that it touches and its coverage of the window's pixels, (h, w) 0 .. 1.
    """
    edge = np.array(size[::-1])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 2, 0, edge - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, low + 1, edge)
    mask = np.zeros((high - low)[::-1], np.uint8)
    shifted = [np.round((points - low - 0.5) * 16).astype(np.int32)]  # cv2: from pixel centers, in 1/16 pixels
    if len(points) > 2:
        cv2.fillPoly(mask, shifted, 255, cv2.LINE_AA, shift=4)
    else:
        cv2.polylines(mask, shifted, False, 255, 2, cv2.LINE_AA, shift=4)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(np.float32) / 255


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Hue in degrees, saturation and value 0 .. 1 to a color (3,)."""
    return cv2.cvtColor(np.array([[[hue % 360, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def _color(rng: Generator) -> np.ndarray:
    """A random color (3,) of balloons and look-alikes: mostly bright, some pale."""
    saturation = rng.uniform(0.03, 0.35) if rng.random() < 0.2 else rng.uniform(0.65, 1.0)
    return _rgb(rng.uniform(0, 360), saturation, rng.uniform(0.6, 1.0))


def _texture(rng: Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise (H, W, 1), sigma about 1, with `cells` bumps across the shorter side."""
    pitch = min(size) / cells
    grid = rng.standard_normal((int(size[0] / pitch) + 2, int(size[1] / pitch) + 2), np.float32)
    return cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)[..., None]


def _meadow(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """The background (H, W, 3) float32: sky with clouds, a line of trees, and grass, sand or paving."""
    rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None, None]  # how far down
    clouds = np.clip(
        0.6 * _texture(rng, size, 3) + 0.3 * _texture(rng, size, 8) - rng.uniform(-0.2, 0.8) + rows, 0, 1
    )
    sky = _rgb(rng.uniform(195, 225), rng.uniform(0.3, 0.75), rng.uniform(0.6, 0.95))
    picture = sky + 0.8 * np.clip(clouds, 0, 1) * (1 - sky)
    horizon = rng.uniform(0.55, 1.05)
    leaves = 0.6 * _texture(rng, size, 12) + 0.5 * _texture(rng, size, 50)
    ridge = horizon - rng.uniform(0.02, 0.2) + 0.04 * _texture(rng, size, 5)[:1] + 0.01 * leaves
    trees = _rgb(rng.uniform(80, 150), rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.4)) * (1 + 0.25 * leaves)
    ground = _rgb(rng.uniform(30, 110), rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.7))
    grass = ground * (1 + 0.08 * _texture(rng, size, 60) + 0.1 * _texture(rng, size, 10) + 0.4 * (rows - horizon))
    picture = np.where(rows > horizon, grass, np.where(rows > ridge, trees, picture))
    return np.clip(picture, 0, 1).astype(np.float32)
