"""A row of layers that a CPU trains in fewer passes over memory."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from espalier.core import core

__all__ = ["Stack", "drop"]

BLOCK = 32
"""The core takes maps whose channels are a multiple of this."""
DRAWS = 2**16
"""What is drawn for an entry has so many values, all equally probable."""


class Stack(nn.Sequential):
    """``nn.Sequential`` that computes the same, and trains faster on a CPU.

    There, ``BatchNorm2d``, ``ReLU`` and 2x2 ``MaxPool2d`` do nothing but move memory, one after the
    other. Where they stand in a row and get a bfloat16 map in memory format channels_last, the
    compiled core computes them in one go: the map is read twice and the result written once, each
    way, and what lies between isn't rounded. ``Dropout`` draws by :func:`drop`. The layers stay
    what they are, names and hooks included: one with a hook is called as always, and so are all in
    evaluation mode, in graphs (``torch.compile``, ``torch.export``), on other devices, in other
    types and without the core.

    Example:
        >>> _ = Stack(nn.Conv2d(3, 32, 3), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2))
    """

    def forward(self, x: Tensor) -> Tensor:
        """Compute layer after layer, some of them in one go."""
        if not self.training or torch.compiler.is_compiling():
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        layers, place = list(self), 0
        while place < len(layers):
            x, passed = _pass(layers[place : place + 3], x)
            place += passed
        return x


def drop(x: Tensor, p: float) -> Tensor:
    """Zero each entry with probability ``p`` and divide the others by ``1 - p``.

    As ``torch.nn.functional.dropout``, from the same generator, but an entry takes 16 of its bits
    where that takes two whole numbers; it is drawn five times as fast. ``p`` counts to the nearest
    multiple of 2^-16.

    Args:
        x: floating point, any shape, on the CPU.
        p: in (2^-17, 1 - 2^-17).

    Example:
        >>> float(drop(torch.ones(1000), 0.5).unique().max())
        2.0
    """
    kept = round((1 - p) * DRAWS)
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    draws = bits.view(torch.int16)[: x.numel()].view(x.shape)
    return x * (draws < kept - DRAWS // 2).to(x.dtype).mul_(DRAWS / kept)


def _pass(layers: Sequence[nn.Module], x: Tensor) -> tuple[Tensor, int]:
    """Pass x through the first of up to three layers, or more of them; return how many."""
    first: Any = layers[0]
    if _is(first, nn.Dropout) and _can_drop(first, x):
        return drop(x, first.p), 1
    if len(layers) > 1 and _is(first, nn.BatchNorm2d) and _is(layers[1], nn.ReLU):
        if not _can_normalize(first, x):
            return first(x), 1
        pooled = len(layers) > 2 and _is(layers[2], nn.MaxPool2d) and _can_pool(layers[2], x)
        y = _NormReLU.apply(x, first.weight, first.bias, first, pooled)  # type: ignore[no-untyped-call]
        return y, 2 + pooled
    return first(x), 1


def _is(layer: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether it is of this very kind, and nobody watches it."""
    return type(layer) is kind and not (
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def _can_drop(layer: Any, x: Tensor) -> bool:
    return (
        layer.training
        and not layer.inplace
        and 1 <= round((1 - layer.p) * DRAWS) < DRAWS
        and x.device.type == "cpu"
        and x.is_floating_point()
    )


def _can_normalize(norm: Any, x: Tensor) -> bool:
    return (
        core is not None
        and norm.training
        and norm.affine
        and norm.weight.dtype == norm.bias.dtype == torch.float32
        and norm.running_mean is not None
        and norm.momentum is not None
        and x.device.type == "cpu"
        and x.dtype == torch.bfloat16
        and x.ndim == 4
        and x.shape[1] == norm.num_features
        and x.shape[1] % BLOCK == 0
        and x.numel() > x.shape[1]
        and x.is_contiguous(memory_format=torch.channels_last)
    )


def _can_pool(pool: Any, x: Tensor) -> bool:
    return (
        pool.kernel_size in (2, (2, 2))
        and pool.stride in (2, (2, 2))
        and pool.padding in (0, (0, 0))
        and pool.dilation in (1, (1, 1))
        and not pool.ceil_mode
        and not pool.return_indices
        and x.shape[2] % 2 == 0
        and x.shape[3] % 2 == 0
    )


class _NormReLU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: Any, pooled: bool
    ) -> Tensor:
        side, (n, c, h, w) = 1 + pooled, x.shape
        y = x.new_empty((n, h // side, w // side, c)).permute(0, 3, 1, 2)
        won = (torch.empty_like(y), torch.empty_like(y)) if pooled else ()
        statistics = torch.zeros(5, c)
        statistics[0] = x[0, :, 0, 0]
        _call(x, (y, None, None), won, (weight, bias), statistics, norm.eps)
        ctx.save_for_backward(x, weight, bias, statistics, *won)
        norm.num_batches_tracked.add_(1)
        norm.running_mean.lerp_(statistics[0], norm.momentum)
        norm.running_var.lerp_(statistics[2], norm.momentum)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics, *won = ctx.saved_tensors
        statistics, dx = statistics.clone(), torch.empty_like(x)
        dy = dy.contiguous(memory_format=torch.channels_last)
        _call(x, (None, dy, dx), won, (weight, bias), statistics)
        return dx, statistics[3], statistics[4], None, None


def _call(
    x: Tensor,
    maps: Sequence[Tensor | None],
    won: Sequence[Tensor],
    affine: Sequence[Tensor],
    statistics: Tensor,
    eps: float = 0.0,
) -> None:
    n, c, h, w = x.shape
    core.norm_relu(
        sizes=(n, h, w, c),
        maps=(x.data_ptr(), *(0 if each is None else each.data_ptr() for each in maps)),
        won=tuple(each.data_ptr() for each in won) or (0, 0),
        affine=tuple(each.data_ptr() for each in affine),
        statistics=statistics.data_ptr(),
        eps=eps,
        threads=torch.get_num_threads(),
    )
