# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Methods that merge: what becomes of norms and sizes, of masked patches, and of an attention handed in."""

import pytest
import torch
from token_maps import groups
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.model.matching import merit_factors, two_way_matching
from hf_dynamicvit.model.merging import lengthen, most_similar
from hf_dynamicvit.model.tokens import GroupedAttention, Stage, Tokens


def some_tokens(count=6, width=4, num_prefix=1):
    hidden = torch.randn(2, num_prefix + count, width, generator=torch.Generator().manual_seed(0))
    return Tokens.start(hidden, num_prefix)


def tome(**options):
    return toy_model(reducer="tome", reducer_args={"r": 12} | options)


def test_tome_without_merging_drops_the_sources():
    images = toy_images()
    merged, dropped = tome()(images), tome(merge=False)(images)
    owner, kept = merged.owner[:, 0], merged.kept[:, 0]
    assert torch.equal(dropped.kept[:, 0], kept)
    assert torch.equal(dropped.owner[:, 0], owner.where(kept, -1))
    model = tome(merge=False)
    assert model.backbone.reducer.rest == "dropped" and tome().backbone.reducer.rest == "merged"
    tokens = model.vit(images, output_hidden_states=True)
    assert model.scatter_to_grid(tokens).shape == (3, 32, 8, 8)
    assert model.multiply_adds() == tome().multiply_adds()


def test_tofu_drops_first_and_merges_then():
    outputs = tome(prune_first=2)(toy_images())
    lost = outputs.owner < 0
    assert lost.sum(-1).tolist() == [[12, 24, 24, 24]] * 3  # dropped in blocks 0 and 1, merged in 2 and 3
    assert torch.equal(outputs.kept[:, 1], ~lost[:, 1])
    assert outputs.kept.sum(-1).tolist() == [[52, 40, 28, 16]] * 3


def test_hosts_of_dropped_tokens_are_unchanged():
    """Pruned merging: the tokens that stay are those that there were."""
    model = tome(prune_first=4)
    model.backbone.reducer.proportional_attention = False
    plain = tome(merge=False)(toy_images())
    assert_close(model(toy_images()).logits, plain.logits)


def test_a_merged_token_has_the_norm_of_the_longest():
    tokens = some_tokens()
    index, rest, host = torch.tensor([[0, 2, 4, 5]] * 2), torch.tensor([[1, 3]] * 2), torch.tensor([[0, 0]] * 2)
    merged = tokens.merge(index, rest, host, torch.ones(2, 6), Stage(0, 0, None, 4))
    longer = lengthen(merged, tokens, index, rest, host)
    members = tokens.patches[:, [0, 1, 3]]
    mean = members.mean(dim=1)
    expected = mean / mean.norm(dim=-1, keepdim=True) * members.norm(dim=-1).amax(dim=1)[:, None]
    assert_close(longer.patches[:, 0], expected)
    assert_close(longer.patches[:, 1:], tokens.patches[:, [2, 4, 5]])
    assert torch.equal(longer.prefix, tokens.prefix)
    assert (merged.patches[:, 0] - expected).abs().max() > 0.1


def test_keep_norm_is_another_merge():
    images = toy_images()
    plain, kept = tome()(images), tome(keep_norm=True)(images)
    assert torch.equal(plain.owner[:, 0], kept.owner[:, 0])
    assert (plain.logits - kept.logits).abs().max() > 1e-3


@pytest.mark.parametrize(
    "options, told",
    [
        ({"merge": 1}, "merge is 1, it must be true or false"),
        ({"prune_first": -1}, "prune_first is -1, it must be an integer of 0 or more"),
        ({"keep_norm": "yes"}, "keep_norm is 'yes', it must be true or false"),
        ({"merge": False, "keep_norm": True}, "merge is false, so that nothing merges"),
        ({"merge": False, "prune_first": 2}, "merge is false, so that nothing merges"),
    ],
)
def test_bad_options_of_tome_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        toy_config(reducer="tome", reducer_args=options)


# each of the forms whose path through a block is another
FORMS = [
    ("mctf", {"fuse": "ahead"}),
    ("mctf", {"fuse": "precise"}),
    ("mctf", {"fuse": "behind"}),
    ("mctf", {"pooling": "mean", "both_ways": False}),
    ("diffrate", {"counts": [[60, 58], [50, 40], [40, 40], [30, 20]]}),
    ("diffrate", {"pruned_share": 0.0}),
    ("diffrate", {"pruned_share": 1.0}),
    ("pitome", {"ratio": 0.8, "proportional_attention": True}),
    ("tome", {"r": 12, "merge": False}),
    ("tome", {"r": 12, "prune_first": 2, "keep_norm": True}),
]
NAMES = ["-".join([name, *map(str, options)]) for name, options in FORMS]


@pytest.fixture(params=FORMS, ids=NAMES)
def form(request):
    reducer, options = request.param
    return toy_model(reducer=reducer, reducer_args=options)


