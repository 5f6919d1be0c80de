"""The permutohedral lattice in tensors: Gaussian filters in a few dimensions (Adams, Baek, Davis 2010), on any device.

pydensecrf keeps the lattice in a hash table and goes through it point by point. Here its vertices are determined by
sorting packed keys, and two sparse matrices map values to and from them: a photo takes a few large operations.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ppl.crf.sparse import csr


class Lattice:
    """A Gaussian filter of unit deviation over points in feature space.

    Each point lies in a simplex of d + 1 vertices: its values go to these by barycentric weights ("splat"), are blurred
    along d + 1 axes, and come back ("slice"). The filter is normalised symmetrically: each value is divided by the root
    of the sum of weights at both its ends, as pydensecrf does.
    """

    def __init__(self, features: Tensor) -> None:
        """Build the lattice of `features` (N, d) float32, in standard deviations; ValueError if it is too large."""
        points, dimensions = features.shape
        corners = dimensions + 1
        remainder, rank, weights = _simplices(features)
        vertices = _vertices(remainder, rank)
        self._neighbours, self._count = vertices.neighbours, len(vertices.starts) - 1
        gain = 1 / (1 + 2.0**-dimensions)  # of the blur
        every = torch.arange(0, points * corners + 1, corners, device=features.device)
        norm = torch.ones(points, device=features.device)
        for _ in range(2):  # plain, for the sums of the weights; then normalised by them
            scaled = (weights * norm[:, None]).flatten()
            pixels, shape = vertices.order // corners, (self._count, points)
            self._splat = csr(vertices.starts, pixels, scaled[vertices.order], shape, check=False)
            self._slice = csr(every, vertices.of_corner, scaled * gain, shape[::-1], check=False)
            norm = (self.filter(norm[:, None])[:, 0] + 1e-20).rsqrt()

    def filter(self, values: Tensor) -> Tensor:
        """Return at each point the weighted sum over its neighbourhood of values (N, C) float32."""
        now = values.new_zeros(self._count + 1, values.shape[1])  # the last row stands for absent neighbours
        then = torch.zeros_like(now)
        now[:-1] = self._splat @ values
        for before, after in self._neighbours:
            torch.add(now[before], now[after], out=then[:-1]).mul_(0.5).add_(now[:-1])
            now, then = then, now
        return self._slice @ now[:-1]


class _Vertices(NamedTuple):
    """The distinct vertices of all simplices, in the order of their keys.

    of_corner (N * (d + 1),): vertex of each corner of each point; order: the corners sorted by vertex; starts (V + 1,):
    the index of the first corner of each vertex in it; neighbours: the vertices before and after each along an axis, V
    if absent.
    """

    of_corner: Tensor
    order: Tensor
    starts: Tensor
    neighbours: list[tuple[Tensor, Tensor]]


def _simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the simplex around each point, (N, d + 1) each: its vertex of colour 0, ranks, barycentric weights."""
    points, d = features.shape
    deviation = math.sqrt(2 / 3) * (d + 1)  # of the blur, in cells: features are stretched to it
    steps = torch.arange(1, d + 1, device=features.device, dtype=features.dtype)
    scaled = features * (deviation / (steps * (steps + 1)).sqrt())
    # Project onto the plane x_0 + ... + x_d = 0: coordinate j is the sum of what follows minus j times the j-th.
    following = scaled.flip(1).cumsum(1).flip(1)  # (N, d): sum of scaled[:, j:]
    elevated = torch.cat([following, features.new_zeros(points, 1)], dim=1)
    elevated[:, 1:] -= steps * scaled
    down, up = (elevated / (d + 1)).floor() * (d + 1), (elevated / (d + 1)).ceil() * (d + 1)
    remainder = torch.where(up - elevated < elevated - down, up, down)
    excess = (remainder.sum(1, keepdim=True) / (d + 1)).round().long()
    order = (remainder - elevated).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(d + 1, device=features.device).expand_as(order))
    rank = rank + excess  # the vertex is brought back onto the plane
    low, high = rank < 0, rank > d
    remainder = remainder + (d + 1) * (low.to(features.dtype) - high.to(features.dtype))
    rank = rank + (d + 1) * (low.long() - high.long())
    fraction = (elevated - remainder) / (d + 1)
    weights = features.new_zeros(points, d + 2)
    weights.scatter_add_(1, d - rank, fraction).scatter_add_(1, d + 1 - rank, -fraction)
    weights[:, 0] += 1 + weights[:, d + 1]
    return remainder.long(), rank, weights[:, : d + 1].contiguous()


def _vertices(remainder: Tensor, rank: Tensor) -> _Vertices:
    points, corners = remainder.shape
    d, device = corners - 1, remainder.device
    # Corner i of a simplex is the vertex of colour 0 plus i, less d + 1 in the coordinates of the i highest ranks.
    i = torch.arange(corners, device=device)
    offsets = torch.where(i[None, :] <= d - i[:, None], i[:, None], i[:, None] - corners)  # (corner, rank)
    keys = remainder[:, None, :d] + offsets[:, rank[:, :d]].transpose(0, 1)  # (N, corner, d); the last follows
    margin = corners + 1  # neighbours must not wrap around
    low = keys.amin((0, 1)) - margin
    extent = (keys.amax((0, 1)) + margin - low + 1).tolist()
    if math.prod(extent) >= 2**63:
        raise ValueError(f"features lie too far apart for a lattice: {extent} cells")
    place = torch.tensor([math.prod(extent[j + 1 :]) for j in range(d)], device=device)
    packed, order = ((keys - low) * place).sum(2).flatten().sort()
    first = torch.ones_like(packed, dtype=torch.bool)
    first[1:] = packed[1:] != packed[:-1]
    distinct = packed[first]
    of_corner = torch.empty_like(order).scatter_(0, order, first.cumsum(0) - 1)
    starts = torch.cat([first.nonzero()[:, 0], order.new_tensor([points * corners])])

    def find(keys: Tensor) -> Tensor:
        index = torch.searchsorted(distinct, keys).clamp(max=len(distinct) - 1)
        return torch.where(distinct[index] == keys, index, len(distinct))

    neighbours = []
    for axis in range(corners):  # one step along it: +1 in every coordinate, less d + 1 in its own
        step = place.sum() - (corners * place[axis] if axis < d else 0)
        neighbours.append((find(distinct - step), find(distinct + step)))
    return _Vertices(of_corner, order, starts, neighbours)
