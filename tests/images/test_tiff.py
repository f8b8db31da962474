"""TIFFs as cameras and maps have them: bands of gray are colors, values that are not read are named."""

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from rtmdet.core.errors import InputError
from rtmdet.data.doctor.decoding import decode_strictly
from rtmdet.images.depth import depth_remarks, used_range
from rtmdet.images.reading import image_size, read_image, read_image_bytes

PIXELS = cv2.resize(
    np.random.default_rng(0).integers(0, 256, (4, 5, 5), np.uint8), (40, 32), interpolation=cv2.INTER_NEAREST
)
GRAY, RGB = 1, 2
ORDERS = [("<", False), (">", False), ("<", True), (">", True)]  # of bytes, and whether it is a BigTIFF


def tiff(
    pixels: np.ndarray, photometric: int, *, order: str = "<", big: bool = False, extra: int | None = 0,
    planar: int = 1, tile: int = 0, pages: int = 1, compression: int = 1,
) -> bytes:  # fmt: skip
    """An uncompressed TIFF of (H, W, bands), in strips or in one tile; later pages are said to be, but not there."""
    height, width, bands = pixels.shape
    stored = pixels.astype(pixels.dtype.newbyteorder(order))
    if tile:
        stored = np.pad(stored, ((0, tile - height), (0, tile - width), (0, 0)))
    planes = [stored] if planar == 1 else [stored[..., band] for band in range(bands)]
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    number = "Q" if big else "I"
    size, wide = struct.calcsize(number), 4 + 2 * struct.calcsize(number)
    colors = 3 if photometric == RGB else 1
    place = begin = 16 if big else 8
    fields: dict[int, tuple[str, list[int]]] = {
        256: ("H", [width]), 257: ("H", [height]), 258: ("H", [8 * pixels.itemsize] * bands),
        259: ("H", [compression]),
        262: ("H", [photometric]), 273: ("I", [0] * len(planes)), 277: ("H", [bands]), 278: ("H", [height]),
        279: ("I", [plane.nbytes for plane in planes]), 284: ("H", [planar]),
        338: ("H", [extra or 0] * (bands - colors)), 339: ("H", [kind] * bands),
    }  # fmt: skip
    if extra is None or bands == colors:
        del fields[338]
    places = 324 if tile else 273
    if tile:
        del fields[273], fields[278], fields[279]
        fields = dict(sorted({**fields, 322: ("H", [tile]), 323: ("H", [tile]), 324: ("I", [0] * len(planes)),
                              325: ("I", [plane.nbytes for plane in planes])}.items()))  # fmt: skip
    after = begin + struct.calcsize("Q" if big else "H") + len(fields) * wide + size
    first = after + sum(
        len(values) * struct.calcsize(code)
        for code, values in fields.values()
        if len(values) * struct.calcsize(code) > size
    )
    fields[places] = ("I", [first + sum(plane.nbytes for plane in planes[:n]) for n in range(len(planes))])
    directory, more = struct.pack(order + ("Q" if big else "H"), len(fields)), b""
    for tag, (code, values) in fields.items():
        content = struct.pack(f"{order}{len(values)}{code}", *values)
        if len(content) > size:
            place, more = after + len(more), more + content
            content = struct.pack(order + number, place)
        directory += struct.pack(f"{order}HH{number}", tag, {"H": 3, "I": 4}[code], len(values))
        directory += content.ljust(size, b"\0")
    mark = {"<": b"II", ">": b"MM"}[order]
    head = struct.pack(f"{order}HHHQ", 43, 8, 0, 16) if big else struct.pack(f"{order}HI", 42, 8)
    end = struct.pack(order + number, 8 if pages > 1 else 0)
    return mark + head + directory + end + more + b"".join(plane.tobytes() for plane in planes)


@pytest.mark.parametrize(("order", "big"), ORDERS)
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("bands", [3, 4])
@pytest.mark.parametrize("extra", [None, 0, 2])  # unknown, no meaning, transparency
def test_three_bands_of_gray_are_colors(
    tmp_path: Path, order: str, big: bool, deep: bool, bands: int, extra: int | None
) -> None:
    """Band 1 would be shown as gray, without a word."""
    values = PIXELS.astype(np.uint16) * 257 if deep else PIXELS
    (tmp_path / "a.tif").write_bytes(tiff(values[..., :bands], GRAY, order=order, big=big, extra=extra))
    for value_range in (None, (0, 65535)):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", value_range), PIXELS[..., :3])
    assert image_size(tmp_path / "a.tif") == (32, 40)


@pytest.mark.parametrize("tile", [0, 32, 48])
@pytest.mark.parametrize("extra", [0, 2])  # no meaning, transparency
def test_the_fourth_band_of_colors_is_dropped(tmp_path: Path, tile: int, extra: int) -> None:
    """OpenCV would multiply the colors by a transparency."""
    pixels = PIXELS[:, :32, :4]
    for values in (pixels, pixels.astype(np.uint16) * 257):
        (tmp_path / "a.tif").write_bytes(tiff(values, RGB, extra=extra, tile=tile))
        for value_range in (None, (0, 65535)):
            np.testing.assert_array_equal(read_image(tmp_path / "a.tif", value_range), pixels[..., :3])


@pytest.mark.parametrize("tile", [0, 48, 64])
def test_16_bit_gray_in_tiles_is_read_without_a_range(tmp_path: Path, tile: int) -> None:
    """OpenCV's own reduction to 8 bits tears tiles that reach over the border."""
    (tmp_path / "a.tif").write_bytes(tiff(PIXELS[..., :1].astype(np.uint16) * 257, GRAY, tile=tile))
    for value_range in (None, (0, 65535)):
        np.testing.assert_array_equal(read_image(tmp_path / "a.tif", value_range), PIXELS[..., [0, 0, 0]])


