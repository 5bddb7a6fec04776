"""Every network in every profile, opened by ONNX Runtime, against the oracle."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tests.export.networks import NETWORKS, inputs_for
from tests.export.networks import Builder as NetworkBuilder

from espalier.encoded import encode
from espalier.errors import ConfigError, DataError, NonFiniteError, StorageError
from espalier.export.graph import Graph, Linear, Node, Value
from espalier.export.onnx import write_onnx
from espalier.export.reference import run

CALIBRATION = 64
EXPANDED = {"Conv", "FusedConv", "Gemm", "FusedGemm"}
"""What the plain profiles multiply by once a session has optimized them."""


def write(graph: Graph, folder: Path, profile: str) -> Path:
    """Write a graph with what its profile needs."""
    path = folder / f"{profile}.onnx"
    data = inputs_for(graph, CALIBRATION, seed=9) if profile == "int8" else None
    write_onnx(graph, path, profile=profile, calibration=data)  # type: ignore[arg-type]
    return path


def session(path: Path, level: str = "ORT_ENABLE_ALL") -> Any:
    """Open a file on one thread; the optimized graph lies beside it."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    options.log_severity_level = 3  # that the optimized file suits this machine alone
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def outputs(path: Path, inputs: np.ndarray, level: str = "ORT_ENABLE_ALL") -> np.ndarray:
    """Return what a file computes."""
    found: np.ndarray = session(path, level).run(None, {"input": inputs})[0]
    return found


def operators(path: Path) -> list[str]:
    """Name the operators that the runtime made of a file."""
    session(path)
    return [node.op_type for node in onnx.load(path.with_suffix(".optimized")).graph.node]


def facts(path: Path) -> dict[str, Any]:
    """Return a file's metadata."""
    return {one.key: json.loads(one.value) for one in onnx.load(path).metadata_props}


@pytest.fixture(params=NETWORKS)
def graph(request: pytest.FixtureRequest) -> Graph:
    """Return each of the networks."""
    return NETWORKS[request.param]()


def one_linear(weights: np.ndarray, scale: Any = 1.0, shift: Any = 0.0, axes: int = 1) -> Graph:
    """Return a network of one fully connected layer; ``axes`` of the input, the last its own."""
    weights = np.asarray(weights, np.float32)
    filters, inputs = weights.shape
    layer = Linear(
        weight=encode(weights, step=0.5),
        scale=np.broadcast_to(np.float32(scale), filters),
        shift=np.broadcast_to(np.float32(shift), filters),
    )
    above = (3,) * (axes - 1)
    output = Value("output", (*above, filters))
    entry = Value("input", (*above, inputs))
    return Graph(input=entry, nodes=(Node("fc", layer, ("input",), output),), output=output)


@pytest.mark.parametrize("profile", ["float", "packed"])
@pytest.mark.parametrize("level", ["ORT_ENABLE_ALL", "ORT_DISABLE_ALL"])
@pytest.mark.parametrize("batch", [1, 5])
def test_floats_agree_with_the_oracle(
    graph: Graph, profile: str, level: str, batch: int, tmp_path: Path
) -> None:
    """The error is within 1e-5 of the largest output, optimized or not, at any batch."""
    inputs = inputs_for(graph, batch)
    expected = run(graph, inputs)
    found = outputs(write(graph, tmp_path, profile), inputs, level)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def test_packed_equals_float_bit_for_bit(graph: Graph, tmp_path: Path) -> None:
    """Packing changes the file and nothing else."""
    inputs = inputs_for(graph, 7)
    plain, packed = (
        outputs(write(graph, tmp_path, profile), inputs) for profile in ("float", "packed")
    )
    assert plain.tobytes() == packed.tobytes()


def test_a_session_expands_what_is_packed_once(graph: Graph, tmp_path: Path) -> None:
    """The optimized graph of the packed file is that of the plain one: nothing runs per call."""
    plain, packed = (operators(write(graph, tmp_path, profile)) for profile in ("float", "packed"))
    assert packed == plain


def test_packed_is_expanded_by_basic_optimization_too(graph: Graph, tmp_path: Path) -> None:
    """The lowest level that folds constants is enough."""
    path = write(graph, tmp_path, "packed")
    session(path, "ORT_ENABLE_BASIC")
    model = onnx.load(path.with_suffix(".optimized"))
    dense = {one.name: list(one.dims) for one in model.graph.initializer}
    weighted = [node for node in model.graph.node if node.op_type in EXPANDED]
    assert sorted(dense[node.input[1]] for node in weighted) == sorted(
        list(layer.weight.shape) for _, layer in graph.weighted()
    )
    assert not {"BitShift", "CumSum", "ScatterElements"} & {n.op_type for n in model.graph.node}


