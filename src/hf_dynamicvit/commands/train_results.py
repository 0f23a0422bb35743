# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What came of a training, as `results.json` says it, and the folder that it leaves."""

import json
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..checkpoints.results import RESULTS, weights_fingerprint, wilson_interval
from ..model.classification import ReducedForImageClassification
from ..training.average import EMA_FOLDER
from ..training.progress import kept_fractions
from ..training.trainer import DynamicViTTrainer
from .train_options import DENSE, ModelArguments


def collect_results(
    args: ModelArguments,
    trainer: DynamicViTTrainer,
    metrics: dict[str, float],
    teacher_top1: float | None,
    typical: Any,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """Collect accuracy, cost and how it came about.

    Args:
        typical: some images, `[channels, height, width]` each, on which cost is measured.
        facts: the number of `images` evaluated, and the seconds of `phases`.
    """
    model = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model)).eval()
    pixel_values = torch.stack(list(typical)).to(model.device)
    results: dict[str, Any] = {
        "top1": metrics["eval_accuracy"],
        "gmacs": model.multiply_adds(pixel_values) / 1e9,
        "dense_gmacs": model.dense_multiply_adds() / 1e9,
        "patches": model.token_counts(pixel_values),
        "reducer": args.reducer,
        "steps": trainer.state.global_step,
        "epochs": trainer.state.epoch,
        "seed": trainer.args.seed,
        "seconds": facts["phases"]["training"],
    }
    results |= collect_other_results(args, trainer, metrics, teacher_top1)
    for name in [name for name in results if name.endswith("top1")]:
        results[f"{name}_interval"] = wilson_interval(results[name], facts["images"])
    if args.reducer != DENSE:
        results |= read_kept(model, trainer.state.log_history)
    return results | {"log": trainer.state.log_history}


def collect_other_results(
    args: ModelArguments, trainer: DynamicViTTrainer, metrics: dict[str, float], teacher_top1: float | None
) -> dict[str, Any]:
    """Collect what only some trainings have: a best epoch, averaged weights, a teacher."""
    results: dict[str, Any] = {}
    state = trainer.state
    if trainer.args.load_best_model_at_end and state.best_global_step is not None:
        results["best_epoch"] = state.epoch * state.best_global_step / state.global_step
    if "eval_ema_accuracy" in metrics:
        results["ema_top1"] = metrics["eval_ema_accuracy"]
    if teacher_top1 is not None:
        results["teacher_top1"] = teacher_top1
        results["teacher"] = args.teacher or args.model
        results["teacher_is_dense_copy"] = args.teacher is None
    return results


def read_kept(model: ReducedForImageClassification, log: list[dict[str, Any]]) -> dict[str, list[float]]:
    """Return the fraction kept at each stage at the end of the training, and what was asked for where images do not
    decide."""
    found = [kept for entry in log if (kept := kept_fractions(entry))]
    if not found:
        return {}
    asked = model.config.stage_keep_ratios
    return {"kept": found[-1]} | ({"kept_asked": asked} if len(asked) == len(found[-1]) else {})


def save(args: ModelArguments, trainer: DynamicViTTrainer, results: dict[str, Any]) -> None:
    """Write the model and, last, the results: where they are, all is."""
    folder = Path(cast(str, trainer.args.output_dir))
    if args.reducer == DENSE:
        save_dense(trainer, folder)
        if "ema_top1" in results:
            with trainer.averaged():
                save_dense(trainer, folder / EMA_FOLDER)
    else:
        trainer.save_model()
    if trainer.is_world_process_zero():
        results["weights"] = weights_fingerprint(folder)
        (folder / RESULTS).write_text(json.dumps(results, indent=1), encoding="utf-8")
    trainer.accelerator.wait_for_everyone()


def save_dense(trainer: DynamicViTTrainer, folder: Path) -> None:
    """Write the model without its reducer, as any dense ViT is saved."""
    weights = trainer.accelerator.get_state_dict(trainer.model)  # whole, where they are spread over processes
    if trainer.is_world_process_zero():
        model = trainer.accelerator.unwrap_model(cast(nn.Module, trainer.model), keep_torch_compile=False)
        model.to_dense(weights).save_pretrained(folder)
        cast(Any, trainer.processing_class).save_pretrained(folder)
