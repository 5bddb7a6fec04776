"""What steps that are captured once and replayed need of a compressor.

A replay repeats kernels on the memory that they were captured with, and runs no Python: what a step
leaves to the next one must lie where it lay, and the host's counters must be told.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from espalier.compressor.compressor import Compressor
from espalier.ops.schedules import Clock

__all__ = ["count_to", "form_of_step", "hold", "reading", "rows_of"]


def form_of_step(compressor: Compressor) -> tuple[object, ...]:
    """Return what decides, on the host, which kernels the next step runs; equal for equal steps."""
    return (
        compressor.operators,
        compressor._cadence == "every_step" and compressor.steps >= compressor._start_step,
        compressor._current,
        tuple(
            (group.shadows is None, group.frozen is None, *sorted(group.rows()))
            for group in compressor._groups
        ),
    )


def rows_of(compressor: Compressor) -> dict[str, Tensor]:
    """Return what a step reads and makes anew, by name."""
    return {
        f"{i}.{name}": rows
        for i, group in enumerate(compressor._groups)
        for name, rows in group.rows().items()
    }


@torch.no_grad()
def hold(compressor: Compressor, memory: Mapping[str, Tensor]) -> None:
    """Bring all rows into this memory, which they keep to: of :func:`rows_of`, names and all."""
    for name, rows in rows_of(compressor).items():
        if rows is not memory[name]:
            memory[name].copy_(rows)
    for i, group in enumerate(compressor._groups):
        prefix = f"{i}."
        group.keep_rows(
            {n.removeprefix(prefix): t for n, t in memory.items() if n.startswith(prefix)}
        )


def count_to(compressor: Compressor, steps: int) -> None:
    """Say how many steps the optimizer has taken by now, replayed ones included."""
    compressor.steps = steps
    if compressor._current:  # the last one has compressed
        for group in compressor._groups:
            group.state = replace(group.state, step=steps)


@contextlib.contextmanager
def reading(compressor: Compressor, clock: Clock) -> Iterator[None]:
    """Let schedules and notes read the step from a device."""
    for group in compressor._groups:
        group.state = replace(group.state, clock=clock)
    try:
        yield
    finally:
        for group in compressor._groups:
            group.state = replace(group.state, clock=None)
