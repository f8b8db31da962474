"""Headless Chromium by its DevTools protocol: JSON texts that end in a zero byte, over two pipes."""

import base64
import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--window-size=1000,900", "--remote-debugging-pipe",
)  # fmt: skip


class Page:
    """One page of the browser."""

    def __init__(self, reader: int, writer: int, address: str) -> None:
        self.reader, self.writer = reader, writer
        self.number = 0
        self.rest = b""
        self.session = ""
        target = self.call("Target.createTarget", url=address)["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.wait("document.readyState == 'complete' && location.href != 'about:blank'")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """The result of one command."""
        self.number += 1
        message: dict[str, object] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def receive(self) -> dict[str, Any]:
        """The next message, an answer or an event."""
        while b"\0" not in self.rest:
            part = os.read(self.reader, 1 << 20)
            assert part, "the browser has ended"
            self.rest += part
        text, _, self.rest = self.rest.partition(b"\0")
        return json.loads(text)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, expression: str, seconds: float = 120) -> None:
        """Until the expression is true."""
        end = time.monotonic() + seconds
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"not within {seconds} s: {expression}"
            time.sleep(0.1)

    def choose(self, selector: str, file: Path) -> None:
        """Give a file to an input, as a user does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file)])

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG file."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def open_page(program: str, profile: Path, address: str) -> Iterator[Page]:
    """A page in a browser of its own, which ends with the context."""
    shell = 'exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null'  # the numbers that the browser expects
    words: Sequence[str] = ["sh", "-c", shell, program, *FLAGS, f"--user-data-dir={profile}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as browser:
        assert browser.stdin is not None
        assert browser.stdout is not None
        try:
            yield Page(browser.stdout.fileno(), browser.stdin.fileno(), address)
        finally:
            browser.terminate()
