# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Slow and fast paths on Swin and ConvNeXt against the published implementation."""

import pytest
import torch
from torch.testing import assert_close

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.pyramids import rename_pyramid_keys
from hf_dynamicvit.model import pyramid_reducer
from hf_dynamicvit.model.positions import Positions, Split
from hf_dynamicvit.registration import CLASSIFIERS
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    keep_ratio_loss,
    token_distillation_loss,
)


KINDS = ("dyswin", "dyconvnext")


def build(case, **options):
    """The published weights in our model."""
    size = tuple(case.pixel_values.shape[-2:])
    config = infer_config(case.weights, image_size=size, keep_ratio=0.7, drop_path_rate=0.0, **options)
    return convert_state_dict(case.weights, config)


def by_position(published):
    """Maps `[B, C, H, W]` and sequences `[B, N, C]`, both as `[B, N, C]`."""
    return published.flatten(2).transpose(1, 2) if published.ndim == 4 else published


def normed(case, name):
    """Final-normed maps `[B, N, C]`, which ConvNeXt's cases have as `[B, H, W, C]`."""
    return case.io[name].flatten(1, -2)


def gradient(model, name):
    """Our gradient of a published parameter."""
    model_type = model.config.model_type
    parameters = dict(model.named_parameters())
    sample = torch.arange(3.0)[:, None].expand(3, 4) if ".qkv." in name else torch.zeros(1)
    ours = list(rename_pyramid_keys({name: sample}, model_type))
    return torch.cat([parameters[each].grad for each in ours])


@pytest.mark.parametrize("kind", KINDS)
def test_inference(golden, kind):
    case = golden(f"{kind}_eval")
    model = build(case)
    assert model.config.stage_layers == case.about["config"]["pruning_loc_0based_within_stage"]
    assert model.config.stage_keep_ratios == case.about["config"]["sparse_ratio"]
    assert model.token_counts() == case.about["config"]["slow_positions_int_trunc"]
    with torch.inference_mode():
        outputs = model(case.pixel_values, output_scores=True, output_hidden_states=True)
    for stage in range(3):
        assert torch.equal(outputs.kept[:, stage], case.io[f"predictor{stage}.slow"].bool())
        scores = by_position(case.io[f"predictor{stage}.log_probs"])[..., 0]
        assert_close(outputs.scores[:, stage], scores, **case.tolerance("log_probs"))
    for stage in range(4):
        published = by_position(case.io[f"after_stage{stage}"])
        assert_close(by_position(outputs.hidden_states[stage + 1]), published, **case.tolerance("features"))
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_dense_twin(golden, kind):
    case = golden(f"{kind}_eval")
    dense = build(case).to_dense()
    family = CLASSIFIERS[dense.config.model_type]
    with torch.inference_mode():
        answer, features = family.ask_dense(dense, {"pixel_values": case.pixel_values})
    assert type(dense).__module__.startswith("transformers.")
    assert_close(answer.logits, case.io["dense.logits"], **case.tolerance("logits"))
    assert_close(features, normed(case, "dense.final_map"), **case.tolerance("features"))


def inject(monkeypatch, case):
    """Let the samples of a training forward be those of the published noise, in whatever layout they were drawn."""
    noises = iter([by_position(case.io[f"predictor{stage}.gumbel_noise"]) for stage in range(3)])

    def keep(log_probs, tau):
        soft = ((log_probs + next(noises)) / tau).softmax(dim=-1)[..., 0]
        return (soft > 0.5).float() - soft.detach() + soft

    monkeypatch.setattr(pyramid_reducer, "gumbel_keep", keep)


@pytest.mark.parametrize("kind", KINDS)
def test_training_as_released(golden, kind, monkeypatch):
    case = golden(f"{kind}_train")
    model = build(case, reducer_args={"streams": "separate"}).train()
    inject(monkeypatch, case)
    outputs = model(case.pixel_values)
    for stage, decision in enumerate(outputs.decisions):
        assert torch.equal(decision.kept, case.io[f"predictor{stage}.decision"].flatten(1).bool())
        raw = case.io[f"predictor{stage}.decision_raw"].flatten(1)
        assert_close(decision.mask, raw, **case.tolerance("decision_raw"), rtol=0)
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))

    teacher = {"pixel_values": case.pixel_values}
    with torch.no_grad():
        answer, taught = type(model).ask_dense(model.to_dense().eval(), teacher)
    taught_logits = answer.logits
    assert_close(taught_logits, case.io["teacher.logits"], **case.tolerance("logits"))
    features, taught, everywhere = model.backbone.compared_features(outputs, taught)
    assert_close(taught, normed(case, "teacher.final_map"), **case.tolerance("features"))
    assert_close(features, normed(case, "final_map"), **case.tolerance("features"))
    terms = {
        "cls": classification_loss(outputs.logits, case.io["soft_labels"]),
        "ratio_sum": 3 * keep_ratio_loss(outputs.decisions),
        "cls_kl": class_distillation_loss(outputs.logits, taught_logits),
        "token_mse": token_distillation_loss(features, taught, everywhere),
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], **case.tolerance("loss.*"))
    weights = model.reducer.loss_weights
    assert weights == {"classification": 1.0, "ratio": 10.0, "class_distill": 0.5, "token_distill": 0.5}
    loss = terms["cls"] + 10 / 3 * terms["ratio_sum"] + 0.5 * terms["cls_kl"] + 0.5 * terms["token_mse"]
    assert_close(loss, case.io["loss.total"], **case.tolerance("loss.*"))

    loss.backward()
    checked = [name.removeprefix("grad.") for name in case.io if name.startswith("grad.")]
    for name in checked:
        expected = case.io[f"grad.{name}"]
        actual = gradient(model, name).view_as(expected)
        assert (actual - expected).abs().max() <= 1e-3 * expected.abs().max(), name
    assert len(checked) == {"dyswin": 14, "dyconvnext": 15}[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_merged_streams_train_what_inference_computes(golden, kind, monkeypatch):
    """To the bit, for the same decisions; as released, they differ by as much as the logits vary."""
    case = golden(f"{kind}_train")
    differences = {}
    for streams in ("merged", "separate"):
        model = build(case, reducer_args={"streams": streams}).train()
        inject(monkeypatch, case)
        with torch.no_grad():
            trained = model(case.pixel_values)
        masks = iter([decision.kept.flatten() for decision in trained.decisions])

        def take(positions, stage, *_, masks=masks):  # images keep different numbers: by rows of the batch
            slow = next(masks)
            split = Split(slow.nonzero()[:, 0], (~slow).nonzero()[:, 0])
            return positions.change(split=split).decide(stage, slow.view(3, -1))

        monkeypatch.setattr(Positions, "divide", take)
        with torch.no_grad():
            chosen = model.eval()(case.pixel_values)
        differences[streams] = (trained.logits - chosen.logits).abs().max().item()
    assert differences["merged"] == 0
    assert differences["separate"] > 0.05
