# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""AS-ViT against the published implementation: scores, training, both ways of inference."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from hf_dynamicvit import DynamicViTConfig, DynamicViTModel
from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key, rename_keys
from hf_dynamicvit.model.cost import block_multiply_adds, vit_multiply_adds
from hf_dynamicvit.model.reducer import TokenReducer
from hf_dynamicvit.model.reducer_asvit import ASViTReducer
from hf_dynamicvit.model.scoring import head_weighted_class_attention
from hf_dynamicvit.model.tokens import Tokens
from hf_dynamicvit.training.losses import class_distillation_loss, classification_loss


def model_of(case, **reducer_args):
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="asvit",
        reducer_layers=case.about["config"]["pruning_loc_0based"],
        reducer_args=reducer_args,
    )
    return convert_state_dict(case.weights, config)


@pytest.fixture
def scores_before(monkeypatch):
    """What each decision reads, in order: scores and, for each score, the original patch."""
    seen = []
    original = ASViTReducer.reduce

    def reduce(self, tokens, stage, block):
        seen.append((tokens.importance.detach(), tokens.owner))
        return original(self, tokens, stage, block)

    monkeypatch.setattr(ASViTReducer, "reduce", reduce)
    return seen


def assert_gradient(actual, expected, relative):
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


class Record(TokenReducer):
    """Keeps the scores of the one block it sees."""

    def reduce(self, tokens, stage, block):
        return tokens

    def between(self, tokens, trace, layer):
        return replace(tokens, importance=head_weighted_class_attention(trace, tokens))


@pytest.fixture
def scores_of(golden):
    """One block of the golden case: (output, scores) of tokens `[B, T, D]` and keep decisions `[B, N]` or `None`."""
    case = golden("asvit_scores")
    about = case.about["config"]
    config = DynamicViTConfig(
        hidden_size=about["embed_dim"],
        num_attention_heads=about["num_heads"],
        intermediate_size=4 * about["embed_dim"],
        layer_norm_eps=about["layer_norm_eps"],
        num_hidden_layers=1,
        reducer="topk",
    )
    config._attn_implementation = "sdpa"
    block = DynamicViTModel(config).layers[0]
    weights = {name.removeprefix("vit.layers.0."): tensor for name, tensor in rename_keys(case.weights).items()}
    block.load_state_dict(weights)

    def run(x, mask=None):
        tokens = replace(Tokens.start(x, 1), mask=mask)
        output, tokens = block(x, tokens, Record(config), 0)
        return output, tokens.importance

    run.block = block
    return run


def test_scores(golden, scores_of):
    case = golden("asvit_scores")
    x = case.io["x"].clone().requires_grad_()
    output, scores = scores_of(x)
    assert_close(scores, case.io["scores"], **case.tolerance("scores*"))
    assert_close(output, case.io["output"], **case.tolerance("output*"))
    scores.backward(case.io["upstream_grad_scores"])
    assert_gradient(x.grad, case.io["grad_x_from_scores"], 1e-4)
    attention = scores_of.block.attention
    grad = torch.cat([getattr(attention, f"{part}_proj").weight.grad for part in "qkv"])
    assert_gradient(grad, case.io["grad_qkv_weight_from_scores"], 1e-4)
    output, scores = scores_of(case.io["x"][:, :61])
    assert_close(scores, case.io["scores_short"], **case.tolerance("scores*"))
    assert_close(output, case.io["output_short"], **case.tolerance("output*"))


def test_scores_of_masked_tokens(golden, scores_of):
    case = golden("asvit_scores")
    mask = case.io["policy"][:, 1:, 0].clone().requires_grad_()
    output, scores = scores_of(case.io["x"], mask)
    assert_close(scores, case.io["scores_masked"], **case.tolerance("scores*"))
    assert_close(output, case.io["output_masked"], **case.tolerance("output*"))
    assert (scores[mask == 0] == 0).all()
    scores.backward(case.io["upstream_grad_scores"])
    assert_gradient(mask.grad, case.io["grad_policy_from_scores_masked"][:, 1:, 0], 1e-4)
    cost = block_multiply_adds(48, 2 * 48 * 192, 1 + mask.sum(1), 1 + mask.sum(1)) / 1e9
    assert_close(cost, case.io["block_gmacs"], atol=0, rtol=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training(golden, golden_teacher, scores_before, attention):
    case = golden("asvit_train")
    model = model_of(case).train()
    model.set_attn_implementation(attention)
    outputs = model(case.pixel_values)
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    assert_close(outputs.logits, case.io["eval_b1_logits"], **case.tolerance("logits"))
    assert_close(outputs.last_hidden_state[:, 1:], case.io["features"], **case.tolerance("features"))
    for stage, decision in enumerate(outputs.decisions):
        assert_close(scores_before[stage][0], case.io[f"stage{stage}.scores"], **case.tolerance("scores"))
        assert torch.equal(decision.kept, case.io[f"stage{stage}.mask"].bool())
        assert_close(decision.mask, case.io[f"stage{stage}.mask_raw"], atol=1e-6, rtol=0)

    # the golden cost counts neither the classifier nor the scores, and the target one token less than it
    reducer = model.vit.reducer
    kept = [decision.mask.sum(dim=1) for decision in outputs.decisions]
    cost = vit_multiply_adds(model.config, 196, reducer.token_counts(196, 12, kept), 1, 0)
    assert_close(cost / 1e9, case.io["student_gmacs"], atol=0, rtol=1e-6)
    budget = (cost.mean() / 1e9 - case.io["target_gmacs"]).abs()
    assert_close(budget, case.io["loss.budget"], **case.tolerance("loss.budget"))
    dense = reducer.model_multiply_adds(196, [(196, 196)] * 12)
    head, scoring = 10 * 32, 32 * sum(197 if stage == 0 else 1 + kept[stage - 1].mean() for stage in range(3))
    ours = ((cost.mean() + head) / dense - 0.65).abs()
    assert_close(reducer.losses(outputs.decisions)["budget"], ours, atol=0, rtol=1e-5)
    assert scoring < 0.001 * dense

    parameters = dict(model.named_parameters())
    budget_only = [name for name in case.io if name.startswith("grad_budget_only.")]
    budget.backward(retain_graph=True)
    for name in budget_only:
        assert_published(parameters, name.removeprefix("grad_budget_only."), case.io[name])
    model.zero_grad()

    terms = {
        "cls": classification_loss(outputs.logits, case.io["soft_labels"]),
        "cls_kl": class_distillation_loss(outputs.logits, golden_teacher("asvit_train")(case.pixel_values).logits),
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], atol=2e-5, rtol=2e-5)
    weights = reducer.loss_weights
    loss = weights["classification"] * terms["cls"] + weights["class_distill"] * terms["cls_kl"]
    loss = loss + weights["budget"] * budget
    assert_close(loss, case.io["loss.total"], atol=2e-5, rtol=2e-5)
    loss.backward()
    gradients = [name for name in case.io if name.startswith("grad.")]
    for name in gradients:
        assert_published(parameters, name.removeprefix("grad."), case.io[name])
    assert (len(budget_only), len(gradients)) == (4, 8)


