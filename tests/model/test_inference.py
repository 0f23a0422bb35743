# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What inference leaves out changes nothing, and is really left out."""

import copy

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from methods import FEW, FIXED, all_methods, usual
from peft import LoraConfig, get_peft_model
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toys import TOY, assert_same_weights, calibrated, reads_class_token, toy_config, toy_images, toy_model
from transformers import AutoModelForImageClassification

from hf_dynamicvit import DynamicDeiTConfig, DynamicDeiTForImageClassification
from hf_dynamicvit.model import inference
from hf_dynamicvit.model.packed import PackedLinear
from hf_dynamicvit.model.ragged import Layout, ragged_attention
from hf_dynamicvit.model.reducer import TokenReducer
from hf_dynamicvit.model.scoring import TokenScorePredictor


EXACT = {"atol": 1e-5, "rtol": 1e-5}


def assert_same(actual, whole):
    assert_close(actual.logits, whole.logits, **EXACT)
    assert torch.equal(actual.kept, whole.kept) and torch.equal(actual.owner, whole.owner)


@usual(reducer=["dynamicvit", "tome"])
@usual(keep_ratio=[0.6], attention=["sdpa"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("keep_ratio", [0.6, 1.0])
def test_the_last_block_computes_only_what_is_read(reducer, keep_ratio, attention):
    """With gradients on every token goes all the way, without only what the classifier reads: same result."""
    for arguments in ({"reducer": reducer}, reads_class_token(reducer)):
        model = toy_model(keep_ratio=keep_ratio, **arguments)
        model.set_attn_implementation(attention)
        mask = torch.ones(3, 65, dtype=torch.bool)
        mask[0, 30:] = False
        for given in (None, mask):
            whole = model(toy_images(), attention_mask=given)
            with torch.no_grad():
                assert_same(model(toy_images(), attention_mask=given), whole)


def test_both_prefix_tokens_are_read(reducer):
    torch.manual_seed(0)
    config = DynamicDeiTConfig(**TOY, reducer=reducer)
    model = DynamicDeiTForImageClassification(config).eval()
    model = calibrated(model, 0.6) if model.config.is_adaptive else model
    whole = model(toy_images())
    with torch.inference_mode():
        assert_same(model(toy_images()), whole)


def test_reducing_in_the_last_block(reducer):
    model = toy_model(reducer=reducer, reducer_layers=[3], keep_ratio=[0.5])
    whole = model(toy_images())
    with torch.no_grad():
        assert_same(model(toy_images()), whole)


def test_work_that_is_saved():
    """Of the last block, queries, attention, output and MLP of its 21 patches."""
    model = toy_model(keep_ratio=0.7)
    model.set_attn_implementation("eager")  # the flop counter does not see SDPA on the CPU
    patches, width, mlp = model.token_counts()[-1], 32, 64
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(toy_images(1))
    tokens = patches + 1
    saved = 2 * patches * width**2 + 2 * patches * tokens * width + 2 * patches * width * mlp
    assert counter.get_total_flops() == 2 * (model.multiply_adds() - saved)


def test_recorded_and_returned_states_are_whole():
    model = toy_model(keep_ratio=0.5)
    with torch.no_grad():
        states = model(toy_images(), output_hidden_states=True).hidden_states
        assert [state.shape[1] for state in states] == [65, 65, 33, 17, 9]
        assert model.vit(toy_images()).last_hidden_state.shape[1] == 9
        assert model.vit(toy_images(), only_prefix=True).last_hidden_state.shape[1] == 1
        model.config.output_hidden_states = True
        assert model(toy_images()).hidden_states[-1].shape[1] == 9


@pytest.mark.parametrize("layers, suffices", [([1, 2], True), ([1, 3], False)])
def test_a_method_that_acts_between_is_not_trimmed_unless_it_reads_no_patches(layers, suffices):
    config = toy_config(reducer_layers=layers)
    assert TokenReducer(config).prefix_suffices(3)
    between = type("Between", (TokenReducer,), {"acts": "between"})
    assert between(config).prefix_suffices(3) == suffices
    assert type("Traced", (between,), {"reads_patches": False})(config).prefix_suffices(3)


@pytest.mark.parametrize("name", ["k_proj", "v_proj"])
def test_layers_with_hooks_are_called(name):
    """A hook that changes what a layer gives acts without gradients too."""
    model = toy_model()
    layer = getattr(model.vit.layers[3].attention, name)
    layer.register_forward_hook(lambda module, args, output: output * 2 + torch.arange(32) / 8)
    whole = model(toy_images())
    with torch.no_grad():
        assert_same(model(toy_images()), whole)
        assert not torch.allclose(model(toy_images()).logits, toy_model()(toy_images()).logits, atol=1e-4)


@usual(reducer=["dynamicvit", "tome"])
@usual(offload=[disk_offload], gradients=[False])
@pytest.mark.parametrize("offload", [cpu_offload, disk_offload])
@pytest.mark.parametrize("gradients", [False, True])
def test_offloaded_layers_are_called(reducer, offload, gradients, tmp_path):
    """Every parameter is read within the module that it belongs to."""
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    with torch.set_grad_enabled(gradients):
        expected = model(toy_images(), output_hidden_states=True)
        where = (tmp_path, "cpu") if offload is disk_offload else ("cpu",)
        offloaded = offload(model, *where)
        assert {parameter.device.type for parameter in offloaded.parameters()} == {"meta"}
        actual = offloaded(toy_images(), output_hidden_states=True)
        assert_same(actual, expected)
        assert_close(offloaded.scatter_to_grid(actual), toy_model(reducer=reducer).scatter_to_grid(expected))


def test_offloaded_thresholds_cannot_be_set():
    model = cpu_offload(toy_model(reducer="asvit"), "cpu")
    for call in (model.set_keep_ratio, lambda *args: model.set_budget(fraction=args[0], pixel_values=args[1])):
        with pytest.raises(ValueError, match="thresholds are offloaded"):
            call(0.5, toy_images())


def test_adapted_layers_are_called():
    model = toy_model(hidden_size=32)
    adapted = get_peft_model(model, LoraConfig(target_modules=["q_proj", "k_proj", "v_proj"], init_lora_weights=False))
    whole = adapted.eval()(toy_images())
    with torch.no_grad():
        assert_same(adapted(toy_images()), whole)


def test_a_masked_class_token_is_masked_whatever_the_batch():
    """Images of different lengths are packed only where no token left is excluded."""
    model, images = toy_model(reducer="asvit", keep_ratio=0.5), toy_images(6)
    mask = torch.ones(6, 65, dtype=torch.bool)
    mask[:, 0] = False
    whole = model(images, attention_mask=mask)
    with torch.no_grad():
        assert_same(model(images, attention_mask=mask), whole)


def test_dropout_that_is_switched_on_at_inference():
    model = toy_model(hidden_dropout_prob=0.5)
    assert torch.equal(model(toy_images()).logits, model(toy_images()).logits)
    for layer in model.vit.layers:
        layer.dropout.train()
    assert not torch.equal(model(toy_images()).logits, model(toy_images()).logits)


@pytest.mark.parametrize("method", ["dynamicvit", "tps"])
def test_nothing_is_scored_where_nothing_is_to_be_chosen(monkeypatch, method):
    model = toy_model(reducer=method, keep_ratio=1.0)
    monkeypatch.setattr(TokenScorePredictor, "forward", lambda *args: pytest.fail("a predictor ran"))
    assert model(toy_images()).kept.all()


def test_packed_rows_and_back():
    real = torch.tensor([[True, True, False, False], [True, True, True, True], [True, False, False, False]])
    layout = Layout.of(real)
    states = torch.randn(3, 4, 5)
    packed = layout.pack(states)
    assert packed.shape == (1, 7, 5) and layout.bounds == (0, 2, 6, 7)
    assert torch.equal(layout.unpack(packed), states * real[..., None])
    assert torch.equal(packed[0, layout.first(1)], states[:, 0])


def test_ragged_attention_is_attention_by_image():
    lengths, bounds = torch.tensor([4, 1, 6]), (0, 4, 5, 11)
    layout = Layout.of(torch.arange(6) < lengths[:, None])
    assert layout.bounds == bounds
    query, key, value = torch.randn(3, 1, 11, 2, 8)
    output = ragged_attention(query, key, value, layout)
    first = ragged_attention(query[:, [0, 4, 5]], key, value, layout, count=1)
    for image, length in enumerate(lengths):
        rows = slice(bounds[image], bounds[image] + length)
        parts = (states[:, rows].transpose(1, 2) for states in (query, key, value))
        expected = scaled_dot_product_attention(*parts).transpose(1, 2)
        assert_close(output[:, rows], expected)
        assert_close(first[:, image], expected[:, 0])


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_images_of_different_lengths_are_packed(attention):
    """Without padding in the linear layers, whatever the attention; recording shows them padded."""
    model, images = toy_model(reducer="asvit", keep_ratio=0.5), toy_images(6)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        recorded = model(images, output_hidden_states=True)
        lengths = 1 + recorded.kept.sum(-1)
        assert len(lengths[:, 1].unique()) > 1
        assert recorded.hidden_states[3].shape[:2] == (6, lengths[:, 1].max())
        seen = []
        hook = model.vit.layers[2].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
        assert_same(model(images), recorded)
        hook.remove()
    assert seen == [(1, lengths[:, 1].sum(), 32)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch's variable-length attention runs on a GPU")
def test_packed_attention_on_a_gpu():
    model, images = toy_model(reducer="asvit", keep_ratio=0.5, num_attention_heads=1), toy_images(6)
    model, images = model.to("cuda", torch.bfloat16), images.to("cuda", torch.bfloat16)
    with torch.no_grad():
        expected = torch.cat([model(image[None]).logits for image in images])
        assert_close(model(images).logits, expected, atol=2e-2, rtol=2e-2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs")
def test_cuda_graphs(reducer):
    model = toy_model(reducer=reducer).to("cuda")
    if model.config.is_adaptive:
        pytest.skip("each image decides how many tokens it keeps")
    torch.compiler.reset()
    compiled = torch.compile(model, mode="reduce-overhead", fullgraph=True)
    with torch.inference_mode():
        for seed in range(4):
            images = toy_images(1, seed=seed).to("cuda")
            assert_close(compiled(images).logits.clone(), model(images).logits, atol=1e-4, rtol=1e-4)


def graphs_for(model, batches: tuple[int, ...], mark: bool = False) -> int:
    """How many graphs a compiled model takes for these batches."""
    torch.compiler.reset()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(model, fullgraph=True, backend=backend)
    with torch.no_grad():
        for batch in batches:
            images = toy_images(batch)
            if mark:
                torch._dynamo.mark_dynamic(images, 0)
            assert_close(compiled(images).logits, model(images).logits, **EXACT)
    return len(graphs)


@pytest.mark.parametrize("reducer", all_methods("tome", of=FIXED))
@pytest.mark.slow
def test_one_graph(reducer):
    """The second batch size makes a graph for all others."""
    model = toy_model(reducer=reducer, num_hidden_layers=3)
    assert graphs_for(model, (3, 2, 5)) == 2


def test_one_graph_where_the_batch_is_marked_as_dynamic():
    assert graphs_for(toy_model(num_hidden_layers=2), (3, 2, 5), mark=True) == 1


@pytest.mark.parametrize("layers", [[1], pytest.param([1, 2, 3], marks=pytest.mark.long)])
@pytest.mark.slow
def test_images_that_decide_compile_in_pieces(layers):
    """The graph breaks where their counts are read; the packed batches between are compiled."""
    model = toy_model(reducer="asvit", keep_ratio=0.5, reducer_layers=layers, num_hidden_layers=layers[-1] + 1)
    images = toy_images(6)
    assert len(model(images).kept[:, 0].sum(-1).unique()) > 1
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager")
    with torch.no_grad():
        assert_same(compiled(images), model(images))


def faster(monkeypatch, layers: str) -> None:
    """Let `optimize_for_inference` see that the `"native"` or the `"packed"` layers take half the time."""
    now, in_place = [0.0], [""]
    exchange = inference.exchange

    def watched(layers):
        in_place[0] = "packed" if any(isinstance(layer, PackedLinear) for layer in layers.values()) else "native"
        exchange(layers)

    def clock(device):
        now[0] += 0.5 if in_place[0] == layers else 1.0
        return now[0]

    monkeypatch.setattr(inference, "exchange", watched)
    monkeypatch.setattr(inference, "waited_for", clock)


def packed_in(model) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, PackedLinear)]


@pytest.fixture
def packs(monkeypatch):
    faster(monkeypatch, "packed")


@usual(reducer=FEW)
def test_packed_layers_change_no_result(reducer, packs, tmp_path):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    names, parameters, images = list(model.state_dict()), list(model.parameters()), toy_images(4)
    with torch.inference_mode():
        expected = model(images)
    assert model.optimize_for_inference(repeats=2) == {"packed": 2.0}
    block = {f"vit.layers.0.{name}" for name in ("attention.q_proj", "attention.o_proj", "mlp.fc1", "mlp.fc2")}
    assert block <= set(packed_in(model))
    with torch.inference_mode():
        assert_same(model(images), expected)
    assert list(model.state_dict()) == names
    assert all(mine is now for mine, now in zip(parameters, model.parameters(), strict=True))
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    twin = copy.deepcopy(model)
    assert all(twin.get_submodule(name).packed is None for name in packed_in(twin))  # it starts from the parameters
    for copied in (again, twin):
        assert_same_weights(copied, model)
        with torch.inference_mode():
            assert_same(copied(images), expected)
    model.undo_optimize_for_inference()
    assert not packed_in(model) and list(model.state_dict()) == names


def test_predictors_are_packed_but_for_their_last_layer(packs):
    model = toy_model(reducer="dynamicvit")
    model.optimize_for_inference()
    names = {name.removeprefix("vit.reducer.") for name in packed_in(model) if ".predictors.0." in name}
    assert names == {f"predictors.0.{name}" for name in ("project", "score.0", "score.2")}


def test_a_changed_weight_is_never_stale(packs):
    model, other, images = toy_model(), toy_model(seed=1), toy_images()
    model.optimize_for_inference()
    with torch.no_grad():
        expected = other(images).logits
        for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
            mine.copy_(theirs)
        assert_close(model(images).logits, expected, **EXACT)
        model.optimize_for_inference()
        model.load_state_dict(toy_model(seed=2).state_dict())
        assert_close(model(images).logits, toy_model(seed=2)(images).logits, **EXACT)
        model.load_state_dict(toy_model(seed=3).state_dict(), assign=True)
        assert_close(model(images).logits, toy_model(seed=3)(images).logits, **EXACT)
        model.optimize_for_inference()
        layer = model.vit.layers[0]
        layer.mlp.fc2.weight.data = layer.mlp.fc2.weight + 1
        layer.mlp.fc1 = torch.nn.Sequential(layer.mlp.fc1, torch.nn.Tanh())  # as an adapter would
        layer.attention.v_proj = torch.nn.Sequential(layer.attention.v_proj, torch.nn.Tanh())
        changed = model(images).logits
        model.undo_optimize_for_inference()
        assert not packed_in(model)
        assert_close(model(images).logits, changed, **EXACT)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_hook_sees_what_the_native_layer_gives(packs, gradients):
    model, images, seen = toy_model(), toy_images(), []
    with torch.set_grad_enabled(gradients):
        for optimize in (False, True):
            if optimize:
                model.optimize_for_inference()
            hook = model.vit.layers[0].mlp.fc1.register_forward_hook(lambda module, args, output: seen.append(output))
            model(images)
            hook.remove()
    assert_close(seen[1], seen[0], **EXACT)


def test_an_optimizer_that_steps_in_eval_mode(packs):
    model, images = toy_model(), toy_images()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model.optimize_for_inference()
    model(images).logits.square().sum().backward()
    optimizer.step()
    with torch.no_grad():
        stepped = model(images).logits
        model.undo_optimize_for_inference()
        assert_close(model(images).logits, stepped, **EXACT)


def test_adapters_refuse_packed_layers_until_they_are_undone(packs):
    """PEFT merges by writing to `weight.data`, which torch does not count."""
    model, images = toy_model(), toy_images()
    model.optimize_for_inference()
    lora = LoraConfig(target_modules=["q_proj", "fc1"], init_lora_weights=False)
    with pytest.raises(ValueError, match=r"PackedLinear\(.*undo_optimize_for_inference\(\)"):
        get_peft_model(model, lora)
    model = toy_model()
    adapted = get_peft_model(model, lora).eval()
    model.optimize_for_inference()  # what is adapted stays
    assert "vit.layers.0.mlp.fc2" in packed_in(model)
    assert not [name for name in packed_in(model) if "fc1" in name or "q_proj" in name]
    with torch.no_grad():
        expected = adapted(images).logits
        merged = adapted.merge_and_unload()
        assert_close(merged(images).logits, expected, **EXACT)


def test_training_puts_the_native_layers_back_and_moving_frees_the_copies(packs):
    model, images = toy_model(), toy_images()
    model.optimize_for_inference()
    model(images).logits.sum().backward()  # with gradients the parameters run
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "layers.0" in name)
    assert packed_in(model.eval()) and not packed_in(model.train())
    with pytest.raises(ValueError, match=r"training mode; call model.eval\(\)"):
        model.optimize_for_inference()
    model.eval().optimize_for_inference()
    moved = model.to(torch.bfloat16)
    assert all(moved.get_submodule(name).packed is None for name in packed_in(moved))
    with torch.no_grad():
        assert moved(images.bfloat16()).logits.dtype == torch.bfloat16


def test_layers_that_do_not_measure_faster_are_not_used(monkeypatch):
    model = toy_model()
    faster(monkeypatch, "native")
    assert model.optimize_for_inference(toy_images()) == {"packed": 0.5}
    assert not packed_in(model)


def test_nothing_to_exchange(monkeypatch):
    """As on a GPU, or without oneDNN."""
    monkeypatch.setattr(inference, "can_pack", lambda layer: False)
    assert toy_model().optimize_for_inference() == {}


def test_autocast_and_compilation_use_the_parameters(packs):
    model, images = toy_model(num_hidden_layers=2), toy_images()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = model(images).logits
    model.optimize_for_inference()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model(images).logits, expected)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert_close(compiled(images).logits, model(images).logits, **EXACT)
