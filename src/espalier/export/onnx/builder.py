"""Nodes and initializers of an ONNX graph as they come, and the extra that makes them."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.errors import ConfigError

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

__all__ = ["IR_VERSION", "OPSET", "Builder", "require"]

OPSET = 14
"""The oldest that has every operator we use (HardSwish; per-channel DequantizeLinear is 13).

Runtimes read old operator sets and refuse new ones: ONNX Runtime reads 14 since 1.8, the first
release that came for browsers too.
"""
IR_VERSION = 7
"""Of the file, as of its operator set."""


def require(module: str) -> ModuleType:
    """Import a module of the extra ``onnx``.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{module} is not installed, and ONNX files need it: pip install 'espalier[onnx]'."
        ) from error


class Builder:
    """What a graph is made of, in the order in which it comes."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, TensorProto] = {}
        self._helper = require("onnx.helper")
        self._numpy = require("onnx.numpy_helper")
        self._count = 0

    def constant(self, name: str, array: Any) -> str:
        """Store an array under a name; the same again is stored once."""
        stored = self._numpy.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name)
        if self.constants.setdefault(name, stored) != stored:
            raise ValueError(f"two constants are named {name}")
        return name

    def add(
        self, kind: str, *inputs: str, into: str = "", place: str = "", **attributes: Any
    ) -> str:
        """Append a node of one output and return that output's name, a short one if none given."""
        output = into or self._next()
        self.nodes.append(
            self._helper.make_node(kind, list(inputs), [output], name=place, **attributes)
        )
        return output

    def size_bytes(self) -> int:
        """Return what it all takes in the file."""
        nodes = sum(len(node.SerializeToString()) for node in self.nodes)
        return nodes + sum(len(one.SerializeToString()) for one in self.constants.values())

    def _next(self) -> str:
        self._count += 1
        return f".{self._count}"
