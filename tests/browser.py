"""A headless browser, driven through its own DevTools protocol: no driver in between."""

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

START_SECONDS = 60.0
DEADLINE_SECONDS = 60.0
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1280,2000",
    "--remote-debugging-port=0",
)


def chromium() -> str | None:
    """Return where a browser is installed, None where none is."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Page:
    """One page: what it logs, and what is asked of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        #: What the page's console and its policies have complained of.
        self.complaints: list[str] = []
        #: Every address that was asked for.
        self.requested: list[str] = []

    async def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Call a method of the protocol; events that come meanwhile are noted."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                message = json.loads(await self._socket.receive_str())
                if message.get("id") == number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif message["method"] == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])

    async def open(self, url: str) -> None:
        """Go to an address."""
        for domain in ("Log", "Runtime", "Network", "Page"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, script: str) -> Any:  # noqa: ANN401 - whatever the script is worth
        """Return what an expression is worth in the page."""
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def wait(self, script: str) -> Any:  # noqa: ANN401
        """Wait until an expression is worth something; return it."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not (value := await self.evaluate(script)):
            assert time.monotonic() < deadline, f"{script}: {self.complaints}"
            await asyncio.sleep(0.05)
        return value

    async def click(self, selector: str) -> None:
        """Click what a selector finds, once it is there."""
        place = json.dumps(selector)
        await self.wait(f"!!document.querySelector({place})")
        await self.evaluate(f"document.querySelector({place}).click()")

    async def type(self, selector: str, text: str) -> None:
        """Replace the text of a field, as keys would."""
        place = json.dumps(selector)
        await self.wait(f"!!document.querySelector({place})")
        await self.evaluate(f"(e => {{ e.focus(); e.select(); }})(document.querySelector({place}))")
        await self.call("Input.insertText", text=text)

    async def show_as(self, width: int, *, is_dark: bool = False) -> None:
        """Be a window of a width, on a device that likes light or dark pages."""
        await self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=800, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])

    async def screenshot(self, path: Path, *, is_whole: bool = False) -> None:
        """Keep a picture of the window, or of the whole page."""
        answer = await self.call(
            "Page.captureScreenshot", format="png", captureBeyondViewport=is_whole
        )
        await asyncio.to_thread(path.write_bytes, base64.b64decode(answer["data"]))


@asynccontextmanager
async def page(binary: str) -> AsyncIterator[Page]:
    """Open a browser with one empty page, and end it with the block."""
    profile = Path(tempfile.mkdtemp(prefix="browser-"))
    process = await asyncio.create_subprocess_exec(
        *(binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port = await _port(profile / "DevToolsActivePort")
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                target = next(t for t in await answer.json() if t["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.kill()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _port(file: Path) -> int:
    """Wait for the file in which the browser says where it listens."""
    deadline = time.monotonic() + START_SECONDS
    while (port := _read_port(file)) is None:
        assert time.monotonic() < deadline, "the browser does not start"
        await asyncio.sleep(0.05)
    return port


def _read_port(file: Path) -> int | None:
    text = file.read_text() if file.exists() else ""
    return int(text.splitlines()[0]) if "\n" in text else None
