# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every pyramid of the table: native when everything is kept, and what it should be when not."""

import json

import pytest
import torch
import transformers
from accelerate import disk_offload
from methods import usual
from programs import run_program
from pyramids import KEYS, native_class, native_config, native_pyramid, our_class, pyramid, pyramid_images
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toys import assert_same_weights

import hf_dynamicvit
from hf_dynamicvit import DynamicConvNextConfig, DynamicSwinConfig, reduce_tokens, restore
from hf_dynamicvit.families import PYRAMIDS
from hf_dynamicvit.model.pyramid_reducer import FastPath
from hf_dynamicvit.model.reducers import REDUCERS


KINDS = ("model", "classifier")
EVERY = pytest.mark.parametrize("key", KEYS)
BOTH = pytest.mark.parametrize("kind", KINDS)


def read(outputs):
    """What people read of the outputs, and the hidden states where there are any."""
    names = ("logits", "pooler_output", "last_hidden_state")
    found = {name: outputs[name] for name in names if outputs.get(name) is not None}
    for name in ("hidden_states", "reshaped_hidden_states", "attentions"):
        found |= {f"{name}_{index}": each for index, each in enumerate(outputs.get(name) or ())}
    return found


@EVERY
@BOTH
@pytest.mark.parametrize("size", [(64, 64), (70, 66), (96, 128)], ids=str)
def test_everything_kept_is_the_native_model(key, kind, size):
    native = native_pyramid(key, kind)
    model = pyramid(key, kind, native, keep_ratio=1.0)
    images = pyramid_images(2, *size)
    for each in (native, model):
        if key == "dynamicswin":
            each.set_attn_implementation("eager")
    options = {"output_hidden_states": True} | ({"output_attentions": True} if key == "dynamicswin" else {})
    with torch.no_grad():
        actual, expected = model(images, **options), native(images, **options)
        assert actual.kept.all() and actual.kept.shape == (2, 3, actual.kept.shape[2])
        actual, expected = read(actual), read(expected)
        expected = {name: each for name, each in expected.items() if kind == "model" or "reshaped" not in name}
        assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@EVERY
def test_slow_positions_take_the_native_path_and_the_others_the_fast_one(key):
    """One block at a time, against the native modules by hand."""
    model = pyramid(key, keep_ratio=0.6)
    seen, blocks = [], model.backbone.layers
    handles = [block.drop_path.register_forward_hook(lambda *_: None) for block in blocks]
    feed_forward = model.reducer.feed_forward

    def record(positions, layer, block, mixed):
        after = feed_forward(positions, layer, block, mixed)
        seen.append((positions, layer, mixed, after))
        return after

    model.backbone.reducer.feed_forward = record
    with torch.no_grad():
        model(pyramid_images())
        for positions, layer, mixed, after in seen:
            block = blocks[layer]
            base = mixed if key == "dynamicswin" else positions.hidden
            everywhere_slow = base + block.feed_forward(mixed)
            if not positions.decisions:
                assert_close(after.hidden, everywhere_slow)
                continue
            fast = base + model.reducer.fast_paths[str(layer)](mixed)
            kept = positions.decisions[-1].kept[..., None]
            assert_close(after.hidden, torch.where(kept, everywhere_slow, fast), atol=1e-6, rtol=1e-6)
            assert kept.sum(dim=1).unique().numel() == 1
            assert (everywhere_slow - fast).abs().max() > 0.1
    assert len(seen) == 6
    for handle in handles:
        handle.remove()


@EVERY
def test_decisions_are_of_all_positions_anew(key):
    outputs = pyramid(key, keep_ratio=0.7)(pyramid_images(), output_scores=True)
    assert outputs.kept.sum(dim=2).tolist() == [[44, 31, 19]] * 3
    assert (outputs.kept[:, 1:] & ~outputs.kept[:, :-1]).any()  # some return
    assert not torch.equal(outputs.kept[0], outputs.kept[1])
    assert torch.equal(outputs.owner, torch.arange(64).expand(3, 3, -1))
    for stage in range(3):
        scores, kept = outputs.scores[:, stage], outputs.kept[:, stage]
        assert scores.isfinite().all()
        lowest, highest = scores.where(kept, torch.inf).amin(dim=1), scores.where(~kept, -torch.inf).amax(dim=1)
        assert (lowest >= highest).all()


