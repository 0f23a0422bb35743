# Copyright 2026 The hf_dynamicvit authors. LV-ViT (NeurIPS 2021): https://arxiv.org/abs/2104.10858
"""Configuration of a dense LV-ViT, which Transformers lacks."""

from huggingface_hub.dataclasses import strict
from transformers.models.vit.configuration_vit import ViTConfig


@strict
class LVViTConfig(ViTConfig):
    """A `ViTConfig` for LV-ViT; the defaults are those of LV-ViT-S.

    Args:
        stem_width: channels of the three convolutions ahead of the patch projection (published: 64, of L 128).
        branch_divisor: what attention and MLP add is divided by it (published: 1 of T, 2 of S and M, 3 of L).
        **kwargs: every field of `ViTConfig`; the patch size is even, as the first convolution halves the image.
    """

    model_type = "lvvit"

    hidden_size: int = 384
    num_hidden_layers: int = 16
    num_attention_heads: int = 6
    intermediate_size: int = 1152
    layer_norm_eps: float = 1e-5
    qkv_bias: bool = False
    stem_width: int = 64
    branch_divisor: float | int = 2.0

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        self.validate_stem()

    def validate_stem(self):
        """Refuse sizes that the convolutions cannot have; run again by `save_pretrained`.

        Raises:
            ValueError: names the value and what is allowed.
        """
        sizes = [self.patch_size] if isinstance(self.patch_size, int) else [*self.patch_size]
        if any(size % 2 for size in sizes):
            raise ValueError(f"patch_size is {self.patch_size}; that of an LV-ViT is even.")
        if not 1 <= self.stem_width <= 65536:
            raise ValueError(f"stem_width is {self.stem_width}; it must be from 1 to 65536.")
        if self.branch_divisor <= 0:
            raise ValueError(f"branch_divisor is {self.branch_divisor}; it must be above 0.")


__all__ = ["LVViTConfig"]
