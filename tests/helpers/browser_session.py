"""A page in a headless Chromium that is clicked and typed into, over the DevTools protocol.

Messages go through two pipes (--remote-debugging-pipe), so no library is needed.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from browser import find_browser

_PATIENCE_S = 60
#: Puts the two pipes where the browser looks for them, and becomes the browser.
_START = """
import os, sys
for at, end in enumerate(sys.argv[1:3], start=3):
    os.dup2(int(end), at)
os.execvp(sys.argv[3], sys.argv[3:])
"""


class Session:
    """One page; `complaints` are what it wrote to the console, and errors that nobody caught."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back, self._number, self._read = to, back, 0, b""
        self._page: str | None = None
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._page = attached["sessionId"]
        for domain in ("Runtime", "Log", "Page", "DOM"):
            self.call(f"{domain}.enable")

    def open(self, address: str, *, width: int, height: int = 900) -> None:
        """Open a page in a window of some size, and wait until it says that it is ready."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=False)  # fmt: skip
        self.call("Page.navigate", url=address)
        self.wait("location.href !== 'about:blank' && document.body?.dataset.ready === 'yes'")

    def ask(self, expression: str) -> Any:
        """Return the value of an expression, waited for where it is a promise."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                         awaitPromise=True)  # fmt: skip
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + _PATIENCE_S
        while not self.ask(f"Boolean({expression})"):
            assert time.monotonic() < end, f"never true: {expression}"
            time.sleep(0.02)

    def click(self, selector: str) -> None:
        """Click in the middle of an element, with a mouse."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def type(self, text: str) -> None:
        """Type into what has the focus, and press Enter."""
        self.call("Input.insertText", text=text)
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", text="\r",
                      windowsVirtualKeyCode=13)  # fmt: skip

    def choose_file(self, selector: str, path: Path) -> None:
        """Give an input a file, as the dialogue of the browser does."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def drop(self, selector: str, path: Path) -> None:
        """Drag a file onto an element."""
        x, y = self._middle(selector)
        data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one message, and return its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._page is not None:
            message["sessionId"] = self._page
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != self._number:
            self._listen(answer)
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._back], [], [], _PATIENCE_S)
            part = os.read(self._back, 1 << 16) if ready else b""
            assert part, "the browser ended, or does not answer"
            self._read += part
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)

    def _listen(self, event: dict[str, Any]) -> None:
        kinds = {
            "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded",
            "Page.javascriptDialogOpening",
        }  # fmt: skip
        if event.get("method") in kinds:
            self.complaints.append(json.dumps(event["params"])[:500])

    def _middle(self, selector: str) -> tuple[float, float]:
        where = self.ask(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({ block: 'center', behavior: 'instant' });"
            "const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return where[0], where[1]


@contextmanager
def session() -> Iterator[Session]:
    """Yield a page of a browser that ends with the block; its profile is thrown away."""
    browser = find_browser()
    (to_read, to), (back, back_write) = os.pipe(), os.pipe()
    # Out of the way of 3 and 4, where the browser looks for them.
    given = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, back_write)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        running = subprocess.Popen(
            [
                sys.executable, "-c", _START, *map(str, given), browser,
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--hide-scrollbars", "--no-first-run", "--remote-debugging-pipe",
                f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=given, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        for end in (to_read, back_write, *given):
            os.close(end)
        try:
            yield Session(to, back)
        finally:
            running.terminate()
            running.wait(30)
            os.close(to)
            os.close(back)
