"""Rows of the report, counted from the weights and the last pass."""

import torch
from torch import nn

from espalier.compressor.group import Group
from espalier.compressor.report import LayerReport
from espalier.encoded import DENSE_BITS

__all__ = ["compressed_rows", "dense_row"]


def compressed_rows(group: Group) -> list[LayerReport]:
    """Return a row for each parameter of a group."""
    written = group.state.written
    bits = group.operator.bits_each(len(group.names))
    rows = []
    for i, (name, p) in enumerate(zip(group.names, group.parameters, strict=True)):
        values = p.detach().float()
        step = 0.0 if written is None else float(written.step[i])
        rows.append(
            LayerReport(
                name=name,
                parameters=p.numel(),
                kept=p.numel() if written is None else int(written.kept[i]),
                nonzero=int((values != 0).sum()),
                asked_density=group.asked_density,
                bits=bits[i],
                levels=int(torch.unique(values).numel()),
                step=step or None,
                threshold=0.0 if written is None else float(written.threshold[i]),
                status=f"compressed by {type(group.operator).__name__}"
                if written is not None
                else f"to be compressed by {type(group.operator).__name__}",
            )
        )
    return rows


def dense_row(name: str, parameter: nn.Parameter, reason: str) -> LayerReport:
    """Return the row of a parameter that is left dense for a reason."""
    return LayerReport(
        name=name,
        parameters=parameter.numel(),
        kept=parameter.numel(),
        nonzero=int((parameter.detach() != 0).sum()),
        asked_density=None,
        bits=DENSE_BITS,
        levels=None,
        step=None,
        threshold=None,
        status=f"left dense because {reason}",
    )
