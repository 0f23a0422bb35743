# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""MCTF against the published implementation: matching, fused attention, counts, the whole model, a training step."""

import pytest
import torch
from token_maps import source_map
from torch.testing import assert_close
from trainers import trainer_for

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config


FUSE = {0: "behind", 1: "ahead", 2: "precise"}
POOLING = {0: "size", 1: "attention", 3: "mean"}


def converted(case, about, r):
    args = {
        "r": r,
        "tau_similarity": about.get("tau_sim", 1),
        "tau_attention": about.get("tau_info", 20),
        "tau_size": about.get("tau_size", 40),
        "fuse": FUSE[about["one_step_ahead"]],
        "pooling": POOLING[about.get("pooling_type", 1)],
        "both_ways": about.get("bidirectional", True),
    }
    heads = case.about["config"]["num_heads"]
    config = infer_config(
        case.weights,
        num_attention_heads=heads,
        reducer="mctf",
        reducer_layers=about["activate_layers"],
        reducer_args=args,
    )
    return convert_state_dict(case.weights, config)


VARIANTS = ["published", "fast_ratio", "precise", "oneway_sizemean_after", "floor", "sharp_taus"]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_forward(golden, variant, attention, training):
    case = golden("mctf_eval")
    about = case.about["variants"][variant]
    model = converted(case, about, about["r"]).train(training)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    layers = about["activate_layers"]
    counts = case.io[f"{variant}.token_counts"].tolist()
    assert [1 + count for count in model.token_counts()] == [counts[layer] for layer in layers]
    theirs = case.io[f"{variant}.source_map_after_block"].long()
    for layer, owner in zip(layers, outputs.owner.unbind(1), strict=True):
        assert torch.equal(source_map(owner, 1), theirs[layer])
    sizes = torch.stack([image.bincount() for image in outputs.owner[:, -1]])
    assert torch.equal(sizes.int(), case.io[f"{variant}.final_sizes"][:, 1:])
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **case.tolerance("tokens/cls_after_block"))
    tokens = case.io[f"{variant}.final_tokens"]
    assert_close(encoder.last_hidden_state, tokens, **case.tolerance("tokens/cls_after_block"))
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits/losses"))


def test_training_step(golden):
    """Two passes of the same weights: cross entropy of both, and the distance of their class tokens."""
    case = golden("mctf_eval")
    about, io = case.about["variants"]["train"], case.io
    model = converted(case, about, about["r_student"]).train()
    reducers = model.vit.reducer, converted(case, about, about["r_teacher"]).vit.reducer
    logits, classes = [], []
    for reducer in reducers:
        model.vit.reducer = reducer
        states = model.vit(case.pixel_values).last_hidden_state
        classes.append(states[:, 0])
        logits.append(model.classifier(states[:, 0]))
    labels = io["train.labels"]
    distance = (classes[1].detach() - classes[0]).square().mean(dim=1)
    confident = logits[0].softmax(-1).gather(1, labels[:, None])[:, 0] > about["threshold"]
    assert torch.equal(confident.float(), io["train.confidence_pass"])
    entropies = [torch.nn.functional.cross_entropy(each, labels) for each in logits]
    weights = about["weights"]
    loss = weights[0] * entropies[0] + weights[1] * entropies[1] + weights[2] * distance[confident].mean()
    tolerance = case.tolerance("logits/losses")
    assert_close(logits[0], io["train.student_logits"], **tolerance)
    assert_close(logits[1], io["train.teacher_logits"], **tolerance)
    assert_close(distance, io["train.loss_consistency"], **tolerance)
    assert_close(loss[None], io["train.loss"], **tolerance)
    loss.backward()
    width = case.about["config"]["embed_dim"]

    def projected(layer):
        attention = model.vit.layers[layer].attention
        return torch.cat([each.weight.grad for each in (attention.q_proj, attention.k_proj, attention.v_proj)])

    gradients = {
        "cls_token": model.vit.embeddings.cls_token.grad,
        "patch_embed.proj.bias": model.vit.embeddings.patch_embeddings.projection.bias.grad,
        "blocks.1.attn.qkv.weight": projected(1),
        "blocks.5.attn.qkv.weight": projected(5),
        "blocks.2.mlp.fc1.bias": model.vit.layers[2].mlp.fc1.bias.grad,
        "head.weight": model.classifier.weight.grad,
    }
    assert gradients["head.weight"].shape[1] == width
    for name, gradient in gradients.items():
        assert_close(
            gradient, io[f"train.grad.{name}"], **case.tolerance("gradients"), msg=lambda m, n=name: f"{n}: {m}"
        )


def test_training_step_of_the_trainer(golden, tmp_path):
    case = golden("mctf_eval")
    about, io = case.about["variants"]["train"], case.io
    weights = dict(zip(("classification", "second_classification", "consistency"), about["weights"], strict=True))
    trainer = trainer_for(
        tmp_path,
        converted(case, about, about["r_student"]),
        loss_weights=weights,
        consistency_threshold=about["threshold"],
    )
    first, second = about["r_student"], about["r_teacher"]
    # the draw that gives the case's second pass
    seed = next(seed for seed in range(100) if int(first * float(seeded(seed).rand(()))) == second)
    seeded(seed)
    loss = trainer.compute_loss(
        trainer.model.train(), {"pixel_values": case.pixel_values, "labels": io["train.labels"]}
    )
    assert_close(loss[None], io["train.loss"], **case.tolerance("logits/losses"))
    loss.backward()
    model, tolerance = trainer.model, case.tolerance("gradients")
    assert_close(model.vit.embeddings.cls_token.grad, io["train.grad.cls_token"], **tolerance)
    assert_close(model.classifier.weight.grad, io["train.grad.head.weight"], **tolerance)
    assert model.vit.reducer.r == first


def seeded(seed):
    torch.manual_seed(seed)
    return torch
