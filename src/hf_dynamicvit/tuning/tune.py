# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`tune`: the schedule that meets a cost or a latency and changes a model's answers least.

```python
name = "facebook/deit-small-patch16-224"
model = DynamicViTForImageClassification.from_pretrained(name, reducer="tome")
print(build_report(tune(model, images, fraction=0.7)))
model.save_pretrained("deit-small-tuned")
```
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from ..model.budget import in_eval_mode
from ..model.pretrained import ReducedPreTrainedModel
from ..names import CLOCKS, SEARCHES
from .process import Search
from .result import Goal, Tuned
from .subject import Subject
from .trials import Trials, identify


def tune(
    model: Any,
    images: Tensor,
    *,
    gmacs: float | None = None,
    fraction: float | None = None,
    latency: float | None = None,
    speedup: float | None = None,
    batch_size: int = 1,
    step: int | None = None,
    refinements: int = 100,
    search: str | None = None,
    seed: int = 0,
    run_batch: int = 32,
    clock: str = "wall",
    trials_file: str | Path | None = None,
    progress: bool = True,
) -> Tuned:
    """Search the schedule that meets a budget and changes the answers of `model` least; set it. Nothing is trained.

    Curves of three numbers (where the patches begin to fall, how slowly at first and in the end) are tried at the
    budget, and schedules by name; the best of all is refined: fewer tokens removed in one block, more in another.

    Args:
        model: of this package, with any method: a classifier, an encoder, or one of two towers. Methods without
            parameters may reduce in every block, others in those that they were trained for. Where each image decides,
            thresholds are set so that the images keep what the schedule says on average.
        images: `[N, channels, height, width]` as the image processor makes them, without labels; 64 to 1,000 that look
            like those to come.
        gmacs, fraction: multiply-adds of an image, in units of 10^9, or as a fraction of the dense model's.
        latency, speedup: milliseconds of a batch of `batch_size` on the device where the model is, or how many times
            as fast as the native model it is to be. Give one of the four.
        batch_size: images in a batch whose time is measured.
        step: tokens that are removed at a time, and the most that a refinement moves; `None` is a 24th of them.
        refinements: schedules that are tried at most to refine the best.
        search: `"curves"`; or `"steps"`: from everything kept, tokens are removed in the block where that changes the
            answers least for the cost it saves, until the budget is met: many more trials. `None` is curves where the
            method may reduce in any block, else steps.
        seed: of the order in which these are tried.
        run_batch: images that run at once.
        clock: `"wall"`, or `"cpu"`: processor time, for a machine that others use too; with one thread.
        trials_file: where each trial is written as it is done, so that a search that was stopped goes on from there;
            it must be of this model and these images.
        progress: show a bar.

    Returns:
        What was found; the model and its configuration are set to it.

    Raises:
        ValueError: none or several budgets are given, or none that can be met, with the nearest that can; images or
            numbers are out of range; `trials_file` is of another search.
    """
    goal = Goal.read(gmacs=gmacs, fraction=fraction, latency=latency, speedup=speedup)
    check_subject(model, images)
    for name, value in {"batch_size": batch_size, "step": step, "run_batch": run_batch}.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; it must be 1 or more.")
    if clock not in CLOCKS:
        raise ValueError(f"clock is {clock!r}; it can be {', '.join(CLOCKS)}.")
    if search not in (None, *SEARCHES):
        raise ValueError(f"search is {search!r}; it can be {', '.join(SEARCHES)}, or None.")
    subject = Subject(model, images)
    trials = Trials(trials_file, identify(model, images) if trials_file is not None else {})
    with in_eval_mode(model), subject.put_back():
        course = Search(subject, images, goal, batch_size, run_batch, progress, clock, search)
        problem = course.problem(trials.known, trials.add)
        step = step or max(1, subject.num_patches // 24)
        found = course.run(problem, step, refinements, seed)
        settings = {"search": course.name, "step": step, "refinements": refinements, "seed": seed}
        return course.finish(found, problem, settings | {goal.name: goal.value})


def check_subject(model: Any, images: Tensor) -> None:
    """Refuse what cannot be tuned.

    Raises:
        ValueError: it is no model of ours; there are no images, or of another shape.
    """
    if not isinstance(model, ReducedPreTrainedModel):
        raise ValueError(
            f"model is a {type(model).__name__}; tune takes a reduced model. reduce_tokens(model) makes one of a "
            "native model, in place."
        )
    if model.config.fixed_stages:
        raise ValueError(
            f"a {model.config.dense_model_type} reduces where its stages begin, so that there are no blocks to find; "
            "model.set_budget(fraction=...) finds the keep ratio."
        )
    if not isinstance(images, Tensor) or images.ndim != 4 or not len(images):
        shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"images are {shape}; they must be a tensor [N, channels, height, width], as a processor makes."
        )
