"""Photo-like balloon scenes with exact outlines: the data set that needs no download.

A scene is painted from back to front on a canvas of twice its size and halved at the end, which smooths the
edges. The canvas remembers which balloon each pixel shows, and refuses a shape that would hide a balloon too
far; so every balloon in a picture is annotated, and its outline is that of its visible part.

Frames: canvas pixels (x, y), two to an image pixel, in the painting; image pixels in what is handed out.
Dimension legend: H, W image; V vertices of an outline; N balloons.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator, SeedSequence, default_rng

from rtmdet.core.errors import InputError
from rtmdet.data.json_file import write_json
from rtmdet.data.synthetic.canvas import FINE, SMALLEST_BALLOON, Canvas, Thing, rasterise
from rtmdet.data.synthetic.scenery import backdrop, rgb
from rtmdet.data.synthetic.things import PAINTERS, SHAPES, balloon_outline, latex

SMALLEST_IMAGE = 64  # pixels; below it balloons are too small to show a knot
JPEG_QUALITY = 90
_TRIES = 12  # places tried for a balloon before the scene does without it


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
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error}); choose another folder") from error
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "balloon"}]}
    target = folder / "annotations.json"
    write_json(target, content)
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
    scenery = cv2.resize(backdrop(rng, size), None, fx=FINE, fy=FINE)  # soft, as if out of focus
    light = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, -0.4), 1.0])
    canvas = Canvas(scenery, level.visible, light / np.linalg.norm(light))
    for _ in range(rng.integers(*level.clutter, endpoint=True)):
        _add_thing(canvas, rng, level)
    if rng.random() >= level.empty:
        _add_balloons(canvas, rng, level)
    for _ in range(rng.integers(*level.occluders, endpoint=True)):
        _add_thing(canvas, rng, level)
    return Scene(_photograph(canvas.image, rng, level), tuple(canvas.polygons.values()), canvas.owners)


def _add_balloons(canvas: Canvas, rng: Generator, level: Level) -> None:
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
            radius = max(share * side, SMALLEST_BALLOON * FINE * 0.7)
            hung = bunch + rng.normal(0, 1.6 * radius, 2)
            centre = hung if bunched else rng.uniform(0.04, 0.96, 2) * (width, height)
            string = np.array([0, 0.35 * side]) if bunched else np.array([rng.normal(0, radius), 3.5 * radius])
            if _add_balloon(canvas, rng, centre, radius, (bunch if bunched else centre) + string):
                break


def _add_balloon(canvas: Canvas, rng: Generator, centre: np.ndarray, radius: float, end: np.ndarray) -> bool:
    """Paint a balloon whose string runs to `end`; False where it does not fit."""
    tall, taper = rng.uniform(1.08, 1.35), rng.uniform(0.08, 0.28)
    lean = np.arctan2(centre[0] - end[0], end[1] - centre[1])  # the knot points down the string
    thing = Thing(balloon_outline(tall, taper), centre, radius, 0.8 * lean + rng.normal(0, 0.15))
    if not canvas.add(thing, latex(rng, tall, taper), rng, balloon=True):
        return False
    _draw_string(canvas, thing.placed(np.array([[0.0, tall * 1.1]]))[0], end, rng)
    return True


def _add_thing(canvas: Canvas, rng: Generator, level: Level) -> None:
    """Paint one look-alike over what is there, unless it would hide a balloon too far."""
    height, width = canvas.owners.shape
    name = str(rng.choice(level.things))
    radius = rng.uniform(0.7, 1.0) * rng.uniform(*level.radius) * min(height, width)
    outline = SHAPES[name] * (1, rng.uniform(0.6, 1.6) if name == "brick" else 1)
    upright = name in ("dome", "brick")  # these stand on something, so they are low in the picture
    centre = rng.uniform((0, 0.5 if upright else 0), 1) * (width, height)
    thing = Thing(outline, centre, radius, rng.normal(0, 0.1) if upright else rng.uniform(-np.pi, np.pi))
    canvas.add(thing, PAINTERS[name], rng, balloon=False)


def _draw_string(canvas: Canvas, start: np.ndarray, end: np.ndarray, rng: Generator) -> None:
    """A thin translucent curve from a knot to the string's end."""
    sag = (start + end) / 2 + rng.normal(0, 0.12, 2) * np.linalg.norm(end - start)
    share = np.linspace(0, 1, 24)[:, None]
    curve = (1 - share) ** 2 * start + 2 * share * (1 - share) * sag + share**2 * end
    window, coverage = rasterise(curve, canvas.owners.shape, filled=False)
    canvas.blend(window, rgb(0, 0, rng.uniform(0.1, 0.95)), coverage * np.float32(rng.uniform(0.4, 0.8)))


def _photograph(canvas: np.ndarray, rng: Generator, level: Level) -> np.ndarray:
    """The finished (H, W, 3) uint8 image of a canvas: halved, darker corners, contrast, blur, noise."""
    image = cv2.resize(canvas, None, fx=1 / FINE, fy=1 / FINE, interpolation=cv2.INTER_AREA)
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