@EVERY
@pytest.mark.parametrize("size", [(64, 64), (16, 16), (20, 90), (130, 66)], ids=str)
def test_any_size_and_any_batch(key, size):
    model, images = pyramid(key, keep_ratio=0.7), pyramid_images(4, *size)
    with torch.no_grad():
        together = model(images)
        for index in range(4):
            alone = model(images[index : index + 1])
            assert torch.equal(alone.kept[0], together.kept[index])
            assert_close(alone.logits[0], together.logits[index], atol=1e-5, rtol=1e-5)
    down, across = model.config.reduced_grid(*size)
    assert together.kept.shape[2] == down * across


def test_an_image_smaller_than_the_window_changes_nothing_after_it():
    """A native Swin cannot run it, and no other image afterwards."""
    native, images = native_pyramid("dynamicswin"), pyramid_images(2)
    model = pyramid("dynamicswin", native=native, keep_ratio=1.0)
    with torch.no_grad():
        before = model(images).logits
        assert model(pyramid_images(2, 12, 40)).logits.isfinite().all()
        assert torch.equal(model(images).logits, before)
        with pytest.raises(RuntimeError):
            native(pyramid_images(2, 12, 40))
        with pytest.raises(RuntimeError):
            native(images)


def test_a_smaller_window_has_the_middle_of_the_table():
    """Equal to a native Swin that was built with the small window and the same biases."""
    native = native_pyramid("dynamicswin")
    small = native_class("dynamicswin")(native_config("dynamicswin", window_size=2)).eval()
    weights = native.state_dict()
    for name, table in weights.items():
        if name.endswith("bias_table"):
            weights[name] = table.unflatten(0, (7, 7))[2:5, 2:5].flatten(0, 1)
    small.load_state_dict(weights)
    blocks = [
        pyramid("dynamicswin", native=native).swin.encoder.layers[3].blocks[0],
        small.swin.encoder.layers[3].blocks[0],
    ]
    hidden = torch.randn(2, 4, 64)
    with torch.no_grad():
        ours, theirs = (block(hidden, (2, 2))[0] for block in blocks)
    assert_close(ours, theirs, atol=1e-6, rtol=1e-6)


def test_what_is_no_image_is_refused():
    for key in KEYS:
        model = pyramid(key)
        with pytest.raises(ValueError, match="pixel_values has shape"):
            model(None)
        with pytest.raises(ValueError, match="patch_shares are given"):
            model.train()(pyramid_images(1), patch_shares=torch.ones(1, 64))
        with pytest.raises(ValueError, match="attention_mask is given"):
            model(pyramid_images(1), attention_mask=torch.ones(1, 64))
    with pytest.raises(ValueError, match="8 x 64 pixels is too small"):
        pyramid("dynamicconvnext")(pyramid_images(1, 8, 64))


def test_stochastic_depth_is_on_both_branches():
    native = native_pyramid("dynamicswin", drop_path_rate=0.4)
    model, calls = pyramid("dynamicswin", native=native).train(), []
    last = model.swin.encoder.layers[3].blocks[0]
    assert last.drop_path.drop_prob == 0.4
    last.drop_path.register_forward_hook(lambda *_: calls.append(1))
    model(pyramid_images(1))
    assert len(calls) == 2


