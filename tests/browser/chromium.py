"""A headless Chromium under control: opens pages, runs expressions in them, and notes all that they ask for and complain of."""

from __future__ import annotations

import base64
import json
import os
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

SCRIPT = Path(__file__).parents[1] / "browser.sh"
# A machine that runs other tests, too, is slow; nothing that works waits for so long.
SECONDS = 120.0


class Browser:
    """The browser, which sees one directory and no network. It speaks the DevTools protocol over two pipes."""

    def __init__(self, directory: Path) -> None:
        self._log = (directory / "browser.log").open("wb")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Descriptors 3 and 4 are where it reads and writes; the shell puts them there.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", str(SCRIPT), str(directory),
             "--remote-debugging-pipe", "about:blank"],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._in, self._out = ours_in, ours_out
        self._pending = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.call("Browser.close")
            self._process.wait(SECONDS)
        except (RuntimeError, subprocess.TimeoutExpired):
            # All that it started goes with it.
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._log.close()

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method and return its result; what happens meanwhile is in `events`."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive(time.monotonic() + SECONDS)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, wanted: Callable[[dict[str, Any]], bool]) -> None:
        """Wait for an event, which may have been already."""
        deadline = time.monotonic() + SECONDS
        while not any(wanted(event) for event in self.events):
            self.events.append(self._receive(deadline))

    def _receive(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
            chunk = os.read(self._in, 1 << 20) if ready else b""
            if not chunk:
                raise RuntimeError(f"the browser says nothing; see {self._log.name}")
            self._pending += chunk
        text, self._pending = self._pending.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        return message

    def open(self, page: Path, fragment: str = "", **options: Any) -> Page:
        """Open a page; see `Page`."""
        return Page(self, page.as_uri() + fragment, **options)


class Page:
    """One page. `scripts=False`: with JavaScript switched off. `scheme`: `light` or `dark`."""

    def __init__(
        self,
        browser: Browser,
        address: str,
        *,
        scripts: bool = True,
        scheme: str = "light",
        size: tuple[int, int] = (1360, 900),
    ) -> None:
        self._browser = browser
        self.address = address
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call(
            "Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1, mobile=False
        )
        self.call("Page.navigate", url=address)
        browser.wait(lambda event: self._is(event, "Page.loadEventFired"))

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def _is(self, event: dict[str, Any], method: str) -> bool:
        return event.get("sessionId") == self._session and event.get("method") == method

    def _all(self, method: str) -> list[dict[str, Any]]:
        self.evaluate("1")
        return [event["params"] for event in self._browser.events if self._is(event, method)]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression; a promise is waited for."""
        result = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True
        )
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def text(self, selector: str) -> str:
        """What is shown of an element."""
        value = self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText")
        assert isinstance(value, str)
        return value

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def type(self, text: str) -> None:
        """Text for the element that has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, *keys: str) -> None:
        """Keys by their names, one after the other."""
        for key in keys:
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            code = {"Enter": 13, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39,
                    "ArrowDown": 40, "PageDown": 34, "PageUp": 33, "Tab": 9}.get(key, ord(key[0].upper()))
            down = {"type": "keyDown" if text else "rawKeyDown", "key": key, "text": text}
            self.call("Input.dispatchKeyEvent", windowsVirtualKeyCode=code, **down)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def settle(self) -> None:
        """Wait until what was typed has come to something, and was drawn."""
        self.evaluate(
            "new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 200))"
        )

    def screenshot(self, path: Path) -> None:
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))

    def pdf(self) -> bytes:
        """The page on paper."""
        return base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"])

    def requests(self) -> list[str]:
        """Everything that was asked for, but for what the page has in it."""
        urls = [str(event["request"]["url"]) for event in self._all("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and what the policy of the page refused."""
        said = [event["entry"]["text"] for event in self._all("Log.entryAdded")]
        said += [str(event["args"]) for event in self._all("Runtime.consoleAPICalled")]
        said += [str(event["exceptionDetails"]) for event in self._all("Runtime.exceptionThrown")]
        return said
