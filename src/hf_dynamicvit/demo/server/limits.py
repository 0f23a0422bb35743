# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Limit the demo: how much, how often, how large."""

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass


# Visitors that are remembered for the rate limit.
REMEMBERED = 10_000


@dataclass(frozen=True)
class Limits:
    """What visitors may do. The page is given a number for each window, which a stranger makes up at will, so that
    the address from which requests come has limits too.

    Attributes:
        file_megabytes: of one image.
        pixels: of one image.
        requests_a_minute: of one window; a comparison is one.
        events_a_minute: of one address; a click is up to three, and an upload is one.
        waiting: requests that wait for their turn.
        waiting_of_one: those of them, and the uploads under way, that come from one address.
        uploads_under_way: images on their way at once.
        uploads: images on the disk at once, sent and not yet read; of more, the oldest is deleted.
        visitors: whose images are in memory at once; of more, the oldest is forgotten.
    """

    file_megabytes: int = 10
    pixels: int = 40_000_000
    requests_a_minute: int = 40
    events_a_minute: int = 120
    waiting: int = 20
    waiting_of_one: int = 3
    uploads_under_way: int = 8
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
