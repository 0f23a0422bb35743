# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Look at what an encoder does with an image: what it keeps, and how alike its embedding is to texts and images."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer

from ..adoption import restore
from ..checkpoints.checkpoint import Checkpoint, read_checkpoint
from ..model.reducers import REDUCERS
from .viewer import Viewer


# In the words of CLIP's zero-shot classifier.
TEMPLATE = "a photo of a {}"

# Files that hold the words of a tokenizer; without one Transformers makes a tokenizer that knows no word.
VOCABULARIES = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


class EncoderViewer(Viewer):
    """A sparse encoder, or a sparse model of an image and a text tower, its dense counterpart and image processor.

    Args:
        model: a sparse base model, or both towers; put into eval mode.
        processor: its image processor.
        dense: the dense model of the same weights.
        untrained: the method's own parameters are new on these weights.
        tokenizer: of the text tower, where there is one.

    Attributes:
        labels: names of what embeddings are compared with, in the order of the probabilities of a `View`.
    """

    def __init__(self, model: Any, processor: Any, dense: Any, untrained: bool = False, tokenizer: Any = None):
        self.model, self.processor, self.dense = model.eval(), processor, dense.eval()
        self.untrained, self.detects, self.dense_order = untrained, False, None
        self.tokenizer, self.labels = tokenizer, [""]
        self._tell: Callable[[Tensor], Tensor] | None = None

    @classmethod
    def load_encoder(cls, source: str, reducer: str | None = None) -> "EncoderViewer":
        """Load the encoder in `source` with its image processor, in float32.

        Args:
            source: folder or Hub name of a base model, or of a model of both towers, sparse or dense.
            reducer: another method on the same weights (default: its own; of a dense model, `"dynamicvit"`).

        Raises:
            ValueError: there is no such method, no such checkpoint, or it is of another family, lacks weights, an
                image processor or a tokenizer.
        """
        checkpoint = read_checkpoint(source)
        wanted = reducer or checkpoint.reducer or "dynamicvit"
        if wanted not in REDUCERS:
            raise ValueError(f"reducer is {wanted!r}; it can be {', '.join(REDUCERS)}.")
        model, untrained = checkpoint.load_reduced(wanted)
        dense = restore(checkpoint.load_reduced(checkpoint.reducer or "topk")[0])
        tokenizer = read_tokenizer(checkpoint) if hasattr(model, "get_text_features") else None
        return cls(model, checkpoint.processor, dense, untrained, tokenizer)

    def run(self, model: Any, pixels: Tensor, **options: Any) -> Any:
        call = model.get_image_features if hasattr(model, "get_image_features") else model
        outputs = call(pixel_values=pixels, interpolate_pos_encoding=True, **options)
        if outputs.pooler_output is None:
            raise ValueError(f"a {type(model).__name__} has no pooled output, which is what is compared.")
        return outputs

    @torch.inference_mode()
    def embed_dense(self, image: Image.Image) -> Tensor:
        """Embed an image with the dense model: `[D]`, of length 1."""
        assert self.dense is not None
        pixels = self.pixel_values([image]).to(self.dense.device, self.dense.dtype)
        return as_unit(self.run(self.dense, pixels).pooler_output)[0]

    def compare_with_images(self, embeddings: Tensor, names: Sequence[str]) -> None:
        """Let probabilities be cosines to `embeddings` `[K, D]` from now on."""
        self.labels, self._tell = [*names], partial(torch.matmul, embeddings)

    @torch.inference_mode()
    def compare_with_texts(self, labels: Sequence[str]) -> None:
        """Let probabilities be those of `labels`, as `a photo of a ...`, from now on; the text tower stays dense.

        Raises:
            ValueError: the model has no text tower.
        """
        if self.tokenizer is None:
            raise ValueError(f"a {type(self.model).__name__} has no text tower.")
        tokens = self.tokenizer(
            [TEMPLATE.format(label) for label in labels],
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        texts = as_unit(self.model.get_text_features(**tokens.to(self.model.device)).pooler_output)
        self.labels, self._tell = [*labels], partial(classify, self.model, texts)

    def predictions(self, outputs: Any, order: Tensor | None = None) -> tuple[Tensor, None]:
        """Return what the embeddings of a batch say, `[N, K]`: probabilities of texts, or cosines to images."""
        assert self._tell is not None, "nothing to compare with"
        return torch.stack([self._tell(vector) for vector in as_unit(outputs.pooler_output)]), None


def classify(model: Any, texts: Tensor, vector: Tensor) -> Tensor:
    """Return the probabilities `[K]` that `model`, of two towers, natively gives to `texts` `[K, D]` for an image.

    Where there is a bias (SigLIP) every text is judged for itself, else one of them is true.
    """
    scale = model.logit_scale.detach().cpu()
    if hasattr(model, "max_log_logit_scale"):  # AIMv2
        scale = scale.clamp(0.0, model.max_log_logit_scale)
    logits = texts @ vector * scale.exp()
    if hasattr(model, "logit_bias"):
        return (logits + model.logit_bias.detach().cpu()).sigmoid()
    return logits.softmax(dim=-1)


def as_unit(vectors: Tensor) -> Tensor:
    """Scale embeddings `[N, D]` to length 1, as float32 on the CPU."""
    return torch.nn.functional.normalize(vectors.float().cpu(), dim=-1)


def read_tokenizer(checkpoint: Checkpoint) -> Any:
    """Load the tokenizer of a model with a text tower.

    Raises:
        ValueError: it has none.
    """
    folder = Path(checkpoint.source)
    if folder.is_dir() and not any((folder / name).is_file() for name in VOCABULARIES):
        raise ValueError(
            f"{folder} has no tokenizer, which its text tower needs; save that of the dense checkpoint there: "
            "AutoTokenizer.from_pretrained(DENSE).save_pretrained(FOLDER)."
        )
    return AutoTokenizer.from_pretrained(checkpoint.source)
