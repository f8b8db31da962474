"""What lies behind a generated scene: meadows, walls and nights, from gradients and smooth noise.

Dimension legend: H, W image.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Hue in degrees, saturation and value 0 .. 1 to RGB (3,) 0 .. 1."""
    return cv2.cvtColor(np.array([[[hue % 360, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def texture(rng: Generator, size: tuple[int, int], cells: int, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise (H, W), sigma about 1, with `cells` bumps across the shorter side."""
    pitch = min(size) / cells
    grid = rng.standard_normal((int(size[0] / pitch) + 2, int(size[1] / pitch * stretch) + 2), np.float32)
    return cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def backdrop(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """What lies behind a scene, (H, W, 3) float32: meadow under a sky, a wall, or a party at night."""
    paint = (_meadow, _wall, _night)[rng.choice(3, p=(0.45, 0.35, 0.2))]
    picture = paint(rng, size)
    return np.clip(picture * (1 + 0.06 * texture(rng, size, 3))[..., None], 0, 1).astype(np.float32)


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
    sky = _fade(rgb(rng.uniform(195, 225), rng.uniform(0.3, 0.75), rng.uniform(0.6, 0.95)),
                rgb(rng.uniform(20, 210), rng.uniform(0.0, 0.25), 0.95), rows * 1.3)  # fmt: skip
    clouds = 0.6 * texture(rng, size, 3, 0.5) + 0.3 * texture(rng, size, 8, 0.6) + 0.12 * texture(rng, size, 24)
    picture = _fade(sky, np.ones(3, np.float32), 0.7 * np.clip(clouds - rng.uniform(-0.2, 0.8), 0, 1))
    horizon = rng.uniform(0.55, 1.05)
    leaves = 0.6 * texture(rng, size, 12) + 0.5 * texture(rng, size, 50)
    ridge = horizon - rng.uniform(0.02, 0.2) + 0.04 * texture(rng, size, 5)[:1] + 0.01 * leaves
    trees = rgb(rng.uniform(80, 150), rng.uniform(0.2, 0.6), rng.uniform(0.15, 0.4))
    picture = np.where((rows > ridge)[..., None], trees * (1 + 0.25 * leaves)[..., None], picture)
    ground = rgb(rng.uniform(30, 110), rng.uniform(0.15, 0.6), rng.uniform(0.35, 0.7))
    grass = 0.08 * texture(rng, size, 60, 2.0) + 0.1 * texture(rng, size, 10, 0.4) + 0.4 * (rows - horizon)
    return np.where((rows > horizon)[..., None], ground * (1 + grass)[..., None], picture)


def _wall(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A wall, plain or of bricks, lit from one side, above a floor."""
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32) / min(size)  # (H, W)
    colour = rgb(
        rng.choice((15, 40, 60, 210)) + rng.uniform(-15, 15), rng.uniform(0.03, 0.45), rng.uniform(0.35, 0.9)
    )
    shade = 1 + rng.uniform(-0.4, 0.4) * (columns - 0.5) + 0.06 * texture(rng, size, 6)
    if rng.random() < 0.5:
        courses = rng.uniform(8, 20)
        shade = shade * _bricks(rng, rows * courses, columns * courses / 2)
    floor = rgb(rng.uniform(15, 45), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.65))
    planks = 1 + 0.08 * texture(rng, size, 40, 0.1) + 0.05 * texture(rng, size, 8)
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
    dark = [rgb(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.35)) for _ in range(2)]
    picture = np.ascontiguousarray(_fade(dark[0], dark[1], rows + 0.2 * texture(rng, size, 3)), np.float32)
    lights = np.zeros_like(picture)
    for _ in range(rng.integers(6, 20)):
        centre = (int(rng.uniform(0, size[1])), int(rng.uniform(0, 0.8 * size[0])))
        colour = rgb(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)).tolist()
        cv2.circle(lights, centre, int(rng.uniform(0.01, 0.05) * min(size)), colour, -1)
    return picture + cv2.GaussianBlur(lights, (0, 0), 0.008 * min(size))
