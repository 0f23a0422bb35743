# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train a model around a reduced backbone, as for segmentation or depth, with the losses of the method."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

from ..adoption import is_reduced, outermost
from ..checkpoints.checkpoint import find_reduced
from ..model.backbone import ReducedBackbone, recorded_outputs
from ..model.reducer import TokenReducer
from .adapters import acting_reducer, inner_model
from .callbacks import ClampReducer, StuckParameters
from .checks import check_precision
from .finite import explain_not_finite
from .loss_terms import SECOND_PASS
from .teacher import DISTILLATION
from .term_log import TermLog


# Terms that read the logits of a classifier or the outputs of a teacher.
OF_CLASSIFIERS = {"classification", "auxiliary", *DISTILLATION, *SECOND_PASS}


class BackboneTrainer(Trainer):
    """`Trainer` for models around a reduced backbone: the loss of the task, and those of the method.

    The loss is a weighted sum of `task`, which the model itself or `compute_loss_func` computes, and the method's own
    terms (`reducer.losses`), such as `ratio` of SViT and DynamicViT; each is logged as `loss_<name>`. Evaluation is
    the model's own: tokens really dropped, the loss of the task. There is no distillation, and all parameters learn
    at one rate.

    Args:
        model: such as a UperNet or DPT that `reduce_tokens` was called on.
        args: those of Transformers.
        loss_weights: by name of the term; the others weigh 1 or what was published for the method.
        **kwargs: as for `Trainer`. A `compute_loss_func` must return the mean over the batch.

    Raises:
        ValueError: the model has no reduced backbone, there is no such term, or weights that learn are in half
            precision; several GPUs in one process.
    """

    # compute_loss returns the mean over its batch
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments | None = None,
        *,
        loss_weights: dict[str, float] | None = None,
        **kwargs: Any,
    ):
        check_host(model)
        check_precision(model)
        self.loss_weights = weigh_terms(acting_reducer(model), loss_weights or {})
        super().__init__(model=cast(Any, model), args=args, **kwargs)
        check_one_gpu(self.args)
        self.model_accepts_loss_kwargs = False
        self._term_log = TermLog()
        for callback in (ClampReducer(), StuckParameters()):
            self.add_callback(callback)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        host = self.accelerator.unwrap_model(model)
        with recorded_outputs(find_reduced(inner_model(host))) as recorded:
            task, outputs = cast(tuple[Tensor, Any], super().compute_loss(model, inputs, return_outputs=True))
        (seen,) = recorded
        terms = {"task": task, **acting_reducer(host).losses(seen.decisions)}
        reason = explain_not_finite(terms, self.accelerator)
        if reason is not None:
            raise FloatingPointError(f"Training stopped in step {self.state.global_step + 1}: {reason}.")
        self._term_log.add({f"loss_{name}": term.detach().float() for name, term in terms.items()})
        kept = seen.kept.float().mean(dim=(0, 2))
        self._term_log.add({f"kept_stage_{stage}": fraction for stage, fraction in enumerate(kept, start=1)})
        loss = torch.stack([self.loss_weights[name] * term for name, term in terms.items()]).sum()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # on every process at the same step
            logs = logs | self._term_log.average(self.accelerator)
            self._term_log = TermLog()
        super().log(logs, start_time)


def check_host(model: Any) -> None:
    """Refuse a model without a reduced backbone."""
    inner = inner_model(model)
    found = next(outermost(inner, is_reduced), None) if isinstance(inner, nn.Module) else None
    if found is None or not found.name or not isinstance(found.model, ReducedBackbone):
        raise ValueError(
            f"model is a {type(model).__name__}; BackboneTrainer takes a model around a reduced backbone, as "
            "reduce_tokens makes one of a UperNet or DPT. Classifiers and detectors take DynamicViTTrainer."
        )


def check_one_gpu(args: TrainingArguments) -> None:
    """Refuse several GPUs in one process, whose copies of the model would record decisions apart."""
    if args.n_gpu > 1:
        raise ValueError(
            f"{args.n_gpu} GPUs in one process; start one process each (torchrun or accelerate launch), or show "
            "one GPU only (CUDA_VISIBLE_DEVICES=0)."
        )


def weigh_terms(reducer: TokenReducer, given: dict[str, float]) -> dict[str, float]:
    """Return the weight of every term by name: the task's, the method's published ones, then those that are `given`.

    Raises:
        ValueError: there is no such term.
    """
    published = {name: weight for name, weight in reducer.loss_weights.items() if name not in OF_CLASSIFIERS}
    weights = {"task": 1.0, **published}
    unknown = sorted(set(given) - set(weights))
    if unknown:
        raise ValueError(f"loss_weights has {', '.join(unknown)}; the terms here are {', '.join(sorted(weights))}.")
    return weights | given
