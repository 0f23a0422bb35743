# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ToSA as it is described: the attention of a block is predicted from that of the one ahead of it."""

import pytest
import torch
from torch.testing import assert_close
from toys import assert_same_model, toy_config, toy_images, toy_model

from hf_dynamicvit import DynamicViTForImageClassification
from hf_dynamicvit.model.reducer_tosa import AttentionPredictor
from hf_dynamicvit.model.scoring import attention_received, attention_weights


def test_untrained_it_predicts_what_it_sees():
    model = toy_model(reducer="tosa")
    logits = torch.randn(2, 9, 9) * 5
    predictor = model.vit.reducer.selectors[0]
    assert_close(predictor(logits), logits.log_softmax(-1))
    loaded = DynamicViTForImageClassification(toy_config(reducer="tosa")).vit.reducer.selectors[1]
    assert_close(loaded(logits), logits.log_softmax(-1))


def test_excluded_keys_are_predicted_to_get_nothing_and_say_nothing():
    predictor, logits = AttentionPredictor(3), torch.randn(1, 6, 6)
    attended = torch.tensor([[True, True, False, True, True, True]])
    found = predictor(logits, attended)
    assert_close(found.exp().sum(-1), torch.ones(1, 6))
    assert not found.exp()[..., 2].any()
    logits[..., 2] = 9.0
    assert torch.equal(predictor(logits, attended), found)


def test_it_looks_at_neighbouring_keys():
    predictor, logits = AttentionPredictor(3), torch.randn(1, 4, 6)
    torch.nn.init.ones_(predictor.hidden.weight), torch.nn.init.zeros_(predictor.hidden.bias)
    changed = logits.clone()
    changed[:, 0, 2] += 5.0
    (rows,) = (predictor.hidden(changed[0][:, None]) - predictor.hidden(logits[0][:, None])).abs().sum(1)[:1]
    assert (rows > 1e-3).tolist() == [False, True, True, True, False, False]


def test_who_gets_most_of_the_attention_ahead_takes_part():
    model, images = toy_model(reducer="tosa", keep_ratio=0.5), toy_images()
    states = model.vit(images, output_hidden_states=True)
    assert model.decision_layers == [1, 3] and states.kept.sum(-1).tolist() == [[32, 32]] * 3
    block, tokens = model.vit.layers[0], model.vit.embed(images)
    query, key = block.attention.queries_and_keys(block.layernorm_before(tokens.hidden), tokens)
    mean = ((query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5).mean(dim=1).softmax(-1)
    received = attention_received(mean[:, None], 1)
    for image in range(3):
        assert states.kept[image, 0].nonzero()[:, 0].tolist() == sorted(received[image].topk(32).indices.tolist())
    # those that sit out are unchanged, those that take part are not
    before, after = (states.hidden_states[index][:, 1:] for index in (1, 2))
    assert torch.equal(before[~states.kept[:, 0]], after[~states.kept[:, 0]])
    assert ((before - after).abs().amax(-1) > 0)[states.kept[:, 0]].all()
    assert (states.hidden_states[2] != states.hidden_states[3]).any(dim=-1).all()  # a plain block


def test_the_loss_is_the_divergence_of_the_attention_of_the_block():
    model, images = toy_model(reducer="tosa", keep_ratio=0.5).train(), toy_images()
    outputs = model(images)
    found = model.vit.reducer.losses(outputs.decisions)["attention"]
    tokens, logits, parts = model.vit.embed(images), [], []
    for index, layer in enumerate(model.vit.layers):
        query, key = layer.attention.queries_and_keys(layer.layernorm_before(tokens.hidden), tokens)
        logits.append(((query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5).mean(dim=1))
        if index in (1, 3):
            true, predicted = attention_weights(query, key, 1).mean(dim=1), logits[-2].log_softmax(dim=-1)
            parts.append((true * (true.log() - predicted)).sum(dim=-1).mean())
        _, tokens = layer(tokens.hidden, tokens, model.vit.reducer, index)
    assert_close(found, torch.stack(parts).mean())


def test_the_predictors_learn_alone_from_it():
    model = toy_model(reducer="tosa", keep_ratio=0.5).train()
    images, losses = toy_images(), []
    optimizer = torch.optim.Adam(model.vit.reducer.parameters(), lr=0.02)
    for _ in range(30):
        loss = model.vit.reducer.losses(model(images).decisions)["attention"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all(each.grad is None for name, each in model.named_parameters() if ".reducer." not in name)


def test_predictors_travel_with_the_checkpoint(tmp_path):
    model = toy_model(reducer="tosa", reducer_args={"kernel": 5})
    for parameter in model.vit.reducer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    assert again.vit.reducer.selectors[0].hidden.kernel_size == (5,)
    assert_same_model(again, model)


@pytest.mark.parametrize("layers", [[0, 2], [1, 2], [0]])
def test_the_block_ahead_must_be_plain(layers):
    with pytest.raises(ValueError, match="no two may be neighbours"):
        toy_config(reducer="tosa", reducer_layers=layers)


@pytest.mark.parametrize("kernel", [0, 2, 1.0, True])
def test_bad_kernels_are_named(kernel):
    with pytest.raises(ValueError, match=f"kernel is {kernel}, it must be an odd integer from 1 to 1023"):
        toy_config(reducer="tosa", reducer_args={"kernel": kernel})