# published model -> sizes, parameters (sparse, dense) in millions, multiply-adds in 10^9 dense, at 0.7 and at 0.9
PUBLISHED = {
    "swin-t": ((2, 2, 6, 2), 96, 29.755, 28.288, 4.491, 4.041, 4.247),
    "swin-s": ((2, 2, 18, 2), 96, 52.708, 49.606, 8.741, 6.846, 7.505),
    "swin-b": ((2, 2, 18, 2), 128, 93.272, 87.768, 15.431, 12.063, 13.234),
    "convnext-t": ((3, 3, 9, 3), 96, 30.505, 28.589, 4.456, 3.579, 3.908),
    "convnext-s": ((3, 3, 27, 3), 96, 54.523, 50.224, 8.684, 5.771, 6.759),
    "convnext-b": ((3, 3, 27, 3), 128, 96.217, 88.591, 15.355, 10.177, 11.934),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_and_costs(name):
    depths, width, parameters, dense_parameters, dense, at_07, at_09 = PUBLISHED[name]
    widths = [width << stage for stage in range(4)]
    if name.startswith("swin"):
        heads = [each // 32 for each in widths]
        config = DynamicSwinConfig(embed_dim=width, depths=depths, num_heads=heads, num_labels=1000)
    else:
        config = DynamicConvNextConfig(hidden_sizes=widths, depths=depths, num_labels=1000)
    assert config.stage_layers == [stage * max(1, depths[2] // 9) for stage in (1, 2, 3)]
    with torch.device("meta"):
        model = our_class(config.model_type)(config)
    counts = {name: each.numel() for name, each in model.named_parameters()}
    assert round(sum(counts.values()) / 1e6, 3) == parameters
    assert round(sum(each for name, each in counts.items() if "reducer." not in name) / 1e6, 3) == dense_parameters
    assert round(model.dense_multiply_adds() / 1e9, 3) == dense
    assert model.token_counts() == [137, 97, 58] and round(model.multiply_adds() / 1e9, 3) == at_07
    model.set_keep_ratio(0.9)
    assert round(model.multiply_adds() / 1e9, 3) == at_09


@usual(size=[(70, 106)])
@EVERY
@BOTH
@pytest.mark.parametrize("size", [(64, 64), (70, 106)], ids=str)
def test_costs_are_those_of_what_runs(key, kind, size):
    native, images = native_pyramid(key, kind), pyramid_images(1, *size)
    for keep_ratio in (0.7, [0.5, 0.5, 0.1], 1.0):
        model = pyramid(key, kind, native, keep_ratio=keep_ratio)
        with FlopCounterMode(display=False) as counter:
            model(images)
        assert counter.get_total_flops() == 2 * model.multiply_adds(size), keep_ratio
    with FlopCounterMode(display=False) as counter:
        native(images)
    assert counter.get_total_flops() == 2 * model.dense_multiply_adds(size) == 2 * model.multiply_adds(size)


@EVERY
def test_budgets_and_ratios_at_run_time(key):
    model = pyramid(key)
    dense = model.dense_multiply_adds()
    for keep_ratio in (0.5, 0.8):
        model.set_keep_ratio(keep_ratio)
        asked = model.multiply_adds() / dense
        spent = model.set_budget(fraction=asked)
        assert asked - 0.005 < spent / dense <= asked and model.multiply_adds() == spent
        assert abs(model.config.keep_ratio - keep_ratio) < 0.02
    with pytest.raises(ValueError, match=r"trained for blocks \[1, 2, 3\]"):
        model.set_schedule("late")
    model.set_keep_ratio([50, 20, 10])
    assert model.token_counts() == [50, 20, 10] and model.token_counts((128, 64)) == [100, 40, 20]
    assert model(pyramid_images(1)).kept.sum(dim=2).tolist() == [[50, 20, 10]]
    assert model.config.keep_ratio == [50, 20, 10]
    with pytest.raises(ValueError, match=r"takes from 0\.\d+ to 1\."):
        model.set_budget(fraction=0.1)


def test_ratios_that_keep_nothing():
    with pytest.raises(ValueError, match=r"keeps none; the least keep_ratio is 0\.4052"):
        DynamicSwinConfig(keep_ratio=0.4)
    assert DynamicSwinConfig(keep_ratio=1.0).stage_keep_ratios == [1.0, 1.0, 1.0]
    assert DynamicSwinConfig(keep_ratio=0.9).stage_keep_ratios == [0.9, 0.7, 0.5]
    between = DynamicSwinConfig(keep_ratio=0.95).stage_keep_ratios
    assert_close(between, [0.95, 0.85, 0.75])


@EVERY
def test_methods_that_would_break_the_map_are_refused(key):
    config = our_class(key).config_class
    for reducer in REDUCERS:
        if reducer not in config.methods:
            with pytest.raises(ValueError, match=f"whose map must stay whole, it can be {', '.join(config.methods)}"):
                config(reducer=reducer)


def test_sizes_that_no_model_has():
    with pytest.raises(ValueError, match=r"num_heads is \[3, 6, 12\]; one for each of 4 stages"):
        DynamicSwinConfig(num_heads=(3, 6, 12))
    with pytest.raises(ValueError, match="each must divide"):
        DynamicSwinConfig(num_heads=(3, 6, 12, 25))
    with pytest.raises(ValueError, match=r"depths: \[2, 2, 100000, 2\]; each must be from 1 to 1024"):
        DynamicSwinConfig(depths=(2, 2, 100000, 2))
    with pytest.raises(ValueError, match="gives 0 positions in stage 2"):
        DynamicConvNextConfig(image_size=8)
    with pytest.raises(ValueError, match="of 4, 3 and 4 stages"):
        DynamicConvNextConfig(depths=(3, 3, 9))


@EVERY
def test_gradients(key):
    """Of every parameter of the method, and the same where blocks are computed again."""
    gradients = []
    for checkpointed in (False, True) if key == "dynamicswin" else (False,):
        model = pyramid(key, keep_ratio=0.7).train()
        if checkpointed:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        torch.manual_seed(0)
        outputs = model(pyramid_images(2))
        (outputs.logits.square().mean() + sum(model.reducer.losses(outputs.decisions).values())).backward()
        gradients.append({name: each.grad for name, each in model.named_parameters()})
    assert all(each is not None and each.isfinite().all() for each in gradients[0].values())
    assert all(each.any() for name, each in gradients[0].items() if "predictors" in name or "fast_paths" in name)
    for name, gradient in gradients[-1].items():
        assert torch.equal(gradient, gradients[0][name]), name


@EVERY
def test_training_samples_and_inference_does_not(key):
    model, images = pyramid(key, keep_ratio=0.7), pyramid_images(2)
    assert torch.equal(model(images).kept, model(images).kept) and model(images).decisions is None
    model.train()
    first, second = model(images), model(images)
    assert not torch.equal(first.kept, second.kept)
    assert all(set(each.mask.unique().tolist()) <= {0.0, 1.0} for each in first.decisions)
    assert len(first.kept.sum(dim=2).unique()) > 1


@EVERY
@BOTH
def test_files_old_and_new_lack_the_reducer_alone(key, kind, tmp_path):
    native = native_pyramid(key, kind)
    native.save_pretrained(tmp_path)  # in the layout of before Transformers 5
    old = load_file(tmp_path / "model.safetensors")
    new = {name: tensor.contiguous() for name, tensor in native.state_dict().items()}
    assert key != "dynamicswin" or any("attention.self.query" in name for name in old)
    for tensors in (old, new):
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        model, report = our_class(key, kind).from_pretrained(tmp_path, keep_ratio=0.6, output_loading_info=True)
        assert report["missing_keys"] and not report["unexpected_keys"]
        assert all("reducer." in name for name in report["missing_keys"])
        assert model.config.keep_ratio == 0.6 and model.config.dense_model_type == native.config.model_type
        ours = {name: tensor for name, tensor in model.state_dict().items() if "reducer." not in name}
        assert_same_weights(ours, native)
    for path in model.modules():
        if isinstance(path, FastPath):
            start = 1e-6 if key == "dynamicconvnext" else None
            assert path.scale is None if start is None else (path.scale == start).all()
            assert not path.project.bias.any() and 0.01 < path.project.weight.std() < 0.03


@EVERY
@BOTH
def test_saved_models_are_found_by_auto_classes(key, kind, tmp_path):
    model = pyramid(key, kind, keep_ratio=0.6)
    model.save_pretrained(tmp_path)
    auto = our_class(key, kind).auto_names[0]
    again = getattr(transformers, auto).from_pretrained(tmp_path)
    assert type(again) is our_class(key, kind) and again.config.keep_ratio == 0.6
    assert_same_weights(again, model)
    fresh = our_class(key, kind)(model.config)
    fresh.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)  # as the Trainer resumes
    assert_same_weights(fresh, model)
    processor = transformers.AutoImageProcessor
    native_pyramid(key).config.save_pretrained(tmp_path / "native")
    name = getattr(transformers, f"{PYRAMIDS[key].processor}ImageProcessorPil")
    name().save_pretrained(tmp_path)
    assert type(processor.from_pretrained(tmp_path, backend="pil")) is name


@EVERY
def test_a_dense_copy_and_back(key):
    native = native_pyramid(key)
    model = pyramid(key, native=native)
    dense = model.to_dense()
    assert type(dense) is type(native)
    assert_same_weights(dense, native)
    assert dense.config.model_type == native.config.model_type and not hasattr(dense.config, "reducer")


@EVERY
@BOTH
def test_fresh_models_start_as_native_ones(key, kind):
    torch.manual_seed(7)
    expected = native_class(key, kind)(native_config(key))
    ours = our_class(key, kind)
    torch.manual_seed(7)
    model = ours(ours.config_class(**native_config(key).to_dict()))
    weights = {name: tensor for name, tensor in model.state_dict().items() if "reducer." not in name}
    assert weights.keys() == expected.state_dict().keys()
    for name, tensor in weights.items():
        assert abs(tensor.float().std(unbiased=False) - expected.state_dict()[name].float().std(unbiased=False)) < 0.02


@EVERY
@BOTH
def test_loaded_models_are_reduced_and_restored(key, kind):
    native, images = native_pyramid(key, kind), pyramid_images(2)
    before, config = {name: each.clone() for name, each in native.state_dict().items()}, native.config.to_dict()
    kinds = [type(module) for module in native.modules()]
    with torch.no_grad():
        expected = read(native(images))
        reduced = reduce_tokens(native, "dynamicvit", keep_ratio=0.7)
        assert reduced is native and type(native) is our_class(key, kind)
        assert native(images).kept.sum(dim=2).tolist() == [[44, 31, 19]] * 2
        restore(native)
        assert [type(module) for module in native.modules()] == kinds
        assert native.config.to_dict() == config
        assert_same_weights(native, before)
        assert_close(read(native(images)), expected, atol=1e-6, rtol=1e-6)


def test_reduction_by_another_method_says_which_there_are():
    with pytest.raises(ValueError, match="reducer is 'tome'; with a swin, whose map must stay whole"):
        reduce_tokens(native_pyramid("dynamicswin"))


@EVERY
@pytest.mark.parametrize("score", ["norm", "predictor"])
def test_idle_positions_skip_the_block_as_a_whole(key, score):
    """Unchanged to the bit, while they are keys and values for the others; and the same in training."""
    options = {"reducer": "idlevit", "reducer_args": {"score": score}, "keep_ratio": 0.5}
    model = pyramid(key, **options)
    seen, feed_forward = [], model.reducer.feed_forward

    def record(positions, layer, block, mixed):
        seen.append((positions, feed_forward(positions, layer, block, mixed), block, mixed))
        return seen[-1][1]

    model.reducer.feed_forward = record
    with torch.no_grad():
        outputs = model(pyramid_images())
    assert model.decision_layers == [1, 2, 3, 4, 5]
    assert outputs.kept.sum(dim=2).tolist() == [[32, 32, 16, 16, 8]] * 3
    for positions, after, block, mixed in seen[1:]:
        kept = positions.decisions[-1].kept
        assert torch.equal(after.hidden[~kept], positions.hidden[~kept])
        with torch.no_grad():
            whole = block.residual(positions.hidden, mixed) + block.feed_forward(mixed)
        assert_close(after.hidden[kept], whole[kept], atol=1e-6, rtol=1e-6)
    if score == "norm":
        positions = seen[1][0]
        norms = positions.hidden.norm(dim=-1)
        assert (norms.where(positions.decisions[-1].kept, torch.inf).amin(1) >= norms.median(dim=1).values).all()
        assert not [*model.reducer.parameters()]
        with torch.no_grad():
            assert_close(model.train()(pyramid_images()).logits, outputs.logits, atol=1e-6, rtol=1e-6)
        assert model.reducer.losses(()) == {}
    else:
        outputs = model.train()(pyramid_images())
        (outputs.logits.square().mean() + sum(model.reducer.losses(outputs.decisions).values())).backward()
        assert all(each.grad.any() for each in model.reducer.parameters())


@EVERY
@pytest.mark.parametrize("score", ["norm", "predictor"])
def test_idle_positions_cost_what_runs(key, score):
    model = pyramid(key, reducer="idlevit", reducer_args={"score": score}, keep_ratio=0.6)
    with FlopCounterMode(display=False) as counter:
        model(pyramid_images(1))
    assert counter.get_total_flops() == 2 * model.multiply_adds() < 2 * model.dense_multiply_adds()


def test_options_of_the_methods():
    with pytest.raises(ValueError, match="streams is 'two', it must be 'merged' or 'separate'"):
        DynamicSwinConfig(reducer_args={"streams": "two"})
    with pytest.raises(ValueError, match="score is 'attention', it must be 'norm' or 'predictor'"):
        DynamicSwinConfig(reducer="idlevit", reducer_args={"score": "attention"})
    with pytest.raises(ValueError, match="tau is 0, it must be a number above 0"):
        DynamicConvNextConfig(reducer_args={"tau": 0})
    model = pyramid("dynamicswin", keep_ratio=0.7, reducer_args={"start_at_target": True})
    fresh = our_class("dynamicswin")(model.config)
    odds = [predictor.score[4].bias[0].exp() for predictor in fresh.reducer.predictors]
    assert_close(torch.stack(odds), torch.tensor([0.7 / 0.3, 0.5 / 0.5, 0.3 / 0.7]))


def test_maps_are_where_they_were():
    for key in KEYS:
        model = pyramid(key)
        outputs = model(pyramid_images(1), output_hidden_states=True)
        with pytest.raises(ValueError, match=r"no position of a \w+ leaves its map"):
            model.scatter_to_grid(outputs)
        with pytest.raises(ValueError, match=r"no position of a \w+ leaves its map"):
            model.tokens_to_grid(outputs.hidden_states[-1], outputs, 0)


def test_absolute_positions_follow_the_grid():
    native = native_pyramid("dynamicswin", use_absolute_embeddings=True)
    model, images = pyramid("dynamicswin", native=native, keep_ratio=1.0), pyramid_images(1, 64, 96)
    with torch.no_grad():
        assert_close(model(pyramid_images(1)).logits, native(pyramid_images(1)).logits, atol=1e-5, rtol=1e-5)
        expected = native(images, interpolate_pos_encoding=True).logits
        assert_close(model(images, interpolate_pos_encoding=True).logits, expected, atol=1e-5, rtol=1e-5)
        assert model(pyramid_images(1, 66, 95), interpolate_pos_encoding=True).logits.isfinite().all()
    assert model.swin.weights_at(64, 96)["embeddings.position_embeddings"].shape == (1, 32 * 48, 8)


@EVERY
def test_weights_may_wait_on_the_disk(key, tmp_path):
    """Where only the parameters of a module that is called are there."""
    model, images = pyramid(key, keep_ratio=0.6), pyramid_images(2)
    with torch.no_grad():
        expected = model(images)
        actual = disk_offload(model, tmp_path, execution_device=torch.device("cpu"))(images)
    assert torch.equal(actual.kept, expected.kept)
    assert_close(actual.logits, expected.logits, atol=1e-5, rtol=1e-5)


@EVERY
@pytest.mark.parametrize("reducer", ["dynamicvit", "idlevit"])
def test_half_precision(key, reducer):
    model, images = pyramid(key, reducer=reducer, keep_ratio=0.6), pyramid_images(2)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert model(images).logits.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(images).logits.float().square().mean().backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in model.parameters())
    assert model.eval().bfloat16()(images.bfloat16()).logits.dtype == torch.bfloat16


@pytest.mark.long
@EVERY
def test_one_graph(key):
    model, images = pyramid(key, keep_ratio=0.6), pyramid_images(2)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(images).logits, model(images).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_checkpoints_that_carry_their_code_load_without_the_package(tmp_path):
    expected = {}
    for key in KEYS:
        model = pyramid(key, keep_ratio=0.6)
        model.save_pretrained(tmp_path / key, with_remote_code=True)
        auto = json.loads((tmp_path / key / "config.json").read_text())["auto_map"]
        assert set(auto) == {"AutoConfig", "AutoModel", "AutoModelForImageClassification"}
        with torch.no_grad():
            expected[key] = model(pyramid_images(2)).logits
    torch.save(pyramid_images(2), tmp_path / "images.pt")
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_dynamicvit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import torch, transformers
results = {{}}
for key in {KEYS!r}:
    model = transformers.AutoModelForImageClassification.from_pretrained(key, trust_remote_code=True).eval()
    with torch.no_grad():
        results[key] = model(torch.load("images.pt")).logits
torch.save(results, "result.pt")
"""
    done = run_program(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_close(torch.load(tmp_path / "result.pt"), expected, atol=1e-5, rtol=1e-5)


def test_the_table_names_what_there_is():
    for key, family in PYRAMIDS.items():
        assert our_class(key).config_class.model_type == key
        assert our_class(key).config_class.dense_model_type == family.dense
        assert {family.config, family.model, family.classifier} <= {*hf_dynamicvit.__all__}
