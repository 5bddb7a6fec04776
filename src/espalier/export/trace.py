"""From a network in torch, or its artifact, to the graph that targets are made of."""

import logging
import math
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from espalier.artifact import DEFAULT_MAX_BYTES, Metadata, read
from espalier.bridge import load
from espalier.bridge.naming import unwrapped
from espalier.encoded import Encoded
from espalier.errors import ConfigError, ExportError
from espalier.export.dead import without_dead
from espalier.export.graph import Argmax, Graph, Node, Softmax, Value
from espalier.export.operators import convert
from espalier.export.simplify import rounded, simplified
from espalier.export.tracing import Constant, Tracing, line_of

__all__ = ["Head", "graph_of", "trace"]

Head = Literal["logits", "softmax", "argmax"]
"""What the network ends with: as it is, or with a layer more."""
BATCH = 2
"""Of the trace; 1 could be mistaken for an axis of size 1."""
MAX_INPUT = 2**28
"""Most numbers in one sample: a file may come from a stranger."""


def graph_of(
    path: str | Path,
    model: nn.Module | None = None,
    *,
    head: Head = "logits",
    input_shape: tuple[int, ...] | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
) -> Graph:
    """Return the graph of an artifact's network; compressed weights keep their grids.

    Args:
        path: of the artifact.
        model: what to fill and trace; where None, it is built by the file's name.
        head: what is added at the end.
        input_shape: of one sample, for files that do not say it.
        max_bytes: cap on the decoded size.

    Raises:
        ArtifactError: the file is damaged or larger than the cap.
        ConfigError: the network can't be built by name, doesn't fit the model, or the file does not
            say the shape of its input.
        ExportError: an operator that no target knows.
    """
    artifact = read(path, max_bytes=max_bytes)
    network = load(path, model, max_bytes=max_bytes)
    encoded = {n: t for n, t in artifact.tensors.items() if isinstance(t, Encoded)}
    shape, mean, std = _input(artifact.metadata, path, input_shape)
    graph = trace(network, shape, encoded=encoded, head=head)
    return replace(graph, mean=mean, std=std, classes=artifact.metadata.classes)


def trace(
    model: nn.Module,
    input_shape: tuple[int, ...],
    *,
    encoded: Mapping[str, Encoded] | None = None,
    head: Head = "logits",
    remove_dead: bool = True,
    simplify: bool = True,
) -> Graph:
    """Return the graph of a network in evaluation mode.

    Args:
        model: traced by ``torch.export``; its mode is put back afterwards.
        input_shape: of one sample, without the batch.
        encoded: weights on their grids by the names of the model's parameters; what is not there is
            encoded as it is.
        head: what is added at the end.
        remove_dead: leave out filters that no output depends on, see :mod:`espalier.export.dead`.
        simplify: fold layers into others and round scales and shifts to float32; without it, the
            graph has every layer of the model, in float64, dead filters too.

    Raises:
        ExportError: the network can't be traced, or an operator is one that no target knows; the
            message names it and its place in the model.
    """
    inside = unwrapped(model)
    program = _exported(inside, input_shape)
    tracing = Tracing(Value("input", tuple(input_shape)), _by_every_name(inside, encoded or {}))
    output = _walk(tracing, program)
    graph = Graph(input=tracing.input, nodes=tuple(tracing.nodes), output=output)
    graph = _with_head(_needed(graph), head)
    if not simplify:
        return graph
    graph = simplified(graph)
    return rounded(without_dead(graph) if remove_dead else graph)


def _input(
    metadata: Metadata, path: str | Path, shape: tuple[int, ...] | None
) -> tuple[tuple[int, ...], tuple[float, ...], tuple[float, ...]]:
    """Return the input's shape, and its means and deviations, empty where the file has none."""
    given = metadata.input
    if given is None:
        if shape is None:
            raise ConfigError(
                f"{path} does not say the shape of its network's input; give it as --input-shape "
                "C,H,W (input_shape in Python)."
            )
        return shape, (), ()
    said = tuple(given["shape"])
    if shape not in (None, said):
        raise ConfigError(f"{path} says that its network takes {said}, not {shape}.")
    mean, std = (tuple(float(n) for n in given[name]) for name in ("mean", "std"))
    return said, mean, std


