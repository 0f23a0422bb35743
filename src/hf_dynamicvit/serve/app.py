# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The server as an ASGI application: `POST /predict`, and what those who run it ask.

```python
app = build_app(Classifier.load("my-dynamicvit"))  # for `uvicorn module:app`
```
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from PIL import Image
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from torch import Tensor

from .._version import __version__
from ..data.untrusted import decode_untrusted
from ..prediction import Classifier, NamedClass
from .batching import Batcher, Full
from .bodies import SentImage, drain, read_body, split_images
from .limits import Limits, Refused
from .metrics import Metrics


BUSY = "The server has more to do than it takes. Try again in a moment."

# What is said of `/predict` in openapi.json, which FastAPI cannot read off a function that reads the body itself.
BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                }
            },
            "image/*": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    "parameters": [{"name": "top_k", "in": "query", "schema": {"type": "integer", "minimum": 1, "default": 5}}],
}


class Service:
    """What answers the requests: reads images in threads, and runs the model on batches of them.

    Args:
        classifier: the model.
        limits: of what is sent.
        batch_size: images that the model sees at a time, at most.
        window: milliseconds for which the first of a batch waits for others.
        workers: threads that decode and scale images.
    """

    def __init__(self, classifier: Classifier, limits: Limits, batch_size: int, window: float, workers: int):
        self.classifier, self.limits, self.metrics = classifier, limits, Metrics()
        self.batcher = Batcher(self.run, batch_size, window / 1000, limits.waiting, self.metrics.batches.observe)
        self.readers = ThreadPoolExecutor(workers, thread_name_prefix="reader")
        self.reading = 0

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncGenerator[None]:
        """Run the model once, so that the first to ask does not wait for its kernels; stop all threads at the end."""
        self.run([self.classifier.prepare(Image.new(self.classifier.mode, (64, 64)))])
        self.batcher.start()
        yield
        await self.batcher.stop()
        await asyncio.to_thread(self.readers.shutdown)

    def run(self, inputs: list[Tensor]) -> list[list[NamedClass]]:
        """Name all classes of each of `inputs`, the most probable first."""
        return self.classifier.classify(inputs, len(self.classifier.labels))

    def read(self, sent: SentImage) -> Tensor | str:
        """Return the model's input for an image that was sent, or why it cannot be read."""
        try:
            return self.classifier.prepare(decode_untrusted(sent.content, self.classifier.mode, self.limits.pixels))
        except ValueError as error:
            return f"{sent.name} cannot be read: {error}."

    async def read_images(self, request: Request) -> tuple[list[SentImage], list[Tensor | str]]:
        """Read the images of a request; of as many requests at a time as the limits say.

        Raises:
            Refused: so many are read already, or as `read_body` and `split_images`.
        """
        if self.reading >= self.limits.reading:
            await drain(request, self.limits.num_bytes)
            raise Refused(503, BUSY)
        self.reading += 1
        try:
            sent = await split_images(request, await read_body(request, self.limits), self.limits)
            loop = asyncio.get_running_loop()
            return sent, await asyncio.gather(*(loop.run_in_executor(self.readers, self.read, each) for each in sent))
        finally:
            self.reading -= 1

    async def answer(self, request: Request) -> dict[str, Any]:
        """Classify the images of a request.

        Raises:
            Refused: as `read_images`; none can be read; or too many images wait for the model.
        """
        top_k = read_top_k(request)
        sent, found = await self.read_images(request)
        inputs = [each for each in found if isinstance(each, Tensor)]
        self.metrics.images["unreadable"] += len(found) - len(inputs)
        if not inputs:
            raise Refused(422, " ".join(each for each in found if isinstance(each, str)))
        try:
            classes = iter(await self.batcher.put(inputs))
        except Full as full:
            raise Refused(503, BUSY) from full
        self.metrics.images["classified"] += len(inputs)
        images = [
            {"name": each.name, "error": result}
            if isinstance(result, str)
            else {"name": each.name, "classes": [asdict(named) for named in next(classes)[:top_k]]}
            for each, result in zip(sent, found, strict=True)
        ]
        return {"images": images}

    async def predict(self, request: Request) -> Response:
        """Classify the images that are sent: the files of a form, or one image as the body."""
        start, status = time.perf_counter(), 500
        try:
            answer = await self.answer(request)
            status = 200
            self.metrics.seconds.observe(time.perf_counter() - start)
            return JSONResponse(answer)
        except Refused as refused:
            status = refused.status
            headers = {"retry-after": "1"} if status == 503 else {}
            return JSONResponse({"detail": refused.reason}, status, headers)
        except (ClientDisconnect, asyncio.CancelledError):
            status = 499
            raise
        finally:
            self.metrics.requests[status] += 1

    async def health(self) -> dict[str, Any]:
        """Tell that the server is ready, and how much waits."""
        return {"status": "ok", "version": __version__, "waiting": self.batcher.waiting, "reading": self.reading}

    async def model(self) -> dict[str, Any]:
        """Tell which model answers: its method, cost and classes."""
        config, name = self.classifier.config, self.classifier.config.name_or_path
        return {
            "model": Path(name).name if Path(name).exists() else name,  # a folder is nobody else's business
            "reducer": getattr(config, "reducer", None),
            "gmacs": round(self.classifier.gmacs, 4),
            "labels": self.classifier.labels,
        }

    async def told_metrics(self) -> Response:
        """Tell the metrics in the text format of Prometheus."""
        return PlainTextResponse(self.metrics.write(self.reading, self.batcher.waiting))


def read_top_k(request: Request) -> int:
    """Read how many classes of each image are wanted.

    Raises:
        Refused: it is no number, or below 1.
    """
    given = request.query_params.get("top_k", "5")
    if not (given.isascii() and given.isdigit()) or int(given[:9]) < 1:
        raise Refused(422, "top_k must be a whole number of 1 or more.")
    return int(given[:9])


def build_app(
    classifier: Classifier,
    limits: Limits | None = None,
    *,
    batch_size: int = 16,
    window: float = 5.0,
    workers: int = 2,
) -> FastAPI:
    """Build the application; the arguments are those of `Service`."""
    service = Service(classifier, limits or Limits(), batch_size, window, workers)
    # no page of Swagger's, as that loads scripts from other hosts
    app = FastAPI(title="hf_dynamicvit", version=__version__, lifespan=service.lifespan, docs_url=None, redoc_url=None)
    app.post("/predict", response_model=None, openapi_extra=BODY)(service.predict)
    app.get("/health")(service.health)
    app.get("/model")(service.model)
    app.get("/metrics", response_model=None)(service.told_metrics)
    return app
