# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Limit the server: how large, how many, how long."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What is taken of those who ask.

    Attributes:
        megabytes: of one request, with all of its images.
        pixels: of one image, known before it is decoded.
        images: of one request.
        reading: requests that arrive or are decoded at the same time.
        waiting: images that wait for the model.
        patience: seconds in which a request must have arrived.
    """

    megabytes: int = 10
    pixels: int = 40_000_000
    images: int = 16
    reading: int = 32
    waiting: int = 128
    patience: float = 20.0

    @property
    def num_bytes(self) -> int:
        """Bytes of one request."""
        return self.megabytes * 1024 * 1024


class Refused(Exception):
    """A request that is not answered: the status of HTTP, and why, for who sent it."""

    def __init__(self, status: int, reason: str):
        super().__init__(status, reason)
        self.status, self.reason = status, reason
