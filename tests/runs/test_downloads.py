"""Under torchrun one process of a machine downloads. Two processes with gloo, and a server that counts requests."""

import os
import socket
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import Tensor

from rtmdet.config.file import parse_config
from rtmdet.core.distributed import first_on_each_machine, process_group, world_size
from rtmdet.core.errors import InputError
from rtmdet.models.zoo import WEIGHTS, PublishedWeights
from rtmdet.runs.build import build_model
from rtmdet.weights.download import cached_path, download, resolve

CONTENT = b"weights" * 100_000
PROCESSES = 2
CPU = torch.device("cpu")


class Handler(BaseHTTPRequestHandler):
    """Answers with CONTENT, or that there is no such file if its name is missing.pth; notes the names."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(404 if self.path == "/missing.pth" else 200)
        self.end_headers()
        if self.path != "/missing.pth":
            self.wfile.write(CONTENT)

    def log_message(self, *_: Any) -> None:
        pass


def backbone_of(url: str, folder: Path) -> Tensor:
    """The first tensor of a run's timm backbone, whose weights timm downloads from `url`, without a lock."""
    import timm

    def from_hub(*_: object, **__: object) -> dict[str, Tensor]:
        target = folder / url.rsplit("/", 1)[-1]
        if not target.exists():
            download(url, target, sha256_prefix=None)
        torch.manual_seed(1)
        return dict(timm.create_model("lcnet_050").state_dict())

    split = "{annotations: a.json, images: a}"
    text = f"data: {{train: {split}, val: {split}}}\nmodel: {{size: nano, backbone: timm/lcnet_050.ra2_in1k}}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("timm.models._builder.load_state_dict_from_hf", from_hub)
        model = build_model(parse_config(text, "text", []), ["thing"], CPU, first_weights=True)
    return next(model.backbone.parameters()).detach()


def fault_of(name: str) -> str:
    with pytest.raises(InputError) as caught:
        first_on_each_machine(partial(resolve, name))
    return str(caught.value)


def work(number: int, port: int, address: str, folder: str) -> None:
    """One of the processes."""
    place = {"RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": PROCESSES, "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()}, MASTER_ADDR="127.0.0.1", no_proxy="*")
    torch.set_num_threads(1)
    torch.hub.set_dir(str(Path(folder) / "hub"))
    for name in ("early", "a", "missing"):
        WEIGHTS[name] = PublishedWeights("tiny", f"{address}/{name}.pth", None)
    first_on_each_machine(partial(resolve, "early"))  # before the processes are connected
    assert world_size() == 1
    with process_group(CPU):  # connected again
        result = {
            "early": cached_path("early").read_bytes() == CONTENT,
            "a": first_on_each_machine(partial(resolve, "a")).read_bytes() == CONTENT,
            "missing": fault_of("missing"),
            "backbone": backbone_of(f"{address}/backbone.pth", Path(folder)),
        }
    torch.save(result, Path(folder) / f"{number}.result")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and the paths that it was asked for."""
    handler = type("Counting", (Handler,), {"asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", handler.asked
        httpd.shutdown()
        thread.join()


@pytest.mark.slow
def test_one_process_of_a_machine_downloads(server: tuple[str, list[str]], tmp_path: Path) -> None:
    """A file once, a failure once too; both processes then have the file, or end with the same line."""
    address, asked = server
    arguments = (free_port(), address, str(tmp_path))
    multiprocessing.start_processes(work, arguments, PROCESSES, start_method="forkserver")
    assert asked == ["/early.pth", "/a.pth", "/missing.pth", "/backbone.pth"]
    first, second = (torch.load(tmp_path / f"{number}.result", weights_only=True) for number in range(PROCESSES))
    assert all(result[name] for result in (first, second) for name in ("early", "a"))
    assert first["missing"] == second["missing"]
    assert first["missing"].startswith(f"{address}/missing.pth: cannot be fetched (Not Found): download it elsewhere")
    torch.testing.assert_close(first["backbone"], second["backbone"], rtol=0, atol=0)


def test_alone_the_work_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    calls: list[int] = []
    assert first_on_each_machine(lambda: calls.append(1)) is None
    assert calls == [1]
