"""Photo-like balloon scenes with exact outlines: the data set that needs no download.

A scene is painted from back to front on a canvas of twice its size and halved at the end, which smooths the
edges. The canvas remembers which balloon each pixel shows, and refuses a shape that would hide a balloon too
far; so every balloon in a picture is annotated, and its outline is that of its visible part.

Frames: canvas pixels (x, y), two to an image pixel, in the painting; image pixels in what is handed out; the
unit frame (u, v) of a thing, in which its radius is 1 and v points down to a balloon's knot.
Dimension legend: H, W image; V vertices of an outline; N balloons; h, w patch of the canvas.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from rtmdet.structures import InputError

SMALLEST_IMAGE = 64  # pixels; below it balloons are too small to show a knot
SMALLEST_BALLOON = 8  # image pixels, visible width and height
JPEG_QUALITY = 90
_FINE = 2  # canvas pixels per image pixel
_TRIES = 12  # places tried for a balloon before the scene does without it

_Window = tuple[slice, slice]  # rows and columns of the canvas
_Painter = Callable[[Generator, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # rng, u, v, light -> RGBA


@dataclass(frozen=True, slots=True)
class Level:
    """How difficult the scenes are; pairs are (least, most)."""

    balloons: tuple[int, int]  # balloons tried for; a crowded scene may end with fewer
    radius: tuple[float, float]  # half width of a balloon by the image's shorter side
    bunched: float  # share of the balloons that hang together in a bunch
    visible: float  # least visible share of a balloon
    clutter: tuple[int, int]  # things behind the balloons
    occluders: tuple[int, int]  # things in front of them
    things: tuple[str, ...]  # what clutter and occluders are drawn from
    contrast: tuple[float, float]  # 1 = as painted
    blur: tuple[float, float]  # sigma in image pixels
    noise: tuple[float, float]  # sigma, intensities 0 .. 1
    empty: float  # share of the scenes without a balloon


LEVELS = {
    "easy": Level(
        balloons=(2, 6), radius=(0.07, 0.2), bunched=0.5, visible=0.5, clutter=(2, 6), occluders=(0, 1),
        things=("disc", "brick", "lamp", "leaf"), contrast=(0.9, 1.1), blur=(0.0, 0.6), noise=(0.0, 0.015),
        empty=0.0,
    ),
    "hard": Level(
        balloons=(4, 16), radius=(0.03, 0.13), bunched=0.7, visible=0.35, clutter=(6, 16), occluders=(1, 4),
        things=("disc", "brick", "lamp", "leaf", "ball", "dome"), contrast=(0.45, 1.0), blur=(0.3, 1.4),
        noise=(0.01, 0.05), empty=0.05,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A picture with the outlines of its balloons, in pixels of the image from its top left corner."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    polygons: tuple[np.ndarray, ...]  # N x (V, 2) float32 xy, the largest visible part, knot but no string
    owners: np.ndarray  # (2H, 2W) int16: the balloon that each quarter of a pixel shows, -1 = none

    @property
    def boxes(self) -> np.ndarray:
        """The (N, 4) float32 xyxy boxes that just hold the polygons."""
        return np.array([[*p.min(axis=0), *p.max(axis=0)] for p in self.polygons], np.float32).reshape(-1, 4)


def scene_seed(split_seed: int, index: int) -> int:
    """The 128 bit seed of one scene, another for every (split seed, index), both at least 0."""
    words = SeedSequence(split_seed, spawn_key=(index,)).generate_state(4)
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def write_dataset(folder: Path, *, count: int, seed: int, size: tuple[int, int], level: Level) -> Path:
    """Write `count` scenes of `size` (H, W) as folder/images/*.jpg and return folder/annotations.json, COCO.

    Raises InputError for a count below 1, a negative seed, a side below SMALLEST_IMAGE, and a folder that
    cannot be written.
    """
    if count < 1 or seed < 0:
        raise InputError(f"{folder}: expected count >= 1 and seed >= 0, found {count} and {seed}; change them")
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
        for index in range(count):
            scene = render_scene(scene_seed(seed, index), size=size, level=level)
            name = f"{index:06d}.jpg"
            _write_jpeg(folder / "images" / name, scene.image)
            images.append({"id": index + 1, "file_name": name, "width": size[1], "height": size[0]})
            for polygon, box in zip(scene.polygons, scene.boxes, strict=True):
                annotations.append(_annotation(len(annotations) + 1, index + 1, polygon, box))
        content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "balloon"}]}
        target = folder / "annotations.json"
        target.write_text(json.dumps(content))
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}); choose another folder") from error
    return target


def _write_jpeg(path: Path, image: np.ndarray) -> None:
    flipped = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)  # the order of channels that cv2 writes
    encoded = cv2.imencode(".jpg", flipped, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    path.write_bytes(encoded.tobytes())


def _annotation(number: int, image: int, polygon: np.ndarray, box: np.ndarray) -> dict[str, object]:
    left, top, right, bottom = box.tolist()
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [left, top, right - left, bottom - top],
        "area": float(cv2.contourArea(polygon)),
        "segmentation": [polygon.ravel().tolist()],
    }


def render_scene(seed: int, *, size: tuple[int, int], level: Level) -> Scene:
    """Paint the scene of one seed at `size` (H, W): the same seed, size and level give the same bytes.

    Raises InputError for a side below SMALLEST_IMAGE.
    """
    if min(size) < SMALLEST_IMAGE:
        expected = f"expected sides of at least {SMALLEST_IMAGE} pixels"
        raise InputError(f"image size: {expected}, found {size[0]} x {size[1]}; choose a larger size")
    rng = default_rng(seed)
    backdrop = cv2.resize(_backdrop(rng, size), None, fx=_FINE, fy=_FINE)  # soft, as if out of focus
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.4), 1.0])
    canvas = _Canvas(backdrop, level.visible, light / np.linalg.norm(light))
    for _ in range(rng.integers(*level.clutter, endpoint=True)):
        _add_thing(canvas, rng, level)
    if rng.random() >= level.empty:
        _add_balloons(canvas, rng, level)
    for _ in range(rng.integers(*level.occluders, endpoint=True)):
        _add_thing(canvas, rng, level)
    return Scene(_photograph(canvas.image, rng, level), tuple(canvas.polygons.values()), canvas.owners)


@dataclass(frozen=True, slots=True, eq=False)
class _Thing:
    """A shape in its place: unit outline (V, 2), centre (2,) and radius in canvas pixels, tilt in radians."""

    outline: np.ndarray
    centre: np.ndarray
    radius: float
    tilt: float

    @property
    def turn(self) -> np.ndarray:
        """The (2, 2) rotation from the unit frame to the canvas."""
        cosine, sine = np.cos(self.tilt), np.sin(self.tilt)
        return np.array([[cosine, -sine], [sine, cosine]])

    def placed(self, points: np.ndarray) -> np.ndarray:
        """Unit points (V, 2) on the canvas."""
        return self.centre + self.radius * points @ self.turn.T


@dataclass(slots=True, eq=False)
class _Canvas:
    """What has been painted so far, and which balloon each of its pixels shows."""

    image: np.ndarray  # (2H, 2W, 3) float32 RGB, 0 .. 1
    visible: float  # least visible share of a balloon
    light: np.ndarray  # (3,) unit vector towards the lamp or the sun: x, y, viewer
    owners: np.ndarray = field(init=False)  # (2H, 2W) int16, -1 = none
    polygons: dict[int, np.ndarray] = field(default_factory=dict)  # (V, 2) image pixels, by balloon
    areas: list[float] = field(default_factory=list)  # canvas pixels, of the whole balloons

    def __post_init__(self) -> None:
        self.owners = np.full(self.image.shape[:2], -1, np.int16)

    def add(self, thing: _Thing, painter: _Painter, rng: Generator, *, balloon: bool) -> bool:
        """Paint a thing, unless a balloon, itself included, would be left with too little to see."""
        outline = thing.placed(thing.outline)
        window, coverage = _rasterise(outline, self.owners.shape, filled=True)
        colour = painter(rng, *self._unit_frame(thing, window))  # (h, w, 4)
        opacity = coverage * colour[..., 3]
        if balloon:
            self.areas.append(cv2.contourArea(outline.astype(np.float32)))
        if not self._claim(window, opacity > 0.5, len(self.areas) - 1 if balloon else -1):
            if balloon:
                self.areas.pop()
            return False
        self.blend(window, colour[..., :3], opacity)
        return True

    def _unit_frame(self, thing: _Thing, window: _Window) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where a window's pixel centres lie in a thing's unit frame, u and v (h, w), and the light there (3,)."""
        rows, columns = np.mgrid[window].astype(np.float32) + 0.5  # (h, w) pixel centres
        offset = np.stack((columns, rows), axis=-1) - np.float32(thing.centre)
        u, v = np.moveaxis(offset @ np.float32(thing.turn / thing.radius), -1, 0)
        return u, v, np.append(self.light[:2] @ thing.turn, self.light[2]).astype(np.float32)

    def blend(self, window: _Window, colour: np.ndarray, opacity: np.ndarray) -> None:
        """Lay a colour (h, w, 3) or (3,) over a window of the canvas with an opacity (h, w)."""
        patch = self.image[window]
        patch += opacity[..., None] * (colour - patch)

    def _claim(self, window: _Window, solid: np.ndarray, owner: int) -> bool:
        """Give pixels to a balloon (or to none, -1) and trace anew all it concerns; undone when one is lost."""
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
        """The outline (V, 2) of a balloon's largest visible part in image pixels, None if it is too little."""
        mask = (self.owners == index).view(np.uint8)
        left, top, width, height = cv2.boundingRect(mask)
        mask = np.pad(mask[top : top + height, left : left + width], (0, 1))  # room for the last corners
        parts, statistics = cv2.connectedComponentsWithStats(mask)[1:3]
        sizes = statistics[1:, cv2.CC_STAT_AREA]  # without part 0, what is not the balloon
        if sizes.max(initial=0) < self.visible * self.areas[index]:
            return None
        largest = (parts == 1 + sizes.argmax()).view(np.uint8)
        # A pixel's four corners, rather than its centre: the outline then runs around the pixels.
        corners = cv2.dilate(largest, np.ones((2, 2), np.uint8), anchor=(1, 1))
        contours = cv2.findContours(corners, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)[0]
        contour = cv2.approxPolyDP(contours[0], 0.7, True)[:, 0] + np.array([left, top])
        polygon = contour.astype(np.float32) / _FINE
        return polygon if np.ptp(polygon, axis=0).min() >= SMALLEST_BALLOON else None


def _rasterise(points: np.ndarray, size: tuple[int, ...], *, filled: bool) -> tuple[_Window, np.ndarray]:
    """An outline filled, or a curve drawn thinly, on a canvas of `size`.

    Returns the window that it touches and how far it covers the window's pixels, (h, w) 0 .. 1.
    """
    edge = np.array(size[::-1])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 2, 0, edge - 1)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 2, low + 1, edge)
    mask = np.zeros((high - low)[::-1], np.uint8)
    shifted = [np.round((points - low - 0.5) * 16).astype(np.int32)]  # cv2 counts from pixel centres, in 1/16
    if filled:
        cv2.fillPoly(mask, shifted, 255, cv2.LINE_AA, shift=4)
    else:
        cv2.polylines(mask, shifted, False, 255, 2, cv2.LINE_AA, shift=4)
    return (slice(low[1], high[1]), slice(low[0], high[0])), mask.astype(np.float32) / 255


def _add_balloons(canvas: _Canvas, rng: Generator, level: Level) -> None:
    """Hang balloons in one or two bunches and alone, each on its string."""
    height, width = canvas.owners.shape
    side = min(height, width)
    bunches = rng.uniform((0.2, 0.2), (0.8, 0.65), (2, 2)) * (width, height)
    typical = rng.uniform(*level.radius)  # balloons of one picture are of like sizes, as in a bag
    for _ in range(rng.integers(*level.balloons, endpoint=True)):
        bunched = rng.random() < level.bunched
        bunch = bunches[rng.integers(2)]
        for _ in range(_TRIES):
            share = np.clip(typical * rng.lognormal(0, 0.3), *level.radius)
            radius = max(share * side, SMALLEST_BALLOON * _FINE * 0.7)
            hung = bunch + rng.normal(0, 1.6 * radius, 2)
            centre = hung if bunched else rng.uniform(0.04, 0.96, 2) * (width, height)
            string = np.array([0, 0.35 * side]) if bunched else np.array([rng.normal(0, radius), 3.5 * radius])
            if _add_balloon(canvas, rng, centre, radius, (bunch if bunched else centre) + string):
                break


def _add_balloon(canvas: _Canvas, rng: Generator, centre: np.ndarray, radius: float, end: np.ndarray) -> bool:
    """Paint a balloon whose string runs to `end`; False where it does not fit."""
    tall, taper = rng.uniform(1.08, 1.35), rng.uniform(0.08, 0.28)
    lean = np.arctan2(centre[0] - end[0], end[1] - centre[1])  # the knot points down the string
    thing = _Thing(_balloon_outline(tall, taper), centre, radius, 0.8 * lean + rng.normal(0, 0.15))
    if not canvas.add(thing, _latex(rng, tall, taper), rng, balloon=True):
        return False
    _draw_string(canvas, thing.placed(np.array([[0.0, tall * 1.1]]))[0], end, rng)
    return True


def _balloon_outline(tall: float, taper: float) -> np.ndarray:
    """Unit outline (V, 2): an egg, narrower below, with the flared knot under it."""
    angle = np.linspace(np.pi + 0.08, 3 * np.pi - 0.08, 72)  # around the top, open where the knot is
    egg = np.stack((np.sin(angle) * (1 + taper * np.cos(angle)), -tall * np.cos(angle)), axis=1)
    knot = np.array([[0.06, 1.03], [0.13, 1.13], [-0.13, 1.13], [-0.06, 1.03]]) * (1, tall)
    return np.concatenate((egg, knot))


def _circle(start: float = 0.0, end: float = 2 * np.pi) -> np.ndarray:
    angle = np.linspace(start, end, 48)
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def _leaf_outline() -> np.ndarray:
    along = np.linspace(-1, 1, 20)
    half = 0.38 * (1 - along**2) * (1 + 0.3 * along)
    return np.concatenate((np.stack((half, along), axis=1), np.stack((-half, along), axis=1)[::-1]))


_RECTANGLE = np.array([[-1.0, -0.5], [1.0, -0.5], [1.0, 0.5], [-1.0, 0.5]])
_SHAPES = {  # unit outlines of the look-alikes
    "disc": _circle(), "lamp": _circle(), "ball": _circle(), "dome": _circle(np.pi, 2 * np.pi),
    "brick": _RECTANGLE, "leaf": _leaf_outline(),
}  # fmt: skip


def _add_thing(canvas: _Canvas, rng: Generator, level: Level) -> None:
    """Paint one look-alike over what is there, unless it would hide a balloon too far."""
    height, width = canvas.owners.shape
    name = str(rng.choice(level.things))
    radius = rng.uniform(0.7, 1.0) * rng.uniform(*level.radius) * min(height, width)
    outline = _SHAPES[name] * (1, rng.uniform(0.6, 1.6) if name == "brick" else 1)
    upright = name in ("dome", "brick")  # these stand on something, so they are low in the picture
    centre = rng.uniform((0, 0.5 if upright else 0), 1) * (width, height)
    thing = _Thing(outline, centre, radius, rng.normal(0, 0.1) if upright else rng.uniform(-np.pi, np.pi))
    canvas.add(thing, _PAINTERS[name], rng, balloon=False)


def _colour(rng: Generator) -> np.ndarray:
    """A colour (3,) that balloons and their look-alikes share: mostly bright, some pale or dark."""
    pale = rng.random() < 0.2
    hue = rng.choice((0, 25, 52, 100, 175, 215, 280, 325)) + rng.uniform(-15, 15)
    saturation = rng.uniform(0.03, 0.35) if pale else rng.uniform(0.65, 1.0)
    return _rgb(hue, saturation, rng.uniform(0.85, 1.0) if pale else rng.uniform(0.6, 1.0))


def _rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Hue in degrees, saturation and value 0 .. 1 to RGB (3,) 0 .. 1."""
    return cv2.cvtColor(np.array([[[hue % 360, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def _rgba(colour: np.ndarray, opacity: np.ndarray | float = 1.0) -> np.ndarray:
    """Colour (h, w, 3) and opacity (h, w) as one (h, w, 4)."""
    return np.dstack((np.clip(colour, 0, 1), np.broadcast_to(opacity, colour.shape[:2]))).astype(np.float32)


def _bump(u: np.ndarray, v: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian spot at u = v = 0, 1 at its top."""
    return np.exp(-(u * u + v * v) / (2 * sigma * sigma))


def _latex(rng: Generator, tall: float, taper: float) -> _Painter:
    """The painter of one balloon's skin: light that falls on it, shines through it and is mirrored in it."""
    colour, clarity, gloss = _colour(rng), rng.uniform(0.0, 0.15), rng.uniform(0.4, 0.95)

    def paint(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
        down = v / tall
        across = u / (1 - taper * np.clip(down, -1, 1))
        depth = np.sqrt(np.clip(1 - across**2 - down**2, 0, 1))  # 0 at the rim .. 1 in the middle
        facing = across * light[0] + down * light[1] + depth * light[2]
        shade = 0.48 + 0.55 * np.clip(facing, 0, 1) + 0.2 * np.clip(-facing, 0, 1) - 0.22 * (1 - depth) ** 3
        shade = np.where(down > 1, 0.5, shade)  # the knot is thick, so dark
        spot = _bump(across - 0.62 * light[0], down - 0.62 * light[1], 0.09)
        glow = _bump(across - 0.5 * light[0], down - 0.5 * light[1], 0.3)
        mirrored = gloss * (spot + 0.25 * glow)[..., None]
        skin = colour * shade[..., None]
        return _rgba(skin + (1 - skin) * np.clip(mirrored, 0, 1), 1 - clarity * depth)

    return paint


def _paint_disc(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A flat sign or plate with a ring."""
    inner = (u**2 + v**2 < rng.uniform(0.3, 0.8))[..., None]
    return _rgba(np.where(inner, _colour(rng), _colour(rng)) * (0.85 + 0.1 * u * light[0])[..., None])


def _paint_lamp(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A light out of focus: bright and without an edge."""
    distance = u**2 + v**2
    warm = _rgb(rng.uniform(20, 60), rng.uniform(0.1, 0.6), 1.0)
    core = np.exp(-distance / 0.05)[..., None]
    return _rgba(warm + (1 - warm) * core, np.clip(1 - distance, 0, 1) ** rng.uniform(0.6, 2.0))


def _paint_brick(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A box or a brick with one bright and one dark side."""
    colour = _rgb(rng.uniform(0, 40), rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.8))
    grain = 0.05 * _texture(rng, (u.shape[0], u.shape[1]), 24)
    return _rgba(colour * (0.9 + grain - 0.15 * np.sign(light[0]) * (u > 0.7))[..., None])


def _paint_leaf(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A leaf with its midrib and veins."""
    colour = _rgb(rng.uniform(70, 140), rng.uniform(0.4, 0.8), rng.uniform(0.25, 0.7))
    veins = 0.3 * (np.abs(u) < 0.03) + 0.08 * np.sin(24 * (v + np.abs(u)))
    return _rgba(colour * (0.85 + veins + 0.4 * u * light[0])[..., None])


def _paint_ball(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A matt ball, or half of one, with stripes or a seam: shaded as a balloon, without gloss and knot."""
    depth = np.sqrt(np.clip(1 - u**2 - v**2, 0, 1))
    facing = np.clip(u * light[0] + v * light[1] + depth * light[2], 0, 1)
    stripes = (np.sin(rng.uniform(2, 5) * np.arctan2(u, depth + 0.2)) > rng.uniform(0, 0.9))[..., None]
    return _rgba(np.where(stripes, _colour(rng), _colour(rng)) * (0.3 + 0.7 * facing)[..., None])


_PAINTERS: dict[str, _Painter] = {
    "disc": _paint_disc, "lamp": _paint_lamp, "brick": _paint_brick, "leaf": _paint_leaf,
    "ball": _paint_ball, "dome": _paint_ball,
}  # fmt: skip


def _draw_string(canvas: _Canvas, start: np.ndarray, end: np.ndarray, rng: Generator) -> None:
    """A thin translucent curve from a knot to the string's end."""
    sag = (start + end) / 2 + rng.normal(0, 0.12, 2) * np.linalg.norm(end - start)
    share = np.linspace(0, 1, 24)[:, None]
    curve = (1 - share) ** 2 * start + 2 * share * (1 - share) * sag + share**2 * end
    window, coverage = _rasterise(curve, canvas.owners.shape, filled=False)
    canvas.blend(window, _rgb(0, 0, rng.uniform(0.1, 0.95)), coverage * np.float32(rng.uniform(0.4, 0.8)))


def _texture(rng: Generator, size: tuple[int, int], cells: int, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise (H, W), sigma about 1, with `cells` bumps across the shorter side."""
    pitch = min(size) / cells
    grid = rng.standard_normal((int(size[0] / pitch) + 2, int(size[1] / pitch * stretch) + 2), np.float32)
    return cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def _backdrop(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """What lies behind a scene, (H, W, 3) float32: meadow under a sky, a wall, or a party at night."""
    paint = (_meadow, _wall, _night)[rng.choice(3, p=(0.45, 0.35, 0.2))]
    picture = paint(rng, size)
    return np.clip(picture * (1 + 0.06 * _texture(rng, size, 3))[..., None], 0, 1).astype(np.float32)


def _rows(size: tuple[int, int]) -> np.ndarray:
    """How far down each pixel lies, (H, W) 0 .. 1."""
    return np.broadcast_to(np.linspace(0, 1, size[0], dtype=np.float32)[:, None], size)


def _fade(first: np.ndarray, last: np.ndarray, share: np.ndarray) -> np.ndarray:
    """From one colour (3,) or picture to another by a share 0 .. 1 that broadcasts to (H, W)."""
    share = np.clip(share, 0, 1)[..., None]
    return first * (1 - share) + last * share


def _meadow(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Sky with clouds, a line of trees, and grass, sand or paving."""
    rows = _rows(size)
    sky = _fade(_rgb(rng.uniform(195, 225), rng.uniform(0.3, 0.75), rng.uniform(0.6, 0.95)),
                _rgb(rng.uniform(20, 210), rng.uniform(0.0, 0.25), 0.95), rows * 1.3)  # fmt: skip
    clouds = 0.6 * _texture(rng, size, 3, 0.5) + 0.3 * _texture(rng, size, 8, 0.6) + 0.12 * _texture(rng, size, 24)
    picture = _fade(sky, np.ones(3, np.float32), 0.7 * np.clip(clouds - rng.uniform(-0.2, 0.8), 0, 1))
    horizon = rng.uniform(0.55, 1.05)
    leaves = 0.6 * _texture(rng, size, 12) + 0.5 * _texture(rng, size, 50)
    ridge = horizon - rng.uniform(0.02, 0.2) + 0.04 * _texture(rng, size, 5)[:1] + 0.01 * leaves
    trees = _rgb(rng.uniform(80, 150), rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.4))
    picture = np.where((rows > ridge)[..., None], trees * (1 + 0.25 * leaves)[..., None], picture)
    ground = _rgb(rng.uniform(30, 110), rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.7))
    grass = 0.08 * _texture(rng, size, 60, 2.0) + 0.1 * _texture(rng, size, 10, 0.4) + 0.4 * (rows - horizon)
    return np.where((rows > horizon)[..., None], ground * (1 + grass)[..., None], picture)


def _wall(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A wall, plain or of bricks, lit from one side, above a floor."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32) / min(size)  # (H, W)
    colour = _rgb(
        rng.choice((15, 40, 60, 210)) + rng.uniform(-15, 15), rng.uniform(0.03, 0.45), rng.uniform(0.35, 0.9)
    )
    shade = 1 + rng.uniform(-0.4, 0.4) * (columns - 0.5) + 0.06 * _texture(rng, size, 6)
    if rng.random() < 0.5:
        courses = rng.uniform(8, 20)
        shade = shade * _bricks(rng, rows * courses, columns * courses / 2)
    floor = _rgb(rng.uniform(15, 45), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.65))
    planks = 1 + 0.08 * _texture(rng, size, 40, 0.1) + 0.05 * _texture(rng, size, 8)
    edge = rows < rng.uniform(0.65, 1.2)
    return np.where(edge[..., None], colour * shade[..., None], floor * planks[..., None])


def _bricks(rng: Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Brightness (H, W) of a brick wall, `rows` counted in courses and `columns` in bricks."""
    columns = columns + 0.5 * (np.floor(rows) % 2)
    tones = rng.uniform(0.8, 1.1, (64, 64)).astype(np.float32)
    tone = tones[np.floor(rows).astype(int) % 64, np.floor(columns).astype(int) % 64]
    mortar = (rows % 1 < 0.12) | (columns % 1 < 0.06)
    return np.where(mortar, np.float32(1.2), tone)


def _night(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A dark room or street with lights out of focus."""
    rows = _rows(size)
    dark = [_rgb(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.35)) for _ in range(2)]
    picture = np.ascontiguousarray(_fade(dark[0], dark[1], rows + 0.2 * _texture(rng, size, 3)), np.float32)
    lights = np.zeros_like(picture)
    for _ in range(rng.integers(6, 20)):
        centre = (int(rng.uniform(0, size[1])), int(rng.uniform(0, 0.8 * size[0])))
        colour = _rgb(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)).tolist()
        cv2.circle(lights, centre, int(rng.uniform(0.01, 0.05) * min(size)), colour, -1)
    return picture + cv2.GaussianBlur(lights, (0, 0), 0.008 * min(size))


def _photograph(canvas: np.ndarray, rng: Generator, level: Level) -> np.ndarray:
    """The finished (H, W, 3) uint8 image of a canvas: halved, darker corners, contrast, blur, noise."""
    image = cv2.resize(canvas, None, fx=1 / _FINE, fy=1 / _FINE, interpolation=cv2.INTER_AREA)
    height, width = image.shape[:2]
    rows, columns = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    corners = (1 - rng.uniform(0, 0.15) * (rows**2 + columns**2)).astype(np.float32)
    image = image * corners[..., None]
    mean = image.mean()
    image = mean + rng.uniform(*level.contrast) * (image - mean)
    sigma = rng.uniform(*level.blur)
    if sigma > 0.2:
        image = cv2.GaussianBlur(image, (0, 0), sigma)
    image = image + rng.uniform(*level.noise) * rng.standard_normal(image.shape, np.float32)
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)
