# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""`reduce_tokens` on every native model of the table, alone and inside others, and `restore`."""

import copy
import io
import pickle

import pytest
import torch
import transformers
from accelerate import Accelerator, cpu_offload
from methods import usual
from native_toys import (
    CLASSIFIERS,
    MODELS,
    SIZES,
    native_class,
    native_model,
    our_class,
    result,
    take_folders_for_repositories,
    toy_inputs,
)
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.testing import assert_close
from toys import assert_same_weights, toy_dense, toy_images
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    LlavaConfig,
    LlavaForConditionalGeneration,
    ViTConfig,
    ViTForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEModel,
)

from hf_dynamicvit import (
    DynamicCLIPVisionModel,
    DynamicViTForImageClassification,
    DynamicViTModel,
    reduce_tokens,
    restore,
)
from hf_dynamicvit.adoption import ADOPTING, POOLED
from hf_dynamicvit.families import ADOPTABLE, PYRAMIDS


NAMES = ["-".join(each) for each in MODELS]


@pytest.fixture(params=MODELS, ids=NAMES)
def case(request):
    key, kind = request.param
    return key, kind, native_model(key, kind), toy_inputs(kind)


def outputs_of(model, inputs) -> dict:
    with torch.no_grad():
        return result(model(**inputs))


def without(config: dict, names: tuple[str, ...] = ("architectures", "dtype")) -> dict:
    """A configuration without what `save_pretrained` writes into it."""
    return {
        key: without(value) if isinstance(value, dict) else value for key, value in config.items() if key not in names
    }


def state_of(model) -> tuple:
    """All that must be as before once `restore` is done, or where `reduce_tokens` refused."""
    modules = {name: (type(module), sorted(vars(module))) for name, module in model.named_modules()}
    hooks = [len(each._load_state_dict_pre_hooks) for each in model.modules()]
    models = {name: each for name, each in model.named_modules() if isinstance(each, transformers.PreTrainedModel)}
    whole = {name: set(each._no_split_modules or ()) for name, each in models.items()}
    return modules, hooks, whole, type(model.config), without(model.config.to_dict()), list(model.state_dict())


def unequal_to(before: dict, after: dict) -> list[str]:
    return [name for name in before if not torch.equal(before[name], after[name])]


def test_there_and_back(case):
    key, kind, model, inputs = case
    before, state = outputs_of(model, inputs), state_of(model)
    for reducer in ("tome", "asvit", "evovit"):
        assert reduce_tokens(model, reducer, keep_ratio=None) is model
        assert type(model) is our_class(key, kind) and model.config.reducer == reducer
        assert "reducer" in dict(model.backbone.named_children())
        assert restore(model) is model
        assert state_of(model) == state
        assert not unequal_to(before, outputs_of(model, inputs))


def test_everything_kept_is_native(case):
    _, _, model, inputs = case
    before = outputs_of(model, inputs)
    assert_close(outputs_of(reduce_tokens(model, keep_ratio=1.0), inputs), before, atol=1e-5, rtol=1e-5)


@usual(reducer=["dynamicvit"], case=[(key, kind) for key, kind in MODELS if kind != "model"])
@pytest.mark.parametrize("reducer", ["tome", "dynamicvit"])
def test_as_loaded_by_our_class(case, reducer, tmp_path, monkeypatch):
    """Weights that are drawn, too; saved, the Auto classes find it reduced, and it can be taken back."""
    key, kind, model, inputs = case
    before = outputs_of(model, inputs)
    model.save_pretrained(tmp_path / "native")
    torch.manual_seed(3)
    loaded = our_class(key, kind).from_pretrained(tmp_path / "native", reducer=reducer, keep_ratio=0.6).eval()
    torch.manual_seed(3)
    reduce_tokens(model, reducer, keep_ratio=0.6)
    assert_same_weights(model, loaded)
    expected = outputs_of(loaded, inputs)
    assert_close(outputs_of(model, inputs), expected, atol=1e-5, rtol=1e-5)
    name = next(
        name for name in ("logits", "logits_per_image", "last_hidden_state", "feature_map_2") if name in before
    )
    assert before[name].shape != expected[name].shape or not torch.allclose(before[name], expected[name], atol=1e-3)
    model.save_pretrained(tmp_path / "reduced")
    take_folders_for_repositories(monkeypatch)
    auto = getattr(transformers, our_class(key, kind).auto_names[0])
    again = auto.from_pretrained(str(tmp_path / "reduced")).eval()
    assert type(again) is type(model) and again.config.keep_ratio == 0.6
    assert_same_weights(again, model)
    assert type(restore(again)) is native_class(key, kind)
    assert_close(outputs_of(again, inputs), before, atol=1e-5, rtol=1e-5)


