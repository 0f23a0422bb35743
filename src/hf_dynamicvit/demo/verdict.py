# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Say in one line what the sparse model saves, and whether its answer is that of the dense one."""

from html import escape

from ..look.drawing import top_classes
from .answer import Answer, Neighbours


# Ratios of two times nearer to 1 than this are not told apart: a machine that others use varies by more.
ALIKE = 1.05


def told_cost(fraction: float) -> str:
    """Tell what `fraction` of the dense multiply-adds saves."""
    if round(100 * fraction) == 100:
        return "the same compute"
    return f"{1 - fraction:.0%} less compute" if fraction < 1 else f"{fraction - 1:.0%} more compute"


def told_speed(ratio: float) -> str:
    """Tell the time of the dense model divided by that of the sparse one."""
    if max(ratio, 1 / ratio) < ALIKE:
        return "about as fast"
    return f"{ratio:.1f}x faster" if ratio > 1 else f"{1 / ratio:.1f}x slower"


def told_answer(answer: Answer) -> tuple[str, str, str]:
    """Return a sign, whether the answer changed in words, and the class of the style."""
    view = answer.view
    if answer.neighbours is not None:
        return told_neighbours(answer.neighbours)
    ((label, _),) = top_classes(view.probabilities, answer.labels, 1)
    if view.dense_probabilities is None:
        return "\N{BLACK RIGHT-POINTING TRIANGLE}", label, "dv-alone"
    if not view.differs:
        return "\N{CHECK MARK}", f"Same answer ({label})", "dv-same"
    ((dense, _),) = top_classes(view.dense_probabilities, answer.labels, 1)
    return "\N{NOT EQUAL TO}", f"Answer changed ({label}; dense: {dense})", "dv-changed"


def told_neighbours(neighbours: Neighbours) -> tuple[str, str, str]:
    """Return the same of a search."""
    wanted, shared = len(neighbours.dense), neighbours.shared
    if shared < wanted:
        return "\N{NOT EQUAL TO}", f"{shared} of the dense model's {wanted} nearest images found", "dv-changed"
    orders = [[entry.title for entry, _ in found] for found in (neighbours.sparse, neighbours.dense)]
    order = "" if orders[0] == orders[1] else " in another order"
    return "\N{CHECK MARK}", f"Same {wanted} nearest images{order}", "dv-same"


def verdict_html(answer: Answer) -> str:
    """Lay out the verdict: the answer, what is saved, how much faster it ran."""
    view, times = answer.view, answer.milliseconds
    sign, text, kind = told_answer(answer)
    parts = [text, told_cost(view.multiply_adds / view.dense_multiply_adds)]
    parts += [told_speed(times["dense"].median / times["sparse"].median)] if "dense" in times else []
    return f'<p class="dv-verdict {kind}"><span aria-hidden="true">{sign}</span> {escape(", ".join(parts))}</p>'
