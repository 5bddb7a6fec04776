"""Espalier trains neural networks to be small: prune and quantize at every training step.

Two lines in your own loop::

    compressor = espalier.attach(model, optimizer, espalier.PruneThenQuantize(gamma=0.375, bits=8))
    ...                       # the loop stays as it was; every optimizer.step() now compresses
    print(compressor.report())
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from espalier.bridge import load, save
    from espalier.compressor import (
        Compressor,
        Report,
        Rule,
        allocate_bits,
        attach,
        mixed_rules,
        operation_prices,
        preview,
        recalibrate,
    )
    from espalier.encoded import Encoded, decode, encode
    from espalier.ops import (
        Chain,
        ClippedQuantizer,
        Cubic,
        EntropyQuantizer,
        FilterMagnitude,
        GlobalMagnitude,
        Lamp,
        LearnedStep,
        LearnedThreshold,
        Linear,
        MixedBits,
        PruneThenQuantize,
        QuantizeThenPrune,
        StdThreshold,
        Then,
        UniformQuantizer,
    )
    from espalier.structure import shrink

__all__ = [
    "Chain",
    "ClippedQuantizer",
    "Compressor",
    "Cubic",
    "Encoded",
    "EntropyQuantizer",
    "FilterMagnitude",
    "GlobalMagnitude",
    "Lamp",
    "LearnedStep",
    "LearnedThreshold",
    "Linear",
    "MixedBits",
    "PruneThenQuantize",
    "QuantizeThenPrune",
    "Report",
    "Rule",
    "StdThreshold",
    "Then",
    "UniformQuantizer",
    "allocate_bits",
    "attach",
    "decode",
    "distillation_loss",
    "encode",
    "load",
    "mixed_rules",
    "operation_prices",
    "preview",
    "recalibrate",
    "save",
    "shrink",
]

_BRIDGE = ("load", "save")
_COMPRESSOR = (
    "Compressor",
    "Report",
    "Rule",
    "allocate_bits",
    "attach",
    "mixed_rules",
    "operation_prices",
    "preview",
    "recalibrate",
)
_ENCODED = ("Encoded", "decode", "encode")
_STRUCTURE = ("shrink",)
_TRAIN = ("distillation_loss",)
_ROOMS = {
    "bridge": _BRIDGE,
    "compressor": _COMPRESSOR,
    "encoded": _ENCODED,
    "structure": _STRUCTURE,
    "train": _TRAIN,
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first asked for: light parts cost only their own imports."""
    if name not in __all__:
        raise AttributeError(f"module 'espalier' has no attribute {name!r}")
    room = next((room for room, names in _ROOMS.items() if name in names), "ops")
    return getattr(import_module(f"espalier.{room}"), name)
