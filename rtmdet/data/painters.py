"""Paints the parts of synthetic scenes: balloons, objects that look like them, and backgrounds.

Unit frame (u, v): the radius of a thing is 1, v points down to a balloon's knot. Painters return RGBA 0 .. 1.
Dimension legend: H, W image; V vertices of an outline; h, w patch of the canvas.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

Painter = Callable[[Generator, np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # rng, u, v, light -> RGBA


def balloon_outline(tall: float, taper: float) -> np.ndarray:
    """Unit outline (V, 2): an egg, narrower at the bottom, with a flared knot below."""
    angle = np.linspace(np.pi + 0.08, 3 * np.pi - 0.08, 72)  # around the top, open where the knot is
    egg = np.stack((np.sin(angle) * (1 + taper * np.cos(angle)), -tall * np.cos(angle)), axis=1)
    knot = np.array([[0.06, 1.03], [0.13, 1.13], [-0.13, 1.13], [-0.06, 1.03]]) * (1, tall)
    return np.concatenate((egg, knot))


def _color(rng: Generator) -> np.ndarray:
    """A random color (3,) of balloons and look-alikes: mostly bright, some pale or dark."""
    pale = rng.random() < 0.2
    hue = rng.choice((0, 25, 52, 100, 175, 215, 280, 325)) + rng.uniform(-15, 15)
    saturation = rng.uniform(0.03, 0.35) if pale else rng.uniform(0.65, 1.0)
    return rgb(hue, saturation, rng.uniform(0.85, 1.0) if pale else rng.uniform(0.6, 1.0))


def _rgba(color: np.ndarray, opacity: np.ndarray | float = 1.0) -> np.ndarray:
    """Color (h, w, 3) and opacity (h, w) -> RGBA (h, w, 4)."""
    return np.dstack((np.clip(color, 0, 1), np.broadcast_to(opacity, color.shape[:2]))).astype(np.float32)


def _bump(u: np.ndarray, v: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian spot at u = v = 0, 1 at its top."""
    return np.exp(-(u * u + v * v) / (2 * sigma * sigma))


def latex(rng: Generator, tall: float, taper: float) -> Painter:
    """The painter of one balloon's skin: diffuse light, light shining through, and reflections."""
    color, clarity, gloss = _color(rng), rng.uniform(0.0, 0.15), rng.uniform(0.4, 0.95)

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
        skin = color * shade[..., None]
        return _rgba(skin + (1 - skin) * np.clip(mirrored, 0, 1), 1 - clarity * depth)

    return paint