@pytest.mark.parametrize("name", ["plain", "residual", "signals", "empty_filters"])
def test_integers_are_near_the_oracle(name: str, tmp_path: Path) -> None:
    """With 8 bits everywhere a small network loses a few hundredths at most."""
    graph = NETWORKS[name]()
    inputs = inputs_for(graph, 16)
    expected = run(graph, inputs)
    found = outputs(write(graph, tmp_path, "int8"), inputs)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 0.04 * np.abs(expected).max()


def test_integers_choose_the_same_class(tmp_path: Path) -> None:
    """A network that ends in an argmax answers with whole numbers, nearly always the same."""
    graph = NETWORKS["odd"]()
    inputs = inputs_for(graph, 64)
    found = outputs(write(graph, tmp_path, "int8"), inputs)
    assert found.dtype == np.int64
    assert (found == run(graph, inputs)).mean() >= 0.9


def test_the_runtime_fuses_integers(graph: Graph, tmp_path: Path) -> None:
    """Every convolution and every fully connected layer runs on integers."""
    found = operators(write(graph, tmp_path, "int8"))
    layers = [type(layer).__name__ for _, layer in graph.weighted()]
    assert found.count("QLinearConv") == layers.count("Convolution")
    assert found.count("QGemm") == layers.count("Linear")
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm"} & set(found)


@pytest.mark.parametrize("activation", ["relu", "relu6", None])
def test_a_convolution_at_the_end_is_fused_too(activation: str | None, tmp_path: Path) -> None:
    """Where a network ends in a convolution, or in what clips one, it writes integers."""
    build = NetworkBuilder(3, 6, 6)
    build.conv(4, (3, 3))
    if activation:
        build.activation(activation)
    graph = build.graph()
    path = write(graph, tmp_path, "int8")
    assert "QLinearConv" in operators(path)
    inputs = inputs_for(graph)
    expected = run(graph, inputs)
    assert np.abs(outputs(path, inputs) - expected).max() <= 0.08 * np.abs(expected).max()


def test_small_codes_stay_on_their_grid(tmp_path: Path) -> None:
    """Codes up to 64 are stored as they are, their sign with a negative scale turned around."""
    graph = one_linear(np.array([[32.0, -1.5], [0.5, 0.0]]), scale=[-2.0, 0.25])
    path = write(graph, tmp_path, "int8")
    assert facts(path)["weights_off_grid"] == []
    stored = {
        one.name: onnx.numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer
    }
    assert stored["output.w"].tolist() == [[-64, 3], [1, 0]]
    assert stored["output.scale"].tolist() == [1.0, 0.125]


def test_large_codes_leave_their_grid_and_are_named(tmp_path: Path) -> None:
    """A code of 65 does not fit, so the layer is rounded again and the file says so."""
    path = write(one_linear(np.array([[32.5, -1.5], [0.5, 0.0]])), tmp_path, "int8")
    assert facts(path)["weights_off_grid"] == ["fc"]
    assert "OFF THE TRAINED GRID" in onnx.load(path).doc_string


def test_a_bias_beyond_what_integers_hold_widens_the_scale(tmp_path: Path) -> None:
    """Dead filters, tiny scales, large biases: the answer stays near."""
    graph = one_linear(
        np.array([[0.0, 0.0], [0.5, 0.5], [0.5, -0.5]]),
        scale=[1.0, 1e-12, 1.0],
        shift=[1e6, 100.0, 0.25],
    )
    inputs = inputs_for(graph, 8)
    found = outputs(write(graph, tmp_path, "int8"), inputs)
    np.testing.assert_allclose(found, run(graph, inputs), rtol=1e-3, atol=0.05)


