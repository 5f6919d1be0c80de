"""Training steps on the cores of a CPU: each of some threads processes a share of the batch (`ppl.jobs.threads`).

The loss sees the whole batch, as its means need (a network's outputs are joined again), so losses and gradients are
those of one thread up to rounding, and the same in every run with as many threads.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ppl.jobs.threads import start_threads, threads_for


def in_shares(network: nn.Module, images: Tensor) -> nn.Module:
    """Return a network that processes batches like `images` in shares, side by side, or `network` itself.

    On a CPU of several cores, if the network treats each image by itself (`treats_images_alone`). It is for training:
    its outputs have gradients.
    """
    count = threads_for(network, len(images))
    return InShares(network, count) if count > 1 and treats_images_alone(network, images) else network


def treats_images_alone(network: nn.Module, images: Tensor) -> bool:
    """Return whether no image's output depends on others or on random numbers, as far as a trial shows.

    Statistics of batches depend on all images, and random numbers (dropout) on the order of the threads. The outputs
    are a tensor or several, one row per image.
    """
    if any(isinstance(module, _BatchNorm) and module.training for module in network.modules()):
        return False
    before = torch.get_rng_state()
    with torch.no_grad():
        outputs = network(images[:1])
    draws = not torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(before)
    several = outputs if isinstance(outputs, list | tuple) else [outputs]
    return not draws and all(isinstance(output, Tensor) and output.shape[:1] == (1,) for output in several)


class InShares(nn.Module):
    """A network that computes the outputs of a batch, and their gradients, in shares."""

    def __init__(self, network: nn.Module, count: int) -> None:
        super().__init__()
        self.network, self.count = network, count
        self.threads = start_threads(count)

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
        outputs = [tuple(share) if several else (share,) for share in shares]
        trained = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        joined = _Join.apply(self, outputs, trained, *trained)
        return list(joined) if several else joined[0]

    def gradients(
        self, outputs: Sequence[Sequence[Tensor]], trained: Sequence[nn.Parameter], of_joined: Sequence[Tensor]
    ) -> list[Tensor | None]:
        """Return the gradients of the parameters `trained` from those of the joined outputs, summed over the shares.

        outputs: of each share, its part of each of the joined.
        """
        sizes = [len(share[0]) for share in outputs]
        of_shares = zip(*(gradient.split(sizes) for gradient in of_joined), strict=True)

        def of_share(outputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
            return torch.autograd.grad(outputs, trained, gradients, allow_unused=True)

        first, *others = self.threads.map(of_share, outputs, of_shares)
        used = [i for i, gradient in enumerate(first) if gradient is not None]
        for other in others:  # always in this order, so that the sums are the same in every run
            torch._foreach_add_([first[i] for i in used], [other[i] for i in used])
        return list(first)


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, shares: InShares, outputs: Sequence[Sequence[Tensor]], trained: list, *_: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.shares, ctx.outputs, ctx.trained = shares, outputs, trained
        return tuple(torch.cat([part.detach() for part in parts]) for parts in zip(*outputs, strict=True))

    @staticmethod
    def backward(ctx: Any, *of_joined: Tensor) -> tuple[Any, ...]:
        return None, None, None, *ctx.shares.gradients(ctx.outputs, ctx.trained, of_joined)
