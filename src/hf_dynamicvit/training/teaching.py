# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The part of the Trainer that asks the teacher: prepared as the student is, in half precision, or once for all."""

from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedModel

from .arguments import DynamicViTTrainingArguments
from .publishing import PublishingTrainer
from .teacher import TeacherOutputs, shard
from .teacher_cache import TaughtDataset, check_repeats


class TeachingTrainer(PublishingTrainer):
    """A `Trainer` with a teacher; `DynamicViTTrainer` is the one to use."""

    args: DynamicViTTrainingArguments
    train_collator: Any
    _ask_teacher: Any  # of a batch: its logits and features
    teacher: PreTrainedModel | None  # a plain attribute, not a module of the model: not saved, counted or optimised
    _placed: PreTrainedModel | None = None  # the teacher that `_ask_teacher` asks

    def _place_teacher(self) -> None:
        """Freeze the teacher, unless it is there already, and prepare it as the student is."""
        if self.teacher is None or self.teacher is not self._placed:
            if self.teacher is not None:
                self.teacher.requires_grad_(False).eval().to(cast(Any, self.args.device))
            self._ask_teacher = self._prepare_teacher()
            self._placed = self.teacher

    def _prepare_teacher(self) -> Any:
        """What gives the teacher's logits and features for a batch; compiled or sharded as the student is."""
        if self.teacher is None:
            return None
        if self.is_deepspeed_enabled:
            raise ValueError("A teacher under DeepSpeed is not supported; use DDP or FSDP, or teacher=None.")
        dtype = None if self.args.teacher_dtype is None else getattr(torch, self.args.teacher_dtype)
        outputs = TeacherOutputs(self.teacher, dtype)
        if self.is_fsdp_enabled:
            plugin = cast(Any, self.accelerator.state.fsdp_plugin)
            if plugin.cpu_ram_efficient_loading:
                raise ValueError(
                    "fsdp_cpu_ram_efficient_loading is true: only the first process has the weights that the teacher "
                    "is made of; set it to false, or teacher=None."
                )
            if getattr(plugin, "fsdp_version", 1) == 2:  # Accelerate before 1.6 knows the first only
                shard(outputs)
        if self.args.torch_compile:
            return torch.compile(
                outputs, backend=self.args.torch_compile_backend or "inductor", mode=self.args.torch_compile_mode
            )
        return outputs

    def _teacher_outputs(self, inputs: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        # a sharded teacher gathers its weights as it goes, which inference mode does not allow
        without_graph = torch.no_grad() if self.is_fsdp_enabled else torch.inference_mode()
        arithmetic = nullcontext() if self.args.teacher_dtype is not None else self.accelerator.autocast()
        with without_graph, arithmetic:
            logits, features = self._ask_teacher(**inputs)
        # copies: the losses keep them for the backward, which inference tensors cannot be kept for
        return logits.clone(), None if features is None else features.clone()

    def teacher_accuracy(self) -> float:
        """Top-1 of the teacher on the evaluation data, from 0 to 1."""
        right = []
        for batch in self.get_eval_dataloader():
            batch = self._prepare_inputs(batch)
            labels = batch.pop("labels")
            right.append(self.accelerator.gather_for_metrics(self._teacher_outputs(batch)[0].argmax(dim=-1) == labels))
        return torch.cat(right).float().mean().item()

    def _taught(self) -> TaughtDataset:
        """The training data with the teacher's outputs; each process asks for its share."""
        if self.train_collator is not None:
            raise ValueError("cache_teacher needs the same pixels in every epoch, but train_collator mixes pictures.")
        check_repeats(self.train_dataset)
        wants_features = self.loss_weights["token_distill"] or self.loss_weights["feature_distill"]
        logits, features = [], []
        # not the Trainer's own loader, which it may keep for evaluation, or cut off at whole batches
        size, collate = self.args.eval_batch_size, self.data_collator
        loader: Any = DataLoader(cast(Any, self.train_dataset), size, collate_fn=collate)
        with torch.random.fork_rng():  # the training draws what it would without
            for batch in self.accelerator.prepare(loader):
                batch = self._prepare_inputs(batch)
                batch.pop("labels", None)
                taught = self._teacher_outputs(batch)
                logits.append(self.accelerator.gather_for_metrics(taught[0].float()).cpu())
                if taught[1] is not None and wants_features:  # half precision: it is most of the memory
                    features.append(self.accelerator.gather_for_metrics(taught[1].half()).cpu())
        return TaughtDataset(self.train_dataset, torch.cat(logits), torch.cat(features) if features else None)
