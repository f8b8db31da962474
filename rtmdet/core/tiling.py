"""How large pictures are cut into overlapping windows, for training and for detection.

Dimension legend: H, W of a picture.
"""

from dataclasses import dataclass

from rtmdet.core.errors import InputError

OVERLAP = 0.2  # of neighboring windows, a share of their side
LEAST_SIDE = 32  # pixels

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in pixels of the picture


@dataclass(frozen=True, slots=True)
class Tiling:
    """How a picture is cut: square windows of a side in pixels, that overlap by a share of it."""

    side: int
    overlap: float = OVERLAP

    def __post_init__(self) -> None:
        if self.side < LEAST_SIDE:
            raise InputError(f"tiles of {self.side} pixels: expected at least {LEAST_SIDE}")
        if not 0 <= self.overlap < 1:
            raise InputError(f"tiles that overlap by {self.overlap}: expected 0 or more, less than 1")

    def __str__(self) -> str:
        return (
            f"windows of {self.side} x {self.side} pixels that overlap by {self.overlap:.0%} in larger pictures, and "
            "the whole picture"
        )

    def windows(self, size: tuple[int, int]) -> list[Window]:
        """The windows over a picture of (H, W), row by row, the last ones at its border; empty if one is enough."""
        height, width = size
        if max(size) <= self.side:
            return []
        rows, columns = self._starts(height), self._starts(width)
        return [(x, y, min(x + self.side, width), min(y + self.side, height)) for y in rows for x in columns]

    def views(self, size: tuple[int, int]) -> list[Window]:
        """All that is looked at in a picture of (H, W): the whole of it, then the windows."""
        return [(0, 0, size[1], size[0]), *self.windows(size)]

    def _starts(self, length: int) -> list[int]:
        last = max(length - self.side, 0)
        step = max(int(self.side * (1 - self.overlap)), 1)
        return [*range(0, last, step), last]
