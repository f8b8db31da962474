"""The header of a TIFF: its size, its pages, which values are not read, and bands as the colors that they are.

Reference: TIFF 6.0; BigTIFF has the same fields, with offsets of 8 bytes.
"""

import struct

_ORDERS = {b"II*\0": ("<", "I"), b"MM\0*": (">", "I"), b"II+\0": ("<", "Q"), b"MM\0+": (">", "Q")}  # as in struct
_WIDTH, _LENGTH, _BITS, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _PLANAR = 256, 257, 258, 262, 274, 277, 284  # tags
_EXTRA, _FORMAT = 338, 339  # tags
_TILE_WIDTH, _COMPRESSION = 322, 259  # tags
_GRAY, _RGB, _SEPARATE = 1, 2, 2
_CODES = {3: "H", 4: "I", 16: "Q"}  # of numbers of 16, 32 and 64 bits
_FORMATS = {2: "signed integers", 3: "floating-point numbers", 5: "complex integers", 6: "complex numbers"}
_MOST_BANDS = 4  # that OpenCV decodes
_COMPRESSIONS = {
    34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL",
}  # fmt: skip


def stored_size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and orientation, 1 .. 8, in a file's bytes, of the kinds that Pillow does not know, too.

    None if they are not a TIFF. Raises KeyError or struct.error for a damaged one.
    """
    if data[:4] not in _ORDERS:
        return None
    header = TiffHeader(data)
    if not header.width * header.height:
        raise KeyError("no size")
    return header.width, header.height, header.orientation if header.orientation in range(1, 9) else 1


def why_undecodable(data: bytes) -> str:
    """What the decoder may lack for a file's bytes, if they are a TIFF, and the remedy; "" if nothing is known."""
    if (header := read_tiff(data)) is None:
        return ""
    if name := _COMPRESSIONS.get(header.compression):
        return f"expected a TIFF without compression, or with LZW or Deflate, found {name}; save it so"
    bits = header.bits or 1
    return "" if bits in (1, 8, 16) else f"expected 8 or 16 bits per value, found {bits}; save it with 16"


def is_planar_16_bits(data: bytes) -> bool:
    """Whether a file's bytes are a TIFF of 16-bit values, band after band: OpenCV reads only their high 8 bits."""
    header = read_tiff(data)
    return header is not None and header.bits == 16 and header.is_planar


def why_unsupported(data: bytes, *, keep_16_bits: bool) -> str:
    """What of a file's bytes, if they are a TIFF, is not read rightly, and the remedy; "" if all is."""
    if (header := read_tiff(data)) is None:  # a damaged one is reported by the decoder
        return ""
    bits, bands, planar = header.bits or 1, header.bands, header.is_planar
    if header.format in _FORMATS or bits > 16:
        return (
            f"expected 8 or 16 bits per value, found {bits}-bit {_FORMATS.get(header.format, 'integers')}; scale the "
            "values to 0 .. 65535, those of all images alike, and save them as unsigned 16-bit PNG or TIFF"
        )
    if bands > _MOST_BANDS:
        return (
            f"expected at most {_MOST_BANDS} bands, found {bands}; save three of them (GDAL: gdal_translate -b 1 "
            "-b 2 -b 3)"
        )
    # OpenCV tears tiles, multiplies by transparency, drops bits
    if bands == 2 and (header.is_tiled or planar or bits == 16):
        return f"expected 1, 3 or 4 bands, found 2 of {bits} bits; save one of them (GDAL: gdal_translate -b 1)"
    if keep_16_bits and bits == 16 and planar:  # OpenCV mixes them up
        return (
            "expected the bands of each pixel side by side, as a range of 16-bit values needs them, found band after "
            "band; save it so (GDAL: gdal_translate -co INTERLEAVE=PIXEL)"
        )
    return ""


def bands_as_colors(data: bytes) -> bytes:
    """The bytes of a file; if it is a TIFF of three or more bands, of one whose first three are RGB.

    A fourth one that is transparency is none any more: OpenCV would darken the others by it.
    """
    header = read_tiff(data)
    is_rgb = header is not None and header.photometric in (_GRAY, _RGB) and header.bands >= 3
    return header.tagged_rgb() if header is not None and is_rgb else data


def read_tiff(data: bytes) -> "TiffHeader | None":
    """The header in a file's bytes; None if they are no TIFF, or a damaged one."""
    try:
        return TiffHeader(data)
    except (KeyError, struct.error):
        return None


class TiffHeader:
    """The fields of the first picture of a TIFF."""

    def __init__(self, data: bytes) -> None:
        """Find them. Raises KeyError for the bytes of another file, struct.error if the end is missing."""
        self._data = data
        # Of bytes; struct's code of a count, or of an offset in the file.
        self._order, self._number = _ORDERS[data[:4]]
        self._wide = struct.calcsize(self._number)
        offset = self._read(self._number, 8 if self._wide == 8 else 4)
        count_code = "Q" if self._wide == 8 else "H"
        begin, size = offset + struct.calcsize(count_code), 4 + 2 * self._wide
        fields = range(begin, begin + min(self._read(count_code, offset), 4096) * size, size)
        self._fields = {self._read("H", field): field for field in reversed(fields)}  # as libtiff, the first of a tag
        self.next_page = self._read(self._number, begin + len(fields) * size)  # its place in the file; 0: none
        self.width, self.height = self._first(_WIDTH, 0), self._first(_LENGTH, 0)
        self.orientation = self._first(_ORIENTATION, 1)
        self.bits = self._first(_BITS, 0)  # per value; 0: not said
        self.bands = self._first(_SAMPLES, 1)
        self.format = self._first(_FORMAT, 1)
        self.photometric, self.compression = self._first(_PHOTOMETRIC, 0), self._first(_COMPRESSION, 1)
        self.is_planar = self.bands > 1 and self._first(_PLANAR, 1) == _SEPARATE  # band after band
        self.is_tiled = self._first(_TILE_WIDTH, 0) > 0

    def _read(self, code: str, offset: int) -> int:
        (value,) = struct.unpack_from(self._order + code, self._data, offset)
        return int(value)

    def _first(self, tag: int, default: int) -> int:
        """The first value of a field of whole numbers."""
        field = self._fields.get(tag)
        if field is None or (code := _CODES.get(self._read("H", field + 2))) is None:
            return default
        offset = field + 4 + self._wide
        if struct.calcsize(code) * self._read(self._number, field + 4) > self._wide:
            offset = self._read(self._number, offset)
        return self._read(code, offset)

    def tagged_rgb(self) -> bytes:
        """The file with its first three bands as RGB, and one or no band more."""
        data = bytearray(self._data)
        struct.pack_into(f"{self._order}H", data, self._fields[_PHOTOMETRIC] + 4 + self._wide, _RGB)
        if (extra := self._fields.get(_EXTRA)) is not None:
            more = self.bands - 3
            struct.pack_into(f"{self._order}2{self._number}", data, extra + 4, more, 0)
        return bytes(data)
