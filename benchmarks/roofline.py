"""Calculate lower bounds of the time of every step of rates.py that runs on a device, for a card: its roofline.

    python benchmarks/roofline.py                       # an H100; saves results/roofline.csv
    python benchmarks/roofline.py --rates FILE          # with measured times beside the bounds

Nothing is computed: operations run on tensors without memory, at the paper's sizes, as Python starts them on a GPU.
An operation is one of torch that is no view; on a GPU it is one kernel or a few. Floating-point operations are those of
convolutions and matrix products (torch's FlopCounterMode counts the same), bytes those of all tensors that an operation
reads and writes, as if no cache kept any from one operation to the next. The products of the walk's sparse matrix count
as memory only.
"""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pandas as pd
import rates
import torch
import tyro
from bench import Setup
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

from ppl.jobs.errors import UserError
from ppl.jobs.files import atomic
from ppl.refine import losses, walk

WITHOUT_KERNEL = {
    "_unsafe_view", "empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided",
    "lift_fresh", "_sparse_csr_tensor_unsafe", "sparse_csr_tensor", "_sparse_compressed_tensor_unsafe",
}  # fmt: skip
"""Operations beside views that read and write nothing."""
OVERWRITE = {"copy_", "fill_", "zero_"}
"""Operations that do not read the tensor that they change."""
COMPOSITE = torch._C.DispatchKey.CompositeImplicitAutograd
COLUMNS = (
    "step", "images", "TFLOP", "GB", "operations", "arithmetic ms", "memory ms", "launches ms", "limited by",
    "graph ms", "fused ms",
)  # fmt: skip


@dataclass(frozen=True)
class Settings:
    tflops: float = 785
    """Measured matrix product in bfloat16, TFLOP/s."""
    tb_per_s: float = 3.35
    """Bandwidth of the memory, TB/s."""
    launch_us: float = 20
    """Time that Python needs per operation, microseconds."""
    only: tuple[str, ...] = ()
    """Select steps whose names contain one of these words; empty: all."""
    rates: Path | None = None
    """Rates of rates.py, at the paper's batches, whose times are printed beside the bounds."""
    out: Path = Path("results/roofline.csv")


class Operation(NamedTuple):
    """An operation of torch: its floating-point operations, 0 unless it is a product, and bytes read and written."""

    name: str
    flops: int
    bytes: int


def main(settings: Settings) -> None:
    counted = ((step, operations) for step, operations in counted_steps(True, settings.only))
    table = pd.DataFrame([bounds(step, operations, settings) for step, operations in counted], columns=COLUMNS)
    if table.empty:
        raise UserError(f"--only {' '.join(settings.only)}", "matches no step", "omit it to count all")
    if settings.rates is not None:
        measured = rates.read_rates(settings.rates).set_index("step").images_per_second
        table["measured ms"] = 1e3 * table.images / table.step.map(measured)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(settings.out) as temporary:
        table.to_csv(temporary, index=False)
    print(table.round(2).to_string(index=False))


def counted_steps(paper: bool, only: tuple[str, ...] = ()) -> Iterator[tuple[rates.Step, list[Operation]]]:
    """Yield the steps of a device and the operations of each, in the order of their start."""
    device = torch.device("cpu")  # of tensors without memory; torch without CUDA accepts no other
    with as_on_a_gpu():
        steps = rates.steps(device, paper, Setup(device, paper, 1))
        for step in takewhile(lambda step: step.on == "device", steps):
            if not only or any(word in step.name for word in only):
                with FakeTensorMode(allow_non_fake_inputs=True):
                    step.run()  # creates the optimiser's state
                    operations = count(step.run)
                yield step, operations


def count(function: Callable[[], Any]) -> list[Operation]:
    """Return the operations that a function starts."""
    with _Recording() as recording:
        function()
    return recording.operations


