"""Images at addresses, from a local server: right ones, errors, silence, and what is too large or incomplete."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from bright import scene

from rtmdet.core.errors import InputError
from rtmdet.stream.addresses import ImageAddress, fetch
from rtmdet.stream.sources import find_sources
from rtmdet.stream.video import Video

PHOTO = cv2.imencode(".png", scene(3))[1].tobytes()


class Handler(BaseHTTPRequestHandler):
    """Answers by the path."""

    def do_GET(self) -> None:
        if self.path == "/ftp":
            self.send_response(302)
            self.send_header("Location", "ftp://127.0.0.1/photo.png")
            self.end_headers()
            return
        if self.path in ("/header", "/length"):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
            self.wfile.write(b"X: " if self.path == "/header" else b"\r\n")
            while not self.server.released.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(b"0")
            return
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        if self.path == "/hang":
            self.server.released.wait(5)  # type: ignore[attr-defined]
            return
        self.send_response(200)
        kinds = {"/page.html": "text/html", "/camera": "multipart/x-mixed-replace;boundary=x", "/film": "video/mp4"}
        if self.path in kinds:
            self.send_header("Content-Type", kinds[self.path])
        if self.path == "/short.png":
            self.send_header("Content-Length", str(2 * len(PHOTO)))
        self.end_headers()
        if self.path == "/slow":
            while not self.server.released.wait(0.02):  # type: ignore[attr-defined]
                self.wfile.write(b"x")
        self.wfile.write({"/page.jpg": b"<html>", "/empty.jpg": b""}.get(self.path, PHOTO))

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture
def server() -> Iterator[str]:
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.daemon_threads = True
    served.released = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=served.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{served.server_port}"
    served.released.set()  # type: ignore[attr-defined]
    served.shutdown()
    served.server_close()


def test_an_image_is_read(server: str) -> None:
    (source,) = find_sources([f"{server}/some/photo%201.png?size=large"]).sources
    assert (source.name, source.relative_path) == (f"{server}/some/photo%201.png?size=large", Path("photo 1.png"))
    (frame,) = source.frames()
    np.testing.assert_array_equal(frame.read(), scene(3))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/missing.jpg", "the server answers 404 Not Found: check the address"),
        ("/page.jpg", "expected an image, found a web page, perhaps of a login"),
        ("/empty.jpg", "expected an image, found an empty file"),
        ("/short.png", f"it ended {len(PHOTO)} bytes early: try again"),
    ],
)
def test_one_line_for_what_is_no_image(server: str, path: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        list(ImageAddress(server + path).frames())
    assert str(caught.value).startswith(f"{server}{path}: ")
    assert message in str(caught.value)


def test_a_web_page_and_a_camera_are_named(server: str) -> None:
    assert fetch(f"{server}/page.html") == PHOTO, "whatever the server calls it"
    with pytest.raises(InputError, match="expected an image, found a web page, perhaps of a login: check"):
        fetch(f"{server}/page.jpg")
    for path in ("film", "camera"):
        with pytest.raises(InputError, match="the server sends a video or a camera's pictures: give an address"):
            fetch(f"{server}/{path}")


def test_letters_that_addresses_do_not_have(server: str) -> None:
    assert fetch(f"{server}/Fotos im März.png") == PHOTO
    assert ImageAddress(f"{server}/%00%0A.png").relative_path == Path("__.png")
    # On Windows, that would be a path out of the folder.
    assert ImageAddress(f"{server}/..%5C..%5Ca.png").relative_path == Path("_.._a.png"), (
        "on Windows, a path out of the folder"
    )


def test_limits(server: str) -> None:
    assert fetch(f"{server}/photo.png", largest=len(PHOTO)) == PHOTO
    with pytest.raises(InputError, match=r"photo\.png: more than 1e-06 MB"):
        fetch(f"{server}/photo.png", largest=1)
    with pytest.raises(InputError, match=r"cannot be fetched \(no answer for 0\.1 seconds\)"):
        fetch(f"{server}/hang", wait=0.1)
    for path in ("slow", "header", "length"):
        with pytest.raises(InputError, match=rf"{path}: not complete after 0\.1 seconds"):
            fetch(f"{server}/{path}", longest=0.1)
    with pytest.raises(
        InputError, match=r"ftp: cannot be fetched \(the server redirects to ftp\): check the address"
    ):
        fetch(f"{server}/ftp")
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:1/a\.jpg: cannot be fetched \(.*refused"):
        fetch("http://127.0.0.1:1/a.jpg")
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch("http://")


def test_kinds_of_addresses(server: str) -> None:
    words = ["https://example.org/a.mp4?b", "rtsp://example.org/live", "http://example.org/a.jpg"]
    video, live, image = find_sources(words).sources
    (camera,) = find_sources(["http://example.org/cam/video.mjpg?size=2"]).sources
    assert camera == Video("http://example.org/cam/video.mjpg?size=2", live=True)
    assert (video, live) == (Video(words[0]), Video(words[1], live=True))
    assert image == ImageAddress(words[2])
    with pytest.raises(InputError, match=r"ftp://example\.org/a\.jpg: expected an address with http"):
        find_sources(["ftp://example.org/a.jpg"])