def test_recording_follows(case):
    """What a call of the native model left on its modules does not stay, nor does ours."""
    _, kind, model, inputs = case
    if kind != "model":
        pytest.skip("the base model records")
    model.set_attn_implementation("eager")
    ask = {"output_hidden_states": True, "output_attentions": True}
    with torch.no_grad():
        before = model(**inputs, **ask)
        reduced = reduce_tokens(model, "idlevit", keep_ratio=1.0)(**inputs, **ask)
        reduced_states = tuple(model.native_order(each) for each in reduced.hidden_states)
        after = restore(model)(**inputs, **ask)
    for states, attentions in ((reduced_states, reduced.attentions), (after.hidden_states, after.attentions)):
        assert_close(states, before.hidden_states, atol=1e-4, rtol=1e-4)
        assert len(attentions) == 4


def test_every_method_and_option(reducer):
    model = reduce_tokens(toy_dense(), reducer, keep_ratio=None, reducer_layers=[1, 3], drop_path_rate=0.1)
    assert model.decision_layers and model.config.stage_layers == [1, 3]
    assert model.vit.layers[3].drop_path.drop_prob == pytest.approx(0.1)
    assert not model.vit.reducer.training
    model.set_keep_ratio(0.5, toy_images(8))
    assert model(toy_images()).kept.float().mean() < 0.9


def test_weights_of_the_method_are_where_and_what_the_model_is():
    model = reduce_tokens(toy_dense().to(torch.bfloat16).train(), "dynamicvit")
    assert {parameter.dtype for parameter in model.vit.reducer.parameters()} == {torch.bfloat16}
    assert model.vit.reducer.training
    meta = reduce_tokens(toy_dense().to("meta"), "dynamicvit")
    assert all(parameter.is_meta for parameter in meta.vit.reducer.parameters())


def test_changes_made_meanwhile_stay():
    model = reduce_tokens(toy_dense(), "tome")
    model.config.id2label = {index: f"class {index}" for index in range(5)}
    model.set_attn_implementation("eager")
    model.config.auto_map = {"AutoModel": "of code that came with a checkpoint"}
    model.config.own = own = object()
    model.optimize_for_inference()
    restore(model)
    assert not hasattr(model.config, "auto_map") and model.config.own is own
    assert model.config.id2label[4] == "class 4" and model.config._attn_implementation == "eager"
    assert type(model.vit.layers[0].mlp.fc1) is nn.Linear


def test_copies_and_pickles():
    model = reduce_tokens(toy_dense(), "tome")
    expected = model(toy_images()).logits
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(toy_images()).logits, expected)
        file = io.BytesIO()
        torch.save(again.state_dict(), file)
        assert type(restore(again)) is type(toy_dense())


# ----- inside another


def llava(tower: str = "clip_vision_model") -> LlavaForConditionalGeneration:
    """A toy that reads the class token's patches of the block before the last."""
    torch.manual_seed(0)
    text = {"model_type": "llama", "vocab_size": 60, "hidden_size": 32, "intermediate_size": 64}
    text |= {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    select = "full" if tower == "siglip_vision_model" else "default"
    config = LlavaConfig(
        vision_config=SIZES | {"model_type": tower},
        text_config=text,
        image_token_index=5,
        vision_feature_select_strategy=select,
    )
    return LlavaForConditionalGeneration(config).eval()


def answer(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1] + [5] * 64 + [7, 8]]), pixel_values=toy_images(1)).logits


