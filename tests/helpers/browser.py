"""A headless Chromium: what a page looks like there, and what it says about itself."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

#: Waits for the page, asks it one question, and leaves the answer in the page around it.
PROBE = """<script>
addEventListener("load", () => {
  const answer = (() => { %s })();
  parent.document.getElementById("answer").textContent = JSON.stringify(answer);
});
</script>"""
#: A window has a least width, a frame has none.
FRAME = """<!DOCTYPE html><pre id="answer" hidden></pre>
<iframe style="width:%dpx;height:%dpx;border:0" srcdoc="%s"></iframe>"""


def find_browser() -> str:
    """Return the browser: $CHROME or one on the PATH; skip without it, but fail in CI."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = "no Chromium on the PATH and none in $CHROME: install chromium to run this test"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def ask(page: str, question: str, *, width: int, height: int = 900, dark: bool = False) -> Any:
    """Return what JavaScript in a page answers: `question` is a function body.

    The page may forbid scripts; that rule is taken out of the copy that is asked.
    """
    free = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page)
    probed = free.replace("</body>", PROBE % question + "</body>")
    framed = FRAME % (width, height, escape(probed))
    document, _ = _run(framed, "--dump-dom", width=max(width, 1400), height=height, dark=dark)
    answer = re.search(r'<pre id="answer" hidden="">(.+?)</pre>', document, re.DOTALL)
    assert answer, f"the page did not answer:\n{document[:2000]}"
    return json.loads(unescape(answer[1]))


def complaints(page: str, *, width: int) -> list[str]:
    """Return what the browser says on its console about the page as it is."""
    _, log = _run(page, "--dump-dom", "--enable-logging=stderr", width=width)
    return [line for line in log.splitlines() if "CONSOLE" in line]


def screenshot(page: str, path: Path, *, width: int, height: int, dark: bool = False) -> Path:
    """Write what the page looks like as a PNG file."""
    _run(page, f"--screenshot={path}", width=width, height=height, dark=dark)
    return path


def _run(
    page: str, *options: str, width: int, height: int = 900, dark: bool = False
) -> tuple[str, str]:
    """Return what the browser writes to stdout and to stderr; its profile is thrown away."""
    browser = find_browser()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "page.html"
        file.write_text(page, encoding="utf-8")
        scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
        done = subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                "--hide-scrollbars", "--no-first-run", f"--user-data-dir={folder}/profile",
                f"--window-size={width},{height}", "--virtual-time-budget=5000",
                *scheme, *options, file.as_uri(),
            ],
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
    return done.stdout, done.stderr
