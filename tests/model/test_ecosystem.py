# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What people combine the models with."""

import inspect

import pytest
import torch
from datasets import Dataset, Image
from methods import FEW, usual
from PIL import Image as PILImage
from torch.testing import assert_close
from toys import assert_same_model, assert_same_weights, toy_images, toy_model
from trainers import ToyData, arguments, trainer_for
from transformers import AutoModelForImageClassification, ViTForImageClassification, ViTModel, pipeline
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer
from transformers.processing_utils import Unpack
from transformers.utils.generic import TransformersKwargs

from hf_dynamicvit import (
    DynamicDeiTForImageClassification,
    DynamicViTForImageClassification,
    DynamicViTModel,
    DynamicViTTrainer,
)
from hf_dynamicvit.data.transforms import ImageTransform
from hf_dynamicvit.model.modeling_dynamicvit import DynamicViTAttention, DynamicViTLayer


@usual(reducer=["asvit", "dynamicvit", "tome"])
@pytest.mark.parametrize(
    "options",
    [{"device_map": "auto"}, {"device_map": "cpu"}, {"low_cpu_mem_usage": True}, {"dtype": torch.float32}],
    ids=lambda options: next(iter(options)),
)
def test_ways_of_loading(tmp_path, reducer, options):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    model.save_pretrained(tmp_path)
    loaded = DynamicViTForImageClassification.from_pretrained(tmp_path, **options).eval()
    assert_same_model(loaded, model)


@usual(reducer=["dynamicvit"])
@usual(reducer=FEW, dtype=["bfloat16"])
@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_loading_in_half_precision(tmp_path, reducer, dtype):
    model = toy_model(reducer=reducer, keep_ratio=1.0)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    model = model.to(torch.bfloat16)
    assert_same_weights(loaded, model)
    actual, expected = (each(toy_images().bfloat16()).logits for each in (loaded, model))
    assert_close(actual, expected, atol=0.05, rtol=0.05)


def test_what_blocks_hand_on_moves_between_devices(reducer):
    model = toy_model(reducer=reducer)
    tokens = model.vit.embed(toy_images())
    for index, layer in enumerate(model.vit.layers[:2]):
        _, tokens = layer(tokens.hidden, tokens, model.vit.reducer, index)
    moved = tokens.to("meta")
    assert moved.hidden.device.type == moved.owner.device.type == "meta" and moved.num_prefix == 1
    for decision in moved.decisions:
        assert decision.kept.device.type == "meta" and decision.layer >= 0
    if tokens.waiting is not None:
        assert moved.waiting.hidden.device.type == "meta"


