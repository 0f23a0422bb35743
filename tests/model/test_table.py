# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Every family of the table: native when everything is kept, and what it should be when not."""

import json
import re

import pytest
import torch
import transformers
from methods import FEW, OTHERS, usual
from native_toys import (
    BACKBONES,
    MODELS,
    native_class,
    native_config,
    native_model,
    our_class,
    reduced_model,
    result,
    take_folders_for_repositories,
    toy_inputs,
)
from programs import run_program
from safetensors.torch import load_file, save_file
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode
from toys import assert_same_weights, toy_images
from transformers import CONFIG_MAPPING

import hf_dynamicvit
from hf_dynamicvit.checkpoints.checkpoint import read_checkpoint
from hf_dynamicvit.families import FAMILIES
from hf_dynamicvit.model.refused import REFUSED


NAMES = ["-".join(each) for each in MODELS]
# of each family one model that has a readout
READERS = [
    (key, "classifier" if family.classifier else "detector" if family.detector else "model")
    for key, family in FAMILIES.items()
]
# and every backbone
READERS_AND_BACKBONES = [*READERS, *((key, "backbone") for key in BACKBONES)]
# those that the default run has with every method: a class token, none, rotary positions, a bias of relative ones
WHOLE = [("dynamicvit", "classifier"), ("dynamicsiglip", "model"), ("dynamicdinov3_vit", "model")]
WHOLE += [("dynamicbeit", "model")]


@pytest.fixture(params=MODELS, ids=NAMES, scope="module")
def case(request):
    key, kind = request.param
    return key, kind, native_model(key, kind)


@pytest.fixture(params=[FEW, OTHERS], ids=["few", "others"])
def reducers(request):
    return request.param


def as_native(reducer: str) -> dict:
    """Options with which the method reads what a dense classifier does."""
    return {"reducer_args": {"pooling": "class"}} if reducer == "evovit" else {}


def decided(outputs) -> dict:
    """What an image tower decided: the outputs themselves, or those of the tower in them."""
    return outputs.get("vision_model_output") or outputs


@usual(reducers=[FEW], case=READERS_AND_BACKBONES)
@usual(case=WHOLE)
def test_everything_kept_is_the_native_model(case, reducers):
    key, kind, native = case
    inputs = toy_inputs(kind)
    with torch.no_grad():
        expected = result(native(**inputs))
        for reducer in reducers:
            model = reduced_model(native, key, kind, reducer, **as_native(reducer), keep_ratio=1.0)
            assert_close(result(model(**inputs)), expected, atol=1e-5, rtol=1e-5)


def layers_of(key: str, kind: str, native):
    """The image tower of a native model, its blocks, and the number of its prefix tokens."""
    ours = our_class(key, kind)
    base = native if kind == "model" else ours.native_base(native)
    tower = ours if kind == "model" else ours.model_class
    layers = tower.layers.fget(base) if isinstance(getattr(tower, "layers", None), property) else base.layers
    return base, layers, tower.config_class.num_prefix.fget(base.config)


class ByHand:
    """Within it, ahead of native blocks only the rows of the patches that are `kept` `[B, S, 64]` go on."""

    def __init__(self, native, key: str, kind: str, kept: torch.Tensor, at: list[int]):
        base, self.layers, self.num_prefix = layers_of(key, kind, native)
        self.num_behind = getattr(native.config, "num_detection_tokens", 0)  # of the prefix, natively behind patches
        batch = len(kept)
        self.alive, self.kept = torch.ones(batch, 64, dtype=torch.bool), dict(zip(at, kept.unbind(1), strict=True))
        self.handles = []
        for index, layer in enumerate(self.layers):
            hook = lambda layer, args, kwargs, index=index: self.cut(index, args, kwargs)  # noqa: E731
            self.handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
            if getattr(layer, "relative_position_bias", None) is not None:
                bias = layer.relative_position_bias
                self.handles.append(bias.register_forward_hook(lambda bias, args, out: self.square(out)))
        if self.num_behind:  # YOLOS adds positions between blocks
            middle = base.encoder.interpolation
            self.handles.append(middle.register_forward_hook(lambda middle, args, out: AliveRows(self, out)))

    def rows(self, alive: torch.Tensor) -> torch.Tensor:
        """Positions `[B, P + K]` of the prefix and of the patches that are alive."""
        ahead = self.num_prefix - self.num_behind
        places = torch.stack([each.nonzero()[:, 0] for each in alive]) + ahead
        return around(places, ahead, self.num_behind, ahead + alive.shape[1])

    def square(self, bias: torch.Tensor) -> torch.Tensor:
        rows = self.rows(self.alive)
        return torch.stack([bias[0][:, each][:, :, each] for each in rows])

    def cut(self, index, args, kwargs):
        hidden, *others = args
        if index in self.kept:
            was = self.kept[index][self.alive].view(len(hidden), -1)  # of those that are there
            hidden = torch.stack([each[rows] for each, rows in zip(hidden, self.rows(was), strict=True)])
            self.alive = self.kept[index]
        if kwargs.get("position_embeddings") is not None:
            places = self.rows(self.alive)[:, self.num_prefix :] - self.num_prefix
            turned = tuple(each[places][:, None] for each in kwargs["position_embeddings"])
            kwargs = kwargs | {"position_embeddings": turned}
        if kwargs.get("attention_mask") is not None:  # of BEiT, whose blocks share a bias
            kwargs = kwargs | {"attention_mask": self.square(kwargs["attention_mask"])}
        return (hidden, *others), kwargs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for handle in self.handles:
            handle.remove()


