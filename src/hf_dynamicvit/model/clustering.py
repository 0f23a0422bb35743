# Copyright 2026 The hf_dynamicvit authors. Licensed under the Apache License, Version 2.0.
"""Agglomerative clustering of the tokens of a batch, without a look at values on the host."""

import torch
from torch import Tensor

from .tokens import stable_argsort


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


# stands for the distance to what the user's mask excludes; finite, since it is added and compared
FAR = 1e6


def scaled_distances(features: Tensor, attended: Tensor | None = None) -> Tensor:
    """Return the root mean square difference of all pairs of tokens: `[B, N, N]` float32.

    Args:
        features: `[B, N, D]`.
        attended: `[B, N]` bool or `None`; those that it excludes are `FAR` from all.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features.float()
        norms = features.square().sum(dim=-1)
        squares = norms[:, :, None] + norms[:, None] - 2 * features @ features.transpose(1, 2)
        distances = (squares.clamp(min=0) / features.shape[-1]).sqrt()
    if attended is not None:
        distances = distances.masked_fill(~(attended[:, :, None] & attended[:, None]), FAR)
    positions = torch.arange(features.shape[1], device=features.device)
    return distances.masked_fill(positions[:, None] == positions, 0.0)


def density_peaks(distances: Tensor, count: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Find the tokens that are dense and far from any denser one, and the nearest of them to each.

    The density is exp(-mean squared distance to the nearest `neighbours`); peaks have the highest product of it and
    the distance to the nearest denser token, or for the densest to the farthest (density peak clustering, DPC-KNN).

    Args:
        distances: `[B, N, N]` symmetric, 0 on the diagonal.
        count: peaks of each image.
        neighbours: all others, where there are fewer.

    Returns:
        `[B, count]` positions of the peaks, ascending; `[B, N]` which of the `count` is nearest, for a peak itself.
    """
    length = distances.shape[1]
    if length > 1:
        nearest = distances.topk(min(neighbours, length - 1) + 1, dim=2, largest=False).values[..., 1:]
        density = -nearest.square().mean(dim=2)  # of its logarithm, which does not underflow
    else:
        density = distances[..., 0]
    positions = torch.arange(length, device=distances.device)
    rank = stable_argsort(stable_argsort(density, descending=True))  # of two alike the first is denser
    denser = rank[:, None] < rank[:, :, None]
    to_denser = distances.masked_fill(~denser, torch.inf).amin(dim=2)
    to_denser = torch.where(rank == 0, distances.amax(dim=2), to_denser)
    height = density + to_denser.clamp(min=torch.finfo(to_denser.dtype).tiny).log()
    peaks = height.topk(count, dim=1).indices.sort(dim=1).values
    to_peaks = distances.gather(2, peaks[:, None].expand(-1, length, -1))
    itself = peaks[:, None] == positions[:, None]
    return peaks, to_peaks.masked_fill(itself, -1.0).argmin(dim=2)
