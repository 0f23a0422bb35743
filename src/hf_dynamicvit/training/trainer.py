# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Train with distillation and ratio losses and two learning rates; log every term by name."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, HubStrategy

from ..hub.training_card import TrainingFacts, write_training_card
from ..model.classification import ReducedForImageClassification
from ..model.detection import ReducedForObjectDetection
from ..model.logger import logger
from .adapters import acting_reducer, inner_model, is_adapted, load_adapters
from .arguments import DynamicViTTrainingArguments
from .average import EMA_FOLDER, WeightAverage
from .callbacks import ClampReducer, FreezeBackbone, StuckParameters, TrainingBegins, end_steps
from .checkpoints import check_room, checkpoint_to_resume, estimate_bytes, is_complete
from .checks import check_alignment, check_followed, check_options, check_precision, check_student, warn_of_adapters
from .finite import explain_gradient_norm, explain_not_finite, stop_error
from .loss_terms import (
    align_labels,
    compares_token_logits,
    distillation_terms,
    read_loss_weights,
    resolve_loss_weights,
    supervised_name,
    supervised_term,
    take_class_token,
    take_label_heads,
)
from .losses import consistency_loss
from .optimizer import build_optimizer, check_schedule, freeze, head_rate
from .progress import no_bars_of_weights
from .publishing import commit_folder, create_repository, read_kept_settings, refuse_adapters, save_with_code
from .second_pass import check_second_pass, has_second_pass, run_second_pass
from .teacher import COLUMNS, DENSE_COPY, Taught, Teacher, describe_teacher
from .teacher_cache import TaughtDataset, cache_outputs
from .teacher_choice import choose_teacher
from .term_log import TermLog