class AliveRows:
    """Positions `[depth - 1, 1, T, D]`, of which only the rows of `by_hand` that are alive are handed out."""

    def __init__(self, by_hand: ByHand, table: torch.Tensor):
        self.by_hand, self.table = by_hand, table

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.table[index][0][self.by_hand.rows(self.by_hand.alive)]


def around(places: torch.Tensor, ahead: int, behind: int, end: int) -> torch.Tensor:
    """`places` `[B, K]`, with the first `ahead` positions ahead of them and `behind` ones from `end` on behind."""
    first, last = torch.arange(ahead), torch.arange(behind) + end
    return torch.cat((first.expand(len(places), -1), places, last.expand(len(places), -1)), dim=1)


def test_dropping_equals_dropping_by_hand(case):
    key, kind, native = case
    if kind == "backbone":
        pytest.skip("test_backbones.py puts the patches back by hand")
    inputs = {name: value.double() if value.is_floating_point() else value for name, value in toy_inputs(kind).items()}
    native = native.double()
    try:
        model = reduced_model(native, key, kind, "dynamicvit", keep_ratio=0.7).double()
        with torch.no_grad():
            outputs = model(**inputs)
            kept, owner = decided(outputs).kept, decided(outputs).owner
            assert kept.sum(dim=2).tolist() == [[44, 31, 21]] * 3 and not torch.equal(kept[0], kept[1])
            with ByHand(native, key, kind, kept, model.decision_layers):
                expected = result(native(**inputs))
        actual = result(outputs)
        if "last_hidden_state" in expected:  # ours are in the order of the scores
            order = torch.stack([each[alive] for each, alive in zip(owner[:, -1], kept[:, -1], strict=True)])
            behind = getattr(native.config, "num_detection_tokens", 0)
            ahead = layers_of(key, kind, native)[2] - behind
            rows = around(order + ahead, ahead, behind, ahead + order.shape[1])
            states = actual["last_hidden_state"]
            actual["last_hidden_state"] = torch.stack([each[at] for each, at in zip(states, rows, strict=True)])
        assert_close(actual, expected, atol=1e-9, rtol=1e-9)
        with torch.no_grad():
            dense = result(native(**inputs))
        name = {"model": "pooler_output", "zero_shot": "logits_per_image"}.get(kind, "logits")
        assert name not in dense or (dense[name] - actual[name]).abs().max() > 1e-3
    finally:
        native.float()


@usual(reducers=[FEW], case=READERS_AND_BACKBONES)
@usual(case=WHOLE)
def test_images_do_not_see_their_batch_mates(case, reducers):
    key, kind, native = case
    inputs = toy_inputs(kind)
    for reducer in reducers:
        model = reduced_model(native, key, kind, reducer, keep_ratio=0.7)
        with torch.no_grad():
            together = model(**inputs)
            for index in range(3):
                alone = model(**(inputs | {"pixel_values": inputs["pixel_values"][index : index + 1]}))
                length = 64 if "idle" in model.backbone.reducer.rest else int(decided(alone).owner[:, -1].max()) + 1
                assert torch.equal(decided(alone).kept[0], decided(together).kept[index]), reducer
                for name in set(result(together)) - {"last_hidden_state"}:
                    first, second = result(alone)[name][0], result(together)[name][index]
                    assert_close(first, second, atol=1e-5, rtol=1e-5)
                if kind == "model":
                    states = (model.prefix_first(each.last_hidden_state) for each in (alone, together))
                    first, second = (each[row] for each, row in zip(states, (0, index), strict=True))
                    prefix = model.config.num_prefix
                    assert_close(first[: prefix + length], second[: prefix + length], atol=1e-5, rtol=1e-5)