@pytest.mark.parametrize("method", ["dynamicvit", "evit", "idlevit", "tome"])
def test_lora_on_the_backbone(tmp_path, method):
    """Adapters of a sparse model: trained, merged, saved; scores see the adapted keys."""
    peft = pytest.importorskip("peft")
    model = toy_model(reducer=method)
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapters = peft.LoraConfig(r=4, target_modules=["q_proj", "k_proj", "v_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(model, adapters).eval()
    adapted.base_model.model.vit.layers[1].attention.k_proj.lora_B["default"].weight.data.mul_(3.0)
    with torch.no_grad():
        outputs = adapted(toy_images())
    loss = adapted.train()(toy_images(), labels=torch.tensor([0, 1, 2])).loss
    loss.backward()
    trained = {name for name, parameter in adapted.named_parameters() if parameter.grad is not None}
    assert trained and all("lora_" in name for name in trained)
    merged = adapted.eval().merge_and_unload()
    result = merged(toy_images())
    assert torch.equal(result.kept, outputs.kept)
    assert_close(result.logits, outputs.logits, atol=1e-4, rtol=1e-4)
    assert not torch.equal(merged.vit.layers[1].attention.k_proj.weight, start["vit.layers.1.attention.k_proj.weight"])
    merged.save_pretrained(tmp_path)
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    assert_same_model(again, merged)


def test_streamed_data(tmp_path):
    images = [PILImage.effect_noise((40, 36), 50 + index) for index in range(12)]
    data = Dataset.from_dict({"image": images, "label": [index % 5 for index in range(12)]})
    data = data.cast_column("image", Image()).to_iterable_dataset()
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    transform = ImageTransform(processor, crop=0.5, flip=True)
    stream = data.map(transform, batched=True, batch_size=4, remove_columns=["image", "label"])
    trainer = DynamicViTTrainer(toy_model(), arguments(tmp_path, max_steps=3), train_dataset=stream)
    trainer.train()
    assert trainer.state.global_step == 3


@usual(reducer=[*FEW, "evovit"])
def test_a_new_number_of_classes(tmp_path, reducer):
    toy_model(reducer=reducer).save_pretrained(tmp_path)
    model, report = DynamicViTForImageClassification.from_pretrained(
        tmp_path, num_labels=3, ignore_mismatched_sizes=True, output_loading_info=True
    )
    heads = {"classifier.weight", "classifier.bias"}
    heads |= {f"vit.reducer.class_head.{kind}" for kind in ("weight", "bias")} if reducer == "evovit" else set()
    assert {entry[0] for entry in report["mismatched_keys"]} == heads
    assert model(toy_images()).logits.shape == (3, 3)


def test_sharded_checkpoints(tmp_path):
    model = toy_model()
    model.save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = DynamicViTForImageClassification.from_pretrained(tmp_path).eval()
    assert_same_model(again, model)


def test_flash_attention_without_its_package_is_refused(tmp_path):
    toy_model().save_pretrained(tmp_path)
    with pytest.raises((ImportError, ValueError), match=r"[Ff]lash"):
        DynamicViTForImageClassification.from_pretrained(tmp_path, attn_implementation="flash_attention_2")


@usual(reducer=["asvit", "dynamicvit", "tome"])
@pytest.mark.slow
def test_bf16_training(tmp_path, reducer):
    trainer = trainer_for(tmp_path, toy_model(reducer=reducer), bf16=True)
    trainer.train()
    losses = [value for entry in trainer.state.log_history for name, value in entry.items() if name.startswith("loss")]
    assert losses and all(torch.tensor(value).isfinite() for value in losses)


def test_a_dataset_of_ones_own(tmp_path):
    trainer = trainer_for(tmp_path)
    predictions = trainer.predict(ToyData(7)).predictions
    assert predictions.shape == (7, 5)


def test_forward_signature(reducer):
    names = list(inspect.signature(type(toy_model(reducer=reducer)).forward).parameters)
    assert names[:5] == ["self", "pixel_values", "labels", "interpolate_pos_encoding", "attention_mask"]


def test_forward_says_what_it_takes_besides():
    """By the annotation of native forwards Transformers sees that `output_attentions` and the like are taken."""
    native = (ViTForImageClassification, ViTModel, ViTLayer, ViTAttention)
    ours = (DynamicViTForImageClassification, DynamicViTModel, DynamicViTLayer, DynamicViTAttention)
    annotations = [inspect.signature(each.forward).parameters["kwargs"].annotation for each in native + ours]
    deit = inspect.signature(DynamicDeiTForImageClassification.forward).parameters["kwargs"].annotation
    assert {*annotations, deit} == {Unpack[TransformersKwargs]}


@usual(reducer=FEW)
def test_inference_repeats_to_the_bit_and_sdpa_equals_eager(reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    first = model(toy_images())
    assert torch.equal(model(toy_images()).logits, first.logits)
    model.set_attn_implementation("eager")
    eager = model(toy_images())
    assert torch.equal(eager.kept, first.kept)
    assert_close(eager.logits, first.logits, atol=1e-5, rtol=1e-5)


@usual(reducer=FEW)
def test_pipeline_over_a_folder_of_images(tmp_path, reducer):
    model = toy_model(reducer=reducer, keep_ratio=0.6)
    model.save_pretrained(tmp_path / "model")
    processor = ViTImageProcessorPil(size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path / "model")
    files = []
    for index, size in enumerate([(40, 36), (64, 64), (33, 90), (32, 32), (200, 50)]):
        files.append(tmp_path / f"{index}.{'png' if index % 2 else 'jpg'}")
        PILImage.effect_noise(size, 40 + 10 * index).convert("RGB").save(files[-1])
    classify = pipeline("image-classification", model=str(tmp_path / "model"))
    together = classify([str(file) for file in files], batch_size=4, top_k=1)
    for file, result in zip(files, together, strict=True):
        inputs = processor(PILImage.open(file), return_tensors="pt")
        with torch.no_grad():
            expected = model(**inputs).logits.argmax(-1).item()
        assert result[0]["label"] == model.config.id2label[expected]
