"""Between torch and the file: save a compressed network, load it, export plain weights."""

from espalier.bridge.export import export_safetensors, weights_of
from espalier.bridge.inspection import Inspection, TensorRow, inspect
from espalier.bridge.load import load
from espalier.bridge.normalization import foldable
from espalier.bridge.save import (
    Compressing,
    floats_of,
    network_tensors,
    operator_data,
    save,
    writer,
)

__all__ = [
    "Compressing",
    "Inspection",
    "TensorRow",
    "export_safetensors",
    "floats_of",
    "foldable",
    "inspect",
    "load",
    "network_tensors",
    "operator_data",
    "save",
    "weights_of",
    "writer",
]