def test_two_bands_stay_gray(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(PIXELS[..., :2], GRAY))
    np.testing.assert_array_equal(read_image(path), PIXELS[..., [0, 0, 0]])
    deep = PIXELS[..., :2].astype(np.uint16)
    for data in (tiff(deep, GRAY), tiff(PIXELS[..., :2], GRAY, tile=48), tiff(PIXELS[..., :2], GRAY, planar=2)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.tif: expected 1, 3 or 4 bands, found 2 of (8|16) bits; save one"):
            read_image(path)


@pytest.mark.parametrize(("order", "big"), ORDERS)
@pytest.mark.parametrize(
    ("kind", "bands", "words"),
    [
        ("i1", 1, "expected 8 or 16 bits per value, found 8-bit signed integers; scale the values"),
        ("i2", 1, "expected 8 or 16 bits per value, found 16-bit signed integers; scale the values"),
        ("i2", 3, "expected 8 or 16 bits per value, found 16-bit signed integers; scale the values"),
        ("u4", 1, "expected 8 or 16 bits per value, found 32-bit integers; scale the values"),
        ("f2", 1, "expected 8 or 16 bits per value, found 16-bit floating-point numbers; scale the values"),
        ("f4", 3, "expected 8 or 16 bits per value, found 32-bit floating-point numbers; scale the values"),
        ("u1", 5, "expected at most 4 bands, found 5; save three of them"),
    ],
)
def test_values_that_are_not_read_are_named(
    tmp_path: Path, kind: str, bands: int, words: str, order: str, big: bool
) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(PIXELS[..., :bands].astype(kind), GRAY if bands == 1 else RGB, order=order, big=big))
    for read in (read_image, image_size, lambda path: read_image(path, (0, 4000)), read_image_bytes):
        with pytest.raises(InputError, match=rf"a\.tif: {words}"):
            read(path)
    assert used_range(path.read_bytes()) is None


def test_bands_one_after_the_other_are_read_without_a_range(tmp_path: Path) -> None:
    """OpenCV mixes the 16-bit values up."""
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(PIXELS[..., :3].astype(np.uint16) * 257, RGB, planar=2))
    np.testing.assert_array_equal(read_image(path), PIXELS[..., :3])
    np.testing.assert_array_equal(decode_strictly(path, path.read_bytes()), PIXELS[..., :3])
    assert used_range(path.read_bytes()) == pytest.approx((0, 65535), abs=20 * 257)
    with pytest.raises(
        InputError, match=r"a\.tif: expected the bands of each pixel side by side, .*INTERLEAVE=PIXEL"
    ):
        read_image(path, (0, 65535))
    path.write_bytes(tiff(PIXELS[..., :4], GRAY, planar=2))
    np.testing.assert_array_equal(read_image(path, (0, 65535)), PIXELS[..., :3])


@pytest.mark.parametrize(("order", "big"), ORDERS)
def test_a_tiff_beyond_the_limit_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str, big: bool
) -> None:
    data = tiff(PIXELS[..., :3], RGB, order=order, big=big)
    width, compression = (struct.pack(f"{order}HHQH" if big else f"{order}HHIH", tag, 3, 1, value)
                          for tag, value in ((256, 40), (259, 1)))  # fmt: skip
    again = data.replace(compression, width[:-2] + struct.pack(f"{order}H", 1))  # libtiff skips this second width
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 600)  # 32 x 40 = 1280 pixels
    for content in (data, again):
        (tmp_path / "a.tif").write_bytes(content)
        for read in (read_image, image_size):
            with pytest.raises(InputError, match=r"a\.tif: expected an image of at most 0 million pixels"):
                read(tmp_path / "a.tif")
    (tmp_path / "a.tif").write_bytes(data.replace(width[:4], width[:2] + struct.pack(f"{order}H", 5)))
    with pytest.raises(InputError, match=r"a\.tif: expected an image, found a file that cannot be decoded"):
        read_image(tmp_path / "a.tif")  # its width is no whole number


def test_damaged_headers_are_left_to_the_decoder(tmp_path: Path) -> None:
    data = tiff(PIXELS[..., :3], GRAY)
    for length in range(4, len(data) - PIXELS[..., :3].nbytes, 3):
        (tmp_path / "a.tif").write_bytes(data[:length])
        with pytest.raises(InputError, match="found a file that cannot be decoded"):
            read_image(tmp_path / "a.tif")


def test_pages_are_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(PIXELS[..., :3], RGB))
    (tmp_path / "b.tif").write_bytes(tiff(PIXELS[..., :3], RGB, pages=2, big=True))
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    assert depth_remarks(paths, None) == [
        f"1 of 2 checked images, such as {paths[1]}, have more pages: only the first is read"
    ]


def test_a_compression_that_is_not_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(PIXELS[..., :1], GRAY, compression=50000))
    with pytest.raises(InputError, match=r"a\.tif: expected a TIFF without .* LZW or Deflate, found Zstandard; save"):
        read_image(tmp_path / "a.tif")


def test_other_depths_of_other_formats_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pfm").write_bytes(b"Pf\n40 32\n-1.0\n" + (PIXELS[..., 0] / 255).astype("<f4").tobytes())
    with pytest.raises(
        InputError, match=r"a\.pfm: expected 8 or 16 bits per value, found float32; save it as 16-bit"
    ):
        read_image(tmp_path / "a.pfm", (0, 4000))
