"""The permutohedral lattice in tensors: Gaussian filters in a few dimensions (Adams, Baek, Davis 2010), on any device.

pydensecrf keeps the lattice in a hash table and goes through it point by point. Here its vertices are determined by
sorting packed keys, and two sparse matrices map values to and from them: a photo, or several photos at once, take a few
large operations. The host waits for the device twice per lattice: for the extent of its keys and the number of its
vertices.
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

    def __init__(self, features: Tensor, photo_of: Tensor | None = None, photos: int = 1) -> None:
        """Build the lattice of `features` (N, d) float32, in standard deviations; ValueError if it is too large.

        photo_of (N,) int64: the photo of each point, among several. Points of different photos share no vertex and
        their vertices are no neighbours, so each photo is filtered as it would be alone.
        """
        points, dimensions = features.shape
        corners = dimensions + 1
        remainder, rank, weights = _simplices(features)
        vertices = _vertices(remainder, rank, photo_of, photos)
        self._neighbours, count = vertices.neighbours, len(vertices.starts) - 1
        gain = 1 / (1 + 2.0**-dimensions)  # of the blur
        every = torch.arange(0, points * corners + 1, corners, dtype=torch.int32, device=features.device)
        pixels = vertices.order // corners

        def scale(weights: Tensor) -> None:
            self._splat = csr(vertices.starts, pixels, weights[vertices.order], (count, points), check=False)
            self._slice = csr(every, vertices.of_corner, weights * gain, (points, count), check=False)

        scale(weights.flatten())  # for the sums of the weights, by which they are normalised
        norm = (self.filter(weights.new_ones(points, 1)) + 1e-20).rsqrt()
        scale((weights * norm).flatten())

    def filter(self, values: Tensor) -> Tensor:
        """Return at each point the weighted sum over its neighbourhood of values (N, C) float32."""
        now = self._splat @ values  # (V + 1, C)
        for both in self._neighbours:
            beside = now.index_select(0, both).view(2, *now.shape).sum(0)
            now.add_(beside, alpha=0.5)
        return self._slice @ now


class _Vertices(NamedTuple):
    """The distinct vertices of all simplices, in the order of their keys, and an empty one that replaces absent ones.

    of_corner (N * (d + 1),): vertex of each corner of each point; order: the corners sorted by vertex; starts (V + 2,):
    the index of the first corner of each vertex in it; neighbours (d + 1, 2 (V + 1)): along each axis the vertices
    before all vertices, then those after them. All int32, the index type of MKL and cuSPARSE.
    """

    of_corner: Tensor
    order: Tensor
    starts: Tensor
    neighbours: Tensor


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


def _vertices(remainder: Tensor, rank: Tensor, photo_of: Tensor | None, photos: int) -> _Vertices:
    corners, device = remainder.shape[1], remainder.device
    margin = 2 * corners  # of a corner from the vertex of colour 0, and of its neighbours, which must not wrap around
    low, high = torch.stack(torch.aminmax(remainder, dim=0)).tolist()
    extent = [most - least + 2 * margin + 1 for least, most in zip(low[:-1], high[:-1], strict=True)]
    cells = math.prod(extent)
    if photos * cells >= 2**63:
        raise ValueError(f"features lie too far apart for a lattice: {extent} cells of {photos} photos")
    places = [math.prod(extent[axis + 1 :]) for axis in range(corners - 1)] + [0]  # the last coordinate follows
    place = torch.tensor(places, device=device)
    key = (remainder * place).sum(1) - sum((least - margin) * p for least, p in zip(low, places, strict=True))
    if photo_of is not None:
        key += photo_of * cells
    # Corner i of a simplex is the vertex of colour 0 plus i, less d + 1 in the coordinates of the i highest ranks.
    highest_first = torch.empty_like(rank).scatter_(1, corners - 1 - rank, place.expand_as(rank))
    lowered = highest_first.cumsum(1) - highest_first  # sum over the i highest ranks
    corner = torch.arange(corners, device=device)
    keys = key[:, None] + corner * sum(places) - corners * lowered  # (N, corner)
    packed, order = keys.flatten().sort(stable=True)
    distinct, of_sorted, counts = torch.unique_consecutive(packed, return_inverse=True, return_counts=True)
    of_corner = torch.empty_like(order).scatter_(0, order, of_sorted)
    starts = torch.zeros(len(distinct) + 2, dtype=torch.int32, device=device)
    torch.cumsum(counts, 0, dtype=torch.int32, out=starts[1:-1])
    starts[-1] = keys.numel()

    absent = len(distinct)
    every = torch.arange(absent, dtype=torch.int32, device=device)
    neighbours = every.new_full((corners, 2, absent + 1), absent)
    for before_and_after, own in zip(neighbours, places, strict=True):  # axis by axis, as all at once take gigabytes
        following = distinct + (sum(places) - corners * own)  # +1 in every coordinate, less d + 1 in its own
        index = torch.searchsorted(distinct, following).clamp_(max=absent - 1)
        after = torch.where(distinct[index] == following, index, absent)
        before_and_after[1, :-1] = after
        before_and_after[0].scatter_(0, after, every)
    neighbours[:, 0, absent] = absent  # where vertices without a neighbour wrote
    return _Vertices(of_corner.int(), order.int(), starts, neighbours.flatten(1))
