# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Count what the server does, and tell it in the text format of Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence


PREFIX = "hf_dynamicvit"

# Upper bounds of the buckets: seconds from when a request begins to its answer, and images of a batch.
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


class Histogram:
    """How many of the observed values are at most each of `bounds`."""

    def __init__(self, bounds: Sequence[float]):
        self.bounds, self.counts, self.total = bounds, [0] * (len(bounds) + 1), 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def write(self, name: str) -> list[str]:
        """Write the lines of the metric `name`, whose buckets are cumulative."""
        lines, sum_of_counts = [], 0
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            sum_of_counts += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {sum_of_counts}')
        return [*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {sum_of_counts}"]


class Metrics:
    """What was counted since the server started.

    Attributes:
        requests: by status, of those that ask for classes; 499 of those who left before their answer.
        images: classified, and refused one by one.
        seconds: of each request that was answered with classes.
        batches: images in each batch that the model ran.
    """

    def __init__(self) -> None:
        self.requests: Counter[int] = Counter()
        self.images: Counter[str] = Counter()
        self.seconds, self.batches = Histogram(SECONDS), Histogram(BATCHES)

    def write(self, reading: int, waiting: int) -> str:
        """Write all metrics, and how many requests are read and images wait just now."""
        statuses = [f'{{status="{status}"}} {count}' for status, count in sorted(self.requests.items())]
        images = [f'{{result="{result}"}} {self.images[result]}' for result in ("classified", "unreadable")]
        parts = [
            ("requests_total", "counter", "Requests for classes, by status.", statuses),
            ("images_total", "counter", "Images, by what became of them.", images),
            ("reading_requests", "gauge", "Requests that arrive or are decoded.", [f" {reading}"]),
            ("waiting_images", "gauge", "Images that wait for the model.", [f" {waiting}"]),
        ]
        lines = []
        for name, kind, text, samples in parts:
            lines += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"]
            lines += [f"{PREFIX}_{name}{sample}" for sample in samples]
        for name, text, histogram in (
            ("request_seconds", "Time to an answer with classes.", self.seconds),
            ("batch_images", "Images in a batch of the model.", self.batches),
        ):
            lines += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} histogram"]
            lines += histogram.write(f"{PREFIX}_{name}")
        return "\n".join(lines) + "\n"