def test_costs_and_counts_are_those_of_what_runs(form):
    form.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter:
        outputs = form(toy_images(1))
    assert counter.get_total_flops() == 2 * form.multiply_adds()
    tokens = outputs.owner.amax(dim=-1) + 1
    assert tokens.tolist() == [form.token_counts()]


def test_images_do_not_see_their_batch_mates(form):
    with torch.no_grad():
        together = form(toy_images(4))
        for index in range(4):
            alone = form(toy_images(4)[index : index + 1])
            assert torch.equal(alone.owner[0], together.owner[index])
            assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)


def test_masked_patches_speak_for_nobody(form):
    """What they show changes nothing: neither the decisions about the others nor the result."""
    mask = torch.ones(3, 65, dtype=torch.long)
    mask[:, 20:40] = 0
    images, other = toy_images(), toy_images()
    hidden = mask[:, 1:].view(3, 1, 8, 1, 8, 1).expand(-1, 3, -1, 4, -1, 4).reshape(3, 3, 32, 32) == 0
    other[hidden] = 3.0
    with torch.no_grad():
        first, second = form(images, attention_mask=mask), form(other, attention_mask=mask)
    assert_close(first.logits, second.logits, atol=1e-5, rtol=1e-5)
    seen = mask[:, 1:].bool()
    for step in range(first.owner.shape[1]):
        together = groups(first.owner[:, step]) & seen[:, :, None] & seen[:, None]
        assert torch.equal(together, groups(second.owner[:, step]) & seen[:, :, None] & seen[:, None])
    assert not first.kept[:, :, 19:39].any()


def test_the_last_block_alone_for_the_prefix(form):
    images = toy_images()
    whole = form(images)
    with torch.no_grad():
        short = form(images)
    assert_close(short.logits, whole.logits, atol=1e-5, rtol=1e-5)
    assert torch.equal(short.kept[:, :-1], whole.kept[:, :-1]) and short.owner.shape == whole.owner.shape


def test_eager_attention_is_that_of_the_groups():
    model = toy_model(reducer="mctf", keep_ratio=0.5)
    model.set_attn_implementation("eager")
    outputs = model(toy_images(), output_attentions=True)
    lengths = [65, *(1 + count for count in model.token_counts())]
    assert [each.shape[2:] for each in outputs.attentions] == [(length, length) for length in lengths]
    for weights in outputs.attentions:
        assert_close(weights.sum(dim=-1), torch.ones_like(weights[..., 0]))


def test_groups_attend_as_their_attention_says():
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(2, 3, 5, 5, generator=generator).softmax(-1)
    group = torch.tensor([[0, 1, 1, 2, 1], [0, 2, 1, 1, 2]])
    share = torch.tensor([[1.0, 0.2, 0.3, 1.0, 0.5], [1.0, 0.5, 0.9, 0.1, 0.5]])
    attention = GroupedAttention(weights, group, share)
    value = torch.randn(2, 3, 3, 4, generator=generator)  # [B, K, H, d]
    between = attention.between_groups(3)
    expected = (between @ value.transpose(1, 2)).transpose(1, 2)
    assert_close(attention.attend(value), expected)
    assert_close(attention.attend(value, 1), expected[:, :1])
    assert_close(between[0, :, 0, 1], weights[0, :, 0, [1, 2, 4]].sum(-1))
    assert_close(between[0, :, 1, 2], (weights[0, :, [1, 2, 4], 3] * share[0, [1, 2, 4]]).sum(-1))


def test_two_ways_take_along_what_went_in():
    """The even 0 goes into the odd 1, then 1 goes into the even 2, and 0 with it."""
    score = torch.tensor([[[0.9, 0.1, 0.1], [0.8, 0.2, 0.1], [0.1, 0.1, 0.3]]])  # positions 0, 2, 4 with 1, 3, 5
    index, rest, host = two_way_matching(score, 2, num_prefix=0)
    assert index.tolist() == [[2, 4, 5, 3]]  # even ones ascending, odd ones by falling score
    assert rest.tolist() == [[0, 1]] and host.tolist() == [[0, 0]]
    index, rest, host = two_way_matching(score, 2, num_prefix=0, both_ways=False)
    assert index.tolist() == [[4, 1, 3, 5]] and rest.tolist() == [[0, 2]] and host.tolist() == [[1, 1]]


def test_less_attention_and_fewer_patches_fuse_first():
    factors = merit_factors(torch.tensor([[0.1, 0.4, 0.1]]), torch.tensor([[1.0, 1.0, 3.0]]), 20.0, 40.0)
    assert factors.argsort(descending=True).tolist() == [[0, 2, 1]] and factors[0, 0] == 1
    assert_close(factors[0, 1], torch.tensor(0.25 ** (1 / 20)))
    assert_close(factors[0, 2], torch.tensor(3.0 ** (-1 / 40)))


