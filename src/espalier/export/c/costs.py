"""Which way of running a layer is faster: measured times of the inner loops."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Costs", "costs_of"]


@dataclass(frozen=True, slots=True)
class Costs:
    """Nanoseconds of one pass of an inner loop."""

    gather: float
    """A nonzero of a linear layer."""
    dot: float
    """A weight of a dense linear layer."""


@cache
def costs_of(target: str) -> Costs:
    """Return the measured times for a target."""
    table = json.loads(files(__package__).joinpath("costs.json").read_text())
    return Costs(**table["targets"][target])