@pytest.mark.parametrize("tower", ["clip_vision_model", "siglip_vision_model", "dinov2"])
def test_the_tower_of_a_llava(tower, tmp_path):
    model = llava(tower)
    expected, state = answer(model), state_of(model)
    assert reduce_tokens(model, "idlevit", keep_ratio=0.5) is model and not model.model.vision_tower.config.full_grid
    assert model.config.vision_config is model.model.vision_tower.config
    reduced = answer(model)
    assert not torch.allclose(reduced, expected, atol=1e-3)
    model.save_pretrained(tmp_path)
    again, report = LlavaForConditionalGeneration.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert_close(answer(again.eval()), reduced, atol=1e-5, rtol=1e-5)
    assert type(again.model.vision_tower).__name__.startswith("Dynamic")
    assert_close(answer(restore(again)), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(answer(restore(model)), expected)
    assert state_of(model) == state


def test_a_tower_handed_in_alone_takes_its_host_with_it(tmp_path):
    """The configuration of the host is the tower's, so that what is saved is reduced."""
    model = llava()
    reduce_tokens(model.model.vision_tower, "evovit", keep_ratio=0.5, reducer_args={"grouping": "layer"})
    model.save_pretrained(tmp_path)
    again = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path).eval()
    assert_close(answer(again), answer(model), atol=1e-5, rtol=1e-5)


def test_a_host_that_builds_a_dense_tower_is_not_saved(tmp_path):
    torch.manual_seed(0)
    model = CLIPVisionModelWithProjection(CLIPVisionConfig(**SIZES)).eval()
    images = {"pixel_values": toy_images(2)}
    with torch.no_grad():
        expected = model(**images).image_embeds
    state = state_of(model)
    reduce_tokens(model, "tome")
    assert type(model.vision_model) is DynamicCLIPVisionModel
    with torch.no_grad():
        assert not torch.equal(model(**images).image_embeds, expected)
    for each in (model, copy.deepcopy(model)):
        with pytest.raises(ValueError, match="a CLIPVisionModelWithProjection always builds a dense image tower"):
            each.save_pretrained(tmp_path)
    restore(model).save_pretrained(tmp_path)
    assert state_of(model) == state
    with torch.no_grad():
        assert torch.equal(model(**images).image_embeds, expected)


def test_hosts_that_read_the_pooled_output_are_there():
    assert all(hasattr(transformers, name) for name in POOLED)


def test_a_host_that_reads_every_patch():
    model = ViTForMaskedImageModeling(ViTConfig(**SIZES, encoder_stride=4)).eval()
    masked = torch.zeros(1, 64, dtype=torch.bool)
    for reducer in ("evit", "tome", "idlevit"):
        with torch.no_grad():
            expected = restore(reduce_tokens(model, reducer, keep_ratio=1.0))(toy_images(1), masked).reconstruction
            found = reduce_tokens(model, reducer, keep_ratio=0.5)(toy_images(1), masked).reconstruction
        assert found.shape == (1, 3, 32, 32) and not torch.allclose(found, expected, atol=1e-3)
        assert model.vit.config.full_grid == (reducer != "idlevit")
        restore(model)


