"""Operations of one sample through the paper's network: dense, with nonzero weights, in bits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

from espalier.report.cells import CellRow, baseline_cell, score
from espalier.report.runs import RunRow, Variant
from espalier.report.tables import SHOWN_RHO

__all__ = ["OperationRow", "dense_macs", "operation_rows"]

SIDES = (30, 28, 14, 12, 10)
"""Side of each convolution's output in ``paper_cnn``, for 32x32 images."""
FLAT = 25
"""Positions of the last feature map, once pooled."""
KERNEL = 9
"""Weights of a 3x3 kernel, for each pair of channels."""
INPUTS, CLASSES = 3, 10
ACTIVATION_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """A layer's operations for one image; biases, normalization and pooling are left out."""

    layer: str
    macs: int
    """Multiply-accumulates of the dense layer."""
    density_nonzero: float
    """Share of its weights that are not zero, 0 to 1."""
    macs_nonzero: float
    """Those with a weight that is not zero; every weight is used at each position alike."""
    bit_operations: float
    """``macs_nonzero`` times the bits of the weight and of the activation (32)."""


def dense_macs(options: Mapping[str, object]) -> dict[str, int]:
    """Return the multiply-accumulates of ``paper_cnn``'s layers, by their name.

    Args:
        options: of the network; ``widths`` and ``hidden`` count.

    Example:
        >>> dense_macs({"widths": (32, 64, 64, 128, 128), "hidden": (512, 256, 128)})["conv1"]
        777600
    """
    widths, hidden = _counts(options["widths"]), _counts(options["hidden"])
    channels = [INPUTS, *widths]
    macs = {
        f"conv{i}": prod((channels[i - 1], channels[i], KERNEL, side, side))
        for i, side in enumerate(SIDES, start=1)
    }
    full = [widths[-1] * FLAT, *hidden, CLASSES]
    return macs | {f"fc{i}": full[i - 1] * full[i] for i in range(1, len(full))}


def operation_rows(variant: Variant, cells: Sequence[CellRow]) -> tuple[OperationRow, ...]:
    """Return the operations of each layer of the run with the best PE at rho 2.

    None at all where the network is not the paper's, or no such run is known layer by layer.
    """
    if variant.model != "paper_cnn" or not {"widths", "hidden"} <= set(variant.options):
        return ()
    run = _best(variant.runs, cells)
    if run is None:
        return ()
    rows = []
    for layer, macs in dense_macs(variant.options).items():
        if f"{layer}.weight" not in run.layers:
            return ()
        density = run.layers[f"{layer}.weight"][1]
        rows.append(
            OperationRow(
                layer=layer,
                macs=macs,
                density_nonzero=density,
                macs_nonzero=macs * density,
                bit_operations=macs * density * run.bits * ACTIVATION_BITS,
            )
        )
    return tuple(rows)


def _best(runs: Sequence[RunRow], cells: Sequence[CellRow]) -> RunRow | None:
    baseline = baseline_cell(cells)
    scored = [c for c in cells if c.gamma > 0 and score(c, baseline, SHOWN_RHO) is not None]
    best = max(scored, key=lambda c: score(c, baseline, SHOWN_RHO) or 0.0, default=None)
    if best is None:
        return None
    return next(run for run in runs if run.run_id == best.run_ids[0])


def _counts(value: object) -> list[int]:
    if not isinstance(value, Sequence):
        return []
    return [int(count) for count in value]
