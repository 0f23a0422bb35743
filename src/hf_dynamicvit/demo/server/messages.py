# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Read requests and send answers, as ASGI has them: who asks, what is in a body, why not."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any


Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# How deep lists and objects nest in what is sent: the page's do to four, and Python reads a thousand.
DEEPEST = 32

HEADERS = [
    # the browser itself refuses to ask any other host for anything
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
]


def find_address(scope: Scope, behind_proxy: bool) -> str:
    """Return the address that asks; behind a proxy, the one that the last proxy wrote down."""
    forwarded = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    if behind_proxy and forwarded:
        return forwarded[-1].decode("latin-1").rpartition(",")[2].strip()
    return (scope.get("client") or ("",))[0]


def files_in(body: bytes, content_type: bytes) -> int:
    """Count the parts of a multipart body, or more: each begins with the boundary, which also ends the last."""
    from python_multipart.multipart import parse_options_header  # Gradio's

    boundary = parse_options_header(content_type)[1].get(b"boundary")
    return body.count(b"--" + boundary) - body.count(b"--" + boundary + b"--") if boundary else 0


def paths_in(body: bytes) -> tuple[list[str], Any]:
    """Return every `path` in a JSON text, at any depth, and its content: Gradio reads files and fetches addresses.

    Raises:
        ValueError: it is not JSON.
        RecursionError: it nests too deep.
    """
    found = []

    def collect(entries: list[tuple[str, Any]]) -> dict[str, Any]:
        found.extend(str(value) for name, value in entries if name == "path" and value is not None)
        return dict(entries)

    return found, json.loads(body, object_pairs_hook=collect)


def depth(sent: Any) -> int:
    """Count how deep lists and objects nest, at most `DEEPEST` + 1."""
    level, deep = [sent], 0
    while level and deep <= DEEPEST:
        inner = [each for each in level if isinstance(each, list | dict)]
        level = [each for values in inner for each in (values.values() if isinstance(values, dict) else values)]
        deep += bool(inner)
    return deep


async def drain(receive: Receive, most: int, seconds: float) -> None:
    """Take what is still sent, and keep none of it; at most `most` bytes, for so many seconds."""
    total, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while more and total <= most:
                message = await receive()
                total += len(message.get("body", b""))
                more = message.get("more_body", False)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return `receive` with a body ahead of it that was read already."""
    first = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return first.pop() if first else await receive()

    return again


async def answer(send: Send, status: int, text: str, as_json: bool) -> None:
    """Send why not: as plain text, or as what Gradio's page shows where something was to be computed."""
    kind, body = (b"application/json", json.dumps({"detail": text})) if as_json else (b"text/plain", text)
    headers = [(b"content-type", kind + b"; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})
