"""Every layout of packed weights expands to the weights, bit for bit, and is small."""

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.export.onnx import pack
from espalier.export.onnx.builder import IR_VERSION, OPSET, Builder

Layout = Callable[[Builder, str, np.ndarray], str]
LAYOUTS: dict[str, Layout] = {
    "whole": pack._whole,
    "dense": pack._dense,
    "bitmap": pack._bitmap,
    "gaps": pack._gaps,
    "smallest": pack._expand,
}


def expanded(layout: Layout, weight: np.ndarray) -> np.ndarray:
    """Return what ONNX Runtime makes of a packed tensor."""
    build = Builder()
    name = layout(build, "w", weight)
    out = onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, weight.shape)
    build.add("Identity", name, into="out")
    graph = onnx.helper.make_graph(build.nodes, "g", [], [out], list(build.constants.values()))
    opset = [onnx.helper.make_opsetid("", OPSET)]
    model = onnx.helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found: np.ndarray = session.run(None, {})[0]
    return found


def drawn(shape: tuple[int, ...], density: float, levels: int, seed: int) -> np.ndarray:
    """Draw weights of which some are zero, the others of so many levels; 0 levels: all differ."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=levels or np.prod(shape)).astype(np.float32)
    kept = rng.random(shape) < density
    return np.where(kept, rng.choice(table, shape), np.float32(0)).astype(np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=60)
@given(
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple),
    density=st.sampled_from([0.0, 0.01, 0.1, 0.5, 1.0]),
    levels=st.sampled_from([0, 1, 2, 3, 16, 17, 255, 256, 257, 700]),
    seed=st.integers(0, 10),
)
def test_every_layout_gives_the_weights_back(
    layout: str, shape: tuple[int, ...], density: float, levels: int, seed: int
) -> None:
    """Any size, any density, any number of levels."""
    weight = drawn(shape, density, levels, seed)
    found = expanded(LAYOUTS[layout], weight)
    assert found.shape == weight.shape
    assert found.tobytes() == weight.tobytes()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("last", [False, True])
def test_a_single_weight_at_either_end(layout: str, last: bool) -> None:
    """Positions reach from the first to the last."""
    weight = np.zeros((33, 31), np.float32)
    weight.reshape(-1)[-1 if last else 0] = -0.25
    assert expanded(LAYOUTS[layout], weight).tobytes() == weight.tobytes()


@pytest.mark.parametrize(
    ("density", "levels", "bits"),
    [
        (0.07, 16, 0.37 + 0.07 * 4),  # entropy of the places, and the codes
        (0.02, 6, 0.15 + 0.02 * 3),
        (0.5, 2, 1.0 + 0.5),
        (1.0, 8, 3.0),
    ],
)
def test_the_smallest_layout_is_near_what_the_data_need(
    density: float, levels: int, bits: float
) -> None:
    """A large tensor takes at most a tenth more than the entropy of its places and its codes."""
    weight = drawn((512, 1024), density, levels, 0)
    build = Builder()
    pack._expand(build, "w", weight)
    assert build.size_bytes() * 8 <= 1.1 * bits * weight.size


def test_a_tensor_that_packing_would_enlarge_stays_as_it_is() -> None:
    """The operators that expand it take more than a small tensor itself."""
    build = Builder()
    pack._expand(build, "w", drawn((4, 4), 0.5, 4, 0))
    assert build.nodes == []
