# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The Trainer: distillation and ratio losses, the two learning rates, every term logged by name."""

import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from torch import Tensor, nn
from transformers import (
    PreTrainedModel,
    SchedulerType,
    Trainer,
)
from transformers.trainer_utils import HubStrategy
from transformers.utils import logging

from ..model.modeling_dynamicvit import DynamicViTForImageClassification
from ..model.reducer import TokenReducer
from ..model.remote_code import code_travels
from .arguments import DynamicViTTrainingArguments
from .callbacks import AfterStep, FreezeBackbone, StuckParameters, WithinSteps
from .card import UPLOADED, Measurements, accuracy_of, inherited_license, may_write, model_card, recipe_of
from .losses import (
    class_distillation_loss,
    classification_loss,
    feature_distillation_loss,
    token_distillation_loss,
)
from .teacher import (
    DENSE_COPY,
    DISTILLATION,
    check_teacher,
    load_teacher,
    num_prefix_of,
    problem_type,
    teacher_name,
    teacher_outputs,
)


logger = logging.get_logger("transformers.hf_dynamicvit")


class DynamicViTTrainer(Trainer):
    """[`Trainer`] for [`DynamicViTForImageClassification`].

    The loss is a weighted sum of terms, each logged as `loss_<name>`: `classification`, the cross entropy;
    `auxiliary`, the same of a training-only classifier (Evo-ViT); `class_distill`, KL to the teacher's class logits;
    `token_distill`, MSE to the teacher's final-normed patch features on the tokens kept at the end; `feature_distill`,
    MSE to the teacher's class feature, both of length 1; and the method's own (`reducer.losses`). The weights are the
    published ones of the method (`reducer.loss_weights`) unless `args.loss_weights` names others. Evaluation is the
    model's own: tokens really dropped, classification loss.

    Args:
        model: the student.
        args: [`DynamicViTTrainingArguments`].
        teacher: `DENSE_COPY` (default, as published) is a frozen dense copy of the weights that `model` has now, so
            hand in the model you start from, also when resuming; it is not made where no term distils. A model (it is
            frozen and put in eval mode) or the name of a checkpoint: any image classifier with the same labels. `None`
            turns distillation off.
        train_collator: takes the place of `data_collator` in training, as [`MixCollator`] does.
        **kwargs: as for [`Trainer`], except `model_init`. A `compute_loss_func` replaces the classification loss; it
            must return the mean over the batch.

    Raises:
        ValueError: a loss weight for a term that there is not; a teacher whose labels are not the student's, that has
            no features to compare while a weight asks for them, or that no term asks; several GPUs in one process.
    """

    args: DynamicViTTrainingArguments
    # compute_loss returns the mean over its batch
    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: DynamicViTForImageClassification,
        args: DynamicViTTrainingArguments,
        *,
        teacher: PreTrainedModel | str | None = DENSE_COPY,
        train_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        **kwargs: Any,
    ):
        if not isinstance(args, DynamicViTTrainingArguments):
            raise ValueError(f"args is a {type(args).__name__}; DynamicViTTrainer takes DynamicViTTrainingArguments.")
        if not isinstance(model, DynamicViTForImageClassification):
            raise ValueError(
                f"model is a {type(model).__name__}; load it with DynamicViTForImageClassification.from_pretrained."
            )
        if args.n_gpu > 1:  # nn.DataParallel cannot gather the records of the decisions
            raise ValueError(
                f"{args.n_gpu} GPUs in one process; start one process each (torchrun or accelerate launch), or show "
                "one GPU only (CUDA_VISIBLE_DEVICES=0)."
            )
        if args.label_smoothing_factor and problem_type(model.config) != "single_label_classification":
            raise ValueError(
                f"label_smoothing_factor is {args.label_smoothing_factor}, which needs single-label classification; "
                f"problem_type is {problem_type(model.config)!r}."
            )
        reducer = model.encoder.reducer
        self.loss_weights = resolve_loss_weights(reducer, args)
        check_schedule(reducer, args)
        if not any(self.loss_weights[name] for name in DISTILLATION):
            if teacher is not None and teacher != DENSE_COPY:
                raise ValueError(
                    f"A teacher is given, but no term of reducer {model.config.reducer!r} distils; set "
                    "loss_weights={'class_distill': 0.5}, or teacher=None."
                )
            teacher = None
        teacher = load_teacher(teacher, model)
        if teacher is not None:
            check_teacher(teacher, model, self.loss_weights)
        super().__init__(model=model, args=args, **kwargs)
        self.train_collator = train_collator
        # loss terms here are means over the batch, whatever the model's forward accepts
        self.model_accepts_loss_kwargs = False
        # A plain attribute, not a module of the model: neither saved, nor counted, nor optimised.
        self.teacher = None if teacher is None else teacher.requires_grad_(False).eval().to(self.args.device)
        self._begin_log()
        self._evaluated: tuple | None = None
        self._unused_weights = {name for name, weight in given_weights(args).items() if weight}
        self.add_callback(AfterStep(self._begin_log))
        self.add_callback(FreezeBackbone(reducer.frozen_fraction))
        self.add_callback(StuckParameters())
        if self.optimizer is not None:
            logger.warning("optimizers= is given: backbone_lr_scale and freeze_backbone_epochs have no effect on it.")

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

    def train(self, *args, **kwargs):
        try:
            return super().train(*args, **kwargs)
        finally:
            for callback in self.callback_handler.callbacks:
                if isinstance(callback, WithinSteps):
                    callback.end(self.accelerator.unwrap_model(self.model))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs)
        inputs = dict(inputs)
        labels = inputs.pop("labels", None)
        if labels is None:
            raise ValueError(f"Training needs 'labels'; the batch has {', '.join(sorted(inputs))}.")
        outputs = model(**inputs)
        terms = self.loss_terms(outputs, labels, inputs)
        self._warn_of_unused_weights(terms)
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

    def loss_terms(self, outputs, labels: Tensor, inputs: dict[str, Any]) -> dict[str, Tensor]:
        """The unweighted terms by name, scalars, from a training forward of `inputs` and its `labels`."""
        student = self.accelerator.unwrap_model(self.model)
        weights = self.loss_weights
        terms = {"classification": self._classification(student, outputs, labels)}
        if outputs.auxiliary_logits is not None:  # also at weight 0, for a gradient of its classifier
            auxiliary = replace(outputs, logits=outputs.auxiliary_logits)
            terms["auxiliary"] = self._classification(student, auxiliary, labels)
        terms |= student.encoder.reducer.losses(outputs.decisions)
        if self.teacher is not None:
            with torch.no_grad(), self.accelerator.autocast():
                teacher_logits, teacher_features = teacher_outputs(self.teacher, inputs)
            if weights["class_distill"]:
                terms["class_distill"] = class_distillation_loss(outputs.logits, teacher_logits)
            if teacher_features is not None and weights["feature_distill"]:
                terms["feature_distill"] = feature_distillation_loss(
                    outputs.last_hidden_state[:, 0], teacher_features[:, 0]
                )
            if teacher_features is not None and weights["token_distill"]:
                decision, num_prefix = outputs.decisions[-1], student.config.num_prefix
                features = on_the_grid(outputs.last_hidden_state[:, num_prefix:], decision.owner)
                terms["token_distill"] = token_distillation_loss(
                    features, teacher_features[:, num_prefix_of(self.teacher) :], decision.kept
                )
        return terms

    def _classification(self, student, outputs, labels: Tensor) -> Tensor:
        if self.compute_loss_func is not None:
            return self.compute_loss_func(outputs, labels, num_items_in_batch=None)
        config = student.config
        if problem_type(config) == "single_label_classification":
            if labels.is_floating_point() and config.problem_type is None:
                raise ValueError(
                    f"labels are {labels.dtype} and config.problem_type is None; set it to "
                    "'single_label_classification' (soft labels), 'multi_label_classification' or 'regression'."
                )
            return classification_loss(outputs.logits, labels, self.args.label_smoothing_factor)
        return student.loss_function(labels, outputs.logits, config)

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ):
        """As in [`Trainer`], but only what a user of the model needs goes: weights, configuration, processor, card and
        the code that loads them without this package; no `training_args.bin`, which is a pickle, and no logs."""
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None:
            self.args.hub_private_repo = self.args.hub_private_repo if private is None else private
            self.init_hf_repo(token=token)
        folder = Path(cast(str, self.args.output_dir)) / "_push"  # nothing else of output_dir goes
        model = self.accelerator.unwrap_model(self.model)
        if self.is_world_process_zero():
            shutil.rmtree(folder, ignore_errors=True)
        with code_travels(model.config, model.auto_classes()):
            self.save_model(str(folder), _internal_call=True)
        if not self.is_world_process_zero():
            return None
        kwargs.setdefault("model_name", cast(str, self.hub_model_id).split("/")[-1])
        self.create_model_card(**kwargs)
        shutil.copy(folder.parent / "README.md", folder)
        self._finish_current_push()
        return HfApi(token=token).upload_folder(
            repo_id=cast(str, self.hub_model_id),
            folder_path=folder,
            commit_message=commit_message,
            run_as_future=not blocking,
            allow_patterns=UPLOADED,
            ignore_patterns=["*/*"],
            revision=revision or self.args.hub_revision,
        )

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Pushing while training would upload pickles: optimizer, random states, arguments."""
        if self.args.hub_strategy != HubStrategy.END:
            logger.warning_once(
                f"hub_strategy is {HubStrategy(self.args.hub_strategy).value!r}; checkpoints hold pickles and stay "
                "here. The model is pushed at the end."
            )

    def evaluate(self, *args, **kwargs):
        metrics = super().evaluate(*args, **kwargs)
        self._evaluated = self._kept_settings()
        return metrics

    def _kept_settings(self) -> tuple:
        """What decides how much is kept: an accuracy holds for these."""
        model = self.accelerator.unwrap_model(self.model)
        thresholds = model.encoder.reducer.state_dict() if model.encoder.reducer.adaptive else {}
        return model.config.keep_ratio, model.config.reducer_args, [value.tolist() for value in thresholds.values()]

    def create_model_card(
        self,
        language: str | None = None,
        license: str | None = None,
        tags: str | list[str] | None = None,
        model_name: str | None = None,
        finetuned_from: str | None = None,
        tasks: str | list[str] | None = None,
        dataset_tags: str | list[str] | None = None,
        dataset: str | list[str] | None = None,
        dataset_args: str | list[str] | None = None,
    ) -> None:
        """Write our card to `output_dir/README.md`, unless that is somebody's own; arguments as in [`Trainer`].

        The accuracy is there if the model as training left it was evaluated, the data set if it is named.
        """
        path = Path(cast(str, self.args.output_dir)) / "README.md"
        if not self.is_world_process_zero() or not may_write(path):
            return
        model = self.accelerator.unwrap_model(self.model)
        source = finetuned_from or getattr(model.config, "_name_or_path", "") or None
        base_model = source if is_repository(source) else None
        measured = Measurements(
            top1=accuracy_of(self.state, self.args) if self._evaluated == self._kept_settings() else None,
            dataset=first_of(dataset_tags),
            dataset_name=first_of(dataset),
            recipe=recipe_of(self.args, self.state, self.loss_weights, teacher_name(self.teacher)),
        )
        license = license or inherited_license(source)
        repo_id = self.args.hub_model_id or model_name or path.parent.name
        tags = [tags] if isinstance(tags, str) else tags
        card = model_card(model, repo_id, measured, base_model, license, language=language, tags=tags)
        path.parent.mkdir(parents=True, exist_ok=True)
        card.save(path)

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            model = cast(PreTrainedModel, self.model if model is None else model)
            chosen = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
            optimizer_cls, kwargs = chosen
            if {"params", "model", "optimizer_dict"} & set(kwargs):
                raise ValueError(
                    f"optim is {self.args.optim!r}, which chooses its own parameter groups; take adamw_torch."
                )
            self.optimizer = optimizer_cls(parameter_groups(model, self.args), **kwargs)
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


def check_schedule(reducer: TokenReducer, args: DynamicViTTrainingArguments) -> None:
    """Refuse to freeze, which sets the rate to 0, under a schedule that computes the next rate from the last."""
    schedule = SchedulerType(args.lr_scheduler_type).value
    epochs = args.freeze_backbone_epochs
    freezes = reducer.frozen_fraction > 0 if epochs is None else epochs > 0
    if freezes and schedule in ("reduce_lr_on_plateau", "greedy"):
        raise ValueError(f"lr_scheduler_type is {schedule!r}, which needs freeze_backbone_epochs=0, not {epochs}.")


def first_of(names: str | list[str] | None) -> str | None:
    """One name of one or several."""
    return names if names is None or isinstance(names, str) else next(iter(names), None)


def is_repository(name: str | None) -> bool:
    """Whether a model's source is the name of a Hub repository, and no folder that is or was here."""
    try:
        validate_repo_id(name or "")
    except HFValidationError:
        return False
    return not Path(cast(str, name)).exists()


def parameter_groups(model: Any, args: DynamicViTTrainingArguments) -> list[dict[str, Any]]:
    """Reducer at the full rate, backbone at `backbone_lr_scale` of it; no decay on biases and 1-d parameters.

    A model without learned reducer parameters trains its backbone at the full rate, never frozen. The fraction is that
    of `args`, else the method's published one.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            backbone = ".reducer." not in f".{name}"
            groups[backbone, parameter.ndim > 1 and not name.endswith(".bias")].append(parameter)
    two_rates = any(not backbone for backbone, _ in groups)
    scale = model.encoder.reducer.backbone_lr_scale if args.backbone_lr_scale is None else args.backbone_lr_scale
    return [
        {
            "params": groups[key],
            "lr": args.learning_rate * (scale if key[0] and two_rates else 1.0),
            "weight_decay": args.weight_decay if key[1] else 0.0,
            "backbone": key[0] and two_rates,
        }
        for key in sorted(groups)  # the reducer first: its rate is the one that is logged
    ]


def on_the_grid(features: Tensor, owner: Tensor) -> Tensor:
    """Features of live tokens `[B, N, D]` at the patches they speak for: `[B, num_patches, D]`."""
    return features.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, features.shape[-1]))