def _exported(model: nn.Module, shape: tuple[int, ...]) -> ExportedProgram:
    if not 0 < math.prod(shape) <= MAX_INPUT:
        raise ExportError(
            f"an input of {tuple(shape)} has {math.prod(shape)} numbers; 1 to {MAX_INPUT} work."
        )
    first = next(model.parameters(), torch.zeros(()))
    example = torch.zeros(BATCH, *shape, dtype=first.dtype, device=first.device)
    with _evaluating(model), _quietly():
        try:
            program = torch.export.export(model, (example,))
            if any(_writes(node) for node in program.graph.nodes):
                program = cast(ExportedProgram, program.run_decompositions({}))
            return program
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            line = line_of(str(error)) or line_of("".join(traceback.format_exception(error)))
            raise ExportError(
                f"torch.export can't trace {type(model).__name__} with an input of "
                f"{tuple(shape)}: {type(error).__name__}: {lines[0]}"
                + (f" At {line}." if line else "")
            ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what torch prints about itself to itself; the error says what there is to say."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _writes(node: fx.Node) -> bool:
    """Tell whether an operator changes its input in place; decomposed, none does."""
    schema = getattr(node.target, "_schema", None)
    arguments = () if schema is None else schema.arguments
    return any(a.alias_info is not None and a.alias_info.is_write for a in arguments)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _by_every_name(model: nn.Module, encoded: Mapping[str, Encoded]) -> dict[str, Encoded]:
    """Return the weights under all names that tied parameters have."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    found = dict(encoded)
    for alike in names.values():
        given = next((encoded[name] for name in alike if name in encoded), None)
        if given is not None:
            found.update(dict.fromkeys(alike, given))
    return found


def _walk(t: Tracing, program: ExportedProgram) -> Value:
    """Turn torch's nodes into layers one by one; return the network's output."""
    constants = _constants(program)
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in inputs:
                t.known[node] = t.input
            elif node.name in constants:
                t.known[node] = constants[node.name]
        elif node.op == "call_function" and node.users:
            computed = _computed(t, node)
            t.known[node] = convert(t, node) if computed is None else computed
        elif node.op == "output":
            return _output(t, node, program)
        elif node.op != "call_function":
            t.fail(node, f"torch.export made a node of kind {node.op}")
    raise ExportError("the network has no output.")


def _constants(program: ExportedProgram) -> dict[str, Constant]:
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lifted = dict(signature.inputs_to_lifted_tensor_constants)
    tensors: dict[str, Any] = {**program.constants, **program.state_dict}
    return {
        node: Constant(tensors[name], name if node in names else None)
        for node, name in {**names, **lifted}.items()
    }


@torch.no_grad()
def _computed(t: Tracing, node: fx.Node) -> Constant | None:
    """Compute what only constants go into, such as a weight with a parametrization."""
    reads = node.all_input_nodes
    found = [t.constant(n) for n in reads]
    if any(c is None for c in found):
        return None
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        t.fail(node, "it is random")
    tensors = {n: c.tensor for n, c in zip(reads, found, strict=True) if c is not None}
    args, kwargs = fx.map_arg((node.args, node.kwargs), lambda n: tensors[n])
    target = cast(Any, node.target)
    return Constant(target(*args, **kwargs))


def _output(t: Tracing, node: fx.Node, program: ExportedProgram) -> Value:
    """Return what the network returns; beside it may stand what it changes in place."""
    outputs = cast(tuple[Any, ...], node.args[0])
    specs = program.graph_signature.output_specs
    returned = [
        output
        for output, spec in zip(outputs, specs, strict=True)
        if spec.kind is OutputKind.USER_OUTPUT
    ]
    if len(returned) != 1:
        raise ExportError("the network returns several values; only one tensor works.")
    if not isinstance(returned[0], fx.Node) or t.constant(returned[0]) is not None:
        raise ExportError("the network's output does not depend on its input.")
    return t.value(node, returned[0])


def _needed(graph: Graph) -> Graph:
    """Leave out layers that the output does not depend on."""
    needed, kept = {graph.output.name}, []
    for node in reversed(graph.nodes):
        if node.output.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return replace(graph, nodes=tuple(reversed(kept)))


def _with_head(graph: Graph, head: Head) -> Graph:
    """Add what ``head`` asks for, where the network has not got it already."""
    last = graph.nodes[-1] if graph.nodes else None
    if head == "logits" or (last is not None and isinstance(last.layer, Argmax)):
        return graph
    if len(graph.output.shape) != 1:
        raise ExportError(f"head={head!r} needs one output a class; found {graph.output.shape}.")
    if last is not None and isinstance(last.layer, Softmax):
        if head == "softmax":
            return graph
        (source,) = last.inputs  # the largest stays the largest
        graph = replace(graph, nodes=graph.nodes[:-1], output=graph.values()[source])
    layer = Softmax() if head == "softmax" else Argmax()
    name = head if head not in graph.values() else f"{head}_head"
    output = Value(name, (1,) if head == "argmax" else graph.output.shape)
    node = Node(name, layer, (graph.output.name,), output)
    return replace(graph, nodes=(*graph.nodes, node), output=output)
