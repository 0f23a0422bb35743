# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What a search found, as text and as a plot."""

from pathlib import Path

from ..benchmark.report import draw_panels
from .result import Tuned
from .search import Point


# A batch that takes so much more or less than was asked for is told of.
FAR = 0.05

MEASURES = {"kl": "KL to the dense model", "cosine": "1 - cosine to the dense model"}


def told_cost(tuned: Tuned, cost: float) -> str:
    """Tell a cost in the unit of the search: GMACs and the fraction of the dense model's, or milliseconds."""
    if tuned.unit == "seconds":
        return f"{1000 * cost:.3g} ms"
    return f"{cost / 1e9:.4g} GMACs ({cost / tuned.dense_multiply_adds:.3f})"


def build_row(name: str, point: Point, tuned: Tuned) -> str:
    """Format a schedule as a row of the table."""
    counts = " ".join(map(str, point.counts))
    return f"| {name} | {told_cost(tuned, point.cost)} | {point.loss:.4f} | {counts} |"


def build_report(tuned: Tuned) -> str:
    """Tell what was found, beside the schedules by name at the same budget, and what less and more would cost."""
    behind: dict[int, list[int]] = {}
    for layer, count in zip(tuned.layers, tuned.counts, strict=True):
        behind.setdefault(layer, []).append(count)
    stages = ", ".join(f"{layer}: {'/'.join(map(str, counts))}" for layer, counts in behind.items())
    lines = [
        f"{tuned.reducer}: {tuned.multiply_adds / 1e9:.4g} of {tuned.dense_multiply_adds / 1e9:.4g} GMACs "
        f"({tuned.fraction:.3f}), {MEASURES[tuned.measure]} {tuned.loss:.4f} on {tuned.images} images, "
        f"{tuned.trials} schedules tried.",
    ]
    if tuned.latency is not None:
        taken = tuned.latency
        lines.append(
            f"A batch of {taken.batch} takes {1000 * taken.reached:.4g} ms, asked for {1000 * taken.asked:.4g}; the "
            f"dense model {1000 * taken.dense:.4g} ms ({taken.dense / taken.reached:.2f}x)."
        )
        off = taken.reached / taken.asked - 1
        if off > FAR or (off < -FAR and tuned.loss > 0):
            lines.append(
                f"That is {abs(off):.0%} {'slower' if off > 0 else 'faster'} than asked for, though the table was "
                "corrected by what was measured: the machine may be busy. Search again, or with clock 'cpu'."
            )
    lines += [f"Patch tokens of {tuned.num_patches} left at block {stages}.", ""]
    lines += [
        f"| schedule | cost | {MEASURES[tuned.measure]} | left at blocks {told_layers(tuned.searched)} |",
        "|" + " --- |" * 4,
    ]
    by_loss = sorted(tuned.named.items(), key=lambda row: row[1].loss)
    lines += [build_row(name, point, tuned) for name, point in by_loss]
    lines += [build_row("front", point, tuned) for point in tuned.front]
    return "\n".join(lines)


def told_layers(layers: list[int]) -> str:
    """Tell block numbers, `0 to 11` where none is left out."""
    layers = [*dict.fromkeys(layers)]
    if layers == [*range(layers[0], layers[-1] + 1)] and len(layers) > 2:
        return f"{layers[0]} to {layers[-1]}"
    return ", ".join(map(str, layers))


def draw_front(tuned: Tuned, file: Path) -> Path:
    """Draw the loss over the cost: what the search tried and kept, what it chose, and the schedules by name."""
    scale = 1000 if tuned.unit == "seconds" else 1 / tuned.dense_multiply_adds
    across = "ms of a batch" if tuned.unit == "seconds" else "multiply-adds as a fraction of the dense model's"
    lines = {"front of the search": [(scale * point.cost, point.loss) for point in tuned.front]}
    lines |= {name: [(scale * point.cost, point.loss)] for name, point in tuned.named.items()}
    return draw_panels(file, {tuned.reducer: lines}, across, MEASURES[tuned.measure], False)