@usual(reducers=[FEW])
@usual(key=["dynamicvit"])
@pytest.mark.parametrize("key, kind", READERS_AND_BACKBONES, ids="-".join)
def test_gradients_are_finite_and_checkpointing_changes_none(key, kind, reducers):
    native, images = native_model(key, kind), toy_images(2)
    for reducer in reducers:
        gradients = []
        for checkpointed in (False, True):
            model = reduced_model(native, key, kind, reducer, keep_ratio=0.7).train()
            if checkpointed:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            torch.manual_seed(0)
            outputs = model(pixel_values=images)
            losses = model.backbone.reducer.losses(decided(outputs).decisions)
            read = [value.square().mean() for value in result(outputs).values()]
            sum([*read, *losses.values()]).backward()
            gradients.append({name: each.grad for name, each in model.named_parameters() if each.grad is not None})
        assert all(gradient.isfinite().all() for gradient in gradients[0].values()), reducer
        named = {name for name, _ in model.named_parameters() if "reducer." in name and "class_" not in name}
        assert named <= gradients[0].keys()
        assert gradients[0].keys() == gradients[1].keys()
        for name, gradient in gradients[0].items():
            assert torch.equal(gradient, gradients[1][name]), (reducer, name)


@usual(case=READERS_AND_BACKBONES)
def test_files_old_and_new_lack_the_reducer_alone(case, tmp_path):
    key, kind, native = case
    native.save_pretrained(tmp_path)  # in the layout of before Transformers 5
    old = load_file(tmp_path / "model.safetensors")
    new = {name: tensor.contiguous() for name, tensor in native.state_dict().items()}
    for tensors in (old, new):
        save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
        model, report = our_class(key, kind).from_pretrained(
            tmp_path, reducer="dynamicvit", keep_ratio=0.6, output_loading_info=True
        )
        assert all("reducer." in name for name in report["missing_keys"]) and not report["unexpected_keys"]
        assert model.backbone.config.reducer == "dynamicvit" and model.config.keep_ratio == 0.6
        ours = {name: tensor for name, tensor in model.state_dict().items() if "reducer." not in name}
        assert_same_weights(ours, native)


def test_saved_models_are_found_by_auto_classes(case, tmp_path, monkeypatch):
    key, kind, native = case
    take_folders_for_repositories(monkeypatch)
    model = reduced_model(native, key, kind, "dynamicvit", keep_ratio=0.6)
    model.save_pretrained(tmp_path)
    for auto in our_class(key, kind).auto_names:
        again = getattr(transformers, auto).from_pretrained(str(tmp_path))
        assert type(again) is our_class(key, kind)
        assert_same_weights(again, model)
        assert again.config.keep_ratio == 0.6
    stirred = reduced_model(native_model(key, kind), key, kind, "dynamicvit")
    with torch.no_grad():
        for parameter in stirred.parameters():
            parameter.zero_()
    stirred.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)  # as the Trainer resumes
    assert_same_weights(stirred, model)
    if kind == "classifier":
        assert_same_weights(model.to_dense(), native)


def test_fresh_models_start_as_native_ones(case):
    key, kind, native = case
    torch.manual_seed(7)
    expected = native_class(key, kind)(native_config(FAMILIES[key], kind))
    ours = our_class(key, kind)
    torch.manual_seed(7)
    model = ours(ours.config_class(**native.config.to_dict(), reducer="tome"))
    assert_same_weights(model, expected)


# Families whose files import others than ViT's: a tower, a bias, rotary positions, a dense model of ours, a detector.
CARRIED = ("dynamicvit", "dynamicsiglip", "dynamicbeit", "dynamicdinov3_vit", "dynamiclvvit", "dynamicyolos")


@pytest.mark.slow
@pytest.mark.parametrize(
    "models",
    [
        [*(case for case in READERS if case[0] in CARRIED), ("dynamicdinov2", "backbone")],
        pytest.param(MODELS, marks=pytest.mark.long),
    ],
    ids=["few", "all"],
)
def test_checkpoints_that_carry_their_code_load_without_the_package(models, tmp_path):
    """One process for all models; a few of them, unless there is time."""
    expected = {}
    for key, kind in models:
        name = f"{key}-{kind}"
        model = reduced_model(native_model(key, kind), key, kind, "evit", keep_ratio=0.6)
        model.save_pretrained(tmp_path / name, with_remote_code=True)
        with torch.no_grad():
            expected[name] = model.state_dict(), result(model(**toy_inputs(kind)))
        auto = json.loads((tmp_path / name / "config.json").read_text())["auto_map"]
        assert set(auto) >= {"AutoConfig", *our_class(key, kind).auto_names}
    torch.save({f"{key}-{kind}": toy_inputs(kind) for key, kind in models}, tmp_path / "inputs.pt")
    autos = {f"{key}-{kind}": our_class(key, kind).auto_names[-1] for key, kind in models}
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hf_dynamicvit":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
import huggingface_hub, torch, transformers
huggingface_hub.HfApi.repo_exists = lambda self, name: True  # `AutoBackbone` asks the Hub
results = {{}}
for name, auto in {autos!r}.items():
    model = getattr(transformers, auto).from_pretrained(name, trust_remote_code=True).eval()
    with torch.no_grad():
        outputs = model(**torch.load("inputs.pt")[name])
    names = ("logits", "logits_per_image", "pooler_output", "last_hidden_state")
    names = ("logits", "pred_boxes") if "pred_boxes" in outputs else names
    maps = {{f"feature_map_{{index}}": each for index, each in enumerate(outputs.get("feature_maps") or ())}}
    read = {{each: outputs[each] for each in names if outputs.get(each) is not None}}
    results[name] = model.state_dict(), read | maps
