# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""What is added to the logits of a key as channels of query and key, so that kernels without a mask can attend.

Flash kernels take no additive mask. A number b added to all logits of one key is q . k * scaling of one more channel
that has 1 in every query and b / scaling in that key.
"""

import torch
from torch import Tensor


# Flash kernels take heads of a multiple of so many channels.
MULTIPLE = 8


def can_fold(states: Tensor, implementation: str) -> bool:
    """Return whether a kernel without a mask would serve `states`, and gains by it: half precision on a GPU."""
    half = states.dtype in (torch.float16, torch.bfloat16)
    return states.device.type == "cuda" and half and implementation != "eager"


def fold(
    query: Tensor, key: Tensor, value: Tensor, key_bias: Tensor, num_prefix: int, scaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return query, key and value whose plain attention is that with `key_bias` added to the logits.

    The first `d` channels of what comes out are the context; the others are 0. In half precision two channels hold
    the bias, what the first rounds off in the second.

    Args:
        query, key, value: `[B, H, T, d]`; query may have fewer rows.
        key_bias: `[B, N]` float32, of the tokens behind the `num_prefix` first.
        num_prefix: P, tokens to which nothing is added.
        scaling: of the logits.
    """
    width = key.shape[-1]
    more = -(width + 2) % MULTIPLE + 2
    wanted = torch.nn.functional.pad(key_bias, (num_prefix, 0)) / scaling  # [B, T]
    coarse = wanted.to(key.dtype)
    channels = torch.stack((coarse, (wanted - coarse.to(wanted.dtype)).to(key.dtype)), dim=-1)
    channels = torch.nn.functional.pad(channels, (0, more - 2))[:, None].expand(-1, key.shape[1], -1, -1)
    ones = query.new_ones(*query.shape[:-1], 2)
    query = torch.cat((query, torch.nn.functional.pad(ones, (0, more - 2))), dim=-1)
    return query, torch.cat((key, channels), dim=-1), torch.nn.functional.pad(value, (0, more))
