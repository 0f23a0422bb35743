# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The course of a search: what schedules cost, which are tried, and what is set in the end."""

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from ..benchmark.measure import build_dense, take_turns
from ..model.compat import attends
from ..model.schedules import SCHEDULES
from ..model.selection import within_reach
from .curves import search_curves
from .latency import LatencyTable, time_run
from .objective import Objective
from .result import Goal, Latency, Tuned
from .search import Losses, Numbers, Point, Problem, descend, exchange, named, thinned
from .subject import Subject


# Schedules by name that are tried beside the search, and from which it may go on.
NAMED = ("linear", "geometric", "cosine", "diffrate", "late", "three-stage")

# How near a measured latency must be to the one that was asked for, and how often the table is corrected for it.
NEAR, CORRECTIONS = 0.03, 4

# Turns in which models are timed, and those before that are not; the same for the table, in which a turn has each
# block at each of so many levels of tokens.
TURNS, WARMUP = 11, 2
TABLE_TURNS, TABLE_WARMUP, LEVELS = 4, 1, 12

# Points of the front that are told.
FRONT = 24


class Search:
    """The budget of a search, what schedules cost, and how the best is found.

    Args:
        subject: the model.
        images: that it sees.
        goal: what was asked for.
        batch_size: images in a batch that is timed.
        run_batch: images that run at once.
        progress: show a bar.
        clock: `"wall"` or `"cpu"`.
        search: `"curves"` or `"steps"`; `None` is curves for methods that may reduce in any block.
    """

    def __init__(
        self,
        subject: Subject,
        images: Tensor,
        goal: Goal,
        batch_size: int,
        run_batch: int,
        progress: bool,
        clock: str,
        search: str | None = None,
    ):
        self.name = search or ("curves" if subject.in_any_block else "steps")
        self.subject, self.goal, self.progress, self.clock = subject, goal, progress, clock
        self.costs: dict[Numbers, float] = {}
        subject.set(self.everything)
        self.objective = Objective(subject.model, images, run_batch)
        self.images, self.table = len(images), None
        dense = subject.model.dense_multiply_adds(subject.size)
        if goal.is_time:
            model = subject.model
            self.batch = images[torch.arange(batch_size) % len(images)].to(model.device, model.dtype)
            self.native = native_call(model)
            self.table = self.make_table()
            dense, whole = self.turns(self.everything)
            self.table.scale = whole / self.cost(self.everything)
            self.costs.clear()
        self.budget = goal.budget(dense)

    @property
    def everything(self) -> Numbers:
        """All patches at every stage."""
        return (self.subject.num_patches,) * len(self.subject.layers)

    def problem(self, known: dict[Numbers, Losses], on_trial: Callable[[Numbers, Losses], None]) -> Problem:
        """Make what is searched over; arguments as of `Problem`."""
        subject = self.subject

        def losses(counts: Numbers) -> Losses:
            subject.set(counts)
            return self.objective.losses()

        sizes = subject.num_patches, subject.layers, subject.model.config.depth, subject.least_left
        return Problem(*sizes, self.cost, losses, known, on_trial, subject.expansions())

    def cost(self, counts: Numbers) -> float:
        """Return the multiply-adds of an image, or predict the seconds of a batch."""
        if counts not in self.costs:
            by_count = self.table is None
            self.costs[counts] = (
                self.subject.multiply_adds(counts)
                if by_count
                else self.table.predict(self.subject.block_counts(counts))
            )
        return self.costs[counts]

    def run(self, problem: Problem, step: int, refinements: int, seed: int) -> tuple[Point, dict[str, Point], Any]:
        """Find the best schedule; return it, those by name, and what a batch of it takes where that was asked for.

        Raises:
            ValueError: none meets the budget.
        """
        self.check_reach(problem)
        for _ in range(CORRECTIONS):
            best, others = self.find(problem, step)
            if self.is_near(best):
                break
        for _ in range(CORRECTIONS):
            with tqdm(total=refinements, desc="refining", unit="schedule", disable=not self.progress) as bar:
                tell, problem.on_trial = problem.on_trial, ticking(problem.on_trial, bar)
                best = exchange(problem, best, self.budget, step, refinements, seed)
                problem.on_trial = tell
            if self.is_near(best):
                break
            best, others = self.find(problem, step)
        return best, others, self.turns(best.counts) if self.table is not None else None

    def find(self, problem: Problem, step: int) -> tuple[Point, dict[str, Point]]:
        """Search as asked; return the best of what that ends with and of the schedules by name, and these.

        Raises:
            ValueError: none of them meets the budget.
        """
        found = self.try_curves(problem) if self.name == "curves" else self.remove_tokens(problem, step)
        others = named(problem, self.budget, [] if self.subject.adaptive else NAMED)
        best = min(
            [*filter(None, [found]), *others.values()], key=lambda point: (point.loss, point.cost), default=None
        )
        if best is None:
            raise ValueError(self.unmet(min(point.cost for point in problem.points())))
        return best, others

    def try_curves(self, problem: Problem) -> Point | None:
        """Return the best curve; `None` where none meets the budget."""
        with tqdm(desc="trying curves", unit="curve", disable=not self.progress) as bar:
            return search_curves(problem, self.budget, bar.update)

    def remove_tokens(self, problem: Problem, step: int) -> Point | None:
        """Remove tokens down to the budget; `None` where that ends above it."""
        top = self.cost(problem.everything)
        with tqdm(total=100, desc="removing tokens", unit="%", disable=not self.progress) as bar:
            for point in descend(problem, self.budget, step):
                bar.n = round(100 * min(1.0, (top - point.cost) / max(top - self.budget, 1e-12)))
                bar.set_postfix({self.objective.name: f"{point.loss:.4f}"})
        return point if point.cost <= self.budget else None

    def is_near(self, point: Point) -> bool:
        """Return whether a batch takes what was asked for, if that was; else correct the table by what it takes."""
        if self.table is None:
            return True
        reached = self.turns(point.counts)[1]
        fast_enough = reached <= self.budget and point.counts == self.everything
        if fast_enough or abs(reached / self.budget - 1) <= NEAR:
            return True
        self.table.scale *= reached / point.cost
        self.costs.clear()
        return False

    def check_reach(self, problem: Problem) -> None:
        """Refuse a budget that no schedule meets, and name the nearest that one does."""
        stages, total = len(problem.layers), problem.num_patches
        fewest = [1, *(total >> halved for halved in range(total.bit_length()))]  # decisions take time too
        cost = min(self.cost(tuple(within_reach([left] * stages, total, problem.least_left))) for left in fewest)
        if cost > self.budget:
            raise ValueError(self.unmet(cost))

    def unmet(self, cost: float) -> str:
        """Say that no schedule meets the budget, and that one of this `cost` is the nearest."""
        nearest = {
            "gmacs": f"{cost / 1e9:.4g}",
            "fraction": f"{math.ceil(1e4 * cost / self.cost(self.everything)) / 1e4:g}",
            "latency": f"about {1000 * cost:.3g}",
            "speedup": f"about {self.budget * self.goal.value / cost:.3g}",
        }[self.goal.name]
        return (
            f"{self.goal.name} is {self.goal.value:g}; no schedule of {self.subject.model.config.reducer} on this "
            f"model meets it, the nearest is {nearest}."
        )

    def make_table(self) -> LatencyTable:
        """Time the blocks at a dozen numbers of tokens, and decisions at as many."""
        subject = self.subject
        total, runs = subject.num_patches, []
        with torch.inference_mode():
            for turn in range(TABLE_WARMUP + TABLE_TURNS):
                for counts in self.timed_schedules(total):
                    blocks = subject.block_counts(counts)
                    layers = subject.model.backbone.layers
                    timed = time_run(self.objective.read, layers, self.batch, blocks, self.clock)
                    if turn >= TABLE_WARMUP:
                        runs.append(timed)
        return LatencyTable(subject.model, runs)

    def timed_schedules(self, total: int) -> list[Numbers]:
        """Return schedules that stay at one number of tokens in most blocks, and some that fall all the way."""
        stages, least_left = len(self.subject.layers), self.subject.least_left
        flat = sorted({max(1, total * part // LEVELS) for part in range(1, LEVELS + 1)}, reverse=True)
        falling = [SCHEDULES["linear"].keep_ratios(ratio, stages) for ratio in (0.75, 0.5, 0.25, 0.1)]
        wanted = [[count] * stages for count in flat]
        wanted += [[max(1, int(total * ratio)) for ratio in ratios] for ratios in falling]
        return [*dict.fromkeys(tuple(within_reach(counts, total, least_left)) for counts in wanted)]

    def turns(self, counts: Numbers) -> list[float]:
        """Return the median seconds of a batch, of the native model and at `counts`."""
        self.subject.set(counts)
        calls = [self.native, self.objective.read]
        seconds = take_turns(calls, self.batch, TURNS, WARMUP, self.clock)
        return [statistics.median(each) for each in seconds]

    def finish(self, found: tuple[Point, dict[str, Point], Any], problem: Problem, settings: dict[str, Any]) -> Tuned:
        """Set the model to what was found, for good, and tell it."""
        best, others, reached = found
        subject, model = self.subject, self.subject.model
        cost, front = subject.multiply_adds(best.counts), thinned(problem.front(), FRONT)
        layers, counts = subject.keep(
            best.counts
        )  # at last, as what a schedule costs is found by setting the model to it
        latency = None
        if reached is not None:
            latency = Latency(len(self.batch), self.budget, best.cost, reached[1], reached[0])
        return Tuned(
            reducer=model.config.reducer,
            layers=layers,
            counts=counts,
            num_patches=subject.num_patches,
            loss=best.loss,
            measure=self.objective.name,
            images=self.images,
            multiply_adds=round(cost),
            dense_multiply_adds=model.dense_multiply_adds(subject.size),
            latency=latency,
            unit="seconds" if self.goal.is_time else "multiply-adds",
            named=others,
            front=front,
            searched=[*subject.layers],
            trials=len(problem.known),
            settings=settings,
        )


def ticking(on_trial: Callable[[Numbers, Losses], None], bar: tqdm) -> Callable[[Numbers, Losses], None]:
    """Return `on_trial` which also moves the bar."""

    def tell(counts: Numbers, losses: Losses) -> None:
        bar.update()
        on_trial(counts, losses)

    return tell


def native_call(model: Any) -> Callable[[Tensor], Any]:
    """Return what runs the native model of the same sizes on images; its weights are random."""
    native = build_dense(model).eval().to(model.device, model.dtype)
    if attends(native):
        native.set_attn_implementation("sdpa")
    return native.get_image_features if hasattr(native, "get_image_features") else native
