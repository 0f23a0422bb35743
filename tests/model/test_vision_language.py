# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Vision-language models: a tower that hands out every patch, and one that hands over fewer tokens."""

import logging

import numpy as np
import pytest
import torch
import transformers
from methods import FEW, usual
from native_toys import SIZES, native_model
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.testing import assert_close
from toys import toy_images
from transformers import (
    CLIPImageProcessorPil,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    pipeline,
)

from hf_dynamicvit import fit_processor, reduce_tokens, restore
from hf_dynamicvit.model.spatial import follow_patches
from hf_dynamicvit.vision_language import READERS, WHOLE_GRID, count_image_tokens, find_reader


WORDS = ["<unk>", "<pad>", "<bos>", "</s>", "a", "<image>", "photo", "of", "cat", "\n", *"bcdefghij"]
TEXT = {"vocab_size": 60, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
TEXT |= {"num_attention_heads": 4, "num_key_value_heads": 4, "bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 1}


def toy_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "</s>", "unk_token": "<unk>"}
    more = {"additional_special_tokens": ["<image>"], "padding_side": "left"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names, **more)


def llava(**options) -> tuple:
    """A toy LLaVA, whose tower is a CLIP, and its processor."""
    torch.manual_seed(0)
    tower = SIZES | {"model_type": "clip_vision_model"}
    config = LlavaConfig(
        vision_config=tower, text_config=TEXT | {"model_type": "llama"}, image_token_index=5, **options
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    strategy = config.vision_feature_select_strategy
    processor = LlavaProcessor(
        CLIPImageProcessorPil(**size),
        toy_tokenizer(),
        patch_size=4,
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=1,
    )
    return sharpened(LlavaForConditionalGeneration(config).eval()), processor


def paligemma() -> tuple:
    """A toy PaliGemma, whose tower is a SigLIP, and its processor."""
    torch.manual_seed(0)
    tower = SIZES | {"model_type": "siglip_vision_model", "vision_use_head": False}
    text = TEXT | {"model_type": "gemma", "head_dim": 8}
    config = PaliGemmaConfig(vision_config=tower, text_config=text, image_token_index=5, projection_dim=32)
    images = SiglipImageProcessorPil(size={"height": 32, "width": 32}, image_seq_length=64)
    return sharpened(PaliGemmaForConditionalGeneration(config).eval()), PaliGemmaProcessor(images, toy_tokenizer())


def sharpened(model):
    """Weights of the towers large enough that tokens differ."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if (".vision_tower." in name or ".vision_model." in name) and parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    return model


BUILD = {"llava": llava, "paligemma": paligemma}


@pytest.fixture(params=BUILD)
def made(request) -> tuple:
    return BUILD[request.param]()


def pictures(count: int = 2) -> list[Image.Image]:
    pixels = np.random.default_rng(0).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]


def asked(processor, count: int = 2, text: str = "<image> a photo of cat") -> dict:
    return processor(images=pictures(count), text=[text] * count, return_tensors="pt", padding=True)


def logits(model, inputs) -> torch.Tensor:
    with torch.no_grad():
        return model(**inputs).logits


@pytest.mark.parametrize("drop", [False, True], ids=["every patch", "fewer tokens"])
def test_everything_kept_is_native(made, drop):
    model, processor = made
    inputs = asked(processor)
    expected = logits(model, inputs)
    said = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    reduce_tokens(model, "tome", keep_ratio=1.0, drop=drop)
    assert asked(fit_processor(processor, model))["input_ids"].shape == inputs["input_ids"].shape
    assert_close(logits(model, inputs), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), said)


@usual(reducer=FEW)
def test_every_method_hands_out_every_patch(made, reducer):
    model, processor = made
    inputs = asked(processor)
    expected = logits(model, inputs)
    reduce_tokens(model, reducer, keep_ratio=None)
    find_reader(model).vision_tower.set_keep_ratio(0.6, toy_images(8))
    found = logits(model, inputs)
    assert found.shape == expected.shape and not torch.allclose(found, expected, atol=1e-4)
    for index in range(2):  # none sees its batch mates
        alone = {name: each[index : index + 1] for name, each in inputs.items()}
        assert_close(logits(model, alone)[0], found[index], atol=1e-4, rtol=1e-4)
    restore(model)
    assert torch.equal(logits(model, inputs), expected)


@pytest.mark.parametrize("reducer", ["tome", "topk", "evit"])
def test_the_language_model_reads_fewer_tokens(made, reducer, tmp_path):
    model, processor = made
    native = asked(processor)
    before, length = logits(model, native), native["input_ids"].shape[1]
    assert count_image_tokens(model) == (native["input_ids"][0] == 5).sum()
    reduce_tokens(model, reducer, keep_ratio=0.6, drop=True)
    with pytest.raises(ValueError, match="Image features and image tokens do not match"):
        logits(model, native)
    inputs = asked(fit_processor(processor, model))
    count = count_image_tokens(model)
    assert (inputs["input_ids"] == 5).sum(1).tolist() == [count] * 2 and 10 < count < 60
    assert inputs["input_ids"].shape[1] == length - 64 + count
    found = logits(model, inputs)
    for index in range(2):
        alone = {name: each[index : index + 1] for name, each in inputs.items()}
        assert_close(logits(model, alone)[0], found[index], atol=1e-4, rtol=1e-4)
    said = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert said.shape == (2, inputs["input_ids"].shape[1] + 4) or 3 in said
    for each in (model, processor):
        each.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    assert_close(logits(again, asked(type(processor).from_pretrained(tmp_path, use_fast=True))), found)
    tower = find_reader(again).vision_tower
    tower.set_keep_ratio(0.8)
    assert count_image_tokens(again) > count
    logits(again, asked(fit_processor(processor, again)))
    fit_processor(processor, restore(model))
    assert torch.equal(asked(processor)["input_ids"], native["input_ids"])
    assert torch.equal(logits(model, native), before)


@pytest.mark.parametrize("layer, strategy", [(-1, "default"), (2, "full"), (-4, "default"), (1, "full")])
def test_the_block_that_a_llava_reads_says_how_many(layer, strategy):
    model, processor = llava(vision_feature_layer=layer, vision_feature_select_strategy=strategy)
    reduce_tokens(model, "topk", keep_ratio=0.5, reducer_layers=[1, 2], drop=True)
    counts = {-1: 16, 2: 32, -4: 64, 1: 64}
    extra = 1 if strategy == "full" else 0
    assert count_image_tokens(model) == counts[layer] + extra
    assert logits(model, asked(fit_processor(processor, model))).isfinite().all()


def ask(model, processor, count: int = 2) -> list[str]:
    answer = pipeline("image-text-to-text", model=model, processor=processor)
    texts = ["<image> a photo of cat"] * count
    options = {"max_new_tokens": 5, "do_sample": False}
    found = answer(images=[[each] for each in pictures(count)], text=texts, generate_kwargs=options, batch_size=count)
    return [each["generated_text"] if isinstance(each, dict) else each[0]["generated_text"] for each in found]


def test_the_pipeline(made):
    model, processor = made
    expected = ask(model, processor)
    assert ask(reduce_tokens(model, "tome", keep_ratio=1.0), processor) == expected
    assert len(ask(reduce_tokens(restore(model), "tome", keep_ratio=0.5), processor)) == 2
    reduce_tokens(restore(model), "tome", keep_ratio=0.5, drop=True)
    assert len(ask(model, fit_processor(processor, model))) == 2


@pytest.mark.parametrize("reducer", ["tome", "topk", "idlevit", "evit"])
@pytest.mark.parametrize("key", ["dynamicclip", "dynamicsiglip", "dynamicdinov2", "dynamicyolos"])
def test_states_of_a_full_grid_are_those_of_the_patches(key, reducer):
    """By hand, from the tokens; what the grid has for a patch does not depend on who asks."""
    native = native_model(key, "model")
    with torch.no_grad():
        expected = native(toy_images(2), output_hidden_states=True)
        model = reduce_tokens(native, reducer, keep_ratio=0.5, full_grid=True)
        found = model(toy_images(2), output_hidden_states=True)
        model.config.full_grid = False
        tokens = model(toy_images(2), output_tokens=True).tokens
    by_hand = follow_patches(tokens, range(5), model.reducer)
    for one, hand, dense in zip(found.hidden_states, by_hand, expected.hidden_states, strict=True):
        assert torch.equal(one, model.native_order(hand)) and one.shape == dense.shape
    assert_close(found.hidden_states[0], expected.hidden_states[0], atol=1e-5, rtol=1e-5)
    assert found.last_hidden_state.shape == expected.last_hidden_state.shape and found.tokens is None


def test_a_full_grid_in_a_graph_a_tuple_and_a_map():
    model = reduce_tokens(native_model("dynamicdinov2", "model"), "tome", keep_ratio=0.5, full_grid=True)
    images = toy_images(2)
    with torch.no_grad():
        outputs = model(images, output_hidden_states=True)
        assert torch.equal(model(images, return_dict=False)[0], outputs.last_hidden_state)
        placed = model.scatter_to_grid(outputs).flatten(2).transpose(1, 2)
        assert_close(placed, outputs.last_hidden_state[:, 1:])
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        assert_close(compiled(images).last_hidden_state, outputs.last_hidden_state, atol=1e-5, rtol=1e-5)


def test_methods_that_leave_patches_behind_say_so(warnings_text):
    logging.Logger.warning_once.cache_clear()  # of Transformers: other tests have said it
    reduce_tokens(llava()[0], "tome")
    assert "leaves out" not in warnings_text()
    reduce_tokens(llava()[0], "topk")
    assert "reducer is 'topk': in the image features, a patch that it leaves out keeps the features" in warnings_text()


# ----- what is refused


def test_models_that_read_tokens_are_there():
    assert all(hasattr(transformers, name) for name in (*READERS, *WHOLE_GRID))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"reducer": "idlevit"}, "reducer 'idlevit' brings every token back, and none would be dropped"),
        ({"reducer": "asvit", "keep_ratio": None}, "with reducer 'asvit' images keep different numbers of tokens"),
    ],
)
def test_methods_that_leave_no_number_are_refused(made, options, message):
    with pytest.raises(ValueError, match=message):
        reduce_tokens(made[0], drop=True, **options)
    assert not hasattr(find_reader(made[0]).vision_tower, "reducer")


def test_models_that_cannot_read_fewer_are_refused():
    with pytest.raises(
        ValueError, match="for models that hand image tokens to a language model in a row, here is none"
    ):
        reduce_tokens(native_model("dynamicclip", "model"), drop=True)
    several, processor = llava(vision_feature_layer=[1, 2])
    with pytest.raises(ValueError, match="vision_feature_layer lists several blocks"):
        reduce_tokens(several, "tome", drop=True)
    assert logits(reduce_tokens(several, "tome"), asked(processor)).isfinite().all()
    with pytest.raises(ValueError, match="CLIPVisionModel holds none of LlavaModel, PaliGemmaModel"):
        fit_processor(processor, native_model("dynamicclip", "model"))
    with pytest.raises(ValueError, match="CLIPImageProcessorPil has no number of image tokens that can be set"):
        fit_processor(processor.image_processor, llava()[0])


def llava_next():
    torch.manual_seed(0)
    tower = SIZES | {"model_type": "clip_vision_model"}
    config = transformers.LlavaNextConfig(
        vision_config=tower,
        text_config=TEXT | {"model_type": "llama"},
        image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]],
    )
    return sharpened(transformers.LlavaNextForConditionalGeneration(config).eval())


def test_patches_are_laid_out_on_the_grid_of_the_image(tmp_path):
    """LLaVA-NeXT reads several tiles of an image."""
    model, sizes = llava_next(), torch.tensor([[32, 60], [60, 32]])
    tiles = toy_images(6).view(2, 3, 3, 32, 32)
    options = {"image_sizes": sizes, "vision_feature_select_strategy": "default", "vision_feature_layer": -2}

    def features(each) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([*each.model.get_image_features(tiles, **options).pooler_output])

    expected = features(model)
    assert_close(features(reduce_tokens(model, "tome", keep_ratio=1.0)), expected, atol=1e-5, rtol=1e-5)
    found = features(reduce_tokens(restore(model), "tome", keep_ratio=0.5))
    assert found.shape == expected.shape and not torch.allclose(found, expected, atol=1e-3)
    model.save_pretrained(tmp_path)
    again = transformers.LlavaNextForConditionalGeneration.from_pretrained(tmp_path).eval()
    assert_close(features(again), found, atol=1e-5, rtol=1e-5)


def test_why_the_grid_must_be_whole():
    with pytest.raises(
        ValueError, match=r"a LlavaNextModel cannot read fewer image tokens: it lays the patches .* grid"
    ):
        reduce_tokens(llava_next(), drop=True)


# ----- towers of Idefics3 and SmolVLM, whose connector folds squares of patches


def folding(name: str):
    """A toy model that reads 16 tokens of an image of 64 patches."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(
        vision_config=dict(SIZES), text_config=TEXT | {"model_type": "llama"}, image_token_id=5, scale_factor=2
    )
    return sharpened(getattr(transformers, f"{name}ForConditionalGeneration")(config).eval())


def folding_inputs(count: int = 2) -> dict:
    ids = torch.tensor([[2] + [5] * 16 + [7, 8]] * count)
    return {"input_ids": ids, "pixel_values": toy_images(count)[:, None], "attention_mask": torch.ones_like(ids)}


@pytest.fixture(params=["Idefics3", "SmolVLM"])
def folds(request):
    return folding(request.param)


def test_a_folding_model_reads_every_patch(folds):
    inputs = folding_inputs()
    expected = logits(folds, inputs)
    said = folds.generate(**inputs, max_new_tokens=4, do_sample=False)
    assert_close(logits(reduce_tokens(folds, "tome", keep_ratio=1.0), inputs), expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(folds.generate(**inputs, max_new_tokens=4, do_sample=False), said)
    for reducer in ("tome", "topk", "idlevit", "asvit"):
        tower = reduce_tokens(restore(folds), reducer, keep_ratio=None).model.vision_model
        tower.set_keep_ratio(0.5, toy_images(8))
        found = logits(folds, inputs)
        assert found.shape == expected.shape and not torch.allclose(found, expected, atol=1e-4)
        alone = {name: each[1:] for name, each in inputs.items()}
        assert_close(logits(folds, alone)[0], found[1], atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(restore(folds), inputs), expected)


def test_a_folding_model_cannot_read_fewer(folds, tmp_path):
    with pytest.raises(
        ValueError, match="cannot read fewer image tokens: it folds squares of the grid into one token"
    ):
        reduce_tokens(folds, drop=True)
    reduce_tokens(folds, "tome")
    with pytest.raises(ValueError, match="always builds a dense image tower"):
        folds.save_pretrained(tmp_path)
    restore(folds).save_pretrained(tmp_path)


def test_padding_of_images_is_dropped_first(folds):
    """Patches of padding take part in nothing, as natively, and others have the native positions."""
    inputs = folding_inputs()
    mask = torch.ones(2, 1, 32, 32, dtype=torch.bool)
    mask[1, :, :, 16:] = False
    inputs["pixel_attention_mask"] = mask
    tower = folds.model.vision_model
    patches = mask[:, 0, ::4, ::4].contiguous()
    with torch.no_grad():
        expected = tower(toy_images(2), patch_attention_mask=patches).last_hidden_state
        reduce_tokens(folds, "tome", keep_ratio=1.0)
        found = tower(toy_images(2), patch_attention_mask=patches).last_hidden_state
        assert_close(found[patches.flatten(1)], expected[patches.flatten(1)], atol=1e-5, rtol=1e-5)
        tower.set_keep_ratio(0.5)
        outputs = tower(toy_images(2), patch_attention_mask=patches)
    assert outputs.kept[1, -1].any() and not outputs.kept[1, -1].view(8, 8)[:, 4:].any()
    assert logits(folds, inputs).isfinite().all()
