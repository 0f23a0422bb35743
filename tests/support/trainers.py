# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""A trainer of a toy model on toy data, whose settings make the few steps of a test tell something."""

import torch
from toys import toy_images, toy_model

from hf_dynamicvit import DynamicViTTrainer, DynamicViTTrainingArguments
from hf_dynamicvit.training.metrics import compute_accuracy
from hf_dynamicvit.training.trainer import DENSE_COPY


class ToyData(torch.utils.data.Dataset):
    def __init__(self, count=16):
        self.images = toy_images(count, seed=5)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"pixel_values": self.images[index], "labels": torch.tensor(index % 5)}


def arguments(folder, **overrides):
    settings = {
        "max_steps": 4,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "backbone_lr_scale": 0.5,
        "freeze_backbone_epochs": 0,
        "logging_steps": 2,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return DynamicViTTrainingArguments(str(folder), **(settings | overrides))


def trainer_for(folder, model=None, teacher=DENSE_COPY, options=None, **overrides):
    return DynamicViTTrainer(
        toy_model() if model is None else model,
        arguments(folder, **overrides),
        teacher=teacher,
        train_dataset=ToyData(),
        eval_dataset=ToyData(10),
        compute_metrics=compute_accuracy,
        **(options or {}),
    )


def weights_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
