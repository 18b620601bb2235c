"""A headless Chromium driven by its DevTools protocol through two pipes, without further packages."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EXECUTABLES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NO_WEBGL = ("--disable-gpu",)
SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")
TIMEOUT = 60.0  # seconds for a response, on a busy machine
CENTRE = """(element => {
  element.scrollIntoView({block: "center"});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})(document.querySelector(%s))"""


def find_browser() -> str | None:
    """Return the path of a Chromium on this machine, or None."""
    return next((path for path in map(shutil.which, EXECUTABLES) if path), None)


class Browser:
    """One page of a headless browser; `errors` lists messages of its console, `requests` all requested addresses."""

    def __init__(self, executable: str, profile: Path, graphics: Sequence[str] = NO_WEBGL) -> None:
        child_input, self._to = os.pipe()
        self._from, child_output = os.pipe()
        flags = ["--headless=new", *graphics, "--no-first-run", "--remote-debugging-pipe"]
        flags += [f"--user-data-dir={profile}", "--window-size=1240,1000"]
        if os.geteuid() == 0:  # as in most containers, where the sandbox does not start
            flags.append("--no-sandbox")
        # The protocol reads commands from descriptor 3 and writes to 4. (Not every sh supports descriptors above 9.)
        script = f'exec "$0" "$@" 3<&{child_input} 4>&{child_output}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, executable, *flags, "about:blank"],
            pass_fds=(child_input, child_output),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(child_input)
        os.close(child_output)
        self._buffer = b""
        self._number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._loaded = False
        targets = self._command("Target.getTargets", session=None)["targetInfos"]
        page = next(t["targetId"] for t in targets if t["type"] == "page")
        attached = self._command("Target.attachToTarget", session=None, targetId=page, flatten=True)
        self._session: str = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._command(f"{domain}.enable")

    def open(self, page: Path | str) -> None:
        """Open a file or an address and wait until it is completely loaded."""
        self._loaded = False
        self._command("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        deadline = time.monotonic() + TIMEOUT
        while not self._loaded:
            self._receive(deadline)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        evaluation = self._command("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in evaluation, evaluation["exceptionDetails"]
        return evaluation["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + TIMEOUT
        while not self.run(condition):
            assert time.monotonic() < deadline, f"still not true: {condition}"
            time.sleep(0.02)

    def screenshot(self) -> bytes:
        """Return the visible part of the page as PNG."""
        return base64.b64decode(self._command("Page.captureScreenshot", format="png")["data"])

    def pdf(self) -> bytes:
        """Return the page as a PDF, as `--print-to-pdf` writes it; its style sheet selects the paper."""
        return base64.b64decode(self._command("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def emulate(self, width: int, height: int, media: str = "", scheme: str = "light") -> None:
        """Set the size of the window, the medium (`print`; empty: the screen), and the colour scheme of the user."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", media=media, features=features)

    def point_at(self, selector: str) -> tuple[float, float]:
        """Move the mouse over the centre of an element; return that position."""
        x, y = self.run(CENTRE % json.dumps(selector))
        self._command("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    def click(self, selector: str) -> None:
        """Click on the centre of an element."""
        self.click_at(*self.point_at(selector))

    def click_at(self, x: float, y: float) -> None:
        """Click on a point of the window."""
        for kind in ("mousePressed", "mouseReleased"):
            self._command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, selector: str, key: str, code: int) -> None:
        """Press a key on an element."""
        self.run(f"document.querySelector('{selector}').focus()")
        for kind in ("rawKeyDown", "keyUp"):
            self._command("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def close(self) -> None:
        """End the browser."""
        try:
            self._command("Browser.close", session=None)
            self._process.wait(10)
        except (AssertionError, OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def _command(self, method: str, session: str | None = "", **parameters: Any) -> Any:
        self._number += 1
        command: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = self._session
        os.write(self._to, json.dumps(command).encode() + b"\0")
        deadline = time.monotonic() + TIMEOUT
        while True:
            reply = self._receive(deadline)
            if reply.get("id") == self._number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def _receive(self, deadline: float) -> dict[str, Any]:
        """Return the next message; record errors and requests."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._from, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\0", 1)
        message: dict[str, Any] = json.loads(line)
        self._record(message.get("method", ""), message.get("params", {}))
        return message

    def _record(self, method: str, parameters: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert")
        ):
            self.errors.append(json.dumps(parameters))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.errors.append(parameters["entry"]["text"])
        elif method == "Page.javascriptDialogOpening":
            self.errors.append(f"dialog: {parameters['message']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
