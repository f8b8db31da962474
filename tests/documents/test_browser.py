"""The browser page gives the Detector's boxes, of a file with NMS and of one without, in a real browser.

It needs the program chromium, and in ONNXRUNTIME_WEB the folder of npm's package of that name; .ci/run gets both.
"""

import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from documents.chromium import Page, open_page
from documents.conftest import WITHOUT_VOTING
from documents.nearness import assert_near

from rtmdet.detector import Detector

pytestmark = pytest.mark.shared

PAGE = Path(__file__).resolve().parents[2] / "docs" / "browser"
STATUS = "document.getElementById('status').textContent"
ROWS = "[...document.querySelectorAll('tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"


class QuietHandler(SimpleHTTPRequestHandler):
    """A file server that prints nothing."""

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the page, served as files beside the package."""
    package = os.environ.get("ONNXRUNTIME_WEB")
    if package is None or shutil.which("chromium") is None:
        reason = "needs chromium, and in ONNXRUNTIME_WEB the folder of npm's onnxruntime-web"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PAGE, folder, dirs_exist_ok=True)
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "onnxruntime-web").symlink_to(Path(package).resolve())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.html"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def page(site: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with open_page("chromium", tmp_path_factory.mktemp("profile"), site) as page:
        yield page


def use(page: Page, selector: str, file: Path) -> str:
    """Choose a file as a user does; returns what the page says then."""
    page.evaluate(f"{STATUS} = ''")
    page.choose(selector, file)
    page.wait(f"{STATUS} && !{STATUS}.endsWith('...')")
    return page.evaluate(STATUS)


def test_boxes_are_those_of_the_detector(page: Page, person: Detector, exported: Path, photos: list[Path]) -> None:
    assert use(page, "#model", exported / "plain.onnx") == "Classes: person. Now choose a photo."
    for photo in photos:
        expected = person(photo, score=0.15)
        assert use(page, "#photo", photo).startswith(f"{len(expected)} objects in ")
        assert_near(page.evaluate(ROWS), expected)
        size = page.evaluate("[canvas.height, canvas.width]")
        assert tuple(size) == expected.image_size
    expected = person.with_nms(WITHOUT_VOTING)(photo, score=0.15)
    assert use(page, "#model", exported / "nms.onnx").startswith(f"{len(expected)} objects in ")  # the photo stays
    assert_near(page.evaluate(ROWS), expected)


def test_other_files_get_one_line(page: Page, exported: Path, photos: list[Path], tmp_path: Path) -> None:
    assert "did not work: expected " in use(page, "#model", photos[0])
    cut = tmp_path / "cut.onnx"
    cut.write_bytes((exported / "plain.onnx").read_bytes()[:10_000])
    assert "did not work: expected " in use(page, "#model", cut)
