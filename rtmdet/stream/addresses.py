"""Images at http and https addresses, with a limit on the time and on the size."""

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn, cast
from urllib.parse import quote, unquote, urlsplit

from rtmdet.core.errors import InputError
from rtmdet.core.paths import storable_name
from rtmdet.core.pictures import ValueRange
from rtmdet.core.wording import one_line
from rtmdet.images.reading import check_image_bytes
from rtmdet.stream.frames import Frame, encoded_frame

WAIT = 10.0  # seconds without an answer or a byte
LONGEST = 60.0  # seconds for the whole image
LARGEST = 100_000_000  # bytes
_CHUNK = 1 << 16  # bytes


class _NoFtp(urllib.request.FTPHandler):
    def ftp_open(self, req: urllib.request.Request) -> NoReturn:
        raise urllib.error.URLError("the server redirects to ftp")


@dataclass(frozen=True, slots=True)
class ImageAddress:
    """One image at an address."""

    name: str
    value_range: ValueRange | None = None  # of 16-bit images, see read_image
    live: bool = False
    moving: bool = False

    @property
    def relative_path(self) -> Path:
        """The last part of the address."""
        name = PurePosixPath(unquote(urlsplit(self.name).path)).name
        return Path(storable_name(name) if name else "image")

    def count(self) -> int:
        return 1

    def frames(self) -> Iterator[Frame]:
        """The image. Raises InputError if it cannot be fetched."""
        data = fetch(self.name)  # here, in a thread that Ctrl-C leaves behind
        check_image_bytes(self.name, data)
        yield encoded_frame(self, data, self.value_range)


def _answer(address: str, wait: float) -> http.client.HTTPResponse:
    """The open answer of a server; letters beyond ASCII and spaces are written as browsers do."""
    quoted = quote(address, safe="%/:=&?~#+!$,;'@()*[]")
    request = urllib.request.Request(quoted, headers={"User-Agent": "rtmdet"})  # some servers refuse Python's own
    return cast(http.client.HTTPResponse, urllib.request.build_opener(_NoFtp).open(request, timeout=wait))


def fetch(address: str, *, wait: float = WAIT, longest: float = LONGEST, largest: int = LARGEST) -> bytes:
    """What an http or https address answers. Nothing of it is stored.

    Raises InputError where it cannot be reached, answers with an error, sends nothing for `wait` seconds, takes
    `longest` seconds, or is larger than `largest` bytes.
    """
    content: Future[bytes] = Future()
    data, late = bytearray(), threading.Event()

    def work() -> None:
        try:
            content.set_result(_fetch(address, data, late, wait=wait, largest=largest))
        except BaseException as error:  # raised again by result()
            content.set_exception(error)

    # Nothing limits connecting, headers and parts of lines together. A thread that waits for them can be left behind.
    threading.Thread(target=work, daemon=True).start()
    try:
        return content.result(longest)
    except TimeoutError:
        late.set()
        data.clear()
        raise InputError(f"{address}: not complete after {longest:g} seconds: download it by hand") from None


def _fetch(address: str, data: bytearray, late: threading.Event, *, wait: float, largest: int) -> bytes:
    """See `fetch`. Fills the empty `data`, and ends with the next piece if it is `late`."""
    try:
        with _answer(address, wait) as response:
            kind = response.headers.get_content_type()
            if kind.startswith("video/") or kind == "multipart/x-mixed-replace":
                raise InputError(
                    f"{address}: expected an image, the server sends a video or a camera's pictures: give an address "
                    "that ends in .mp4 or .mjpg, or that of its stream (rtsp://...)"
                )
            while not late.is_set() and (chunk := response.read1(_CHUNK)):  # what is there, not a whole chunk
                data += chunk
                if len(data) > largest:
                    raise InputError(f"{address}: more than {largest / 1e6:g} MB: download it and give the file")
            missing = response.length
    except InputError:  # a ValueError, too
        raise
    except urllib.error.HTTPError as error:
        reason = one_line(error.reason)
        raise InputError(f"{address}: the server answers {error.code} {reason}: check the address") from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        text = f"no answer for {wait:g} seconds" if isinstance(cause, TimeoutError) else one_line(cause)
        raise InputError(f"{address}: cannot be fetched ({text}): check the address") from error
    begin = bytes(data[:5000]).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if begin.startswith((b"<!doctype html", b"<html")) or (kind == "text/html" and begin.startswith(b"<")):
        raise InputError(f"{address}: expected an image, found a web page, perhaps of a login: check the address")
    if missing:
        raise InputError(f"{address}: it ended {missing} bytes early: try again")
    return bytes(data)
