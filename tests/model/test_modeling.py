# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""The model pair: what must hold for every method, image and output option."""

from functools import partial

import pytest
import torch
from methods import FEW, RELAX, usual
from torch.testing import assert_close
from torch.utils.checkpoint import checkpoint
from toys import TOY, assert_same_model, calibrated, reads_class_token, toy_config, toy_dense, toy_images, toy_model
from transformers import ViTForImageClassification

from hf_dynamicvit import REDUCERS, DynamicViTForImageClassification, DynamicViTModel
from hf_dynamicvit.model import reducer_dynamicvit, reducer_svit
from hf_dynamicvit.model.reducer_tps import cosine_similarity
from hf_dynamicvit.model.selection import bipartite_matching, split_top_k, top_k
from hf_dynamicvit.model.tokens import Tokens


NUM_PATCHES = 64


def with_dense_weights(dense: ViTForImageClassification, **overrides) -> DynamicViTForImageClassification:
    model = toy_model(**overrides)
    missing, unexpected = model.load_state_dict(dense.state_dict(), strict=False)
    assert not unexpected and all(name.startswith("vit.reducer.") for name in missing)
    return model


@pytest.fixture
def forced_decisions(monkeypatch):
    """Training samples exactly the patches that are handed in, `[B, S, num_patches]`."""

    def force(kept):
        stages = iter(kept.unbind(1))
        for module in (reducer_dynamicvit, reducer_svit):
            monkeypatch.setattr(
                module, "gumbel_keep", lambda log_probs, tau: next(stages).float() + 0 * log_probs[..., 0]
            )

    return force