def bounds(step: rates.Step, operations: list[Operation], card: Settings) -> dict[str, Any]:
    """Return a row of the table: counts of a step, and lower bounds of its time on a card in ms.

    Arithmetic, memory and launches are bounds of their own. `graph` is one of all operations without launches, each
    limited by arithmetic or memory, as in a CUDA graph; `fused` that of the products alone, as if all other operations
    were fused with them.
    """
    flops, size = (sum(column) for column in zip(*[(o.flops, o.bytes) for o in operations], strict=True))
    limits = {
        "arithmetic": flops / card.tflops / 1e9,
        "memory": size / card.tb_per_s / 1e9,
        "launches": len(operations) * card.launch_us / 1e3,
    }
    times = [(o.flops > 0, max(o.flops / card.tflops, o.bytes / card.tb_per_s) / 1e9) for o in operations]
    return {
        "step": step.name,
        "images": step.images,
        "TFLOP": flops / 1e12,
        "GB": size / 1e9,
        "operations": len(operations),
        **{f"{name} ms": time for name, time in limits.items()},
        "limited by": max(limits, key=limits.__getitem__),
        "graph ms": sum(time for _, time in times),
        "fused ms": sum(time for is_product, time in times if is_product),
    }


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Let tensors of the CPU take the paths of a GPU; the walk, which needs values, computes with random ones."""
    optimizer_of = rates.optimizer_of

    def for_all_parameters(*args: Any, **options: Any) -> torch.optim.Optimizer:
        optimizer = optimizer_of(*args, **options)
        for group in optimizer.param_groups:
            group["foreach"] = True  # the default on a GPU
        return optimizer

    tiny = torch.rand(1, 24, 24)
    losses.pair_losses(tiny, torch.zeros(1, 24, 24, dtype=torch.uint8), 10)  # keeps indices, which must have values
    walk.propagate(tiny, tiny[0])
    with ExitStack() as stack:
        for sizes in (losses.PAIRS_AT_ONCE, walk.PIXELS_AT_ONCE):
            stack.enter_context(mock.patch.dict(sizes, cpu=sizes["cuda"]))
        stack.enter_context(mock.patch.object(rates, "optimizer_of", for_all_parameters))
        stack.enter_context(mock.patch.object(rates, "propagate_batch", _with_values(walk.propagate_batch)))
        yield


def _with_values(function: Callable[..., Any]) -> Callable[..., None]:
    """Return a function that computes with random values in 0..1 of the same shapes."""

    def run(*args: Any) -> None:
        with _disable_current_modes():
            values = tree_map_only(Tensor, lambda x: torch.rand(x.shape, dtype=x.dtype), args)
        with unset_fake_temporarily():  # but counted
            function(*values)

    return run


class _Recording(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, packet = kwargs or {}, func._overloadpacket
        if func.namespace == "aten" and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), COMPOSITE):
            with self:  # an operation that consists of others, as some do in inference mode
                return func._op_dk(COMPOSITE, *args, **kwargs)
        out = func(*args, **kwargs)
        name = packet.__name__
        written = _tensors(out) or (_tensors(args[0]) if func._schema.is_mutable else [])  # a list of tensors in place
        if func.is_view or name in WITHOUT_KERNEL or not written:
            return out
        read = _tensors((args[1:] if name in OVERWRITE else args, {k: v for k, v in kwargs.items() if k != "out"}))
        flops = flop_registry[packet](*args, **kwargs, out_val=out) if packet in flop_registry else 0
        self.operations.append(Operation(name, flops, sum(map(_bytes, [*read, *written]))))
        return out


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _bytes(x: Tensor) -> int:
    """Return the bytes of a tensor; elements that occur several times count once."""
    if x.layout == torch.sparse_csr:
        return sum(map(_bytes, (x.crow_indices(), x.col_indices(), x.values())))
    elements = math.prod(length for length, step in zip(x.shape, x.stride(), strict=True) if step)
    return min(elements * x.element_size(), x.untyped_storage().nbytes())


if __name__ == "__main__":
    try:
        main(tyro.cli(Settings, description=__doc__))
    except UserError as problem:
        sys.exit(f"error: {problem}")
