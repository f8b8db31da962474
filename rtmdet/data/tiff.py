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


def bits_per_value(data: bytes) -> int | None:
    """The bits of a value in a file's bytes, if they are a TIFF that says it."""
    try:
        return _Header(data).first(_BITS, 0) or None
    except (KeyError, struct.error):
        return None


def stored_size(data: bytes) -> tuple[int, int, int] | None:
    """Width, height and orientation, 1 .. 8, in a file's bytes, of the kinds that Pillow does not know, too.

    None if they are not a TIFF. Raises KeyError or struct.error for a damaged one.
    """
    if data[:4] not in _ORDERS:
        return None
    header = _Header(data)
    width, height, orientation = header.first(_WIDTH, 0), header.first(_LENGTH, 0), header.first(_ORIENTATION, 1)
    if not width * height:
        raise KeyError("no size")
    return width, height, orientation if orientation in range(1, 9) else 1


def has_more_pages(data: bytes) -> bool:
    """Whether a file's bytes are a TIFF of several pictures."""
    try:
        return _Header(data).next_page > 0
    except (KeyError, struct.error):
        return False


def why_undecodable(data: bytes) -> str:
    """What the decoder may lack for a file's bytes, if they are a TIFF, and the remedy; "" if nothing is known."""
    try:
        header = _Header(data)
        bits, compression = header.first(_BITS, 1), header.first(_COMPRESSION, 1)
    except (KeyError, struct.error):
        return ""
    if name := _COMPRESSIONS.get(compression):
        return f"expected a TIFF without compression, or with LZW or Deflate, found {name}; save it so"
    return "" if bits in (1, 8, 16) else f"expected 8 or 16 bits per value, found {bits}; save it with 16"


def is_planar_16_bits(data: bytes) -> bool:
    """Whether a file's bytes are a TIFF of 16-bit values, band after band: OpenCV reads only their high 8 bits."""
    try:
        header = _Header(data)
        return header.first(_BITS, 1) == 16 and header.is_planar
    except (KeyError, struct.error):
        return False


def why_unsupported(data: bytes, *, keep_16_bits: bool) -> str:
    """What of a file's bytes, if they are a TIFF, is not read rightly, and the remedy; "" if all is."""
    try:
        header = _Header(data)
        bits, bands, format = header.first(_BITS, 1), header.first(_SAMPLES, 1), header.first(_FORMAT, 1)
        planar, tiled = header.is_planar, header.first(_TILE_WIDTH, 0) > 0
    except (KeyError, struct.error):  # no TIFF, or a damaged one, which the decoder reports
        return ""
    if format in _FORMATS or bits > 16:
        return (
            f"expected 8 or 16 bits per value, found {bits}-bit {_FORMATS.get(format, 'integers')}; scale the values "
            "to 0 .. 65535, those of all images alike, and save them as unsigned 16-bit PNG or TIFF"
        )
    if bands > _MOST_BANDS:
        return (
            f"expected at most {_MOST_BANDS} bands, found {bands}; save three of them (GDAL: gdal_translate -b 1 "
            "-b 2 -b 3)"
        )
    if bands == 2 and (tiled or planar or bits == 16):  # OpenCV tears tiles, multiplies by transparency, drops bits
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
    try:
        header = _Header(data)
        is_rgb = header.first(_PHOTOMETRIC, 0) in (_GRAY, _RGB) and header.first(_SAMPLES, 1) >= 3
        return header.tagged_rgb() if is_rgb else data
    except (KeyError, struct.error):
        return data


class _Header:
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
        self._end = begin + len(fields) * size

    @property
    def next_page(self) -> int:
        """The place of the next picture's fields in the file; 0 if there is none."""
        return self._read(self._number, self._end)

    @property
    def is_planar(self) -> bool:
        """Whether the values of several bands are stored band after band."""
        return self.first(_SAMPLES, 1) > 1 and self.first(_PLANAR, 1) == _SEPARATE

    def _read(self, code: str, offset: int) -> int:
        (value,) = struct.unpack_from(self._order + code, self._data, offset)
        return int(value)

    def first(self, tag: int, default: int) -> int:
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
            more = self.first(_SAMPLES, 1) - 3
            struct.pack_into(f"{self._order}2{self._number}", data, extra + 4, more, 0)
        return bytes(data)
