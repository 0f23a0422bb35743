# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""ATC against the published implementation, and its clustering against the definition."""

import itertools

import pytest
import torch
from torch.testing import assert_close
from toys import toy_config, toy_images, toy_model

from hf_dynamicvit.checkpoints.convert import convert_state_dict
from hf_dynamicvit.checkpoints.convert_config import infer_config
from hf_dynamicvit.model.clustering import agglomerate, cosine_distances


VARIANTS = ["average.prop", "complete.prop", "single.prop", "average.noprop", "average.every_block"]


def model_of(case, variant):
    about = case.about["variants"][variant]
    config = infer_config(
        case.weights,
        num_attention_heads=case.about["config"]["num_heads"],
        reducer="atc",
        reducer_layers=about["reduction_loc"],
        keep_ratio=[count / 64 for count in about["clusters"]],
        reducer_args={"linkage": about["linkage"], "proportional_attention": about["proportional_attn"]},
    )
    return convert_state_dict(case.weights, config)


def together(labels):
    """`[..., N, N]` bool: which of N things share a label."""
    return labels[..., :, None] == labels[..., None, :]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_forward(golden, variant, attention):
    case = golden("atc_eval")
    model = model_of(case, variant)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        outputs, encoder = model(case.pixel_values), model.vit(case.pixel_values, output_hidden_states=True)
    maps = case.io[f"{variant}.source_map_after_block"].long()
    for stage, layer in enumerate(model.decision_layers):
        assert torch.equal(together(outputs.owner[:, stage]), together(maps[layer][:, 1:]))
    classes = torch.stack([states[:, 0] for states in encoder.hidden_states[1:]])
    assert_close(classes, case.io[f"{variant}.cls_after_block"], **case.tolerance("tokens/cls_after_block"))
    theirs = case.io[f"{variant}.final_tokens"].gather(1, maps[-1][..., None].expand(-1, -1, 24))[:, 1:]
    ours = encoder.last_hidden_state[:, 1:].gather(1, outputs.owner[:, -1, :, None].expand(-1, -1, 24))
    assert_close(ours, theirs, **case.tolerance("tokens/cls_after_block"))
    assert_close(outputs.logits, case.io[f"{variant}.logits"], **case.tolerance("logits/losses"))


def test_sizes_are_the_patches_of_each_token(golden):
    case = golden("atc_eval")
    outputs = model_of(case, "average.prop")(case.pixel_values)
    ours = torch.stack([owner.bincount() for owner in outputs.owner[:, -1]])
    expected = case.io["average.prop.final_sizes"].long()
    assert torch.equal(ours.sort().values, expected[:, 1:].sort().values)


def cluster_by_definition(distances, count, linkage):
    """Clusters of one image, joined by the distances of all their members."""
    link = {"single": torch.min, "complete": torch.max, "average": torch.mean}[linkage]
    clusters = [[position] for position in range(len(distances))]
    while len(clusters) > count:
        pairs = itertools.combinations(range(len(clusters)), 2)
        first, second = min(pairs, key=lambda pair: link(distances[clusters[pair[0]]][:, clusters[pair[1]]]).item())
        clusters[first] = sorted(clusters[first] + clusters.pop(second))
    return sorted(clusters)


@pytest.mark.parametrize("linkage", ["single", "complete", "average"])
@pytest.mark.parametrize("count", [20, 11, 3, 1])
def test_clusters_are_those_of_the_definition(linkage, count):
    distances = cosine_distances(torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(count)))
    before = distances.clone()
    for image, first in zip(distances, agglomerate(distances, count, linkage), strict=True):
        clusters = [(first == label).nonzero()[:, 0].tolist() for label in first.unique()]
        assert clusters == cluster_by_definition(image, count, linkage)
        assert [cluster[0] for cluster in clusters] == first.unique().tolist()
    assert torch.equal(distances, before)


def test_what_the_mask_excludes_clusters_by_itself():
    metric = torch.randn(2, 20, 5)
    attended = torch.ones(2, 20, dtype=torch.bool)
    attended[0, 4:12], attended[1, 17:] = False, False
    first = agglomerate(cosine_distances(metric, attended), 9, "average")
    changed = metric.masked_fill(~attended[..., None], 7.0)
    assert torch.equal(agglomerate(cosine_distances(changed, attended), 9, "average"), first)
    for image, mask in zip(first, attended, strict=True):
        assert len(image[~mask].unique()) == 1 and not set(image[mask].tolist()) & set(image[~mask].tolist())


def test_linkages_differ_and_bad_ones_are_named():
    owners = [
        toy_model(reducer="atc", reducer_args={"linkage": linkage})(toy_images()).owner
        for linkage in ("average", "complete", "single")
    ]
    assert not any(torch.equal(one, other) for one, other in itertools.combinations(owners, 2))
    for options in ({"linkage": "ward"}, {"proportional_attention": 1}):
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=f"reducer_args: {name} is {value!r}"):
            toy_config(reducer="atc", reducer_args=options)