@pytest.mark.parametrize(
    "r, counts", [(7, [57, 50, 43]), (0.35, [42, 28, 19]), (30, [34, 17, 9]), (0, [64, 64, 64]), (0.0, [64, 64, 64])]
)
def test_counts_of_mctf(r, counts):
    assert toy_model(reducer="mctf", reducer_args={"r": r}).token_counts() == counts


def test_mctf_leaves_small_images_alone():
    """Below ten tokens the published counts turn negative."""
    model = toy_model(reducer="mctf", reducer_args={"r": 7})
    outputs = model(toy_images(2, 8, 8), interpolate_pos_encoding=True)
    assert outputs.kept.all() and outputs.logits.isfinite().all()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"r": -1}, "r is -1, it must be an integer of 0 or more, or a fraction"),
        ({"r": 0.7}, "r is 0.7, it must be"),
        ({"tau_size": 0}, "tau_size is 0, it must be a number above 0"),
        ({"fuse": "after"}, "fuse is 'after', it must be 'ahead', 'precise' or 'behind'"),
        ({"pooling": "max"}, "pooling is 'max', it must be"),
        ({"both_ways": 1}, "both_ways is 1, it must be true or false"),
    ],
)
def test_bad_options_of_mctf_are_named(options, told):
    with pytest.raises(ValueError, match=told):
        toy_config(reducer="mctf", reducer_args=options)


def test_published_tables_of_diffrate():
    sizes = {"image_size": 224, "patch_size": 16, "hidden_size": 48, "num_hidden_layers": 12}
    model = toy_model(reducer="diffrate", reducer_args={"counts": "deit-small-2.9"}, **sizes)
    assert model.token_counts() == [196, 193, 175, 155, 140, 132, 120, 106, 87, 63, 55, 2]
    assert model.backbone.reducer.stage_pairs(196)[2:4] == [(189, 175), (167, 155)]
    half = model.backbone.reducer.stage_pairs(98)  # an image of half as many patches: half of them
    assert half[2:4] == [(94, 88), (84, 78)] and half[-1] == (1, 1)
    with pytest.raises(ValueError, match=r"counts 'deit-small-2\.9' are of 12 blocks; here 4 reduce"):
        toy_config(reducer="diffrate", reducer_args={"counts": "deit-small-2.9"})
    model.set_keep_ratio(0.5)
    assert model.config.reducer_args == {} and model.token_counts()[-1] == 98


def test_published_tables_cost_what_is_published():
    sizes = {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536, "num_labels": 1000}
    for name, giga in (("deit-small-2.9", 2.905), ("deit-small-2.3", 2.3)):
        options = {"reducer": "diffrate", "reducer_args": {"counts": name}}
        with torch.device("meta"):
            model = toy_model(**sizes, **options, num_hidden_layers=12, image_size=224, patch_size=16)
        # what the published counter leaves out, scores and similarities, is 1 % and less
        assert giga < model.multiply_adds() / 1e9 < 1.015 * giga, name


@pytest.mark.parametrize(
    "counts", ["deit-2.9", [[60, 58]], [[60, 61]] * 4, [[60, 50], [51, 40], [30, 20], [10, 0]], [[60.0, 58]] * 4]
)
def test_bad_counts_of_diffrate_are_named(counts):
    with pytest.raises(ValueError, match=r"counts is .*or 4 pairs of integers of 1 or more that never grow"):
        toy_config(reducer="diffrate", reducer_args={"counts": counts})


def test_what_is_dropped_and_what_is_merged():
    """Half of what a block removes is dropped; the rest speaks through others."""
    outputs = toy_model(reducer="diffrate", keep_ratio=[0.5] * 4, reducer_args={"pruned_share": 0.5})(toy_images())
    assert (outputs.owner >= 0).sum(-1).tolist() == [[48] * 4] * 3
    assert outputs.kept.sum(-1).tolist() == [[32] * 4] * 3
    for share, left in ((0.0, 64), (1.0, 32)):
        model = toy_model(reducer="diffrate", keep_ratio=[0.5] * 4, reducer_args={"pruned_share": share})
        assert (model(toy_images()).owner >= 0).sum(-1).tolist() == [[left] * 4] * 3


def test_a_host_of_its_opposite_still_counts():
    """As released the size shrinks by the cosine, and its logarithm may be no number."""
    tokens = some_tokens(4, 2)
    patches = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]).expand(2, -1, -1)
    tokens = tokens.change(hidden=torch.cat((tokens.prefix, patches), dim=1))
    reducer = toy_model(reducer="diffrate").backbone.reducer
    index, rest = torch.tensor([[0]] * 2), torch.tensor([[1, 2, 3]] * 2)
    cosine, host = most_similar(tokens, rest, index)
    assert (cosine == -1).all() and (host == 0).all()
    merged = reducer.take_out(tokens, index, rest, Stage(0, 0, None, 1), torch.zeros(2, 4))
    assert (merged.size == 1).all() and reducer.key_bias(merged).isfinite().all()
