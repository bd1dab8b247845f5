"""A page in headless Chromium: screenshots, printing and what its script does; no library is needed for that.

Chromium is told through two pipes what to do (https://chromedevtools.github.io/devtools-protocol).
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

NAMES = ("chromium", "chromium-browser", "google-chrome")

INSTALL = "no Chromium is here: apt-get install chromium (or put google-chrome into PATH)"

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--no-first-run",
)


def find_browser() -> str | None:
    """Returns the path of Chromium, None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


LONGEST_SECONDS = 120  # that a browser lives: a page that waits for ever must not hold what opened it


class Page:
    """A tab of the browser."""

    def __init__(self, to_browser: BinaryIO, from_browser: BinaryIO) -> None:
        self._to_browser = to_browser
        self._from_browser = from_browser
        self._number = 0
        self._session = ""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._call("Page.enable")

    def show(
        self, file: Path, *, width: int, height: int = 1_000, is_dark: bool = False, is_printed: bool = False
    ) -> None:
        """Opens a file in a window of so many pixels, or laid out as on paper of that width."""
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self._call("Emulation.setEmulatedMedia", media="print" if is_printed else "", features=[scheme])
        self.navigate(file.absolute().as_uri())

    def navigate(self, address: str) -> None:
        """Opens an address, and waits until all of it is there."""
        self._call("Page.navigate", url=address)
        self._wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Returns the value of an expression of JavaScript in the page, as if somebody had clicked.

        Raises:
            RuntimeError: It fails.
        """
        found = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in found:
            raise RuntimeError(json.dumps(found["exceptionDetails"]))
        return found["result"].get("value")

    def allow_scripts(self, allowed: bool) -> None:
        """Says whether pages that are opened from now on may run scripts."""
        self._call("Emulation.setScriptExecutionDisabled", value=not allowed)

    def press(self, key: str, code: int) -> None:
        """Presses a key, such as Tab with code 9."""
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            names = {"key": key, "code": key, "windowsVirtualKeyCode": code}
            self._call("Input.dispatchKeyEvent", type=kind, **names, **(text if kind == "keyDown" else {}))

    def screenshot(self, file: Path, *, height: int | None = None) -> None:
        """Writes a picture of the page from its beginning: as high as it is, or so many pixels."""
        size = self._call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or min(size["height"], 16_000), "scale": 1}
        found = self._call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def print_pdf(self, file: Path) -> None:
        """Prints the page on A4."""
        found = self._call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def close_browser(self) -> None:
        """Asks the browser to end."""
        self._session = ""
        self._call("Browser.close")

    def _call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._to_browser.write(json.dumps(message).encode() + b"\0")
        self._to_browser.flush()
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def _wait_for(self, event: str) -> None:
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._from_browser.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has ended")
            message += byte
        answer: dict[str, Any] = json.loads(message)
        return answer


def _pipe() -> tuple[int, int]:
    """Returns the ends of a pipe, which are not the descriptors that the browser uses."""
    ends = os.pipe()
    free = tuple(fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in ends)
    for end in ends:
        os.close(end)
    return free[0], free[1]


@contextmanager
def open_page() -> Iterator[Page]:
    """Starts the browser, and ends it; yields an empty page of it.

    Raises:
        RuntimeError: There is no browser; says what to install.
    """
    browser = find_browser()
    if browser is None:
        raise RuntimeError(INSTALL)
    its_input, to_browser = _pipe()
    from_browser, its_output = _pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        # It reads from descriptor 3 and writes to descriptor 4.
        command = ["bash", "-c", f'exec "$@" 3<&{its_input} 4>&{its_output}', "bash", browser, *FLAGS]
        process = subprocess.Popen(
            [*command, f"--user-data-dir={profile}"],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        at_the_latest = threading.Timer(LONGEST_SECONDS, process.kill)
        at_the_latest.start()
        try:
            with os.fdopen(to_browser, "wb") as writer, os.fdopen(from_browser, "rb") as reader:
                page = Page(writer, reader)
                yield page
                with suppress(RuntimeError, OSError):
                    page.close_browser()
        finally:
            at_the_latest.cancel()
            process.terminate()
            process.wait(30)