def assert_published(parameters, published, expected):
    parts = [published.replace("qkv", part) for part in "qkv"] if "qkv" in published else [published]
    actual = torch.cat([parameters[rename_key(part)].grad for part in parts])
    assert_gradient(actual.reshape(expected.shape), expected, 2e-3)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_inference_per_image(golden, scores_before, together, attention):
    """The golden images ran alone; in one batch every image must give the same."""
    case = golden("asvit_eval_b1")
    model = model_of(case)
    model.set_attn_implementation(attention)
    batches = [case.pixel_values] if together else case.pixel_values.split(1)
    with torch.no_grad():
        for first, images in zip((0, 1, 2), batches, strict=False):
            scores_before.clear()
            outputs = model.vit(images, output_hidden_states=True)
            logits = model.classifier(outputs.features)
            for index in range(len(images)):
                check_image(case, first + index, outputs, logits, index, scores_before)


def check_image(case, image, outputs, logits, index, seen):
    assert outputs.kept[index].sum(-1).tolist() == case.io["kept_counts"][image].tolist()
    for stage in range(3):
        expected = case.io[f"image{image}.stage{stage}.kept"]
        assert torch.equal(outputs.kept[index, stage].nonzero()[:, 0], expected)
        scores, owner = seen[stage][0][index], seen[stage][1][index]
        patches = case.io[f"image{image}.stage{stage}.input_index"]
        assert_close(scores[owner[patches]], case.io[f"image{image}.stage{stage}.scores"], **case.tolerance("scores"))
    classes = torch.stack([states[index, 0] for states in outputs.hidden_states[1:]])
    assert_close(classes, case.io["cls_after_block"][image], **case.tolerance("cls_after_block"))
    final = outputs.last_hidden_state[index]
    assert_close(final[0], case.io["final_cls"][image], **case.tolerance("final_cls/final_patches"))
    alive = outputs.owner[index, -1][outputs.kept[index, -1]]
    expected = case.io[f"image{image}.final_patches"]
    assert_close(final[1:][alive], expected, **case.tolerance("final_cls/final_patches"))
    assert_close(logits[index], case.io["logits"][image], **case.tolerance("logits"))


def test_inference_with_the_mean_of_the_batch(golden, scores_before):
    case = golden("asvit_eval_batch_mean")
    model = model_of(case, batch_mode="mean_topk")
    with torch.no_grad():
        outputs = model.vit(case.pixel_values, output_hidden_states=True)
        logits = model.classifier(outputs.features)
    for stage in range(3):
        kept = torch.stack([image.nonzero()[:, 0] for image in outputs.kept[:, stage]])
        assert kept.shape[1] == case.io["k_per_stage"][stage]
        assert torch.equal(kept, case.io[f"stage{stage}.kept_sorted"])
        scores, owner = scores_before[stage]
        patches = case.io[f"stage{stage}.input_index"]
        expected = case.io[f"stage{stage}.scores"]
        assert_close(scores.gather(1, owner.gather(1, patches)), expected, **case.tolerance("scores"))
    classes = torch.stack([states[:, 0] for states in outputs.hidden_states[1:]])
    assert_close(classes, case.io["cls_after_block"], **case.tolerance("cls_after_block"))
    assert_close(logits, case.io["logits"], **case.tolerance("logits"))
    with torch.no_grad():  # per image, the same weights give the images' own results
        alone = model_of(case)(case.pixel_values)
    assert_close(alone.logits, case.io["logits_alone"], **case.tolerance("logits"))
    assert torch.equal(alone.kept.sum(-1), case.io["kept_counts_alone"])
