# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Agglomerative clustering of the tokens of a batch, without a look at values on the host."""

import torch
from torch import Tensor


def cosine_distances(metric: Tensor, attended: Tensor | None = None) -> Tensor:
    """1 - cosine similarity of all pairs of tokens, infinite on the diagonal: `[B, N, N]` float32.

    Args:
        metric: `[B, N, d]`.
        attended: `[B, N]` bool or `None`; those that it excludes are nearest to each other, farthest from the rest.
    """
    with torch.autocast(metric.device.type, enabled=False):  # half precision makes ties
        metric = torch.nn.functional.normalize(metric.float(), dim=-1)
        distances = 1 - metric @ metric.transpose(1, 2)
    if attended is not None:
        distances = distances.masked_fill(~attended[:, None] & ~attended[:, :, None], -1.0)
        distances = distances.masked_fill(attended[:, None] ^ attended[:, :, None], 3.0)  # above any cosine distance
    positions = torch.arange(metric.shape[1], device=metric.device)
    return distances.masked_fill(positions[:, None] == positions, torch.inf)


def joined_distances(first: Tensor, second: Tensor, sizes: tuple[Tensor, ...], linkage: str) -> Tensor:
    """Distances `[B, N]` of two clusters joined, from those of each (Lance and Williams).

    `sizes` `[B, 1]` are the numbers of members, which weigh in `"average"`.
    """
    if linkage == "single":
        return torch.minimum(first, second)
    if linkage == "complete":
        return torch.maximum(first, second)
    return (first * sizes[0] + second * sizes[1]) / (sizes[0] + sizes[1])


def agglomerate(distances: Tensor, count: int, linkage: str) -> Tensor:
    """Join the two nearest clusters until `count` are left: `[B, N]` int64, the first member of each token's cluster.

    Args:
        distances: `[B, N, N]` symmetric, infinite on the diagonal.
        count: clusters of each image to leave.
        linkage: `"single"`, `"complete"` or `"average"`: the least, the greatest or the mean distance of members.
    """
    batch, length = distances.shape[:2]
    positions = torch.arange(length, device=distances.device)
    cluster, members, distances = positions.expand(batch, -1), torch.ones_like(distances[:, 0]), distances.clone()
    for _ in range(length - count):
        nearest = distances.amin(dim=2).argmin(dim=1, keepdim=True)  # [B, 1]; `argmin` of all is ten times as slow
        other = distances.gather(1, nearest[:, :, None].expand(-1, -1, length)).argmin(dim=2)
        stays, goes = torch.minimum(nearest, other), torch.maximum(nearest, other)
        pair = torch.cat((stays, goes), dim=1)  # [B, 2]
        rows = pair[:, :, None].expand(-1, -1, length)  # [B, 2, N]
        first, second = distances.gather(1, rows).unbind(dim=1)
        sizes = members.gather(1, pair)
        joined = joined_distances(first, second, sizes.split(1, dim=1), linkage).scatter(1, pair, torch.inf)
        changed = torch.stack((joined, torch.full_like(joined, torch.inf)), dim=1)  # of what goes nothing is left
        distances.scatter_(1, rows, changed).scatter_(2, rows.transpose(1, 2), changed.transpose(1, 2))
        members.scatter_(1, stays, sizes.sum(dim=1, keepdim=True))
        cluster = torch.where(cluster == goes, stays, cluster)
    return cluster
