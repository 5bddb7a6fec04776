"""What a trace has found so far: a value of the graph, or a constant, for each node of torch's."""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from espalier.encoded import Encoded, encode
from espalier.errors import ExportError
from espalier.export.graph import Floats, Layer, Node, Sizes, Value

__all__ = [
    "Constant",
    "Reshaped",
    "Tracing",
    "as_floats",
    "bound",
    "line_of",
    "operator_name",
    "place_of",
    "shape_of",
]

NOT_THE_USERS = (Path(torch.__file__).parent, Path(__file__).parents[1])
FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in \S+\n\s*(?P<code>[^\n]*)')


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A tensor that no input changes."""

    tensor: torch.Tensor
    name: str | None = None
    """Of the parameter, where it is one as it stands."""

    def doubles(self) -> NDArray[np.float64]:
        """Return its values."""
        return cast(NDArray[np.float64], self.tensor.detach().cpu().double().numpy())


@dataclass(frozen=True, slots=True)
class Reshaped:
    """A value in another shape, which only another reshape can take back."""

    value: Value
    at: fx.Node


Known = Value | Constant | Reshaped


@dataclass(slots=True)
class Tracing:
    """Layers so far. Scales and shifts are float64 until the trace is done and rounds them once."""

    input: Value
    encoded: Mapping[str, Encoded]
    nodes: list[Node] = field(default_factory=list)
    known: dict[fx.Node, Known] = field(default_factory=dict)

    def add(
        self,
        at: fx.Node,
        layer: Layer,
        *inputs: Value,
        shape: Sizes | None = None,
        suffix: str = "",
    ) -> Value:
        """Add a layer that stands for ``at``.

        Args:
            at: the operator.
            layer: what it becomes, or the first part of it.
            inputs: what the layer reads.
            shape: of the output, where it is not the one that torch says.
            suffix: of the output's name, where ``at`` becomes several layers.
        """
        name = at.name + suffix
        output = Value(name, shape_of(at) if shape is None else shape)
        path, kind = _module(at)
        if not kind.startswith("torch.nn.") or any(node.name == path for node in self.nodes):
            path = f"{path}.{name}" if path else name
        self.nodes.append(Node(path, layer, tuple(v.name for v in inputs), output))
        return output

    def value(self, at: fx.Node, given: Any) -> Value:
        """Return the value that an operator reads."""
        found = self.known.get(given) if isinstance(given, fx.Node) else None
        if isinstance(found, Reshaped):
            shapes = f"{found.value.shape} into {shape_of(found.at)}"
            self.fail(found.at, f"it turns {shapes}; only flattening to one axis works")
        if not isinstance(found, Value):
            self.fail(at, "it reads a constant where a value of the network is expected")
        return found

    def constant(self, given: Any) -> Constant | None:
        """Return the constant that an operator reads, None where it is none."""
        found = self.known.get(given) if isinstance(given, fx.Node) else None
        return found if isinstance(found, Constant) else None

    def doubles(self, given: Any, count: int, otherwise: float) -> NDArray[np.float64]:
        """Return a constant a channel, or ``otherwise`` repeated where there is none."""
        found = self.constant(given)
        return np.full(count, otherwise) if found is None else found.doubles()

    def weight(self, at: fx.Node, given: Any) -> Encoded:
        """Return a layer's weight, on its grid where it has one."""
        found = self.constant(given)
        if found is None:
            self.fail(at, "its weight is computed from the input")
        if found.name is not None and found.name in self.encoded:
            known = self.encoded[found.name]
            if known.shape == tuple(found.tensor.shape):
                return known
            self.fail(at, f"its weight {found.name!r} is encoded with shape {known.shape}")
        return encode(found.doubles().astype(np.float32), step=0.0)

    def fail(self, at: fx.Node, why: str) -> NoReturn:
        """Refuse an operator.

        Raises:
            ExportError: always; it names the operator and its place in the user's model.
        """
        raise ExportError(f"{operator_name(at)} {place_of(at)} can't be exported: {why}.")


def as_floats(values: NDArray[np.float64]) -> Floats:
    """Pass float64 through a field that holds float32 once the trace is done."""
    return cast(Floats, values)


def bound(at: fx.Node) -> dict[str, Any]:
    """Return an operator's arguments by the names of its schema, defaults filled in."""
    target = cast(torch._ops.OpOverload, at.target)
    found = {}
    for i, argument in enumerate(target._schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        given = at.args[i] if i < len(at.args) else at.kwargs.get(argument.name, default)
        found[argument.name] = given
    return found


def shape_of(at: fx.Node) -> Sizes:
    """Return the shape of an operator's output, without the batch."""
    found = at.meta["val"]
    found = found[0] if isinstance(found, Sequence) else found
    return tuple(int(n) for n in found.shape[1:])


def operator_name(at: fx.Node) -> str:
    """Return what an operator is called, such as ``aten.conv2d``.

    Example:
        >>> operator_name(fx.Graph().call_function(torch.ops.aten.relu.default))
        'aten.relu'
    """
    if at.target is operator.getitem:
        return "getitem"
    packet = getattr(at.target, "overloadpacket", at.target)
    return str(packet)


def place_of(at: fx.Node) -> str:
    """Return where in the user's model an operator is: its module, and its line where known."""
    path, kind = _module(at)
    kind = kind.rpartition(".")[2]
    inside = f"in module {path!r} ({kind})" if path else f"in the model ({kind})"
    line = line_of(at.meta.get("stack_trace") or "")
    return f"{inside}, at {line}" if line else inside


def line_of(trace: str) -> str:
    """Return the innermost line of a stack trace that is the user's, or an empty text."""
    frames = [frame for frame in FRAME.finditer(trace) if _is_users(frame["file"])]
    if not frames:
        return ""
    last = frames[-1]
    return f"{last['file']}:{last['line']} ({last['code'].strip()})"


def _is_users(file: str) -> bool:
    ours = any(Path(file).is_relative_to(folder) for folder in NOT_THE_USERS)
    return not ours and not file.startswith("<")


def _module(at: fx.Node) -> tuple[str, str]:
    """Return the path and the class of the module that an operator is called in."""
    stack = list((at.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    return str(path), str(kind)
