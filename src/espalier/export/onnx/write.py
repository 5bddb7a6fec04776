"""A graph to an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from espalier.errors import ConfigError, StorageError, nearest
from espalier.export.graph import Argmax, Graph
from espalier.export.onnx.builder import IR_VERSION, OPSET, Builder, require
from espalier.export.onnx.calibrate import calibrate
from espalier.export.onnx.layers import add_layer
from espalier.export.onnx.pack import PackedWeights
from espalier.export.onnx.plain import PlainWeights
from espalier.export.onnx.quantize import add_quantized
from espalier.export.ranges import check_calibration
from espalier.files import write_atomically

if TYPE_CHECKING:
    from onnx import ModelProto, ValueInfoProto

__all__ = ["BATCH", "Profile", "write_onnx"]

Profile = Literal["float", "int8", "packed"]
BATCH = "batch"
"""Name of the axis of free size, first of the input and of the output."""
LIMIT = 2**31 - 1
"""Bytes of a message of protobuf."""
SAYS: Mapping[Profile, str] = {
    "float": "float32; each weight is float32(scale * w), w as trained.",
    "packed": "float32; weights are packed and expand when a session starts, equal bit for bit to "
    "those of the profile float.",
    "int8": "uint8 activations and int8 weights (QDQ), ranges by calibration. OFF THE TRAINED "
    "GRID: weights are quantized again where weights_off_grid names their layer, and activations "
    "everywhere; measure its accuracy for itself.",
}


def write_onnx(
    graph: Graph,
    path: str | Path,
    *,
    profile: Profile = "float",
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write a network as ONNX, operator set 14: ONNX Runtime 1.8 and later, browsers included.

    The input is named as in the graph, (batch, *shape) float32, normalized as ``mean`` and ``std``
    in the file's metadata say; ``classes``, ``profile``, ``writer`` and, of int8,
    ``calibration_samples`` and ``weights_off_grid`` stand beside them, each as JSON.

    Args:
        graph: what to write.
        path: the file; replaced in one move once the checker took the new one.
        profile: ``float`` is plain; ``packed`` computes the same from a file many times smaller,
            which unpacks itself at load; ``int8`` computes with integers, for speed, on other
            weights than were trained (:mod:`espalier.export.onnx.quantize`).
        calibration: (samples, *shape), normalized inputs that stand for the data; int8 only.

    Raises:
        ConfigError: an unknown profile, calibration missing or given for nothing, the extra
            ``onnx`` is not installed, or a network beyond the 2 GB that an ONNX file holds.
        DataError: calibration data of another shape, or not finite.
        NonFiniteError: weights or activations exceed float32.
        StorageError: the file can't be written.
    """
    path = Path(path)
    _check(path, profile, calibration)
    build = Builder()
    more: dict[str, object] = {}
    match profile:
        case "float" | "packed":
            _add_float(build, graph, packed=profile == "packed")
        case "int8":
            given = check_calibration(graph, calibration)
            ranges = calibrate(graph, _checked(_float_model(graph)), given)
            more["calibration_samples"] = len(given)
            more["weights_off_grid"] = add_quantized(build, graph, ranges)
    write_atomically(path, _checked(_model(build, graph, profile, more)))


def _add_float(build: Builder, graph: Graph, *, packed: bool) -> None:
    """Append the graph's layers, in float32."""
    weights = PackedWeights() if packed else PlainWeights()
    for node in graph.nodes:
        add_layer(build, node, node.inputs, node.output.name, weights)


def _float_model(graph: Graph) -> ModelProto:
    """Return the profile ``float`` with every value as an output: what calibration looks at."""
    build = Builder()
    _add_float(build, graph, packed=False)
    model = _model(build, graph, "float", {})
    del model.graph.output[:]
    model.graph.output.extend(_info(graph, node.output.name) for node in graph.nodes)
    return model


def _check(path: Path, profile: str, calibration: object) -> None:
    known = get_args(Profile)
    if profile not in known:
        raise ConfigError(
            f"profile={profile!r} is unknown; known: {', '.join(known)}.{nearest(profile, known)}"
        )
    if profile == "int8" and calibration is None:
        raise ConfigError(
            "profile='int8' needs calibration: some hundred normalized inputs, (samples, *shape) "
            "float32, from which it takes the ranges of the activations."
        )
    if profile != "int8" and calibration is not None:
        raise ConfigError(f"calibration is for profile='int8' only; {profile!r} has no use for it.")
    if not path.parent.is_dir():
        raise StorageError(f"can't write {path}: {path.parent} is no directory.")


def _model(build: Builder, graph: Graph, profile: Profile, more: dict[str, object]) -> ModelProto:
    helper = require("onnx.helper")
    body = helper.make_graph(
        build.nodes,
        "espalier",
        [_info(graph, graph.input.name)],
        [_info(graph, graph.output.name)],
        list(build.constants.values()),
    )
    model: ModelProto = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="espalier",
        producer_version=version("espalier"),
        doc_string=f"Espalier, profile {profile}: {SAYS[profile]}",
    )
    facts = {
        "profile": profile,
        "writer": f"espalier {version('espalier')}",
        "mean": graph.mean,
        "std": graph.std,
        "classes": graph.classes,
        **more,
    }
    helper.set_model_props(model, {name: json.dumps(fact) for name, fact in facts.items()})
    return model


def _info(graph: Graph, name: str) -> ValueInfoProto:
    helper, kinds = require("onnx.helper"), require("onnx").TensorProto
    indices = {node.output.name for node in graph.nodes if isinstance(node.layer, Argmax)}
    kind = kinds.INT64 if name in indices else kinds.FLOAT
    info: ValueInfoProto = helper.make_tensor_value_info(
        name, kind, [BATCH, *graph.values()[name].shape]
    )
    return info


def _checked(model: ModelProto) -> bytes:
    size = model.ByteSize()
    if size > LIMIT:
        raise ConfigError(f"the network takes {size:,} bytes; an ONNX file holds {LIMIT:,}.")
    require("onnx.checker").check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content
