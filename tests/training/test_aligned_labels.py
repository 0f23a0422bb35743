# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Labels of mixed images that follow the tokens: through attention, masks, merging and dropping, into the loss."""

import pytest
import torch
from methods import usual
from native_toys import native_model, reduced_model
from torch.testing import assert_close
from toys import toy_images, toy_model
from trainers import ToyData, trainer_for

from hf_dynamicvit import REDUCERS
from hf_dynamicvit.data.augmentation import MixCollator, cut_along_patches, draw_box
from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.model.tokens import Stage, Tokens
from hf_dynamicvit.training.loss_terms import align_labels
from hf_dynamicvit.training.losses import classification_loss


CLASSIFIERS = [key for key, family in FAMILIES.items() if family.classifier]
MIX = {"mixup": 0.0, "grid": (8, 8)}


def halves(batch=3):
    """The upper half of each image is of another."""
    return torch.cat((torch.zeros(batch, 32), torch.ones(batch, 32)), dim=1)


def aligning(method, **options):
    """A model of the method in training, or `None` where labels cannot follow its tokens."""
    model = toy_model(reducer=method, **options).train()
    return model if model.vit.reducer.aligns_labels else None


def test_boxes_are_of_patches_and_as_large_as_drawn():
    torch.manual_seed(0)
    boxes = torch.stack([draw_box((8, 6), 1.0) for _ in range(200)])
    areas = boxes.flatten(1).float().mean(dim=1)
    assert areas.min() == 0 and areas.max() > 0.7 and 0.2 < areas.mean() < 0.45  # a half, less what is cut off
    for box in boxes[areas > 0]:
        rows, columns = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
        assert box[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_images_are_cut_along_patches():
    torch.manual_seed(3)
    images, labels = toy_images(4, 34, 32), torch.tensor([0, 1, 2, 3])  # two rows of pixels are in no patch
    mixed, mixture, shares, both = cut_along_patches(images, labels, (8, 8), 1.0, 5)
    assert 0 < shares.mean() < 1 and torch.equal(shares[0], shares[3])
    for image in range(4):
        for patch, share in enumerate(shares[image]):
            rows, columns = (slice(4 * place, 4 * place + 4) for place in divmod(patch, 8))
            source = images[image] if share else images[3 - image]
            assert torch.equal(mixed[image, :, rows, columns], source[:, rows, columns])
        assert torch.equal(mixed[image, :, 32:], images[image, :, 32:])
        assert both[image].argmax(dim=-1).tolist() == [image, 3 - image]
        assert_close(mixture[image, image], shares.mean())
        assert_close(mixture[image, 3 - image], 1 - shares.mean())


def test_the_collator_says_whose_each_patch_is():
    torch.manual_seed(0)
    batch = MixCollator(5, **MIX)([ToyData()[index] for index in range(4)])  # without torchvision
    assert batch["patch_shares"].shape == (4, 64) and batch["mixed_labels"].shape == (4, 2, 5)
    share = batch["patch_shares"].mean(dim=1)
    assert_close(batch["labels"], align_labels(batch["mixed_labels"], share))


def test_shares_of_one_are_the_image_itself(reducer):
    model = aligning(reducer)
    if model is None:
        return
    outputs = model(toy_images(), patch_shares=torch.ones(3, 64))
    assert_close(outputs.label_shares, torch.ones(3))
    shares = model(toy_images(), patch_shares=halves()).label_shares
    assert (shares > 0.01).all() and (shares < 0.99).all() and shares.unique().numel() == 3
    assert not shares.requires_grad


def test_labels_change_nothing_else(reducer):
    model = aligning(reducer)
    if model is None:
        with pytest.raises(ValueError, match=f"cannot follow the tokens of reducer '{reducer}'"):
            toy_model(reducer=reducer).train()(toy_images(), patch_shares=halves())
        return
    logits = []
    for shares in (None, halves()):
        torch.manual_seed(0)
        logits.append(model(toy_images(), patch_shares=shares).logits)
    assert torch.equal(*logits)


def test_which_methods_labels_follow():
    follow = {name for name in REDUCERS if aligning(name) is not None}
    assert {"tome", "mctf", "evit", "topk", "diffrate", "pitome", "atc", "random", "dynamicvit", "asvit"} <= follow
    assert not follow & {"idlevit", "evovit", "svit", "dtem", "tps", "ats", "algm", "tosa"}
    assert aligning("tps", reducer_args={"score": "evit"}) is not None


@usual(method=["tome"])
@pytest.mark.parametrize("key", CLASSIFIERS)
@pytest.mark.parametrize("method", ["tome", "dynamicvit"])
def test_every_family(key, method):
    model = reduced_model(native_model(key, "classifier"), key, "classifier", method, keep_ratio=0.7).train()
    shares = model(toy_images(), patch_shares=halves()).label_shares
    assert shares.shape == (3,) and (shares > 0).all() and (shares < 1).all()


def test_masked_tokens_tell_nobody_their_label():
    """Those that are dropped are all of the other image; then the class token's label forgets it block by block."""
    model = toy_model().train()
    tokens = Tokens.start(torch.randn(1, 65, 32), 1).change(shares=torch.cat((torch.ones(1, 1), halves(1)), dim=1))
    keep = halves(1)
    masked = tokens.change(mask=keep)
    layer, reducer = model.vit.layers[0], model.vit.reducer
    alone = tokens.gather(torch.arange(32, 64)[None])
    outputs = [layer.attend(each, reducer, 0).shares for each in (masked, alone)]
    assert_close(outputs[0][:, :1], outputs[1][:, :1])
    assert_close(outputs[0][:, 33:], outputs[1][:, 1:])
    assert_close(outputs[1], torch.ones(1, 33))
    assert layer.attend(tokens, reducer, 0).shares[0, 0] < 1


def test_labels_merge_as_tokens_do():
    """A channel that holds the share is averaged as the shares are."""
    hidden, shares = torch.randn(2, 9, 4), torch.rand(2, 9)
    hidden[..., 0] = shares
    tokens = Tokens.start(hidden, 1).change(shares=shares)
    index, rest = torch.tensor([[0, 2, 5], [1, 2, 3]]), torch.tensor([[1, 3, 4], [0, 6, 7]])
    host, weights = torch.tensor([[0, 0, 2], [1, 1, 1]]), torch.rand(2, 8)
    merged = tokens.merge(index, rest, host, weights, Stage(0, 0, None, 3))
    assert_close(merged.shares, merged.hidden[..., 0])
    dropped = tokens.drop(index, Stage(0, 0, None, 3))
    assert_close(dropped.shares, dropped.hidden[..., 0])
    fused = tokens.drop(index, Stage(0, 0, None, 3), fused=torch.zeros(2, 1, 4)).shares
    gone = [[1, 3, 4, 6, 7], [0, 4, 5, 6, 7]]
    assert_close(fused[:, -1], torch.stack([shares[image, 1:][places].mean() for image, places in enumerate(gone)]))


@pytest.mark.parametrize("method", ["tome", "dynamicvit", "mctf"])
def test_the_loss_is_of_the_aligned_labels(tmp_path, method):
    model = toy_model(reducer=method, problem_type="single_label_classification")
    options = {"train_collator": MixCollator(5, **MIX)}
    alone = dict.fromkeys(model.vit.reducer.loss_weights, 0.0) | {"classification": 1.0}
    trainer = trainer_for(tmp_path, model, teacher=None, options=options, align_labels=True, loss_weights=alone)
    torch.manual_seed(4)
    batch = options["train_collator"]([ToyData()[index] for index in range(4)])
    assert 0 < batch["patch_shares"].mean() < 1
    torch.manual_seed(0)
    loss = trainer.compute_loss(model.train(), batch)
    torch.manual_seed(0)
    outputs = model(batch["pixel_values"], patch_shares=batch["patch_shares"])
    labels = align_labels(batch["mixed_labels"], outputs.label_shares)
    assert_close(loss, classification_loss(outputs.logits, labels))
    assert (loss - classification_loss(outputs.logits, batch["labels"])).abs() > 1e-4
    trainer.train()
    assert trainer.state.global_step == 4


def test_what_mixes_nothing_is_refused(tmp_path):
    model = toy_model(reducer="tome", problem_type="single_label_classification")
    with pytest.raises(ValueError, match="align_labels is True, but no images are mixed"):
        trainer_for(tmp_path, model, align_labels=True)
    options = {"train_collator": MixCollator(5, mixup=0.0, grid=(8, 8))}
    with pytest.raises(ValueError, match="cannot follow the tokens of reducer 'idlevit'"):
        trainer_for(tmp_path, toy_model(reducer="idlevit"), options=options, align_labels=True)
    with pytest.raises(ValueError, match="problem_type is 'multi_label_classification'"):
        several = toy_model(reducer="tome", problem_type="multi_label_classification")
        trainer_for(tmp_path, several, options=options, align_labels=True)


@pytest.mark.parametrize("settings, missing", [({"cutmix": 0.0}, "cutmix above 0"), ({"mixup": 0.0}, "grid=")])
def test_collators_that_cut_nothing_along_patches_are_refused(tmp_path, settings, missing):
    pytest.importorskip("torchvision")
    model = toy_model(reducer="tome", problem_type="single_label_classification")
    options = {"train_collator": MixCollator(5, **settings)}
    with pytest.raises(ValueError, match=f"says of no patch whose it is; give it {missing}"):
        trainer_for(tmp_path, model, options=options, align_labels=True)


def test_a_batch_that_mixup_mixed_keeps_its_labels(tmp_path):
    model = toy_model(reducer="tome", problem_type="single_label_classification")
    options = {"train_collator": MixCollator(5, **MIX)}
    trainer = trainer_for(tmp_path, model, teacher=None, options=options, align_labels=True)
    labels = torch.full((3, 5), 0.2)
    loss = trainer.compute_loss(model.train(), {"pixel_values": toy_images(), "labels": labels})
    assert_close(loss, classification_loss(model(toy_images()).logits, labels))


@pytest.mark.parametrize(
    "training, shares, message",
    [
        (False, halves(), "are for training"),
        (True, halves()[:, :9], r"has shape \(3, 9\); it must be \(3, 64\)"),
    ],
)
def test_other_shares_are_refused(training, shares, message):
    model = toy_model(reducer="tome").train(training)
    with pytest.raises(ValueError, match=message):
        model(toy_images(), patch_shares=shares)
