# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""DynamicViT against the published implementation."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.checkpoints.published import rename_key
from hf_dynamicvit.model.masking import DecisionGradient, decision_bias
from hf_dynamicvit.model.scoring import TokenScorePredictor
from hf_dynamicvit.model.tokens import gather_tokens
from hf_dynamicvit.training.losses import (
    class_distillation_loss,
    classification_loss,
    keep_ratio_loss,
    token_distillation_loss,
)


def assert_gradient(actual, expected, relative):
    """The largest difference is at most `relative` of the largest expected value."""
    assert (actual - expected).abs().max() <= relative * expected.abs().max()


def test_predictor(golden):
    case = golden("predictor")
    predictor = TokenScorePredictor(case.io["x"].shape[-1])
    prefix = "vit.reducer.predictors.0."
    names = {
        name: name if name.startswith("score_predictor") else f"score_predictor.0.{name}" for name in case.weights
    }
    predictor.load_state_dict(
        {rename_key(names[name]).removeprefix(prefix): tensor for name, tensor in case.weights.items()}
    )
    x, policy = case.io["x"].clone().requires_grad_(), case.io["policy"].clone().requires_grad_()
    log_probs = predictor(x, policy[..., 0])
    log_probs.backward(case.io["upstream_grad"])
    assert_close(log_probs, case.io["log_probs"], **case.tolerance("log_probs"))
    assert_gradient(x.grad, case.io["grad_x"], 1e-4)
    assert_gradient(policy.grad, case.io["grad_policy"], 1e-4)
    parameters = {f"{prefix}{name}": parameter for name, parameter in predictor.named_parameters()}
    checked = [name for name in case.io if name.startswith("grad.")]
    for name in checked:
        assert_gradient(parameters[rename_key(name.removeprefix("grad."))].grad, case.io[name], 1e-4)
    assert len(checked) == 3


def masked_attention_matrix(logits, policy):
    """Our masked attention with identity values, so that its output is the attention matrix; [B, H, N, N]."""
    identity = torch.eye(logits.shape[-1]).expand_as(logits)
    bias = decision_bias(policy, None, logits.dtype)
    context = scaled_dot_product_attention(logits, identity, identity, bias, scale=1.0).transpose(1, 2)
    return DecisionGradient.apply(context, policy, logits, identity, identity, None, 1.0).transpose(1, 2)


def test_masked_softmax(golden):
    """Equal to the released formula in value and gradient once its epsilon, which is the leak, is put back."""
    case = golden("masked_softmax")
    logits, policy = case.io["attn"].clone().requires_grad_(), case.io["policy"].clone().requires_grad_()
    matrix = masked_attention_matrix(logits, policy)
    size, epsilon = logits.shape[-1], case.about["config"]["eps"]
    diagonal = torch.eye(size)
    allowed = policy[:, None, None, :] * (1 - diagonal) + diagonal
    total = ((logits - logits.amax(-1, keepdim=True)).exp() * allowed).sum(-1, keepdim=True)
    released = (matrix * total + epsilon / size) / (total + epsilon)
    released.backward(case.io["upstream_grad"])
    assert_close(released, case.io["output"], **case.tolerance("output"))
    assert_close(logits.grad, case.io["grad_attn"], **case.tolerance("grad_attn"))
    # column 0 is the class token, which is never decided about
    assert_close(policy.grad[:, 1:], case.io["grad_policy"][:, 1:], **case.tolerance("grad_policy"))


def test_masked_softmax_does_not_leak(golden):
    """Where dropped logits exceed the kept ones by up to 40, the released formula leaks; ours gives nothing."""
    case = golden("masked_softmax_leakage")
    logits, policy = case.io["attn"].clone().requires_grad_(), case.io["policy"].clone().requires_grad_()
    matrix = masked_attention_matrix(logits, policy)
    others = 1 - torch.eye(logits.shape[-1])
    dropped = (1 - policy.detach())[:, None, None, :] * others
    assert (case.io["output"] * dropped).sum(-1).max() > 0.9  # the case does what it says
    assert (matrix * dropped).abs().max() == 0
    matrix.backward(case.io["upstream_grad"])
    assert logits.grad.isfinite().all() and policy.grad.isfinite().all()


def test_inference(golden):
    case = golden("dynamicvit_eval")
    config = infer_config(case.weights, num_attention_heads=case.about["config"]["num_heads"])
    model = convert_state_dict(case.weights, config)
    with torch.inference_mode():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values)
    for stage in range(3):
        kept = [image.nonzero()[:, 0] for image in outputs.kept[:, stage]]
        assert torch.equal(torch.stack(kept), case.io[f"stage{stage}.kept_sorted"])
    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    assert_close(encoder.last_hidden_state[:, 0], case.io["final_tokens"][:, 0], **case.tolerance("final_tokens"))
    ours, published = (by_first_channel(each[:, 1:]) for each in (encoder.last_hidden_state, case.io["final_tokens"]))
    assert_close(ours, published, **case.tolerance("final_tokens"))


def by_first_channel(tokens):
    """Tokens in an order that does not depend on the one they came in, which is published as best first."""
    return gather_tokens(tokens, tokens[..., 0].argsort(dim=1))


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training(golden, attention):
    case = golden("dynamicvit_train")
    config = infer_config(case.weights, num_attention_heads=case.about["config"]["num_heads"])
    model = convert_state_dict(case.weights, config).train()
    model.set_attn_implementation(attention)
    torch.manual_seed(case.about["rng_seed"])
    outputs = model(case.pixel_values)

    assert_close(outputs.logits, case.io["logits"], **case.tolerance("logits"))
    features = outputs.last_hidden_state[:, 1:]
    assert_close(features, case.io["features"], **case.tolerance("features"))
    for stage, decision in enumerate(outputs.decisions):
        assert torch.equal(decision.kept, case.io[f"stage{stage}.decision"].bool())
        assert_close(decision.mask, case.io[f"stage{stage}.decision_raw"], atol=1e-6, rtol=0)

    terms = {
        "cls": classification_loss(outputs.logits, case.io["soft_labels"]),
        "ratio": keep_ratio_loss(outputs.decisions),
        "cls_kl": class_distillation_loss(outputs.logits, case.io["teacher_logits"]),
        "token_mse": token_distillation_loss(features, case.io["teacher_features"], outputs.decisions[-1].kept),
    }
    for name, term in terms.items():
        assert_close(term, case.io[f"loss.{name}"], **case.tolerance("loss.*"))
    loss = terms["cls"] + 2.0 * terms["ratio"] + 0.5 * terms["cls_kl"] + 0.5 * terms["token_mse"]
    assert_close(loss, case.io["loss.total"], **case.tolerance("loss.*"))

    loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    checked = [name for name in case.io if name.startswith("grad.")]
    for name in checked:
        published = name.removeprefix("grad.")
        parts = [published.replace("qkv", part) for part in "qkv"] if "qkv" in published else [published]
        assert_gradient(torch.cat([gradients[rename_key(part)] for part in parts]), case.io[name], 1e-3)
    assert len(checked) == 7
