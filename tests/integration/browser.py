"""A headless Chromium, driven over the W3C WebDriver protocol by its own chromedriver."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import urllib3

_PATIENCE = 600  # seconds; a machine may be loaded
KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Space": " ", "Right": "\ue014"}


class Browser:
    """One window of a browser; see https://www.w3.org/TR/webdriver2/."""

    def __init__(self, driver: str, session: str) -> None:
        self._pool = urllib3.PoolManager(retries=False, timeout=_PATIENCE)
        self._session = f"{driver}/session/{session}"

    def _call(self, command: str, body: dict[str, Any]) -> Any:
        return _post(self._pool, f"{self._session}/{command}", body)

    def open(self, url: str) -> None:
        """Load a page, and wait until it is there."""
        self._call("url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Call a function with this body in the page; gives what it returns."""
        return self._call("execute/sync", {"script": script, "args": arguments})

    def run_async(self, script: str, *arguments: Any) -> Any:
        """The same for a body that calls its last argument with its result."""
        return self._call("execute/async", {"script": script, "args": arguments})

    def press(self, key: str) -> None:
        """Press and release a key, by its name in KEYS."""
        actions = [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
        self._call("actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the Chrome DevTools Protocol."""
        return self._call("goog/cdp/execute", {"cmd": command, "params": parameters})

    def resize(self, width: int, height: int = 900, scale: float = 1) -> None:
        """Give the page a screen of this many CSS pixels."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=False,
        )

    def prefer(self, scheme: str) -> None:
        """Make the user's preferred colour scheme `light` or `dark`."""
        self.devtools(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}]
        )

    def events(self) -> list[dict[str, Any]]:
        """The DevTools events since the last call: {"method": …, "params": …}."""
        return [
            json.loads(entry["message"])["message"] for entry in self._call("se/log", {"type": "performance"})
        ]

    def console(self) -> list[str]:
        """What the page wrote to its console since the last call, with the browser's own complaints."""
        return [entry["message"] for entry in self._call("se/log", {"type": "browser"})]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is to be seen, or the whole page, as a PNG."""
        taken = self.devtools("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a fresh profile in `folder`; it ends with the block."""
    with subprocess.Popen(
        ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout
            started = (re.search(r"on port ([1-9]\d*)", line) for line in process.stdout)
            port = next(match[1] for match in started if match)
            driver = f"http://127.0.0.1:{port}"
            pool = urllib3.PoolManager(retries=False, timeout=_PATIENCE)
            session = _post(pool, f"{driver}/session", {"capabilities": {"alwaysMatch": _options(folder)}})
            try:
                yield Browser(driver, session["sessionId"])
            finally:
                pool.request("DELETE", f"{driver}/session/{session['sessionId']}")
        finally:
            process.terminate()


def _options(folder: Path) -> dict[str, Any]:
    flags = [
        "--headless",
        "--hide-scrollbars",  # else a picture of the whole page is not laid out as the page is
        "--no-sandbox",  # the page is our own, and containers seldom allow the sandbox's namespaces
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={folder / 'profile'}",
    ]
    return {
        "timeouts": {"script": _PATIENCE * 1000, "pageLoad": _PATIENCE * 1000},
        "goog:chromeOptions": {"args": flags},
        "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
    }


def _post(pool: urllib3.PoolManager, url: str, body: dict[str, Any]) -> Any:
    reply = pool.request("POST", url, json=body)
    value = reply.json()["value"]
    assert reply.status == 200, value
    return value
