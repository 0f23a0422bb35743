# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What the demo allows: how much, how often, how large, and to which addresses of the server."""

import json
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# The only addresses that the page posts to; Gradio has many more.
UPLOAD, JOIN = "/upload", "/queue/join"
POSTS = (UPLOAD, JOIN, "/cancel", "/reset")

# Those of what Gradio gives away that the page does without: one stores a session, one asks other hosts.
REFUSED_GETS = ("/deep_link", "/proxy=")

# The rest of the body of an upload beside the picture itself; and what the page sends to have something computed.
SMALL_BODY = 64 * 1024

# Seconds after which an upload that nobody read is deleted.
STALE = 120

NOTHING = "This page has no such thing."
ONLY_UPLOADS = "Only pictures that were uploaded are read."

# Visitors that are remembered for the rate limit.
REMEMBERED = 10_000

HEADERS = [
    # the browser itself refuses to ask any other host for anything
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True)
class Limits:
    """What visitors may do.

    Attributes:
        file_megabytes: of one picture.
        pixels: of one picture.
        requests_a_minute: of one visitor; a comparison is one.
        waiting: requests that wait for their turn.
        uploads: pictures on the disk at once, sent and not yet read.
        visitors: whose pictures are in memory at once; of more, the oldest is forgotten.
    """

    file_megabytes: int = 10
    pixels: int = 40_000_000
    requests_a_minute: int = 40
    waiting: int = 20
    uploads: int = 20
    visitors: int = 100


class RateLimit:
    """At most `most` calls of `allows` in any `seconds` for one visitor."""

    def __init__(self, most: int, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic):
        self.most, self.seconds, self.clock = most, seconds, clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def allows(self, visitor: str) -> bool:
        now = self.clock()
        times = self._times.setdefault(visitor, deque())
        self._times.move_to_end(visitor)
        while len(self._times) > REMEMBERED:
            self._times.popitem(last=False)
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if len(times) >= self.most:
            return False
        times.append(now)
        return True


class Guard:
    """ASGI middleware: refuses what the page itself never asks for, before Gradio sees it.

    Args:
        app: what it stands before.
        limits: as the page has them.
        folder: where uploads lie until they are read.
    """

    def __init__(self, app: Any, limits: Limits, folder: Path):
        self.app, self.limits, self.folder = app, limits, folder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        refused, receive = self.refused(scope), limited(receive, self.most(scope))
        if refused is None and scope["method"] == "POST" and scope["path"].endswith(JOIN):
            body = await whole_body(receive)
            receive = replayed(body, receive)
            if not all(is_upload(Path(path), self.folder) for path in paths_in(body)):
                refused = 403, ONLY_UPLOADS
        if refused is not None:
            await whole_body(receive)  # a browser that still sends would not listen
            await answer(send, *refused)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:  # in the middle of what it sent: by itself, or broken off by `limited`
            await answer(send, 413, self.too_large)

    @property
    def too_large(self) -> str:
        return f"The file is too large: at most {self.limits.file_megabytes} MB."

    def refused(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, or `None` for what may pass."""
        path, method = scope["path"], scope["method"]
        if method in ("GET", "HEAD"):
            return (404, NOTHING) if any(name in path for name in REFUSED_GETS) else None
        if method != "POST" or not path.endswith(POSTS):
            return 405, NOTHING
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.most(scope):
            return 413, self.too_large
        if path.endswith(UPLOAD) and self.waiting_uploads() >= self.limits.uploads:
            return 503, "Too many pictures at once. Try again in a minute."
        return None

    def most(self, scope: Scope) -> int:
        """Bytes that the body of a request may have."""
        return SMALL_BODY + (self.limits.file_megabytes * 1024 * 1024 if scope["path"].endswith(UPLOAD) else 0)

    def waiting_uploads(self) -> int:
        """Pictures sent and not yet read; what was broken off, or never read, is deleted."""
        count = 0
        for file in [file for file in self.folder.rglob("*") if file.is_file()]:
            with suppress(FileNotFoundError):  # it was read just now
                if time.time() - file.stat().st_mtime > STALE:
                    file.unlink()
                else:
                    count += 1
        return count


def is_upload(file: Path, folder: Path) -> bool:
    """Whether `file` is where Gradio puts what was sent: in a folder of its own in `folder`."""
    return file.resolve() == file and file.parent.parent == folder


def limited(receive: Receive, most: int) -> Receive:
    """`receive` that breaks off after `most` bytes, whatever length was announced."""
    total = 0

    async def counting() -> MutableMapping[str, Any]:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= most else {"type": "http.disconnect"}

    return counting


async def whole_body(receive: Receive) -> bytes:
    """What was sent."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` with a body that was read already ahead of it."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return first.pop() if first else await receive()

    return again


def paths_in(body: bytes) -> list[str]:
    """Every `path` in a JSON text, at any depth: Gradio reads the files, and fetches the addresses, that they name."""
    found = []

    def collect(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found.extend(str(value) for name, value in entries if name == "path" and value is not None)
        return dict(entries)

    try:
        json.loads(body, object_pairs_hook=collect)
    except ValueError:
        return []  # Gradio refuses it itself
    return found


async def answer(send: Send, status: int, text: str) -> None:
    """A short plain text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
