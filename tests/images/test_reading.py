"""Reading image files: the right pixels for every kind of file, a one-line error for every broken one."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from rtmdet.core.errors import InputError
from rtmdet.images.depth import used_range
from rtmdet.images.reading import image_size, read_image

ORIENTATION = 0x0112


def photo(height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth colorful (H, W, 3) image."""
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def encoded(kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(photo()).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def written(folder: Path, data: bytes) -> Path:
    path = folder / "image"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("kind", "mode", "tolerance"),
    [("JPEG", "RGB", 1), ("JPEG", "L", 1), ("JPEG", "CMYK", 2), ("PNG", "RGB", 0), ("PNG", "L", 0),
     ("PNG", "P", 0), ("PNG", "RGBA", 0), ("PNG", "LA", 0), ("PNG", "1", 0), ("BMP", "RGB", 0),
     ("TIFF", "RGB", 0), ("WEBP", "RGB", 1), ("GIF", "P", 0), ("AVIF", "RGB", 2), ("JPEG2000", "RGB", 1),
     ("PPM", "RGB", 0)],
)  # fmt: skip
def test_pixels_are_those_of_pillow(tmp_path: Path, kind: str, mode: str, tolerance: int) -> None:
    path = written(tmp_path, encoded(kind, mode))
    image = read_image(path)
    expected = np.asarray(Image.open(path).convert("RGB")).astype(int)
    assert (image.dtype, image.shape) == (np.uint8, (48, 64, 3))
    assert np.abs(image - expected).max() <= tolerance
    assert image_size(path) == (48, 64)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_high_byte_of_16_bits_is_used(tmp_path: Path, channels: int) -> None:
    rgb = photo() if channels == 3 else np.repeat(photo()[..., :1], 3, axis=2)
    deep = rgb[..., ::-1].astype(np.uint16) * 256 + 200
    path = written(tmp_path, cv2.imencode(".png", deep if channels == 3 else deep[..., 0])[1].tobytes())
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_turns_pixels_and_size(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = written(tmp_path, encoded(kind, exif=exif))
    image = read_image(path)
    assert image.shape[:2] == image_size(path) == ((64, 48) if orientation >= 5 else (48, 64))
    turn = Image.Transpose
    turns = [None, turn.FLIP_LEFT_RIGHT, turn.ROTATE_180, turn.FLIP_TOP_BOTTOM, turn.TRANSPOSE, turn.ROTATE_270,
             turn.TRANSVERSE, turn.ROTATE_90]  # fmt: skip
    operation = turns[orientation - 1]
    upright = Image.fromarray(photo())
    expected = np.asarray(upright if operation is None else upright.transpose(operation)).astype(int)
    assert np.abs(image - expected).mean() < 5  # a wrong rotation differs by 40 and more


def test_the_orientation_behind_the_pixels_of_a_png_counts(tmp_path: Path) -> None:
    """PNG allows it there, and OpenCV finds it."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    plain, content = encoded("PNG"), exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = b"eXIf" + content
    chunk = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    end = plain.rindex(b"IEND") - 4
    path = written(tmp_path, plain[:end] + chunk + plain[end:])
    assert read_image(path).shape[:2] == image_size(path) == (64, 48)


def test_orientation_in_xmp_turns_neither_pixels_nor_size(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = written(tmp_path, encoded("JPEG", xmp=xmp))
    assert read_image(path).shape[:2] == image_size(path) == (48, 64)


def with_thumbnail(data: bytes, header: bytes = b"II*\0\x08\0\0\0\0\0\0\0\0\0") -> bytes:
    """The JPEG with another whole JPEG in its EXIF segment, as cameras write it."""
    payload = b"Exif\0\0" + header + encoded("JPEG")
    return data[:2] + b"\xff\xe1" + (len(payload) + 2).to_bytes(2, "big") + payload + data[2:]


@pytest.mark.parametrize(
    "data",
    [
        encoded("JPEG", progressive=True),
        with_thumbnail(encoded("JPEG")),
        with_thumbnail(encoded("JPEG"), b"damaged"),
        encoded("JPEG") + b"a phone's video \xff\xda with what looks like a scan",
        encoded("JPEG")[:2] + b"\xff\xff" + encoded("JPEG")[3:],  # a fill byte before a marker
        encoded("PNG") + b"trailing bytes",
    ],
    ids=["progressive", "thumbnail", "damaged EXIF", "video behind", "fill byte", "bytes behind PNG"],
)
def test_whole_files_are_read(tmp_path: Path, data: bytes) -> None:
    path = written(tmp_path, data)
    assert read_image(path).shape[:2] == image_size(path) == (48, 64)


def jpeg_cuts() -> list[bytes]:
    data = encoded("JPEG", quality=95)
    progressive = encoded("JPEG", quality=95, progressive=True)
    thumbed = with_thumbnail(data)
    behind_thumbnail = len(thumbed) - len(data) + 40  # the thumbnail's end marker is there, the photo's is not
    return [data[:-2], data[:-300], data[:100], progressive[:-300], thumbed[:-2], thumbed[:behind_thumbnail]]


@pytest.mark.parametrize("read", [read_image, image_size])
@pytest.mark.parametrize("data", [*jpeg_cuts(), *(encoded("PNG")[:-cut] for cut in (1, 12, 2000))])
def test_truncated_files_are_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str], read, data: bytes) -> None:
    path = written(tmp_path, data)
    with pytest.raises(InputError, match="truncated") as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def enormous() -> bytes:
    """A PNG whose header promises 10^10 pixels, more than OpenCV takes."""
    header = b"IHDR" + (100_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    small = encoded("PNG")
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


@pytest.mark.parametrize("read", [read_image, image_size])
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (enormous(), "expected an image"),
        (b"not an image at all", "expected an image"),
        (b"\xff\xd8\x00\x00noise", "expected an image"),
        (b"\x89PNG\r\n\x1a\n" + b"noise" * 9 + b"IEND\0\0\0\0", "expected an image"),
    ],
)
def test_files_that_are_not_images_are_errors(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], read, data: bytes, words: str
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(InputError, match=words) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("read", [read_image, image_size])
def test_missing_files_and_folders_are_errors(tmp_path: Path, read) -> None:
    with pytest.raises(InputError, match="no such image"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(InputError, match="expected a file, found a folder; name the image file in it"):
        read(tmp_path)


def test_opencv_prints_again_afterwards(tmp_path: Path) -> None:
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_WARNING)
    try:
        with pytest.raises(InputError):
            read_image(written(tmp_path, b"noise"))
        assert logging.getLogLevel() == logging.LOG_LEVEL_WARNING
    finally:
        logging.setLogLevel(before)


def test_an_image_beyond_the_limit_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, encoded("PNG"))  # 48 x 64 = 3072 pixels
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)  # Pillow warns from here on, and refuses twice as many
    assert read_image(path).shape[:2] == image_size(path) == (48, 64)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1500)
    for read in (read_image, image_size):
        with pytest.raises(InputError, match="at most 0 million pixels, found a larger one; cut it into tiles"):
            read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(path).shape == (48, 64, 3)


def test_what_only_opencv_knows_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else would tell its size: a small file may have billions of pixels."""
    path = tmp_path / "a.jpg"
    path.write_bytes(cv2.imencode(".hdr", photo().astype(np.float32) / 255)[1].tobytes())
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for read in (read_image, image_size):
        with pytest.raises(InputError, match=r"a\.jpg: expected an image, found a file that cannot be decoded"):
            read(path)


def test_reading_leaves_the_log_level_of_opencv_alone(tmp_path: Path) -> None:
    """The level belongs to the whole process: threads that set and restore it would race."""
    before = cv2.utils.logging.getLogLevel()
    for data in (encoded("PNG"), b"no image"):
        with suppress(InputError):
            read_image(written(tmp_path, data))
    assert cv2.utils.logging.getLogLevel() == before


def deep(low: int, high: int, *, channels: int = 3) -> np.ndarray:
    """A 16-bit picture (48, 64, channels) with values from `low` to `high`."""
    ramp = np.linspace(low, high, 48 * 64).round().astype(np.uint16).reshape(48, 64)
    return np.repeat(ramp[..., None], channels, 2) if channels > 1 else ramp


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_16_bit_range_is_scaled_to_8_bits(tmp_path: Path, suffix: str, channels: int) -> None:
    """For 12-bit cameras the high byte alone would make the brightest pixel 15 of 255."""
    path = tmp_path / f"thermal{suffix}"
    cv2.imwrite(str(path), deep(100, 4095, channels=channels))
    assert read_image(path).max() <= 16
    image = read_image(path, (100, 4095))
    assert (image.shape, image.dtype, image.min(), image.max()) == ((48, 64, 3), np.uint8, 0, 255)
    np.testing.assert_allclose(image[..., 0].reshape(-1), np.linspace(0, 255, 48 * 64), atol=0.6)
    clipped = read_image(path, (1000, 2000))
    assert ((clipped == 0).mean() > 0.2, (clipped == 255).mean() > 0.5) == (True, True)
    low, high = used_range(path.read_bytes()) or (0, 0)
    assert (low, high) == (pytest.approx(100, abs=8), pytest.approx(4095, abs=8))


def test_the_range_affects_only_16_bit_images(tmp_path: Path) -> None:
    path = written(tmp_path, encoded("PNG"))
    np.testing.assert_array_equal(read_image(path, (0, 100)), read_image(path))
    assert used_range(path.read_bytes()) is None
    assert used_range(b"no image") is None
    constant = cv2.imencode(".png", np.full((4, 4), 700, np.uint16))[1].tobytes()
    assert used_range(constant) == (700, 701)


@pytest.mark.parametrize("brand", [b"avif", b"mif1"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_avif_is_turned_as_well(tmp_path: Path, orientation: int, brand: bytes) -> None:
    pixels = np.zeros((32, 48, 3), np.uint8)
    pixels[:8, :12] = 255
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels).save(path := tmp_path / "a.avif", quality=100, exif=exif)
    data = path.read_bytes()
    path.write_bytes(data[:8] + brand + data[12:])  # the compatible brands after it still have avif
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert image_size(path) == expected.shape[:2]
    assert np.abs(read_image(path).astype(int) - expected).max() < 8


@pytest.mark.parametrize("name", ["a.HEIC", "a.jpg"])
@pytest.mark.parametrize("read", [read_image, image_size])
def test_heic_is_named(tmp_path: Path, read: Callable[[Path], object], name: str) -> None:
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400))
    with pytest.raises(InputError, match=rf"{name}: expected an image, found a HEIC photo, .*; convert it to JPEG$"):
        read(tmp_path / name)


def test_a_broken_avif_is_no_heic_photo(tmp_path: Path) -> None:
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif" + bytes(400))
    with pytest.raises(InputError, match="found a file that cannot be decoded"):
        read_image(tmp_path / "a.avif")


@pytest.mark.parametrize("how", ["OpenCV says it", "OpenCV says nothing", "Pillow"])
def test_too_little_memory_is_no_damaged_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Whoever followed the advice would delete good data."""
    path = written(tmp_path, encoded("PNG"))

    def fail(*_: object, **__: object) -> object:
        raise MemoryError if how == "Pillow" else cv2.error("(-4:Insufficient memory) Failed to allocate 9 bytes")

    if how == "Pillow":
        monkeypatch.setattr(Image, "open", fail)
    elif how == "OpenCV says it":
        monkeypatch.setattr(cv2, "imdecode", fail)
    else:
        monkeypatch.setattr(cv2, "imdecode", lambda *_: None)
        monkeypatch.setattr(np, "empty", lambda *_: np.zeros(1 << 60, np.uint8))
    with pytest.raises(MemoryError):
        read_image(path)
