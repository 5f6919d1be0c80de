"""Training steps on the cores of a CPU: each of some threads processes a share of the batch (`ppl.jobs.threads`).

The loss sees the whole batch, as its means need (a network's outputs are joined again), so losses and gradients are
those of one thread up to rounding, and the same in every run with as many threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ppl.jobs.threads import thread_pool, threads_for

TOLERANCE = 1e-3
"""Difference of outputs of an image alone and in a batch, relative to their maximum, that is rounding."""


def in_shares(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a network that processes batches like `images` in shares, side by side, or `network` itself.

    On a CPU of several cores, if the network treats each image by itself (`treats_images_alone`). It is for training:
    its outputs have gradients.
    """
    count = threads_for(network, len(images))
    return InShares(network, count) if count > 1 and treats_images_alone(network, images) else network


def treats_images_alone(network: nn.Module, images: Tensor) -> bool:
    """Return whether no output depends on other images or on random numbers, by a trial with two images.

    Statistics of batches depend on all images, and random numbers (dropout) on the order of the threads. Outputs are a
    tensor or several, with a row per image. The trial leaves buffers and random numbers as they are.
    """
    if any(isinstance(part, _NormBase) and part.training and part.track_running_stats for part in network.modules()):
        return False
    before = torch.get_rng_state()
    with torch.no_grad():
        together, *alone = (_several(network(part)) for part in (images[:2], images[:1], images[1:2]))
    draws = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    return not draws and all(_is_joined(*outputs) for outputs in zip(together, *alone, strict=True))


def _several(outputs: Any) -> Sequence[Any]:
    return outputs if isinstance(outputs, list | tuple) else [outputs]


def _is_joined(together: Any, *alone: Any) -> bool:
    """Return whether an output of two images consists of those of each alone."""
    if not all(isinstance(output, Tensor) and output.ndim for output in (together, *alone)):
        return False
    joined = torch.cat(alone)
    if joined.shape != together.shape or len(together) != 2:
        return False
    return torch.allclose(joined.float(), together.float(), rtol=TOLERANCE, atol=TOLERANCE * float(joined.abs().max()))


class InShares(nn.Module):
    """A network that computes the outputs of a batch, and their gradients, in shares."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count
        self.threads = thread_pool(count)

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the network, which a loss may use."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """Return the outputs of the network, in its training form: a tensor or a list of them."""
        shares = list(self.threads.map(self.network, images.tensor_split(self.count)))
        several = isinstance(shares[0], list | tuple)
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        joined = _Join.apply(self, [_several(share) for share in shares], trained, *trained)
        return list(joined) if several else joined[0]

    def gradients(
        self,
        shares: Sequence[Sequence[Tensor]],
        trained: Sequence[nn.Parameter],
        of_joined: Sequence[Tensor | None],
    ) -> list[Tensor | None]:
        """Return the gradients of the parameters `trained` from those of the joined outputs, summed over the shares.

        shares: of each share, its part of each of the joined outputs. None: an output, or a parameter, has no gradient.
        """
        used = [i for i, part in enumerate(shares[0]) if of_joined[i] is not None and part.requires_grad]
        sizes = [len(share[0]) for share in shares]
        upstream = zip(*(of_joined[i].split(sizes) for i in used), strict=True)

        def of_share(share: Sequence[Tensor], upstream: Sequence[Tensor]) -> Sequence[Tensor | None]:
            return torch.autograd.grad([share[i] for i in used], trained, upstream, allow_unused=True)

        total: list[Tensor | None] = [None] * len(trained)
        for gradients in self.threads.map(of_share, shares, upstream) if used else ():  # in the order of the shares
            both = [i for i, gradient in enumerate(gradients) if gradient is not None and total[i] is not None]
            sums = torch._foreach_add([total[i] for i in both], [gradients[i] for i in both]) if both else []
            total = [new if old is None else old for old, new in zip(total, gradients, strict=True)]
            for i, of_both in zip(both, sums, strict=True):
                total[i] = of_both
        return total


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, network: InShares, shares: Sequence[Sequence[Tensor]], trained: Sequence[nn.Parameter], *_: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.network, ctx.shares, ctx.trained = network, shares, trained
        ctx.set_materialize_grads(False)
        return tuple(torch.cat([part.detach() for part in parts]) for parts in zip(*shares, strict=True))

    @staticmethod
    def backward(ctx: Any, *of_joined: Tensor | None) -> tuple[Any, ...]:
        return None, None, None, *ctx.network.gradients(ctx.shares, ctx.trained, of_joined)