class DynamicViTTrainer(Trainer):
    """`Trainer` for sparse image classifiers of any family, and for sparse object detectors.

    The loss is a weighted sum of terms, each logged as `loss_<name>`: `classification`, the cross entropy;
    `auxiliary`, the same of a training-only classifier (Evo-ViT); `class_distill`, KL to the teacher's class logits;
    `token_distill`, MSE to the teacher's final-normed patch features on the tokens kept at the end (of LV-ViT, KL to
    the teacher's classes of them, while the other terms read the class token alone); `feature_distill`,
    MSE to the teacher's class feature, both of length 1; `hard_distill`, cross entropy with the class that the
    teacher says, and `auxiliary_hard_distill` of the second classifier (of LeViT, by classifiers for that alone, while
    the others learn the labels); `second_classification` and `consistency`, the cross entropy of a second pass that
    removes fewer tokens, and the squared distance of the features to those of that pass (MCTF); and the method's own
    (`reducer.losses`). The weights are the published ones of the method (`reducer.loss_weights`) unless
    `args.loss_weights` names others. Evaluation is the model's own: tokens really dropped, classification loss.

    A detector has `detection`, its native loss, in place of `classification`; `class_distill` and `feature_distill`
    compare each detection token with the teacher's.

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
        model: ReducedForImageClassification | ReducedForObjectDetection | nn.Module | None = None,
        args: DynamicViTTrainingArguments | None = None,
        *,
        teacher: PreTrainedModel | str | None = DENSE_COPY,
        train_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        **kwargs: Any,
    ):
        check_options(args, teacher, **kwargs)
        self.args = cast(DynamicViTTrainingArguments, args)
        self._given_teacher: Any = teacher
        if kwargs.get("model_init") is None:
            self._take_student(model)
        check_alignment(self.args, train_collator)
        super().__init__(model=cast(Any, model), args=args, **kwargs)
        self.train_collator = train_collator
        # loss terms here are means over the batch, whatever the model's forward accepts
        self.model_accepts_loss_kwargs = False
        self._prepared_teacher: Teacher | None = None
        self._make_teacher()
        self._average = None if self.args.ema_decay is None else WeightAverage(self.args.ema_decay)
        self._term_log = TermLog()
        self._evaluated: tuple | None = None  # the settings that the last evaluation was of
        self._evaluations: dict[int, dict[str, float]] = {}  # by step
        # the average is of what was put right in the same step
        ours = [
            TrainingBegins(self._begin_training),
            ClampReducer(),
            self._average,
            FreezeBackbone(),
            StuckParameters(),
        ]
        for callback in filter(None, ours):
            self.add_callback(callback)
        if self.optimizer is not None:
            logger.warning("optimizers= is given: backbone_lr_scale and freeze_backbone_epochs have no effect on it.")

    # The student and who teaches it

    @property
    def student(self) -> ReducedForImageClassification | ReducedForObjectDetection:
        """The model that learns, out of what wraps it."""
        return inner_model(self.accelerator.unwrap_model(self.model))

    def _take_student(self, model: Any) -> None:
        """Check the model that will learn and choose its loss weights and teacher; anew for each of `model_init`."""
        check_student(model, self.args)
        reducer = acting_reducer(model)
        freeze(model, self.args.frozen or [])
        warn_of_adapters(model, self.args)
        if self.args.push_to_hub:
            refuse_adapters(model)
        self._supervised = supervised_name(inner_model(model))
        self.loss_weights = resolve_loss_weights(reducer, self.args, self._supervised)
        self._unused_weights = {name for name, weight in read_loss_weights(self.args).items() if weight}
        check_second_pass(model, self.loss_weights, self.args)
        check_followed(model, self.args)
        check_schedule(reducer, self.args)
        self._head_rate = head_rate(model, self.args)  # now: resuming loads a classifier that is no longer new
        self.teacher = choose_teacher(self._given_teacher, model, self.loss_weights)
        if self._given_teacher != DENSE_COPY:  # read once
            self._given_teacher = self.teacher

    def _make_teacher(self) -> None:
        """Prepare the teacher as the student is, unless that was done."""
        if self.teacher is None:
            self._prepared_teacher = None
        elif self._prepared_teacher is None or self._prepared_teacher.model is not self.teacher:
            self._prepared_teacher = Teacher(self.teacher, self.args, self.accelerator)

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

    def teacher_outputs(self, inputs: dict[str, Any]) -> Taught:
        """Ask the teacher for its logits `[B, K]`, features and token logits, `None` where it has none, of a batch."""
        return cast(Teacher, self._prepared_teacher).outputs(inputs)

    def teacher_accuracy(self) -> float:
        """Compute the teacher's top-1 on the evaluation data, from 0 to 1."""
        return cast(Teacher, self._prepared_teacher).accuracy(map(self._prepare_inputs, self.get_eval_dataloader()))

    def _cache_teacher(self) -> None:
        if self.train_collator is not None:
            raise ValueError("cache_teacher needs the same pixels in every epoch, but train_collator mixes images.")
        with_features = bool(self.loss_weights["token_distill"] or self.loss_weights["feature_distill"])
        size, collate, prepare = self.args.eval_batch_size, self.data_collator, self._prepare_inputs
        teacher = cast(Teacher, self._prepared_teacher)
        self.train_dataset = cache_outputs(teacher, self.train_dataset, size, collate, prepare, with_features)

    # Training

    def _begin_training(self) -> None:
        self._evaluations.clear()
        if self.model_init is not None:
            self._make_teacher()
        self._term_log = TermLog()

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
        resume_from_checkpoint = checkpoint_to_resume(folder, resume_from_checkpoint)
        if self.args.should_save:
            moments, average = not self.args.save_only_model, self._average is not None
            # a search lets go of the model of its last trial
            check_room(folder, 0 if self.model is None else estimate_bytes(self.model, moments, average))
        if self._average is not None:
            self._average.start_from(Path(cast(str, resume_from_checkpoint)) if resume_from_checkpoint else None)
        if self.args.cache_teacher and self.teacher is not None and not isinstance(self.train_dataset, TaughtDataset):
            self._cache_teacher()
        try:
            result = super().train(resume_from_checkpoint, *args, **kwargs)
            best = self.state.best_model_checkpoint
            if self._average is not None and self.args.load_best_model_at_end and best is not None:
                self._average.load(self.accelerator.unwrap_model(self.model), Path(best))
            return result
        finally:
            end_steps(self.callback_handler.callbacks, self.accelerator.unwrap_model(self.model))

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

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            model = cast(PreTrainedModel, self.model if model is None else model)
            chosen = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(self.args, model)
            self.optimizer = build_optimizer(model, self.args, self._head_rate, chosen)
        return self.optimizer

    # The loss

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels = inputs.pop("labels", None)
        mixed, shares = inputs.pop("mixed_labels", None), inputs.pop("patch_shares", None)
        if not model.training:
            outputs = model(**inputs)
            loss = None if labels is None else self._compare_with(labels, outputs)
            return (loss, outputs) if return_outputs else loss
        if labels is None:
            raise ValueError(f"Training needs 'labels'; the batch has {', '.join(sorted(inputs))}.")
        taught = Taught(*(inputs.pop(name, None) for name in COLUMNS))
        aligned = self.args.align_labels and shares is not None  # a batch that mixup mixed has labels for all tokens
        outputs = model(**inputs, patch_shares=shares) if aligned else model(**inputs)
        if aligned:
            labels = align_labels(mixed, outputs.label_shares)
        if self.teacher is not None and taught.logits is None:
            taught = self.teacher_outputs(inputs)
        terms = self.loss_terms(outputs, labels, *taught)
        if has_second_pass(self.loss_weights):
            terms |= self._second_pass_terms(model, inputs, outputs, labels)
        self._check_terms(terms)
        self._term_log.add({f"loss_{name}": term.detach().float() for name, term in terms.items()})
        kept = outputs.kept.float().mean(dim=(0, 2))  # Evo-ViT's number of stages changes on the way
        self._term_log.add({f"kept_stage_{stage}": fraction for stage, fraction in enumerate(kept, start=1)})
        loss = torch.stack([self.loss_weights[name] * term for name, term in terms.items()]).sum()
        return (loss, outputs) if return_outputs else loss

    def loss_terms(
        self,
        outputs,
        labels: Any,
        teacher_logits: Tensor | None = None,
        teacher_features: Tensor | None = None,
        teacher_token_logits: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the unweighted terms by name, scalars.

        Args:
            outputs: of a training forward.
            labels: of its batch, a tensor, or of a detector what each image has.
            teacher_logits: `[B, K]`, of a detector `[B, Q, K]`, or `None` without a teacher.
            teacher_features: `[B, P + N, D]`, or `None` where the teacher has none.
            teacher_token_logits: `[B, 1 + N, K]`, or `None` where the teacher classifies no tokens.
        """
        student = self.student
        taught = Taught(teacher_logits, teacher_features, teacher_token_logits)
        if self.loss_weights["token_distill"] and compares_token_logits(outputs, taught):
            outputs, taught = take_class_token(outputs, taught)
        if self.loss_weights["hard_distill"] and outputs.get("head_logits") is not None and teacher_logits is not None:
            outputs = take_label_heads(outputs)
        terms = {self._supervised: self._compare_with(labels, outputs)}
        if outputs.get("auxiliary_logits") is not None:  # also at weight 0, for a gradient of its classifier
            auxiliary = replace(outputs, logits=outputs.auxiliary_logits)
            terms["auxiliary"] = self._compare_with(labels, auxiliary)
        terms |= acting_reducer(student).losses(outputs.decisions)
        mean = partial(self.accelerator.reduce, reduction="mean")
        return terms | distillation_terms(outputs, student.backbone, self.loss_weights, taught, mean)

    def _second_pass_terms(self, model, inputs: dict[str, Any], first, labels: Tensor) -> dict[str, Tensor]:
        """Pass the images again, fewer tokens removed: what that is worth, and how far the `first` pass is from it."""
        second = run_second_pass(model, cast(Any, self.student), inputs, self.args.second_pass_share)
        read = first.features, second.features, first.logits, labels
        return {
            "second_classification": self._compare_with(labels, second),
            "consistency": consistency_loss(*read, self.args.consistency_threshold),
        }

    def _compare_with(self, labels: Any, outputs: Any) -> Tensor:
        if self.compute_loss_func is not None:
            return self.compute_loss_func(outputs, labels, num_items_in_batch=None)
        return supervised_term(self.student, outputs, labels, self.args.label_smoothing_factor)

    def _check_terms(self, terms: dict[str, Tensor]) -> None:
        """Warn, once, of weights that no term has; stop on every process, ahead of the backward, unless finite."""
        unused, self._unused_weights = sorted(self._unused_weights - set(terms)), set()
        if unused:
            logger.warning(f"loss_weights has {', '.join(unused)}, but this training has no such term.")
        self._stop_because(explain_not_finite(terms, self.accelerator))

    def _get_grad_norm(self, model, grad_norm=None):
        grad_norm = super()._get_grad_norm(model, grad_norm)
        # in fp16 the gradient overflows now and then; the scaler passes over such steps by itself
        if self.accelerator.scaler is None:
            self._stop_because(explain_gradient_norm(grad_norm))
        return grad_norm

    def _stop_because(self, reason: str | None) -> None:
        """Save the weights, which no step has spoilt yet, and give up; go on where there is no reason."""
        if reason is not None:
            step = self.state.global_step
            checkpoint = Path(cast(str, self.args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{step}"
            if not is_complete(checkpoint):
                self._save_checkpoint(cast(PreTrainedModel, self.model), trial=None)
            raise stop_error(step + 1, reason, checkpoint)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # on every process at the same step
            logs = logs | self._term_log.average(self.accelerator)
            self._term_log = TermLog()
        super().log(logs, start_time)

    # Evaluation and what is saved

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval"):
        several = isinstance(self.eval_dataset if eval_dataset is None else eval_dataset, dict)  # one by one, above
        with torch.random.fork_rng(devices=[]):  # a training that resumes after it draws what this one will
            metrics = super().evaluate(eval_dataset, ignore_keys, metric_key_prefix)
            self._evaluated = read_kept_settings(self.accelerator.unwrap_model(self.model))
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

    def averaged(self) -> AbstractContextManager[None]:
        """Put the averaged weights (`ema_decay`) into the model for a while."""
        return cast(WeightAverage, self._average).in_place(cast(PreTrainedModel, self.model))

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """As in `Trainer`, with the averaged weights, if any, as a model of its own in the folder `ema`."""
        with no_bars_of_weights():
            super().save_model(output_dir, _internal_call)
        if self._average is not None and self._average.average:
            folder = Path(cast(str, output_dir or self.args.output_dir)) / EMA_FOLDER
            with self.averaged(), no_bars_of_weights():
                super().save_model(str(folder), _internal_call=True)

    # The Hub

    def push_to_hub(
        self,
        commit_message: str | None = "End of training",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        **kwargs,
    ):
        """As in `Trainer`, but only what a user of the model needs goes: weights, configuration, processor, card and
        the code that loads them without this package; no `training_args.bin`, which is a pickle, and no logs.

        Raises:
            ValueError: PEFT has wrapped the model.
        """
        refuse_adapters(self.model)
        self.callback_handler.on_push_begin(self.args, self.state, self.control)
        token = token or self.args.hub_token
        if self.hub_model_id is None and self.is_world_process_zero():
            self.hub_model_id = create_repository(self.args, token, private)
        folder = save_with_code(self)
        if not self.is_world_process_zero():
            return None
        repo_id = cast(str, self.hub_model_id)
        self.create_model_card(**{"model_name": repo_id.split("/")[-1]} | kwargs)
        self._finish_current_push()
        return commit_folder(folder, repo_id, token, commit_message, revision or self.args.hub_revision, blocking)

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Push no checkpoint while training: it holds pickles (optimizer, random states, arguments)."""
        if self.args.hub_strategy != HubStrategy.END:
            logger.warning_once(
                f"hub_strategy is {HubStrategy(self.args.hub_strategy).value!r}; checkpoints hold pickles and stay "
                "here. The model is pushed at the end."
            )

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
        """Write our card to `output_dir/README.md`, unless that is somebody's own; arguments as in `Trainer`.

        The accuracy is there if the model as training left it was evaluated, the data set if it is named.

        Raises:
            ValueError: PEFT has wrapped the model.
        """
        refuse_adapters(self.model)
        if not self.is_world_process_zero():
            return
        model = self.accelerator.unwrap_model(self.model)
        evaluated = self._evaluated == read_kept_settings(model)
        facts = TrainingFacts(self.args, self.state, self.loss_weights, describe_teacher(self.teacher), evaluated)
        text = language, license, tags, model_name, finetuned_from
        write_training_card(model, facts, *text, dataset_tags=dataset_tags, dataset=dataset)
