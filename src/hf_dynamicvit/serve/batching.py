# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Gather what several requests ask into batches of one model."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any


class Full(Exception):
    """So much waits already that no more is taken."""


class Batcher:
    """Runs a function, in a thread of its own, on batches of what was put.

    The first of a batch waits at most `window` seconds for others. What arrives while the function runs is the next
    batch, so that the window costs nothing where there is much to do.

    Args:
        run: a list of inputs -> the list of their results, in the same order.
        size: of the largest batch.
        window: in seconds; 0 takes what is there.
        most: inputs that wait at the same time.
        told: called with the size of every batch that was run.
    """

    def __init__(
        self,
        run: Callable[[list[Any]], Sequence[Any]],
        size: int,
        window: float,
        most: int,
        told: Callable[[int], None] = lambda size: None,
    ):
        self.run, self.size, self.window, self.most, self.told = run, size, window, most, told
        self._waiting: asyncio.Queue[tuple[Any, asyncio.Future[Any]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Inputs that wait for the model."""
        return self._waiting.qsize()

    def start(self) -> None:
        self._worker = asyncio.create_task(self._work())

    async def stop(self) -> None:
        """Stop when the batch that runs has ended; what still waits is not run."""
        assert self._worker is not None
        self._worker.cancel()
        await asyncio.gather(self._worker, return_exceptions=True)
        await asyncio.to_thread(self._thread.shutdown)
        while not self._waiting.empty():
            self._waiting.get_nowait()[1].cancel()

    async def put(self, inputs: Sequence[Any]) -> list[Any]:
        """Return the result of each of `inputs`.

        Raises:
            Full: with them more than `most` would wait; none of them is run.
        """
        if self.waiting + len(inputs) > self.most:
            raise Full
        loop = asyncio.get_running_loop()
        results: list[asyncio.Future[Any]] = [loop.create_future() for _ in inputs]
        for pair in zip(inputs, results, strict=True):
            self._waiting.put_nowait(pair)
        return await asyncio.gather(*results)

    async def _work(self) -> None:
        while True:
            batch = await self._gather()
            wanted = [(each, result) for each, result in batch if not result.cancelled()]
            if wanted:
                await self._answer(wanted)

    async def _gather(self) -> list[tuple[Any, asyncio.Future[Any]]]:
        batch = [await self._waiting.get()]
        end = asyncio.get_running_loop().time() + self.window
        while len(batch) < self.size:
            if not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
                continue
            try:
                async with asyncio.timeout_at(end):
                    batch.append(await self._waiting.get())
            except TimeoutError:
                break
        return batch

    async def _answer(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.run_in_executor(self._thread, self.run, [each for each, _ in batch])
        except Exception as error:  # of this batch; the next may be well
            for _, result in batch:
                if not result.done():
                    result.set_exception(error)
            return
        self.told(len(batch))
        for (_, result), answer in zip(batch, answers, strict=True):
            if not result.done():  # who asked is gone
                result.set_result(answer)
