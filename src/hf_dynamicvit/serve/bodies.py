# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Read what is sent to the server, within the limits, as images with names."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from .limits import Limits, Refused


# Seconds for which what a refused request still sends is taken and forgotten, so that it reads why.
DRAINED = 1.0


@dataclass(frozen=True)
class SentImage:
    """What was sent as one image, and the name that it was given."""

    name: str
    content: bytes


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return all that was sent, whatever length was announced.

    Raises:
        Refused: it is too large, or arrives too slowly.
        ClientDisconnect: who sends it left.
    """
    too_large = Refused(413, f"The request is too large: at most {limits.megabytes} MB.")
    length = request.headers.get("content-length", "0")
    if not length.isdigit() or int(length) > limits.num_bytes:
        await drain(request, limits.num_bytes)
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(limits.patience):
            async for part in request.stream():
                body += part
                if len(body) > limits.num_bytes:
                    raise too_large
    except TimeoutError as error:
        raise Refused(408, f"The request took more than {limits.patience:g} seconds to arrive.") from error
    return bytes(body)


async def drain(request: Request, most: int) -> None:
    """Take what is still sent and keep none of it: at most `most` bytes, for `DRAINED` seconds."""
    total = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAINED):
            async for part in request.stream():
                total += len(part)
                if total > most:
                    break


async def split_images(request: Request, body: bytes, limits: Limits) -> list[SentImage]:
    """Split a body into its images: the files of a form, or one image by itself.

    Raises:
        Refused: there are none or too many, or it is a body of another kind.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        images = await read_form(request, body, limits)
    elif kind.startswith("image/") or kind == "application/octet-stream":
        images = [SentImage("image", body)] if body else []
    else:
        raise Refused(415, f"The content type is {kind or 'missing'}; it can be multipart/form-data or image/....")
    if not images:
        raise Refused(400, "There is no image in the request.")
    return images


async def read_form(request: Request, body: bytes, limits: Limits) -> list[SentImage]:
    """Read the files of a form, whatever its fields are called.

    Raises:
        Refused: it is no form, or has too many files.
    """

    async def stream() -> AsyncGenerator[bytes]:
        yield body

    parser = MultiPartParser(
        request.headers, stream(), max_files=limits.images, max_fields=limits.images, max_part_size=limits.num_bytes
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"The form cannot be read: {error.message} At most {limits.images} images.") from error
    except (KeyError, ValueError) as error:  # a header without what it must have
        raise Refused(400, "The form cannot be read: it has no boundary.") from error
    try:
        files = [file for _, file in form.multi_items() if isinstance(file, UploadFile)]
        return [SentImage(file.filename or "image", await file.read()) for file in files]
    finally:
        await form.close()