class Net(nn.Module):
    """A module of the user's own."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = native_model("dynamicdinov2", "model"), nn.Linear(32, 2)

    def forward(self, pixel_values):
        return self.head(self.encoder(pixel_values).pooler_output)


def test_a_module_of_ones_own():
    net = Net()
    before = net(toy_images())
    assert not torch.equal(reduce_tokens(net, "topk")(toy_images()), before)
    assert torch.equal(restore(net)(toy_images()), before)


def test_pipelines_run_unchanged():
    model = toy_dense()
    processor = transformers.ViTImageProcessorPil(size={"height": 32, "width": 32})
    classify = transformers.pipeline("image-classification", model=model, image_processor=processor)
    image = transformers.image_utils.PIL.Image.new("RGB", (40, 30), "red")
    with pytest.raises(
        ValueError, match=r"model is a ImageClassificationPipeline, not a model; hand in its \.model\."
    ):
        reduce_tokens(classify)
    dense = classify(image)
    reduce_tokens(classify.model, "tome", keep_ratio=1.0)
    assert type(classify.model) is DynamicViTForImageClassification
    for first, second in zip(classify(image), dense, strict=True):
        assert first["label"] == second["label"] and abs(first["score"] - second["score"]) < 1e-5


def test_the_trainer_of_transformers_runs_unchanged(tmp_path):
    images = toy_images(8)
    data = [{"pixel_values": image, "labels": index % 5} for index, image in enumerate(images)]
    arguments = transformers.TrainingArguments(tmp_path, max_steps=2, save_steps=2, use_cpu=True, report_to=[])
    trainer = transformers.Trainer(reduce_tokens(toy_dense(), "topk"), arguments, train_dataset=data)
    trainer.train()
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "checkpoint-2").eval()
    assert type(again) is DynamicViTForImageClassification
    with torch.no_grad():
        expected = trainer.model.eval()(images).logits
        assert_close(again(images).logits, expected, atol=1e-5, rtol=1e-5)
    arguments.max_steps = 3
    resumed = transformers.Trainer(reduce_tokens(toy_dense(), "topk"), arguments, train_dataset=data)
    assert resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2")).global_step == 3


def test_accelerate_takes_a_reduced_model():
    model = reduce_tokens(toy_dense(), "dynamicvit")
    expected = model(toy_images()).logits
    assert torch.equal(Accelerator(cpu=True).prepare(model)(toy_images()).logits, expected)
    assert_close(cpu_offload(model, torch.device("cpu"))(toy_images()).logits, expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="has a forward of its own"):
        restore(model)


@pytest.mark.slow
def test_compiled_afterwards():
    model = reduce_tokens(toy_dense(num_hidden_layers=2), "topk")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert_close(compiled(toy_images()).logits, model(toy_images()).logits, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="reduce first, then compile"):
        reduce_tokens(torch.compile(toy_dense()))


# ----- adapters


def adapted(model, **options) -> PeftModel:
    torch.manual_seed(5)
    config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options)
    return get_peft_model(model, config).eval()


@pytest.mark.parametrize("inner", [False, True])
def test_adapters_before_and_after_are_the_same(inner):
    images = {"pixel_values": toy_images()}
    after = adapted(reduce_tokens(toy_dense(), "tome", keep_ratio=0.5))
    before = adapted(toy_dense())
    dense = before(**images).logits
    handed = before.get_base_model() if inner else before
    assert reduce_tokens(handed, "tome", keep_ratio=0.5) is handed
    assert torch.equal(before(**images).logits, after(**images).logits)
    assert not torch.equal(before(**images).logits, dense)
    before(**images).logits.sum().backward()
    assert all(each.grad is not None for name, each in before.named_parameters() if "lora_" in name)
    restore(handed)
    assert torch.equal(before(**images).logits, dense)


def test_adapters_and_a_method_with_weights():
    with pytest.raises(ValueError, match=r"'dynamicvit' has weights of its own.*modules_to_save=\['reducer'\]"):
        reduce_tokens(adapted(toy_dense()), "dynamicvit")
    model = adapted(reduce_tokens(toy_dense(), "dynamicvit"), modules_to_save=["reducer"])
    assert model(toy_images()).kept.float().mean() < 0.9
    restore(model)
    assert not [name for name in model.state_dict() if "reducer" in name]
    model(toy_images())


def test_adapters_on_the_language_model_of_a_llava():
    model = get_peft_model(llava(), LoraConfig(r=2, target_modules=r".*language_model.*q_proj")).eval()
    before = answer(model)
    assert not torch.allclose(answer(reduce_tokens(model)), before, atol=1e-3)
    assert torch.equal(answer(restore(model)), before)
    assert not torch.allclose(answer(reduce_tokens(model, "idlevit")), before, atol=1e-3)
    assert torch.equal(answer(restore(model)), before)


# ----- refused, before anything has changed


def refuses(model, match: str, *args, **options) -> None:
    state = state_of(model) if hasattr(model, "config") else None
    with pytest.raises(ValueError, match=match):
        reduce_tokens(model, *args, **options)
    assert state is None or state_of(model) == state


def test_options_are_checked_first():
    model = toy_dense()
    refuses(model, "reducer is 'tom'; the methods are algm", "tom")
    refuses(model, "keep_ratio is 1.5; ratios must be in", "tome", 1.5)
    refuses(model, "reducer_arg is no option; .*did you mean reducer_args", "tome", reducer_arg={})
    refuses(model, r"r: options of the method are given in reducer_args=\{", "tome", r=8)
    refuses(model, "reducer_layers is .9.; it must be", "tome", reducer_layers=[9])
    refuses(native_model("dynamicdinov2", "model"), "drop_path_rate is the native one", drop_path_rate=0.1)
    assert type(model) is type(toy_dense())


def test_a_keep_ratio_that_nobody_asked_for_gives_way():
    """To images that decide, and to a count; one that was asked for does not."""
    for reducer, args, expected in (
        ("tome", {}, 0.7),
        ("tome", {"r": None}, 0.7),
        ("tome", {"r": 4}, None),
        ("asvit", {}, None),
        ("evovit", {}, 0.7),
    ):
        config = reduce_tokens(toy_dense(), reducer, reducer_args=args).config
        assert config.keep_ratio == expected and type(config.keep_ratio) in (float, type(None))
    for reducer, args in (("tome", {"r": 4}), ("asvit", {})):
        refuses(toy_dense(), r"keep_ratio is 0\.7", reducer, 0.7, reducer_args=args)


def test_what_is_reduced_already():
    model = reduce_tokens(toy_dense())
    refuses(model, r"the model is a DynamicViTForImageClassification already; call restore\(model\) first")
    refuses(nn.Sequential(model), "0 is a DynamicViTForImageClassification already")
    with pytest.raises(ValueError, match="ViTForImageClassification holds no model whose tokens are reduced"):
        restore(toy_dense())


def test_unknown_models():
    types = ", ".join(family.dense for family in ADOPTABLE.values())
    refuses(nn.Linear(1, 1), f"Linear holds no model whose tokens can be reduced.* of model types {types}")
    config = ViTMAEConfig(**SIZES, decoder_num_hidden_layers=1, decoder_hidden_size=16, decoder_num_attention_heads=2)
    refuses(ViTMAEModel(config), "is of model type 'vit_mae': ViT-MAE shuffles and masks the patches")
    backbone = transformers.PixioBackbone(transformers.PixioConfig(**SIZES))
    refuses(backbone, r"PixioBackbone holds no model .*; did you mean \w+\?")
    refuses("dinov2", "model is a str, not a model")
    two = nn.ModuleDict({"left": toy_dense(), "right": toy_dense()})
    refuses(two, "model holds left, right; hand in one of these")


def test_offloaded_and_hooked_models():
    refuses(cpu_offload(toy_dense(), torch.device("cpu")), "has a forward of its own, as Accelerate gives")


def test_exchanged_layers():
    model = toy_dense()
    model.vit.layers[1].attention.__class__ = type("FastAttention", (type(model.vit.layers[1].attention),), {})
    refuses(model, "block 1 has a FastAttention for a ViTAttention: it was exchanged")
    model = toy_dense()
    embeddings = model.vit.embeddings.patch_embeddings
    embeddings.weight = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    refuses(model, r"embeddings.patch_embeddings.weight is quantised \(torch.int8\)")


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated")
def test_quantised_linear_layers_that_are_called_can_be_adopted():
    model = torch.ao.quantization.quantize_dynamic(toy_dense(), {nn.Linear})
    before = model(toy_images()).logits
    assert_close(reduce_tokens(model, keep_ratio=1.0)(toy_images()).logits, before, atol=1e-5, rtol=1e-5)
    assert torch.equal(restore(model)(toy_images()).logits, before)


def test_checkpointing_that_cuts_gradients():
    model = toy_dense().train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
    refuses(model, "gradient checkpointing with use_reentrant=True cuts")
    model.gradient_checkpointing_enable()
    reduce_tokens(model, "dynamicvit")(toy_images()).logits.sum().backward()


def test_sharded_models(tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        inside, whole = toy_dense(), toy_dense()
        fully_shard(inside.vit.layers[0])
        fully_shard(whole)
        for model in (inside, whole):
            refuses(model, "sharded by FSDP, whose hooks would miss the exchange; reduce first, then shard")
        parallel = nn.parallel.DistributedDataParallel(toy_dense())
        refuses(parallel, r"inside DistributedDataParallel, .*; hand in its \.module")
    finally:
        torch.distributed.destroy_process_group()


def test_the_table_is_whole():
    assert len(ADOPTING) == len(MODELS) + 2 * len(PYRAMIDS) and len(CLASSIFIERS) < len(MODELS)
    assert all(ADOPTING[native_class(*each)] is our_class(*each) for each in MODELS)
    assert ADOPTING[transformers.ViTModel] is DynamicViTModel
    for key, kind in MODELS:  # a model around it asks for the defaults, to write what differs
        assert our_class(key, kind).config_class().num_patches


def test_which_methods_hand_out_every_patch(reducer):
    for options in ({}, {"grouping": "layer"}) if reducer == "evovit" else ({},):
        model = reduce_tokens(toy_dense(), reducer, keep_ratio=None, reducer_args=options)
        model.set_keep_ratio(0.5, toy_images(8))
        with torch.no_grad():
            lengths = {each.shape[1] for each in model(toy_images(), output_hidden_states=True).hidden_states}
        assert (lengths == {65}) == model.vit.reducer.returns_in_every_block
