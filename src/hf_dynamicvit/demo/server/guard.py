# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Stand before Gradio's server: let pass what the page asks for, within the limits."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import ClientDisconnect

from .limits import Limits, RateLimit
from .messages import (
    DEEPEST,
    HEADERS,
    Receive,
    Scope,
    Send,
    answer,
    depth,
    drain,
    files_in,
    find_address,
    paths_in,
    replayed,
)
from .uploads import Uploads


API = "/gradio_api"

# The only addresses that the page posts to, and that it gets; Gradio has many more, some of which ask other hosts.
UPLOAD, JOIN = f"{API}/upload", f"{API}/queue/join"
POSTS = (UPLOAD, JOIN, f"{API}/cancel", f"{API}/reset")
GETS = (
    *("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json"),
    *(f"{API}/{name}" for name in ("info", "startup-events", "app_id", "queue/data", "upload_progress")),
)
FOLDERS = ("/assets/", "/static/")
HEARTBEAT, FILE = f"{API}/heartbeat/", f"{API}/file="

# Bytes of an upload beside the image itself; and of what the page sends to have something computed.
SMALL_BODY = 64 * 1024

# Characters of the number of a window; Gradio's page makes one of about ten.
LONGEST_HASH = 64

# Seconds that sending may take.
PATIENCE = 60.0

NOTHING = "This page has no such thing."
ONLY_UPLOADS = "Only images that were uploaded are read, each once. Send it again."
ONE_IMAGE = "One image at a time."
BUSY = "Too many images at once. Try again in a minute."
TOO_SLOW = "That took too long to arrive. Try again."
TOO_MANY = "Some of your requests still wait for their turn. Wait a little."


class Refused(Exception):
    """A request that does not pass: status and reason."""

    def __init__(self, status: int, reason: str):
        super().__init__(status, reason)
        self.status, self.reason = status, reason


class Guard:
    """ASGI middleware: refuses what the page itself never asks for, and what is too much, before Gradio sees it.

    Args:
        app: what it stands before.
        limits: as the page has them.
        uploads: those of the page.
        queued: the requests that wait for their turn.
        behind_proxy: the address of a visitor is what a proxy says it is.
    """

    def __init__(
        self,
        app: Any,
        limits: Limits,
        uploads: Uploads,
        queued: Callable[[], Iterable[Scope]],
        behind_proxy: bool,
    ):
        self.app, self.limits, self.uploads, self.queued, self.behind_proxy = (
            app,
            limits,
            uploads,
            queued,
            behind_proxy,
        )
        self.rate = RateLimit(limits.events_a_minute)
        self._under_way = {UPLOAD: Counter(), JOIN: Counter()}  # how many from which address
        self._writing = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        still_sends = scope["method"] not in ("GET", "HEAD")

        async def watched() -> MutableMapping[str, Any]:
            nonlocal still_sends
            message = await receive()
            still_sends = message.get("more_body", False)
            return message

        try:
            if scope["method"] in ("GET", "HEAD"):
                self.check_get(scope)
                await self.app(scope, receive, send_with_headers)
            else:
                await self.post(scope, watched, send_with_headers)
        except Refused as refused:
            if still_sends:
                await drain(watched, self.most(scope), PATIENCE)  # a browser that still sends would not listen
            await answer(send, refused.status, refused.reason, as_json=scope["path"] == JOIN)
        except ClientDisconnect:
            pass

    def check_get(self, scope: Scope) -> None:
        path = scope["path"]
        hashes = parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [])
        hashes += [path.removeprefix(HEARTBEAT)] if path.startswith(HEARTBEAT) else []
        if any(len(each) > LONGEST_HASH for each in hashes):
            raise Refused(404, NOTHING)
        upload = path.startswith(FILE) and path.removeprefix(FILE) in self.uploads
        if not (path in GETS or path.startswith((*FOLDERS, HEARTBEAT)) or upload):
            raise Refused(404, NOTHING)

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, address = scope["path"], find_address(scope, self.behind_proxy)
        if scope["method"] != "POST" or path not in POSTS:
            raise Refused(405, NOTHING)
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.most(scope):
            raise Refused(413, self.too_large)
        if path in self._under_way:
            self.check_amount(path, address)
        under_way = self._under_way.get(path, Counter())
        under_way[address] += 1
        try:
            body = await self.whole_body(receive, self.most(scope))
            if path == UPLOAD:
                await self.store(scope, body, replayed(body, receive), send)
            else:
                self.check_json(body)
                await self.app(scope, replayed(body, receive), send)
        finally:
            under_way[address] -= 1
            if not under_way[address]:
                del under_way[address]

    def check_amount(self, path: str, address: str) -> None:
        """Refuse what is more than one address may, or more than the server takes at once."""
        under_way, own = self._under_way[path], 0
        if path == JOIN:
            own = sum(find_address(waiting, self.behind_proxy) == address for waiting in self.queued())
        elif under_way.total() >= self.limits.uploads_under_way:
            raise Refused(503, BUSY)
        if own + under_way[address] >= self.limits.waiting_of_one:
            raise Refused(429, TOO_MANY)
        if not self.rate.allows(address):
            most = self.limits.events_a_minute
            raise Refused(429, f"That was more than {most} requests in a minute. Wait a little.")

    async def store(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """Have Gradio write one image when all of it is here; delete what it leaves of a failed one."""
        if files_in(body, dict(scope["headers"]).get(b"content-type", b"")) > 1:
            raise Refused(413, ONE_IMAGE)
        statuses = []

        async def send_and_look(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        async with self._writing:
            self.uploads.make_room()
            before = set(self.uploads.files())
            try:
                await self.app(scope, receive, send_and_look)
            finally:
                new = set(self.uploads.files()) - before
                if statuses != [200] or len(new) > 1:
                    for file in new:
                        self.uploads.delete(file)

    def check_json(self, body: bytes) -> None:
        """Refuse paths and addresses that are no uploads, and what would trip Gradio."""
        try:
            paths, sent = paths_in(body)
        except RecursionError as error:
            raise Refused(403, ONLY_UPLOADS) from error
        except ValueError:
            return  # Gradio refuses it itself
        window = sent.get("session_hash") if isinstance(sent, dict) else None
        if isinstance(window, str) and len(window) > LONGEST_HASH:
            raise Refused(403, NOTHING)
        if depth(sent) > DEEPEST or not all(path in self.uploads for path in paths):
            raise Refused(403, ONLY_UPLOADS)

    async def whole_body(self, receive: Receive, most: int) -> bytes:
        """Return all that was sent; refuse what is too much, whatever length was announced, or too slow."""
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(PATIENCE):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    body += message.get("body", b"")
                    if len(body) > most:
                        raise Refused(413, self.too_large)
                    more = message.get("more_body", False)
        except TimeoutError as error:
            raise Refused(408, TOO_SLOW) from error
        return bytes(body)

    @property
    def too_large(self) -> str:
        return f"The file is too large: at most {self.limits.file_megabytes} MB."

    def most(self, scope: Scope) -> int:
        """Return how many bytes the body of a request may have."""
        return SMALL_BODY + (self.limits.file_megabytes * 1024 * 1024 if scope["path"] == UPLOAD else 0)