def _paint_disc(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A flat sign or plate with a ring."""
    inner = (u**2 + v**2 < rng.uniform(0.3, 0.8))[..., None]
    return _rgba(np.where(inner, _color(rng), _color(rng)) * (0.85 + 0.1 * u * light[0])[..., None])


def _paint_lamp(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A blurred light: bright, without an edge."""
    distance = u**2 + v**2
    warm = rgb(rng.uniform(20, 60), rng.uniform(0.1, 0.6), 1.0)
    core = np.exp(-distance / 0.05)[..., None]
    return _rgba(warm + (1 - warm) * core, np.clip(1 - distance, 0, 1) ** rng.uniform(0.6, 2.0))


def _paint_brick(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A box or brick with one bright and one dark side."""
    color = rgb(rng.uniform(0, 40), rng.uniform(0.2, 0.7), rng.uniform(0.3, 0.8))
    grain = 0.05 * texture(rng, (u.shape[0], u.shape[1]), 24)
    return _rgba(color * (0.9 + grain - 0.15 * np.sign(light[0]) * (u > 0.7))[..., None])


def _paint_leaf(rng: Generator, u: np.ndarray, v: np.ndarray, light: np.ndarray) -> np.ndarray:
    """A leaf with its midrib and veins."""
    color = rgb(rng.uniform(70, 140), rng.uniform(0.4, 0.8), rng.uniform(0.25, 0.7))
    veins = 0.3 * (np.abs(u) < 0.03) + 0.08 * np.sin(24 * (v + np.abs(u)))
    return _rgba(color * (0.85 + veins + 0.4 * u * light[0])[..., None])


_ANGLE, _ALONG = np.linspace(0, 2 * np.pi, 48), np.linspace(-1, 1, 20)
_CIRCLE = np.stack((np.cos(_ANGLE), np.sin(_ANGLE)), axis=1)
_BRICK = np.array([[-1.0, -0.5], [1.0, -0.5], [1.0, 0.5], [-1.0, 0.5]])
_LEAF = np.stack((0.38 * (1 - _ALONG**2) * (1 + 0.3 * _ALONG), _ALONG), axis=1)  # one side of its midrib
LOOK_ALIKES: dict[str, tuple[np.ndarray, Painter]] = {  # unit outlines (V, 2), and their painters
    "disc": (_CIRCLE, _paint_disc),
    "brick": (_BRICK, _paint_brick),
    "lamp": (_CIRCLE, _paint_lamp),
    "leaf": (np.concatenate((_LEAF, _LEAF[::-1] * (-1, 1))), _paint_leaf),
}


def rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    """Hue in degrees, saturation and value 0 .. 1 to RGB (3,) 0 .. 1."""
    return cv2.cvtColor(np.array([[[hue % 360, saturation, value]]], np.float32), cv2.COLOR_HSV2RGB)[0, 0]


def texture(rng: Generator, size: tuple[int, int], cells: int, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise (H, W), sigma about 1, with `cells` bumps across the shorter side."""
    pitch = min(size) / cells
    grid = rng.standard_normal((int(size[0] / pitch) + 2, int(size[1] / pitch * stretch) + 2), np.float32)
    return cv2.resize(grid, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)


def backdrop(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """The background of a scene, (H, W, 3) float32: a meadow under the sky, a wall, or a party at night."""
    paint = (_meadow, _wall, _night)[rng.choice(3, p=(0.45, 0.35, 0.2))]
    picture = paint(rng, size)
    return np.clip(picture * (1 + 0.06 * texture(rng, size, 3))[..., None], 0, 1).astype(np.float32)


def _fade(first: np.ndarray, last: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Blends two colors (3,) or pictures; `share` 0 .. 1 of the second broadcasts to (H, W)."""
    share = np.clip(share, 0, 1)[..., None]
    return first * (1 - share) + last * share


def _meadow(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """Sky with clouds, a line of trees, and grass, sand or paving."""
    rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]  # how far down
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
    color = rgb(rng.choice((15, 40, 60, 210)) + rng.uniform(-15, 15), rng.uniform(0.03, 0.45), rng.uniform(0.35, 0.9))
    shade = 1 + rng.uniform(-0.4, 0.4) * (columns - 0.5) + 0.06 * texture(rng, size, 6)
    if rng.random() < 0.5:
        courses = rng.uniform(8, 20)
        shade = shade * _bricks(rng, rows * courses, columns * courses / 2)
    floor = rgb(rng.uniform(15, 45), rng.uniform(0.1, 0.6), rng.uniform(0.25, 0.65))
    planks = 1 + 0.08 * texture(rng, size, 40, 0.1) + 0.05 * texture(rng, size, 8)
    edge = rows < rng.uniform(0.65, 1.2)
    return np.where(edge[..., None], color * shade[..., None], floor * planks[..., None])


def _bricks(rng: Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Brightness (H, W) of a brick wall, `rows` counted in courses and `columns` in bricks."""
    columns = columns + 0.5 * (np.floor(rows) % 2)
    tones = rng.uniform(0.8, 1.1, (64, 64)).astype(np.float32)
    tone = tones[np.floor(rows).astype(int) % 64, np.floor(columns).astype(int) % 64]
    mortar = (rows % 1 < 0.12) | (columns % 1 < 0.06)
    return np.where(mortar, np.float32(1.2), tone)


def _night(rng: Generator, size: tuple[int, int]) -> np.ndarray:
    """A dark room or street with blurred lights."""
    rows = np.linspace(0, 1, size[0], dtype=np.float32)[:, None]  # how far down
    dark = [rgb(rng.uniform(0, 360), rng.uniform(0.3, 0.8), rng.uniform(0.08, 0.35)) for _ in range(2)]
    picture = np.ascontiguousarray(_fade(dark[0], dark[1], rows + 0.2 * texture(rng, size, 3)), np.float32)
    lights = np.zeros_like(picture)
    for _ in range(rng.integers(6, 20)):
        center = (int(rng.uniform(0, size[1])), int(rng.uniform(0, 0.8 * size[0])))
        color = rgb(rng.uniform(0, 360), rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)).tolist()
        cv2.circle(lights, center, int(rng.uniform(0.01, 0.05) * min(size)), color, -1)
    return picture + cv2.GaussianBlur(lights, (0, 0), 0.008 * min(size))
