# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Show on the terminal how a training goes: one bar, and a line an evaluation."""

import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from tqdm import tqdm
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils import logging

from .average import EMA_FOLDER


# Without a bar, what is logged is a line when none was written for so many seconds.
QUIET_SECONDS = 30.0

# More stages than these are told by their first and their last.
MOST_STAGES = 4


def told_fractions(values: Sequence[float]) -> str:
    """Return a fraction for each stage, such as `0.70/0.49/0.34`."""
    if len(values) > MOST_STAGES:
        return f"{values[0]:.2f} to {values[-1]:.2f} in {len(values)} stages"
    return "/".join(f"{value:.2f}" for value in values)


def kept_fractions(logs: dict[str, Any]) -> list[float]:
    """Return the fraction kept at each stage, of an entry of the log; empty where it has none."""
    names = [name for name in logs if name.startswith("kept_stage_")]
    return [logs[name] for name in sorted(names, key=lambda name: int(name.rsplit("_", 1)[1]))]


def told_accuracy(fraction: float, images: int) -> str:
    """Return a percentage with as many digits as so many images allow."""
    return f"{100 * fraction:.{1 if images < 1000 else 2}f} %"


class Progress(TrainerCallback):
    """One bar on standard error, and a line for each evaluation: epoch, step, loss, accuracy, fractions kept.

    Where standard error is no terminal, or with `disable_tqdm`, there are lines only: then what is logged is one too,
    when the last one is `QUIET_SECONDS` ago.

    Args:
        title: what is trained, for a line ahead of all others.
        images: how many an evaluation is on.
        sparse: whether to tell what is kept.
    """

    def __init__(self, title: str, images: int, sparse: bool):
        self.title = title
        self.images = images
        self.sparse = sparse
        self.bar: tqdm | None = None
        self.training = False
        self.first_step = 0  # after which the training began
        self.logged: dict[str, Any] = {}
        self.last_line = 0.0

    def open(self, args, total: int | None, **options: Any) -> None:
        """Show a bar, where one can be drawn."""
        if not args.disable_tqdm and sys.stderr.isatty():
            self.bar = tqdm(total=total, leave=False, dynamic_ncols=True, file=sys.stderr, **options)

    def close(self) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()
        self.bar = None

    def line(self, text: str) -> None:
        """Write a line above the bar."""
        tqdm.write(text, file=sys.stderr)
        self.last_line = time.monotonic()

    def at(self, args, state) -> str:
        """Return where the training is."""
        total = state.epoch * state.max_steps / max(1, state.global_step)
        return f"  epoch {round(state.epoch, 2):g}/{round(total, 2):g}  step {state.global_step}/{state.max_steps}"

    def learned(self) -> str:
        """Return what the last log says of the loss."""
        return f"  loss {self.logged['loss']:.3g}" if self.logged else ""

    def on_train_begin(self, args, state, control, **kwargs):
        self.training, self.logged, self.first_step = True, {}, state.global_step
        if state.is_world_process_zero:
            self.line(self.title + (f", going on after step {state.global_step}" if state.global_step else ""))
            self.open(args, state.max_steps, initial=state.global_step, unit="step")

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.set_description_str(f"  epoch {state.epoch:.2f}/{state.num_train_epochs:g}", refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, *, logs, **kwargs):
        if not state.is_world_process_zero or "loss" not in logs:
            return
        self.logged = logs
        text = f"{self.learned()}  rate {logs['learning_rate']:.3g}"
        if self.bar is not None:
            self.bar.set_postfix_str(text.strip())
        elif time.monotonic() - self.last_line > QUIET_SECONDS:
            self.line(self.at(args, state) + text)

    def on_prediction_step(self, args, state, control, *, eval_dataloader, **kwargs):
        if state.is_world_process_zero and self.bar is None and not self.training:
            self.open(args, len(eval_dataloader), desc="  evaluating", unit="batch")
        if self.bar is not None and self.training:
            self.bar.set_postfix_str("evaluating")
        elif self.bar is not None:
            self.bar.update()

    def on_evaluate(self, args, state, control, *, metrics, **kwargs):
        if not self.training:  # the last one, of which the results tell
            self.close()
        elif state.is_world_process_zero:
            if self.bar is not None:
                self.bar.set_postfix_str("", refresh=False)
            ema_accuracy = f"eval_{EMA_FOLDER}_accuracy"
            averaged = ema_accuracy in metrics
            accuracy = told_accuracy(metrics[ema_accuracy if averaged else "eval_accuracy"], self.images)
            kept = kept_fractions(self.logged) if self.sparse and not averaged else []
            which = "  averaged weights" if averaged else self.learned()
            told = f"  kept {told_fractions(kept)}" if kept else ""
            self.line(f"{self.at(args, state)}{which}  top-1 {accuracy} of {self.images}{told}")

    def on_train_end(self, args, state, control, **kwargs):
        self.training = False
        self.close()


def show(trainer: Trainer, progress: Progress) -> None:
    """Let `progress` take the place of the Trainer's own bars and lines."""
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    trainer.add_callback(progress)


@contextmanager
def no_bars_of_weights() -> Generator[None]:
    """Keep Transformers from showing bars for weights; those of the Hub's downloads stay as they are."""
    shown, hub_shown = logging.is_progress_bar_enabled(), not are_progress_bars_disabled()
    logging.disable_progress_bar()
    if hub_shown:
        enable_progress_bars()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
        if not hub_shown:
            disable_progress_bars()