torch.save(results, "result.pt")
"""
    done = run_program(program, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    for name, (weights, outputs) in torch.load(tmp_path / "result.pt").items():
        assert_same_weights(weights, expected[name][0])
        assert_close(outputs, expected[name][1], atol=1e-5, rtol=1e-5)


# The graph that the default run has of these: with a bias of relative positions, which is unlike ViT's.
USUAL_GRAPH = ("dynamicbeit", "classifier", "dynamicvit")


def graphs() -> list:
    """Every family with five unlike methods; `test_inference.py` and `test_backbones.py` have others."""
    methods = ("topk", "tome", "dynamicvit", "idlevit", "mctf")
    cases = [(key, kind, method) for key, kind in READERS_AND_BACKBONES for method in methods]
    assert USUAL_GRAPH in cases
    marks = {USUAL_GRAPH: ()}
    return [pytest.param(*case, marks=marks.get(case, pytest.mark.long), id="-".join(case)) for case in cases]


@pytest.mark.slow
@pytest.mark.parametrize("key, kind, reducer", graphs())
def test_one_graph(key, kind, reducer):
    inputs = toy_inputs(kind)
    blocks = {} if kind == "backbone" else {"num_hidden_layers": 2}  # all, and fewer patches in the second
    model = reduced_model(native_model(key, kind, **blocks), key, kind, reducer, keep_ratio=0.6)
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(result(compiled(**inputs)), result(model(**inputs)), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_is_not_served_is_refused_with_the_way_out(model_type, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    reason = REFUSED[model_type].partition("{")[0]
    for cls in (hf_dynamicvit.DynamicViTForImageClassification, hf_dynamicvit.DynamicSiglipModel):
        with pytest.raises(ValueError, match=f"is of model type '{model_type}': {re.escape(reason)}"):
            cls.from_pretrained(tmp_path)
    if model_type in CONFIG_MAPPING:
        with pytest.raises(ValueError, match=re.escape(reason)):
            read_checkpoint(tmp_path).load_sparse("tome")


@pytest.mark.parametrize("key, kind", READERS_AND_BACKBONES, ids="-".join)
def test_states_are_recorded_and_patches_put_on_their_grid(key, kind):
    model = reduced_model(native_model(key, kind), key, kind, "tome", keep_ratio=0.7)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        outputs = model(toy_images(2), output_hidden_states=True, output_attentions=True)
    depth, prefix = model.config.num_hidden_layers, model.config.num_prefix
    assert outputs.hidden_states[0].shape[1] == 64 + prefix
    assert len(outputs.hidden_states) == depth + 1 and len(outputs.attentions) == depth
    assert outputs.hidden_states[-1].shape[1] < 64 + prefix
    assert model.scatter_to_grid(outputs).shape == (2, 32, 8, 8)


@pytest.mark.parametrize("key, kind", READERS_AND_BACKBONES, ids="-".join)
@pytest.mark.parametrize(
    "reducers",
    [("dynamicvit", "idlevit", "tome"), pytest.param(("topk", "mctf", "diffrate"), marks=pytest.mark.long)],
    ids=["few", "others"],
)
def test_costs_are_those_of_what_runs(key, kind, reducers):
    """But for a pooling head, which a classifier does not run."""
    head = {"use_head": False} if key == "dynamicaimv2" else {}
    native, images = native_model(key, kind, **head), toy_images(1)
    for reducer in reducers:
        model = reduced_model(native, key, kind, reducer, keep_ratio=0.7)
        model.set_attn_implementation("eager")
        with FlopCounterMode(display=False) as counter:  # with gradients on, the last block computes every token
            model(images)
        assert counter.get_total_flops() == 2 * model.multiply_adds(), reducer
