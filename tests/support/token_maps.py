# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Which original tokens are in which token, as golden cases have it."""

import torch
from torch import Tensor


def source_map(owner: Tensor, num_prefix: int) -> Tensor:
    """Position in the sequence of every original token, the prefix included: `[B, P + num_patches]`."""
    prefix = torch.arange(num_prefix).expand(len(owner), -1)
    return torch.cat((prefix, owner + num_prefix), dim=1)


def groups(owner: Tensor) -> Tensor:
    """Which patches are in one token, `[..., N, N]`: for methods whose order of tokens says nothing."""
    return (owner[..., :, None] == owner[..., None, :]) & (owner >= 0)[..., None]
