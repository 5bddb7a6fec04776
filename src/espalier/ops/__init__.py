"""Operators: prune, quantize, their chains and schedules (equations 1 to 4)."""

from espalier.ops.base import Operator, Pruner, Quantizer, State, Sweep, Written, compress_
from espalier.ops.chain import Chain, PruneThenQuantize, QuantizeThenPrune
from espalier.ops.coded import EntropyQuantizer
from espalier.ops.filters import FilterMagnitude, Then
from espalier.ops.grids import ClippedQuantizer
from espalier.ops.lamp import Lamp
from espalier.ops.learned import LearnedStep, LearnedThreshold
from espalier.ops.mixed import MixedBits
from espalier.ops.plain import from_json, to_json
from espalier.ops.prune import GlobalMagnitude, StdThreshold
from espalier.ops.quantize import Rounding, UniformQuantizer
from espalier.ops.schedules import Cubic, Linear, Schedule, value_at

__all__ = [
    "Chain",
    "ClippedQuantizer",
    "Cubic",
    "EntropyQuantizer",
    "FilterMagnitude",
    "GlobalMagnitude",
    "Lamp",
    "LearnedStep",
    "LearnedThreshold",
    "Linear",
    "MixedBits",
    "Operator",
    "PruneThenQuantize",
    "Pruner",
    "QuantizeThenPrune",
    "Quantizer",
    "Rounding",
    "Schedule",
    "State",
    "StdThreshold",
    "Sweep",
    "Then",
    "UniformQuantizer",
    "Written",
    "compress_",
    "from_json",
    "to_json",
    "value_at",
]
