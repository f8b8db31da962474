"""Published weights by name, fetched from a server on this machine."""

import functools
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from rtmdet.core.errors import InputError
from rtmdet.models.zoo import WEIGHTS, PublishedWeights
from rtmdet.weights import download

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = "rtmdet-test"


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and /short.pth with fewer bytes than it promises."""

    def do_GET(self) -> None:
        if self.path != "/short.pth":
            return super().do_GET()
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])
        return None

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server that has a.pth."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "a.pth").write_bytes(CONTENT)
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of torch.hub; proxies are not asked."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "hub" / "checkpoints"


def publish(monkeypatch: pytest.MonkeyPatch, url: str, sha256_prefix: str | None) -> None:
    monkeypatch.setitem(WEIGHTS, NAME, PublishedWeights("tiny", url, sha256_prefix))


def test_fetched_once_then_from_the_cache(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    publish(monkeypatch, f"{server}/a.pth", SHA256[:8])
    path = download.resolve(NAME)
    assert path == cache / "a.pth"
    assert path.read_bytes() == CONTENT
    publish(monkeypatch, "http://127.0.0.1:9/a.pth", SHA256[:8])  # nobody answers there
    assert download.resolve(NAME) == path
    assert [p.name for p in cache.iterdir()] == ["a.pth"]


def test_several_at_once_fetch_once(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    """As the processes of torchrun do, each of which reads the first weights."""
    publish(monkeypatch, f"{server}/a.pth", SHA256[:8])
    fetched: list[Path] = []

    def slowly(url: str, target: Path, **_: object) -> None:
        fetched.append(target)
        time.sleep(0.3)
        target.write_bytes(CONTENT)

    monkeypatch.setattr(download, "download", slowly)
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(download.resolve, [NAME] * 4))
    assert (paths, fetched) == ([cache / "a.pth"] * 4, [cache / "a.pth"])
    assert [p.name for p in cache.iterdir()] == ["a.pth"]


def test_other_hash_leaves_nothing(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    publish(monkeypatch, f"{server}/a.pth", "00000000")
    with pytest.raises(InputError, match=f"begins with 00000000, found {SHA256[:8]}"):
        download.resolve(NAME)
    assert list(cache.iterdir()) == []


def test_cut_download_leaves_nothing(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    publish(monkeypatch, f"{server}/short.pth", None)
    with pytest.raises(InputError, match=r"short\.pth: cannot be fetched .*100"):
        download.resolve(NAME)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a.pth", "http://name.invalid/a.pth"])
def test_without_network_the_message_says_where_to_put_the_file(
    monkeypatch: pytest.MonkeyPatch, cache: Path, url: str
) -> None:
    publish(monkeypatch, url, SHA256[:8])
    with pytest.raises(InputError) as caught:
        download.resolve(NAME)
    assert str(caught.value).startswith(f"{url}: cannot be fetched (")
    assert str(caught.value).endswith(f"put it at {cache / 'a.pth'}")
    assert "\n" not in str(caught.value)


def test_missing_at_the_publisher_is_named(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    publish(monkeypatch, f"{server}/b.pth", None)
    with pytest.raises(InputError, match=r"b\.pth: cannot be fetched \(.*File not found"):
        download.resolve(NAME)
    assert list(cache.iterdir()) == []


def test_cache_folder_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, server: str, cache: Path) -> None:
    cache.parent.write_text("a file, not a folder")
    publish(monkeypatch, f"{server}/a.pth", None)
    with pytest.raises(InputError, match=r"a\.pth: cannot be fetched"):
        download.resolve(NAME)


def test_bar_is_drawn_only_when_asked(
    monkeypatch: pytest.MonkeyPatch, server: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(monkeypatch, f"{server}/a.pth", None)
    download.resolve(NAME).unlink()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    download.resolve(NAME, progress=True)
    assert "a.pth: 100%" in capsys.readouterr().err


def test_existing_path_wins_over_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rtmdet-tiny-coco").write_bytes(CONTENT)
    assert download.resolve("rtmdet-tiny-coco") == Path("rtmdet-tiny-coco")
    assert not cache.exists()


def test_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(InputError, match=r"rtmdet-tiny-cocco: neither a file nor a published name.*rtmdet-tiny-coco"):
        download.resolve("rtmdet-tiny-cocco")
    with pytest.raises(InputError, match="cspnext-s-imagenet"):
        download.resolve("qqqq")


def test_published_hashes_are_the_ends_of_their_addresses() -> None:
    for name, weights in WEIGHTS.items():
        assert weights.url.startswith("https://download.openmmlab.com/")
        assert weights.backbone_only or weights.url.endswith(f"-{weights.sha256_prefix}.pth"), name


def test_a_folder_of_mmdet_names_its_checkpoints(tmp_path: Path) -> None:
    """The best ones first, then the newest."""
    names = ["best_coco_bbox_mAP_epoch_4.pth", "epoch_2.pth", "epoch_10.pth", "epoch_11.pth"]
    for age, name in enumerate(names):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    (tmp_path / "last_checkpoint").write_text("epoch_11.pth")
    with pytest.raises(InputError) as caught:
        download.resolve(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: expected the folder of a run, found no last.pth in it; give a file in it: "
        "best_coco_bbox_mAP_epoch_4.pth, epoch_11.pth, epoch_10.pth and 1 more"
    )
