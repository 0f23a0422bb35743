# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: distillation and ratio losses, the two learning rates, every term logged by name."""

import math
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..model.logger import logger
from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..model.reducer import TokenReducer
from ..model.reduction import ReducedForImageClassification
from .adapters import acting_reducer, inner_model, is_adapted, load_adapters
from .arguments import DynamicViTTrainingArguments
from .average import FOLDER, WeightAverage
from .callbacks import AfterStep, FreezeBackbone, StuckParameters, WithinSteps
from .checkpoints import check_complete, check_room, is_complete, last_complete_checkpoint
from .checks import check_options, check_precision, warn_of_adapters
from .losses import (
    class_distillation_loss,
    classification_loss,
    feature_distillation_loss,
    token_distillation_loss,
)
from .optimizer import check_schedule, freeze, head_rate, parameter_groups
from .progress import no_bars_of_weights
from .publishing import refuse_adapters
from .teacher import (
    DENSE_COPY,
    DISTILLATION,
    check_teacher,
    load_teacher,
    problem_type,
)
from .teacher_cache import TaughtDataset
from .teaching import TeachingTrainer


class DynamicViTTrainer(TeachingTrainer):
    """`Trainer` for `DynamicViTForImageClassification`.

    The loss is a weighted sum of terms, each logged as `loss_<name>`: `classification`, the cross entropy;
    `auxiliary`, the same of a training-only classifier (Evo-ViT); `class_distill`, KL to the teacher's class logits;
    `token_distill`, MSE to the teacher's final-normed patch features on the tokens kept at the end; `feature_distill`,
    MSE to the teacher's class feature, both of length 1; and the method's own (`reducer.losses`). The weights are the
    published ones of the method (`reducer.loss_weights`) unless `args.loss_weights` names others. Evaluation is the
    model's own: tokens really dropped, classification loss.

    Args:
        model: the student, as it is or wrapped by PEFT. To be trained its weights must be float32; `bf16=True` in
            `args` computes in bfloat16.
        args: `DynamicViTTrainingArguments`.
        teacher: `DENSE_COPY` (default, as published) is a frozen dense copy of the weights that `model` has now, so
            hand in the model you start from, also when resuming; it is not made where no term distils. A model (it is
            frozen and put in eval mode) or the name of a checkpoint: any image classifier with the same labels. `None`
            turns distillation off.
        train_collator: takes the place of `data_collator` in training, as `MixCollator` does.
        **kwargs: as for `Trainer`. With `model_init` in place of `model` each training, and each trial of a search,
            has a student and a dense copy of its own. A `compute_loss_func` replaces the classification loss; it must
            return the mean over the batch.

    Raises:
        ValueError: a loss weight for a term that there is not; a teacher whose labels are not the student's, that has
            no features to compare while a weight asks for them, or that no term asks; several GPUs in one process; an
            argument of `Trainer` that could have no effect here.
    """

    args: DynamicViTTrainingArguments
    # compute_loss returns the mean over its batch
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: DynamicViTForImageClassification | nn.Module | None = None,
        args: DynamicViTTrainingArguments | None = None,
        *,
        teacher: PreTrainedModel | str | None = DENSE_COPY,
        train_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(args, DynamicViTTrainingArguments):
            raise ValueError(f"args is a {type(args).__name__}; DynamicViTTrainer takes DynamicViTTrainingArguments.")
        if args.n_gpu > 1:  # nn.DataParallel cannot gather the records of the decisions
            raise ValueError(
                f"{args.n_gpu} GPUs in one process; start one process each (torchrun or accelerate launch), or show "
                "one GPU only (CUDA_VISIBLE_DEVICES=0)."
            )
        check_options(args, teacher, **kwargs)
        self.args = args
        self._teacher_given = teacher
        if kwargs.get("model_init") is None:
            self._take_student(model)
        super().__init__(model=cast(Any, model), args=args, **kwargs)
        self.train_collator = train_collator
        # loss terms here are means over the batch, whatever the model's forward accepts
        self.model_accepts_loss_kwargs = False
        self._place_teacher()
        self._average = None if args.ema_decay is None else WeightAverage(args.ema_decay)
        self._begin_log()
        self._evaluated: tuple | None = None
        self._evaluations: dict[int, dict[str, float]] = {}  # by step
        self.add_callback(AfterStep(self._begin_training))
        if self._average is not None:  # of what the step before has put right
            self.add_callback(self._average)
        self.add_callback(FreezeBackbone())
        self.add_callback(StuckParameters())
        if self.optimizer is not None:
            logger.warning("optimizers= is given: backbone_lr_scale and freeze_backbone_epochs have no effect on it.")

    def _take_student(self, model: Any) -> None:
        """Check the model that will learn and choose its loss weights and teacher; anew for each of `model_init`."""
        student = inner_model(model)
        if not isinstance(student, ReducedForImageClassification):
            raise ValueError(
                f"model is a {type(student).__name__}; load it with DynamicViTForImageClassification.from_pretrained."
            )
        if self.args.label_smoothing_factor and problem_type(student.config) != "single_label_classification":
            raise ValueError(
                f"label_smoothing_factor is {self.args.label_smoothing_factor}, which needs single-label "
                f"classification; problem_type is {problem_type(student.config)!r}."
            )
        reducer = acting_reducer(model)
        freeze(model, self.args.frozen or [])
        warn_of_adapters(model, self.args)
        if self.args.push_to_hub:
            refuse_adapters(model)
        self.loss_weights = resolve_loss_weights(reducer, self.args)
        self._unused_weights = {name for name, weight in given_weights(self.args).items() if weight}
        check_schedule(reducer, self.args)
        self._head_rate = head_rate(model, self.args)  # now: resuming loads a classifier that is no longer new
        self.teacher = self._choose_teacher(model)

    def _choose_teacher(self, model: Any) -> PreTrainedModel | None:
        student, given = inner_model(model), self._teacher_given
        if not any(self.loss_weights[name] for name in DISTILLATION):
            if given is not None and given != DENSE_COPY:
                raise ValueError(
                    f"A teacher is given, but no term of reducer {student.config.reducer!r} distils; set "
                    "loss_weights={'class_distill': 0.5}, or teacher=None."
                )
            return None
        teacher = load_teacher(given, model)
        if teacher is not None:
            check_teacher(teacher, student, self.loss_weights)
        if given != DENSE_COPY:  # read once
            self._teacher_given = teacher
        return teacher

    def call_model_init(self, trial=None):
        model = super().call_model_init(trial)
        self._take_student(model)
        check_precision(model)
        return model

    def _hp_search_setup(self, trial) -> None:
        super()._hp_search_setup(trial)
        if self.hp_search_backend is not None and trial is not None:  # the arguments are now those of the trial
            self._take_student(self.model)
            decay = None if self._average is None else self._average.decay
            if self.args.ema_decay != decay:
                raise ValueError("ema_decay cannot be searched for; train once with each.")

    def _begin_training(self) -> None:
        self._evaluations.clear()
        if self.model_init is not None:
            self._place_teacher()
        self._begin_log()

    def _begin_log(self) -> None:
        # what is logged next: the sum over the batches since the last log, and how many they were
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = defaultdict(int)

    def get_train_dataloader(self):
        evaluation = self.data_collator
        self.data_collator = self.train_collator or evaluation
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = evaluation

    def train(self, resume_from_checkpoint: str | bool | None = None, *args, **kwargs):
        """As in `Trainer`, except that `resume_from_checkpoint=True` passes over checkpoints that were not written
        to their end, as when the process was killed meanwhile.

        Raises:
            ValueError: weights that learn are in half precision, there is no whole checkpoint to resume from,
                `output_dir` cannot take one, or the data set cannot have the teacher's outputs cached.
            FloatingPointError: a loss term or the gradient is not finite. The weights before that step are saved.
        """
        if self.model_init is None and not self.is_deepspeed_enabled:  # which keeps float32 weights of its own
            check_precision(cast(nn.Module, self.model))
        folder = Path(cast(str, self.args.output_dir))
        if resume_from_checkpoint is True:
            last = last_complete_checkpoint(folder)
            if last is None:
                raise ValueError(f"There is no checkpoint in {folder} that was written to its end.")
            resume_from_checkpoint = str(last)
        elif isinstance(resume_from_checkpoint, str):
            check_complete(Path(resume_from_checkpoint))
        if self.args.should_save:
            # a search lets go of the model of its last trial
            check_room(folder, 0 if self.model is None else self._checkpoint_bytes())
        if self._average is not None:
            self._average.resume_from = Path(resume_from_checkpoint) if resume_from_checkpoint else None
        if self.args.cache_teacher and self.teacher is not None and not isinstance(self.train_dataset, TaughtDataset):
            self.train_dataset = self._taught()
        try:
            result = super().train(resume_from_checkpoint, *args, **kwargs)
            best = self.state.best_model_checkpoint
            if self._average is not None and self.args.load_best_model_at_end and best is not None:
                self._average.load(self.accelerator.unwrap_model(self.model), Path(best))
            return result
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, WithinSteps):
                    callback.end(self.accelerator.unwrap_model(self.model))

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        """Load adapters by themselves: `Trainer` up to 5.20 at least takes those of the average in `ema/`."""
        student = self.model if model is None else model
        if is_adapted(student) and not self.is_fsdp_enabled:
            load_adapters(student, Path(resume_from_checkpoint))
        else:
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _run_epoch(self, *args, **kwargs):
        """Stop where a resumed training has all its `max_steps`; `Trainer` would take one step more."""
        if self.state.global_step >= self.state.max_steps:
            self.control.should_training_stop = True
            return None
        return cast(Any, super())._run_epoch(*args, **kwargs)

    def _checkpoint_bytes(self) -> int:
        """Weights, two moments of Adam, and an average where there is one; of adapters what learns only."""
        model = cast(PreTrainedModel, self.model)
        sizes = [
            parameter.numel() * parameter.element_size()
            for parameter in model.parameters()
            if parameter.requires_grad or not is_adapted(model)
        ]
        return sum(sizes) * (1 + 2 * (not self.args.save_only_model) + (self._average is not None))

    @property
    def student(self) -> DynamicViTForImageClassification:
        """The model that learns, out of what wraps it."""
        return inner_model(self.accelerator.unwrap_model(self.model))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels = inputs.pop("labels", None)
        if not model.training:
            outputs = model(**inputs)
            loss = None if labels is None else self._classification(outputs, labels)
            return (loss, outputs) if return_outputs else loss
        if labels is None:
            raise ValueError(f"Training needs 'labels'; the batch has {', '.join(sorted(inputs))}.")
        taught = inputs.pop("teacher_logits", None), inputs.pop("teacher_features", None)
        outputs = model(**inputs)
        if self.teacher is not None and taught[0] is None:
            taught = self._teacher_outputs(inputs)
        terms = self.loss_terms(outputs, labels, *taught)
        self._warn_of_unused_weights(terms)
        self._stop_unless_finite(terms)
        weighted = [self.loss_weights[name] * term for name, term in terms.items()]
        logged = {f"loss_{name}": term.detach().float() for name, term in terms.items()}
        for stage, fraction in enumerate(outputs.kept.float().mean(dim=(0, 2)), start=1):
            logged[f"kept_stage_{stage}"] = fraction
        for name, value in logged.items():  # Evo-ViT's number of decisions changes on the way
            self._sums[name] = value + self._sums.get(name, 0.0)
            self._counts[name] += 1
        loss = torch.stack(weighted).sum()
        return (loss, outputs) if return_outputs else loss

    def _warn_of_unused_weights(self, terms: dict[str, Tensor]) -> None:
        unused, self._unused_weights = sorted(self._unused_weights - set(terms)), set()
        if unused:
            logger.warning(f"loss_weights has {', '.join(unused)}, but this training has no such term.")

    def _stop_unless_finite(self, terms: dict[str, Tensor]) -> None:
        """Stop on every process as soon as one has a term that is not finite, ahead of the backward."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        bad = self.accelerator.reduce((~values.isfinite()).int(), "sum")
        if bad.any():
            name = list(terms)[int(bad.nonzero()[0])]
            here = terms[name].item()
            self._stop(f"loss term {name!r} is {here if not math.isfinite(here) else 'not finite on another process'}")

    def _get_grad_norm(self, model, grad_norm=None):
        grad_norm = super()._get_grad_norm(model, grad_norm)
        norm = torch.as_tensor(grad_norm)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        # in fp16 the gradient overflows now and then; the scaler passes over such steps by itself
        if self.accelerator.scaler is None and not norm.isfinite():
            self._stop(f"all loss terms are finite, but the norm of their gradient is {norm.item()}")
        return grad_norm

    def _stop(self, reason: str) -> None:
        """Save the weights, which no step has spoilt yet, and give up."""
        step = self.state.global_step
        checkpoint = Path(cast(str, self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
        if not is_complete(checkpoint):
            self._save_checkpoint(cast(PreTrainedModel, self.model), trial=None)
        raise FloatingPointError(
            f"Training stopped in step {step + 1}: {reason}. The last good weights are in {checkpoint}. A lower "
            "learning_rate, max_grad_norm=1.0, bf16 in place of fp16, or another seed may help."
        )

    def loss_terms(
        self,
        outputs,
        labels: Tensor,
        teacher_logits: Tensor | None = None,
        teacher_features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """The unweighted terms by name, scalars.

        Args:
            outputs: of a training forward.
            labels: of its batch.
            teacher_logits: `[B, K]`, or `None` without a teacher.
            teacher_features: `[B, P + N, D]`, or `None` where the teacher has none.
        """
        student, weights = self.student, self.loss_weights
        terms = {"classification": self._classification(outputs, labels)}
        if outputs.auxiliary_logits is not None:  # also at weight 0, for a gradient of its classifier
            auxiliary = replace(outputs, logits=outputs.auxiliary_logits)
            terms["auxiliary"] = self._classification(auxiliary, labels)
        terms |= acting_reducer(student).losses(outputs.decisions)
        if teacher_logits is not None and weights["class_distill"]:
            terms["class_distill"] = class_distillation_loss(outputs.logits, teacher_logits)
        if teacher_features is not None and weights["feature_distill"]:
            terms["feature_distill"] = feature_distillation_loss(
                outputs.last_hidden_state[:, 0], teacher_features[:, 0]
            )
        if teacher_features is not None and weights["token_distill"]:
            decision, num_prefix = outputs.decisions[-1], student.config.num_prefix
            num_patches = decision.kept.shape[1]
            features = on_the_grid(outputs.last_hidden_state[:, num_prefix:], decision.owner)
            terms["token_distill"] = token_distillation_loss(
                features,
                teacher_features[:, -num_patches:],
                decision.kept,
                self.accelerator.reduce(decision.kept.sum().float(), "mean"),
            )
        return terms

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval"):
        several = isinstance(self.eval_dataset if eval_dataset is None else eval_dataset, dict)  # one by one, above
        with torch.random.fork_rng(devices=[]):  # a training that resumes after it draws what this one will
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            self._evaluated = self._kept_settings()
            if self.args.evaluate_ema and self._average is not None and self._average.average and not several:
                with self.averaged():
                    metrics |= super().evaluate(eval_dataset, ignore_keys, f"{metric_key_prefix}_ema")
        if eval_dataset is None and metric_key_prefix == "eval":
            self._evaluations[self.state.global_step] = metrics
        return metrics

    def final_metrics(self) -> dict[str, float]:
        """Evaluate the model that `train` has left, unless that was done on the way."""
        state = self.state
        best = self.args.load_best_model_at_end and state.best_model_checkpoint is not None
        known = self._evaluations.get(cast(int, state.best_global_step if best else state.global_step))
        return self.evaluate() if known is None else dict(known)

    @contextmanager
    def averaged(self) -> Generator[None]:
        """The averaged weights (`ema_decay`) stand in the model for a while."""
        average = cast(WeightAverage, self._average)
        with average.in_place(cast(PreTrainedModel, self.model)):
            yield

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer`, with the averaged weights, if any, as a model of its own in the folder `ema`."""
        with no_bars_of_weights():
            super().save_model(output_dir, _internal_call)
        if self._average is not None and self._average.average:
            folder = Path(cast(str, output_dir or self.args.output_dir)) / FOLDER
            with self.averaged(), no_bars_of_weights():
                super().save_model(str(folder), _internal_call=True)

    def _classification(self, outputs, labels: Tensor) -> Tensor:
        if self.compute_loss_func is not None:
            return self.compute_loss_func(outputs, labels, num_items_in_batch=None)
        config = self.student.config
        if problem_type(config) == "single_label_classification":
            if (labels.is_floating_point() or labels.ndim > 1) and config.problem_type is None:
                raise ValueError(
                    f"labels are {labels.dtype} {tuple(labels.shape)} and config.problem_type is None; set it to "
                    "'single_label_classification' (soft labels), 'multi_label_classification' or 'regression'."
                )
            return classification_loss(outputs.logits, labels, self.args.label_smoothing_factor)
        if problem_type(config) == "multi_label_classification" and labels.shape != outputs.logits.shape:
            raise ValueError(
                f"labels have shape {tuple(labels.shape)}; multi-label classification takes 0 or 1 for each label, "
                f"here {tuple(outputs.logits.shape)}."
            )
        labels = labels if labels.is_floating_point() else labels.float()
        return self.student.loss_function(labels, outputs.logits, config)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            model = cast(PreTrainedModel, self.model if model is None else model)
            chosen = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
            optimizer_cls, kwargs = chosen
            if {"params", "model", "optimizer_dict"} & set(kwargs):
                raise ValueError(
                    f"optim is {self.args.optim!r}, which chooses its own parameter groups; take adamw_torch."
                )
            self.optimizer = optimizer_cls(parameter_groups(model, self.args, self._head_rate), **kwargs)
        return self.optimizer

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._sums:
            # Every process logs at the same step and holds the same names, so the collective is safe here.
            names = sorted(self._sums)
            sums = torch.stack([self._sums[name] for name in names])
            counts = sums.new_tensor([self._counts[name] for name in names])
            sums, counts = self.accelerator.reduce(torch.stack((sums, counts)), "sum")
            logs = logs | dict(zip(names, (sums / counts).tolist(), strict=True))
            self._begin_log()
        super().log(logs, start_time)


def given_weights(args: DynamicViTTrainingArguments) -> dict[str, float]:
    return cast(dict[str, float], args.loss_weights or {})


def resolve_loss_weights(reducer: TokenReducer, args: DynamicViTTrainingArguments) -> dict[str, float]:
    """The weight of every term by name: the method's published ones, then those of `args`."""
    weights = {"classification": 1.0, **dict.fromkeys(DISTILLATION, 0.0), **reducer.loss_weights}
    given = given_weights(args)
    unknown = sorted(set(given) - set(weights))
    if unknown:
        raise ValueError(f"loss_weights has {', '.join(unknown)}; the terms here are {', '.join(sorted(weights))}.")
    return weights | given


def on_the_grid(features: Tensor, owner: Tensor) -> Tensor:
    """Features of live tokens `[B, N, D]` at the patches they speak for: `[B, num_patches, D]`."""
    return features.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, features.shape[-1]))