def test_integers_of_nothing_are_zero(tmp_path: Path) -> None:
    """Inputs that are all zero at calibration, filters without weight or bias: no grid is void."""
    graph = one_linear(np.zeros((3, 4)), shift=[0.0, 1.0, 0.0])
    path = tmp_path / "net.onnx"
    write_onnx(graph, path, profile="int8", calibration=np.zeros((2, 4), np.float32))
    found = outputs(path, np.zeros((1, 4), np.float32))
    np.testing.assert_allclose(found, [[0.0, 1.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("profile", ["float", "packed", "int8"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_linear_works_on_the_last_axis(profile: str, axes: int, tmp_path: Path) -> None:
    """Sequences and stacks of them go through a fully connected layer too."""
    weights = np.random.default_rng(0).integers(-3, 4, (5, 40)) * 0.5
    graph = one_linear(weights, scale=[1, 2, 3, 4, -5], shift=[1, 2, 3, 4, 5], axes=axes)
    inputs = inputs_for(graph, 4)
    expected = run(graph, inputs)
    found = outputs(write(graph, tmp_path, profile), inputs)
    tolerance = 0.08 if profile == "int8" else 1e-6
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())


def test_metadata_say_what_the_file_is(tmp_path: Path) -> None:
    """Who opens the file finds its preprocessing, its classes and what made it."""
    bare = NETWORKS["plain"]()
    graph = Graph(
        input=bare.input,
        nodes=bare.nodes,
        output=bare.output,
        mean=(0.5, 0.25, 0.125),
        std=(1.0, 2.0, 4.0),
        classes=("a", "b", "c", "d", "é"),
    )
    for profile in ("float", "packed", "int8"):
        path = write(graph, tmp_path, profile)
        found = facts(path)
        assert found["profile"] == profile
        assert found["mean"] == [0.5, 0.25, 0.125]
        assert found["std"] == [1.0, 2.0, 4.0]
        assert found["classes"] == ["a", "b", "c", "d", "é"]
        assert found["writer"].startswith("espalier ")
        assert found.get("calibration_samples") == (CALIBRATION if profile == "int8" else None)
        model = onnx.load(path)
        assert f"profile {profile}" in model.doc_string
        assert [(one.domain, one.version) for one in model.opset_import] == [("", 14)]


def test_writing_twice_gives_the_same_bytes(graph: Graph, tmp_path: Path) -> None:
    """A file is a pure function of the network, the profile and the calibration."""
    for profile in ("float", "packed", "int8"):
        first = write(graph, tmp_path, profile).read_bytes()
        assert write(graph, tmp_path, profile).read_bytes() == first


def refused(folder: Path, graph: Graph | None = None, **options: Any) -> None:
    """Try to write over a file, which must stay as it was."""
    path = folder / "net.onnx"
    path.write_bytes(b"old")
    try:
        write_onnx(graph or NETWORKS["plain"](), path, **options)
    finally:
        assert path.read_bytes() == b"old"
        assert list(folder.iterdir()) == [path]


def test_an_unknown_profile_is_refused(tmp_path: Path) -> None:
    """The message names those that there are."""
    with pytest.raises(ConfigError, match=r"float, int8, packed.* Did you mean 'packed'"):
        refused(tmp_path, profile="pack")


def test_int8_needs_calibration(tmp_path: Path) -> None:
    """Ranges of activations come from data."""
    with pytest.raises(ConfigError, match="needs calibration"):
        refused(tmp_path, profile="int8")


def test_calibration_for_nothing_is_refused(tmp_path: Path) -> None:
    """Float profiles have no use for it, so that it must be a mistake."""
    data = np.zeros((1, 3, 14, 14), np.float32)
    with pytest.raises(ConfigError, match="only; 'packed' has no use"):
        refused(tmp_path, profile="packed", calibration=data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.zeros((4, 3, 14, 13), np.float32), r"shape \(4, 3, 14, 13\).*\(samples, 3, 14, 14\)"),
        (np.zeros((3, 14, 14), np.float32), r"shape \(3, 14, 14\)"),
        (np.zeros((0, 3, 14, 14), np.float32), "at least one sample"),
        (np.float32(1), r"shape \(\)"),
        (np.zeros((4, 3, 14, 14), np.uint8), "holds uint8"),
        (np.full((4, 3, 14, 14), np.nan, np.float32), "NaN or infinity"),
    ],
)
def test_calibration_of_another_kind_is_refused(
    data: np.ndarray, message: str, tmp_path: Path
) -> None:
    """The message says what was given and what the network takes."""
    with pytest.raises(DataError, match=message):
        refused(tmp_path, profile="int8", calibration=data)


def test_an_activation_that_overflows_is_named(tmp_path: Path) -> None:
    """Calibration that makes a layer exceed float32 is refused by the layer's name."""
    graph = one_linear(np.array([[3e38, 3e38]]))
    data = np.ones((4, 2), np.float32)
    with pytest.raises(NonFiniteError, match="fc: calibration makes it exceed float32"):
        refused(tmp_path, graph, profile="int8", calibration=data)


@pytest.mark.parametrize("profile", ["float", "packed"])
def test_a_weight_that_overflows_is_named(profile: str, tmp_path: Path) -> None:
    """Scales that drive weights out of float32 are refused by the layer's name."""
    graph = one_linear(np.array([[3e38, 1.0]]), scale=10.0)
    with pytest.raises(NonFiniteError, match="fc: scaled weights exceed float32"):
        refused(tmp_path, graph, profile=profile)


def test_a_network_beyond_what_a_file_holds_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protobuf's messages have a largest size."""
    monkeypatch.setattr("espalier.export.onnx.write.LIMIT", 1000)
    with pytest.raises(ConfigError, match="an ONNX file holds 1,000"):
        refused(tmp_path)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """Nothing is made on the way."""
    with pytest.raises(StorageError, match="is no directory"):
        write_onnx(NETWORKS["plain"](), tmp_path / "no" / "net.onnx")


@pytest.mark.parametrize("missing", ["onnx.helper", "onnxruntime"])
def test_without_the_extra_the_message_names_it(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has not installed ONNX reads how to."""
    monkeypatch.setitem(__import__("sys").modules, missing, None)
    data = inputs_for(NETWORKS["plain"]())
    with pytest.raises(ConfigError, match=r"pip install 'espalier\[onnx\]'"):
        refused(tmp_path, profile="int8", calibration=data)
