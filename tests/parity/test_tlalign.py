# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""TL-Align against the published implementation: labels of every block, loss and gradients."""

import torch
from torch.testing import assert_close
from trainers import trainer_for

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.data.augmentation import MixCollator


MIXING = {"train_collator": MixCollator(10, mixup=0, grid=(8, 8))}


def converted(case):
    heads = case.about["config"]["num_heads"]
    config = infer_config(case.weights, num_attention_heads=heads, reducer="tome", keep_ratio=1.0)
    return convert_state_dict(case.weights, config).train()


def shares_to_labels(shares, labels, num_classes, smoothing):
    """Labels of the share of each image's own, the others being those of the reversed batch."""
    smoothed = torch.nn.functional.one_hot(labels, num_classes) * (1 - smoothing) + smoothing / num_classes
    own, other = (each[:, None] for each in (smoothed, smoothed.flip(0)))
    return shares[..., None] * own + (1 - shares[..., None]) * other


def test_labels_follow_the_tokens(golden):
    case = golden("tlalign_train")
    io, smoothing = case.io, case.about["variants"]["label_smoothing"]
    model = converted(case)
    shares = (1 - io["mask"]).expand(len(io["labels"]), -1)
    outputs = model.vit(io["mixed_pixel_values"], patch_shares=shares, output_tokens=True)
    labels = [shares_to_labels(each.shares, io["labels"], 10, smoothing) for each in outputs.tokens]
    tolerance = case.tolerance("logits/losses")
    assert_close(labels[0], io["input_labels"], **tolerance)
    blocks = torch.stack([each[:, 0] for each in labels[1:]])
    assert_close(blocks, io["aligned_label_after_block"], **tolerance)
    assert_close(labels[-1], io["aligned_labels_last"], **tolerance)
    assert torch.equal(outputs.label_shares, outputs.tokens[-1].shares[:, 0])


def test_the_trainer_takes_the_published_step(golden, tmp_path):
    case = golden("tlalign_train")
    io, smoothing = case.io, case.about["variants"]["label_smoothing"]
    model = converted(case)
    model.config.problem_type = "single_label_classification"
    trainer = trainer_for(
        tmp_path, model, teacher=None, options=MIXING, align_labels=True, label_smoothing_factor=smoothing
    )
    own = torch.nn.functional.one_hot(io["labels"], 10).float()
    batch = {
        "pixel_values": io["mixed_pixel_values"],
        "labels": io["lam"] * own + (1 - io["lam"]) * own.flip(0),
        "patch_shares": (1 - io["mask"]).expand(len(own), -1),
        "mixed_labels": torch.stack((own, own.flip(0)), dim=1),
    }
    loss, outputs = trainer.compute_loss(model.train(), batch, return_outputs=True)
    assert_close(outputs.logits, io["logits"], **case.tolerance("logits/losses"))
    assert_close(loss[None], io["loss"], **case.tolerance("logits/losses"))
    loss.backward()
    attention = model.vit.layers[1].attention
    gradients = {
        "cls_token": model.vit.embeddings.cls_token.grad,
        "patch_embed.proj.bias": model.vit.embeddings.patch_embeddings.projection.bias.grad,
        "blocks.1.attn.qkv.bias": torch.cat(
            [each.bias.grad for each in (attention.q_proj, attention.k_proj, attention.v_proj)]
        ),
        "blocks.5.attn.proj.weight": model.vit.layers[5].attention.o_proj.weight.grad,
        "head.weight": model.classifier.weight.grad,
    }
    for name, gradient in gradients.items():
        assert_close(gradient, io[f"grad.{name}"], **case.tolerance("gradients"), msg=lambda m, n=name: f"{n}: {m}")