@usual(reducer=["dynamicvit", "tome"])
@usual(training=[False], attention=["sdpa"])
@usual(training=[True], attention=["eager"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("training", [False, True])
def test_keeping_everything_is_the_dense_model(reducer, attention, training, forced_decisions):
    dense = toy_dense()
    model = with_dense_weights(dense, **reads_class_token(reducer)).train(training)
    calibrated(model, 1.0)
    model.set_attn_implementation(attention)
    forced_decisions(torch.ones(3, 3, NUM_PATCHES))
    assert_close(model(toy_images()).logits, dense(toy_images()).logits, atol=1e-5, rtol=1e-5)


@usual(reducer=FEW)
@usual(attention=["sdpa"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_training_equals_inference_for_the_same_decisions(reducer, attention, forced_decisions):
    if reducer in RELAX:
        pytest.skip("decisions are soft in training")
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    model.set_attn_implementation(attention)
    inference = model(toy_images())
    forced_decisions(inference.kept)
    training = model.train()(toy_images())
    assert torch.equal(training.kept, inference.kept)
    assert_close(training.logits, inference.logits, atol=1e-5, rtol=1e-5)


def test_inference_keeps_exactly_the_count_and_shortens_the_sequence(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    method, counts = model.vit.reducer, model.token_counts(toy_images())
    outputs = model(toy_images(), output_hidden_states=True)
    assert outputs.kept.shape == (3, len(model.decision_layers), NUM_PATCHES)
    assert outputs.kept.dtype == torch.bool
    fused = 1 if reducer == "evit" else 0
    kept = outputs.kept.sum(-1).amax(0)
    assert (kept <= torch.tensor(counts)).all() and kept[0] == counts[0] - fused
    assert model.config.is_adaptive or (outputs.kept.sum(-1)[:, 0] == counts[0] - fused).all()
    lengths = [state.shape[1] for state in outputs.hidden_states]
    if method.rest == "idle":
        assert (outputs.owner == torch.arange(NUM_PATCHES)).all()
        assert lengths[-1] == 1 + NUM_PATCHES
    else:
        assert [owner.max().item() + 1 for owner in outputs.owner.unbind(1)] == counts
        assert not (outputs.kept[:, 1:] & ~outputs.kept[:, :-1]).any()  # what is gone stays gone
        # hidden_states[i + 1] is the output of block i
        assert [lengths[layer + 1] for layer in model.decision_layers] == [1 + count for count in counts]
    assert outputs.decisions is None and outputs.last_hidden_state is None


@pytest.mark.parametrize(
    "method, counts", [("dynamicvit", [38, 23, 13]), ("topk", [39, 24, 15]), ("evit", [40, 25, 16])]
)
def test_token_counts(method, counts):
    """64 patches at 0.6: `int(64 * 0.6^s)` for DynamicViT, `ceil(0.6 * current)` for the others."""
    model = toy_model(reducer=method, keep_ratio=0.6)
    assert model.token_counts() == counts
    kept = model(toy_images()).kept.sum(-1)
    assert kept[:, 0].tolist() == [counts[0] - (method == "evit")] * 3
    assert method == "evit" or kept.tolist() == [counts] * 3


def test_tiny_images_keep_one_patch():
    model = toy_model(keep_ratio=[0.5, 0.2, 0.1])
    outputs = model(toy_images(2, 8, 8), interpolate_pos_encoding=True)
    assert outputs.kept.sum(-1).tolist() == [[2, 1, 1]] * 2


def test_kept_tokens_come_from_their_patches():
    """The token that `owner` names for a patch is that patch's own."""
    hidden = torch.arange(2 * 7).reshape(2, 7, 1).float()
    tokens = Tokens.start(hidden, num_prefix=2).gather(torch.tensor([[4, 0, 2], [1, 2, 3]]))
    assert tokens.hidden[0, :, 0].tolist() == [0, 1, 6, 2, 4]
    assert tokens.owner.tolist() == [[1, -1, 2, -1, 0], [-1, 0, 1, 2, -1]]
    again = tokens.gather(torch.tensor([[2], [0]]))
    assert again.hidden[..., 0].tolist() == [[0, 1, 4], [7, 8, 10]]
    assert again.owner.tolist() == [[-1, -1, 0, -1, -1], [-1, 0, -1, -1, -1]]


@pytest.mark.parametrize("training", [False, True])
def test_kept_tokens_stand_in_the_order_of_the_grid(reducer, training):
    """Best first, two near-equal scores would swap rows from one kernel to another. ToMe and MCTF alternate."""
    model = toy_model(reducer=reducer, keep_ratio=0.6).train(training)
    outputs = model(toy_images())
    if not REDUCERS[reducer].keeps_order:
        return
    for kept, owner in zip(outputs.kept.flatten(0, 1), outputs.owner.flatten(0, 1), strict=True):
        assert (owner[kept].diff() > 0).all()


def test_positions_are_ascending():
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.5, 0.8]])
    assert top_k(scores, 3).tolist() in ([[1, 2, 4]], [[1, 3, 4]])
    kept, rest = split_top_k(scores, 2)
    assert kept.tolist() == [[1, 4]] and rest.tolist() == [[0, 2, 3]]
    attended = torch.tensor([[True, False, True, True, True]])
    assert split_top_k(scores, 4, attended)[1].tolist() == [[1]]


def test_batch_mates_change_nothing(reducer):
    model = toy_model(reducer=reducer)
    images = toy_images(5)
    together = model(images)
    for index in range(5):
        alone = model(images[index : index + 1])
        assert torch.equal(alone.kept[0], together.kept[index])
        assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)


@usual(reducer=FEW)
@usual(attention=["sdpa"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_parameter_gets_a_finite_gradient(reducer, attention):
    model = toy_model(reducer=reducer).train()
    model.set_attn_implementation(attention)
    outputs = model(toy_images(), labels=torch.tensor([0, 1, 2]))
    (outputs.loss + sum(model.vit.reducer.losses(outputs.decisions).values())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        if name.removeprefix("vit.reducer.") in model.vit.reducer.unread:
            assert not parameter.grad.any(), name
        else:  # softmax ignores a key bias
            assert parameter.grad.abs().max() > 0 or name.endswith("k_proj.bias"), name


def test_classification_loss_reaches_every_predictor():
    """Without the ratio loss: through the attention mask alone."""
    model = toy_model().train()
    model(toy_images(), labels=torch.tensor([0, 1, 2])).loss.backward()
    for predictor in model.vit.reducer.predictors:
        assert predictor.score[4].weight.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_image_that_drops_everything_stays_finite(forced_decisions, dtype):
    model = toy_model().train().to(dtype)
    kept = torch.ones(3, 3, NUM_PATCHES)
    kept[0] = 0
    forced_decisions(kept)
    outputs = model(toy_images().to(dtype), labels=torch.tensor([0, 1, 2]))
    losses = model.vit.reducer.losses(outputs.decisions)
    (outputs.loss + losses["ratio"]).backward()
    assert outputs.logits.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_seeded_training_forward_repeats():
    model = toy_model().train()
    results = []
    for _ in range(2):
        torch.manual_seed(7)
        results.append(model(toy_images()))
    assert torch.equal(results[0].kept, results[1].kept)
    assert torch.equal(results[0].logits, results[1].logits)
    assert not torch.equal(model(toy_images()).kept, results[0].kept)


def test_training_records_are_cumulative_and_differentiable(reducer):
    model = toy_model(reducer=reducer).train()
    outputs = model(toy_images())
    assert [decision.layer for decision in outputs.decisions] == model.decision_layers
    length = 1 + outputs.owner[:, -1].max().item() + 1
    assert outputs.last_hidden_state.shape == (3, length, TOY["hidden_size"])
    for stage, decision in enumerate(outputs.decisions):
        assert torch.equal(decision.kept, outputs.kept[:, stage])
        if decision.mask is not None:
            assert decision.mask.requires_grad and decision.mask.dtype == torch.float32
    assert model.vit.reducer.rest == "idle" or not (outputs.kept[:, 1:] & ~outputs.kept[:, :-1]).any()


@pytest.mark.parametrize(
    "overrides, size",
    [
        ({"image_size": [24, 40]}, (24, 40)),
        ({"image_size": [24, 40], "patch_size": [4, 8]}, (24, 40)),
        ({"patch_size": 8}, (32, 32)),
        ({"num_channels": 1}, (32, 32)),
        ({"hidden_size": 36}, (32, 32)),
        ({"qkv_bias": False}, (32, 32)),
        ({"num_hidden_layers": 1, "keep_ratio": 0.5}, (32, 32)),
        ({"num_hidden_layers": 7}, (32, 32)),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_any_shape(overrides, size, training):
    model = toy_model(**overrides).train(training)
    images = toy_images(2, *size, channels=overrides.get("num_channels", 3))
    outputs = model(images)
    assert outputs.logits.shape == (2, 5) and outputs.logits.isfinite().all()
    patch = overrides.get("patch_size", 4)
    down, across = patch if isinstance(patch, list) else (patch, patch)
    assert outputs.kept.shape[-1] == (size[0] // down) * (size[1] // across)


@pytest.mark.parametrize("size", [(48, 48), (16, 16), (40, 24)])
def test_interpolation_equals_the_dense_model(size):
    dense = toy_dense()
    model = with_dense_weights(dense, keep_ratio=1.0)
    images = toy_images(2, *size)
    expected = dense(images, interpolate_pos_encoding=True).logits
    assert_close(model(images, interpolate_pos_encoding=True).logits, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="doesn't match"):
        model(images)


def test_interpolation_from_a_grid_that_is_not_square():
    model = toy_model(image_size=[24, 40])
    same = model.vit.embeddings.interpolate_pos_encoding(torch.zeros(1, 61, 32), 24, 40)
    assert same is model.vit.embeddings.position_embeddings
    assert model(toy_images(2, 40, 24), interpolate_pos_encoding=True).kept.shape[-1] == 60
    # twice the size: each position lies between its old neighbours, so a ramp down the rows stays one
    ramp = torch.arange(6.0)[:, None].expand(6, 10).reshape(1, 60, 1).expand(1, 60, 32)
    model.vit.embeddings.position_embeddings.data[:, 1:] = ramp
    larger = model.vit.embeddings.interpolate_pos_encoding(torch.zeros(1, 241, 32), 48, 80)[0, 1:].reshape(12, 20, 32)
    assert (larger.diff(dim=0) > 0).all() and larger.diff(dim=1).abs().max() < 1e-5


def test_hidden_states_and_attentions_under_eager():
    model = toy_model()
    model.set_attn_implementation("eager")
    for training in (False, True):
        outputs = model.train(training)(toy_images(), output_hidden_states=True, output_attentions=True)
        assert len(outputs.hidden_states) == 5 and len(outputs.attentions) == 4
        for states, weights in zip(outputs.hidden_states[1:], outputs.attentions, strict=True):
            length = states.shape[1]
            assert weights.shape == (3, 4, length, length)
            assert_close(weights.sum(-1), torch.ones(3, 4, length))
    # block 1 attends to what stage 1 keeps: a dropped token gets nothing but its own attention
    dropped = ~outputs.kept[:, 0]
    others = weights_without_diagonal(outputs.attentions[1][..., 1:, 1:])
    assert (others * dropped[:, None, None, :]).abs().max() == 0


def weights_without_diagonal(weights):
    return weights * (1 - torch.eye(weights.shape[-1]))


def test_hidden_states_start_with_the_embeddings():
    dense = toy_dense()
    expected = dense(toy_images(), output_hidden_states=True).hidden_states
    actual = with_dense_weights(dense, keep_ratio=0.7)(toy_images(), output_hidden_states=True).hidden_states
    assert_close(actual[:2], expected[:2])


@pytest.mark.parametrize(
    "problem, labels",
    [
        ("single_label_classification", torch.tensor([0, 4, 2])),
        ("multi_label_classification", torch.eye(5)[:3]),
        ("regression", torch.randn(3, 5)),
        (None, torch.tensor([0, 4, 2])),
    ],
)
def test_problem_types_as_in_vit(problem, labels):
    dense = toy_dense(problem_type=problem)
    model = with_dense_weights(dense, keep_ratio=1.0, problem_type=problem)
    expected = dense(toy_images(), labels=labels).loss
    assert_close(model(toy_images(), labels=labels).loss, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
@pytest.mark.parametrize("reducer", ["dynamicvit", "evovit"])
def test_whole_numbers_as_labels(reducer, dtype):
    """Of multi-label classification and regression, as data sets hold them."""
    labels = torch.tensor([[0, 1, 1, 0, 0]] * 3)
    for problem in ("multi_label_classification", "regression"):
        model = toy_model(reducer=reducer, problem_type=problem).eval()
        loss = model(toy_images(), labels=labels.to(dtype)).loss
        assert torch.equal(loss, model(toy_images(), labels=labels.float()).loss)
        loss.backward()
    one = toy_model(reducer=reducer, num_labels=1).eval()
    one(toy_images(), labels=labels[:, 1].to(dtype)).loss.backward()
    assert one.config.problem_type == "regression"


def test_tuples_by_configuration():
    """`return_dict=False` in the file of a checkpoint."""
    model = toy_model()
    expected = model(toy_images()).logits
    model.config.return_dict = False
    assert torch.equal(model(toy_images())[0], expected)


def test_tuple_output():
    model = toy_model()
    outputs = model(toy_images(), labels=torch.tensor([0, 1, 2]), return_dict=False)
    assert isinstance(outputs, tuple) and len(outputs) == 4
    expected = model(toy_images(), labels=torch.tensor([0, 1, 2]))
    assert_close(outputs, (expected.loss, expected.logits, expected.kept, expected.owner))


def gradients_of(reducer, enable=lambda model: None):
    model = toy_model(reducer=reducer).train()
    enable(model)
    torch.manual_seed(3)
    outputs = model(toy_images(), labels=torch.tensor([0, 1, 2]))
    (outputs.loss + sum(model.vit.reducer.losses(outputs.decisions).values())).backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


CHECKPOINTING = [None, {}, {"preserve_rng_state": True}, {"use_reentrant": None}, {"use_reentrant": False}]


def test_gradient_checkpointing_changes_nothing(reducer):
    """Whatever options it is given: torch's own default, the reentrant form, gives other gradients."""
    expected = gradients_of(reducer)
    for options in CHECKPOINTING if reducer == "dynamicvit" else CHECKPOINTING[:1]:
        actual = gradients_of(reducer, lambda model, options=options: model.gradient_checkpointing_enable(options))
        assert_close(actual, expected)


def test_a_frozen_predictor_is_no_mistake():
    model = toy_model().train()
    model.requires_grad_(False)
    model.vit.reducer.predictors[2].requires_grad_(True)
    outputs = model(toy_images(), labels=torch.tensor([0, 1, 2]))
    outputs.loss.backward()
    assert model.vit.reducer.predictors[2].score[4].weight.grad.abs().max() > 0


def test_a_dense_configuration_is_refused():
    with pytest.raises(ValueError, match="config is a ViTConfig"):
        DynamicViTForImageClassification(toy_dense().config)


def test_predictor_scores_in_float32():
    model = toy_model().to(torch.bfloat16)
    log_probs = model.vit.reducer.predictors[0](torch.randn(2, 5, 32, dtype=torch.bfloat16))
    assert log_probs.dtype == torch.float32
    assert_close(log_probs.exp().sum(-1), torch.ones(2, 5))  # not the sum of half-precision numbers


@usual(reducer=FEW)
@pytest.mark.parametrize(
    "options, named",
    [
        ({"use_reentrant": True}, "use_reentrant=True cuts"),
        ({"use_reentrant": 1, "preserve_rng_state": True}, "use_reentrant=1 cuts"),
        ({"preserve_rng_state": False}, "preserve_rng_state=False samples other"),
    ],
)
def test_checkpointing_that_gives_other_gradients_is_refused(reducer, options, named):
    model = toy_model(reducer=reducer).train()
    with pytest.raises(ValueError, match=named):
        model.gradient_checkpointing_enable(options)
    assert not model.vit.layers[0].gradient_checkpointing


@pytest.mark.parametrize("function", [checkpoint, partial(checkpoint, preserve_rng_state=True)])
def test_checkpointing_that_was_enabled_on_the_blocks_is_checked(function):
    """As by a model that holds this one, or by a tool that sets torch's function; also behind the first block."""
    for index in (0, 2):
        model = toy_model().train()
        model.vit.layers[index]._gradient_checkpointing_func = function
        model.vit.layers[index].gradient_checkpointing = True
        with pytest.raises(ValueError, match="does not say use_reentrant=False"):
            model(toy_images())
        model.eval()(toy_images())  # nothing is checkpointed there


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("training", [False, True])
def test_autocast(dtype, training):
    model = toy_model().train(training)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=dtype):
        outputs = model(toy_images(), labels=torch.tensor([0, 1, 2]))
    assert outputs.logits.dtype == dtype and outputs.logits.isfinite().all()
    if training:
        (outputs.loss + model.vit.reducer.losses(outputs.decisions)["ratio"]).backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    else:
        assert_close(outputs.logits.float(), model(toy_images()).logits, atol=0.2, rtol=0.1)


def test_attention_mask_equals_the_dense_model():
    dense = toy_dense()
    mask = torch.ones(3, 1 + NUM_PATCHES, dtype=torch.long)
    mask[0, 40:], mask[1, 20:30] = 0, 0
    expected = dense(toy_images(), attention_mask=mask).logits
    assert (expected - dense(toy_images()).logits).abs().max() > 1e-3
    for attention in ("sdpa", "eager"):
        model = with_dense_weights(dense, keep_ratio=1.0)
        model.set_attn_implementation(attention)
        assert_close(model(toy_images(), attention_mask=mask).logits, expected, atol=1e-5, rtol=1e-5)


def test_attention_mask_goes_with_the_tokens(forced_decisions):
    """Masked-out patches never matter, are dropped first, and training agrees with inference."""
    model = toy_model(keep_ratio=0.7)
    mask = torch.ones(3, 1 + NUM_PATCHES, dtype=torch.bool)
    mask[:, 30:] = False
    images = toy_images()
    other = images.clone()
    other[..., 16:, :] = 9.0  # patches 32 and on
    inference = model(images, attention_mask=mask)
    assert_close(model(other, attention_mask=mask).logits, inference.logits, atol=1e-5, rtol=1e-5)
    assert inference.kept[:, 0, :29].all()
    assert not inference.kept[:, :, 29:].any()
    forced_decisions(inference.kept)
    training = model.train()(images, attention_mask=mask)
    assert_close(training.logits, inference.logits, atol=1e-5, rtol=1e-5)
    assert not training.kept[:, :, 29:].any()


def test_masked_patches_are_neither_kept_nor_fused(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.8)
    mask = torch.ones(3, 1 + NUM_PATCHES, dtype=torch.bool)
    mask[:, 30:] = False
    images, other = toy_images(), toy_images()
    other[..., 16:, :] = 9.0  # patches 32 and on
    outputs = model(images, attention_mask=mask)
    assert not outputs.kept[..., 29:].any()
    assert_close(model(other, attention_mask=mask).logits, outputs.logits, atol=1e-5, rtol=1e-5)


def test_a_token_that_speaks_for_nobody_is_attended_by_nobody():
    """Everything that goes is excluded by the user's mask, so EViT fuses and Evo-ViT represents nothing."""
    dense = toy_dense()
    mask = torch.ones(3, 1 + NUM_PATCHES, dtype=torch.bool)
    mask[:, 20:] = False
    expected = dense(toy_images(), attention_mask=mask).logits
    representative = {"pooling": "class", "representative_token": True}
    for method, args in (("evit", {}), ("topk", {}), ("tps", {"score": "evit"}), ("evovit", representative)):
        stages = len(toy_config(reducer=method).stage_layers)
        model = with_dense_weights(dense, reducer=method, reducer_args=args, keep_ratio=[0.3] * stages)
        assert_close(model(toy_images(), attention_mask=mask).logits, expected, atol=1e-5, rtol=1e-5)


def test_similarities_are_float32_under_autocast():
    metric = torch.randn(2, 20, 8)
    expected = bipartite_matching(metric, 8, 1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(a, b) for a, b in zip(bipartite_matching(metric, 8, 1), expected, strict=True))
        assert cosine_similarity(metric, metric).dtype == torch.float32


def test_masking_everything_but_oneself_stays_finite():
    """A user's mask that leaves a dropped token nothing at all."""
    mask = torch.ones(3, 1 + NUM_PATCHES, dtype=torch.bool)
    mask[:, 1:] = False
    for training in (False, True):
        outputs = toy_model().train(training)(toy_images(), attention_mask=mask)
        assert outputs.logits.isfinite().all()


@pytest.mark.parametrize("shape", [(3, NUM_PATCHES), (3, 1, 65, 65), (1, 65)])
def test_other_attention_masks_are_refused(shape):
    with pytest.raises(ValueError, match="attention_mask has shape"):
        toy_model()(toy_images(), attention_mask=torch.ones(shape))


@pytest.mark.parametrize("images", [None, torch.zeros(3, 32, 32)])
def test_pixel_values_of_the_wrong_shape_are_refused(images):
    with pytest.raises(ValueError, match="pixel_values"):
        toy_model()(images)


def test_base_model_has_a_pooler_and_mask_tokens():
    torch.manual_seed(0)
    model = DynamicViTModel(toy_config(), use_mask_token=True).eval()
    masked = torch.zeros(3, NUM_PATCHES, dtype=torch.bool)
    masked[:, :10] = True
    plain, changed = model(toy_images()), model(toy_images(), bool_masked_pos=masked)
    assert plain.pooler_output.shape == (3, TOY["hidden_size"])
    assert (plain.pooler_output - changed.pooler_output).abs().max() > 1e-4
    assert model.decision_layers == [1, 2, 3]


@usual(reducer=FEW)
@usual(training=[False])
@pytest.mark.parametrize("training", [False, True])
def test_every_prefix_token_survives(reducer, training):
    """Three of them, in the blocks alone: with everything kept they are the dense ones, with less they stay first."""
    model = toy_model(reducer=reducer).train(training)
    hidden = torch.randn(2, 3 + NUM_PATCHES, 32, generator=torch.Generator().manual_seed(0))

    def run():
        torch.manual_seed(0)
        tokens = Tokens.start(hidden, 3)
        for index, layer in enumerate(model.vit.layers):
            _, tokens = layer(tokens.hidden, tokens, model.vit.reducer, index)
        return tokens

    tokens = run()
    assert tokens.num_prefix == 3
    assert tokens.hidden.shape[1] == 3 + tokens.owner.max() + 1
    # what the prefix says does not depend on where a patch stands, so it is no patch
    assert tokens.decisions[-1].kept.shape == (2, NUM_PATCHES)
    if model.config.is_adaptive or training:
        return
    calibrated(model, 1.0)
    dense = toy_dense()
    dense.load_state_dict({n: t for n, t in model.state_dict().items() if ".reducer." not in n})
    expected = hidden
    for layer in dense.vit.layers:
        expected = layer(expected)
        expected = expected[0] if isinstance(expected, tuple) else expected
    assert_close(run().hidden, expected, atol=1e-5, rtol=1e-5)


@usual(reducer=["dynamicvit", "tome"])
@usual(dtype=[torch.float32], attention=["sdpa"])
@usual(reducer=FEW, dtype=[torch.bfloat16], attention=["eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_the_lowest_keep_ratios_train(reducer, dtype, attention):
    """0.05 of the patches after every decision, or where no method goes so low, the lowest."""
    model = toy_model(reducer=reducer)
    stages = len(model.config.stage_layers)
    calibrated(model, [max(0.05, REDUCERS[reducer].least_left ** (stage + 1)) for stage in range(stages)])
    model = model.to(dtype).train()
    model.set_attn_implementation(attention)
    outputs = model(toy_images().to(dtype), labels=torch.tensor([0, 1, 2]))
    (outputs.loss + sum(model.vit.reducer.losses(outputs.decisions).values())).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    inference = model.eval()(toy_images().to(dtype))
    assert inference.logits.isfinite().all() and inference.logits.dtype == dtype


@usual(reducer=FEW)
def test_half_precision_inference_is_close(reducer):
    model = toy_model(reducer=reducer, keep_ratio=1.0)
    expected = model(toy_images()).logits
    actual = model.to(torch.bfloat16)(toy_images().bfloat16()).logits.float()
    assert_close(actual, expected, atol=0.15, rtol=0.1)


def test_it_is_a_vit(reducer):
    model = toy_model(reducer=reducer)
    assert isinstance(model, ViTForImageClassification)
    names = set(dict(model.named_parameters())) - set(dict(toy_dense().named_parameters()))
    assert all(name.startswith("vit.reducer.") for name in names)


def test_no_mask_reaches_the_kernel_at_inference(monkeypatch):
    """A mask rules out the fastest kernels, and an exported full mask breaks once tokens are gone."""
    masks = []
    original = torch.nn.functional.scaled_dot_product_attention

    def record(*args, attn_mask=None, **kwargs):
        masks.append(attn_mask)
        return original(*args, attn_mask=attn_mask, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", record)
    toy_model()(toy_images())
    assert masks == [None] * 4


def test_to_dense_is_an_exact_copy():
    dense = toy_dense()
    copy = with_dense_weights(dense).to_dense()
    assert type(copy) is ViTForImageClassification and not copy.training
    assert_same_model(copy, dense)
    assert copy.config.model_type == "vit" and not hasattr(copy.config, "keep_ratio")
