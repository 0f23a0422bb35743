# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Toy encoders on the disk: of images and texts, and of images alone."""

from pathlib import Path

from native_toys import native_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil


WORDS = ["<unk>", "<pad>", "<s>", "</s>", "a", "photo", "of", "daisy", "rose", "cat", "house", "red", "dandelion"]


def save_processor(folder: Path) -> None:
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)


def save_two_towers(folder: Path, key: str = "dynamicclip") -> str:
    """A dense model of both towers, its image processor, and a tokenizer of `WORDS`."""
    native_model(key, "zero_shot").save_pretrained(folder)
    save_processor(folder)
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    inputs = ["input_ids", "attention_mask"]
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names).save_pretrained(folder)
    return str(folder)


def save_encoder(folder: Path) -> str:
    """A dense DINOv2 and its image processor."""
    native_model("dynamicdinov2", "model").save_pretrained(folder)
    save_processor(folder)
    return str(folder)
