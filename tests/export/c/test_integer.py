"""Generated C in integers: the oracle's bits, on every compiler and at every size of blocks."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from espalier.encoded import encode
from espalier.errors import ConfigError, DataError
from espalier.export.c import TARGETS, write_c
from espalier.export.c.integer_costs import IntegerCosts
from espalier.export.graph import Convolution, Graph, Linear
from espalier.export.integer import plan_integers, run_integer

from ..networks import NETWORKS, Builder, inputs_for  # noqa: TID252
from .test_write_c import GRAPHS, SANITIZED, build, check, shortened


def calibration(graph: Graph) -> np.ndarray:
    return inputs_for(graph, 16, seed=5)


def with_bits(graph: Graph, bits: int, density: float = 0.3) -> Graph:
    """Return the network with random weights as a pruned grid of ``bits`` bits has them."""
    rng = np.random.default_rng(bits)
    levels = 2 ** (bits - 1)
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.layer, Convolution | Linear):
            shape = node.layer.weight.shape
            codes = rng.integers(0, levels, shape) + int(0.6 * levels)
            signs = rng.choice([-1, 0, 1], shape, p=[density / 2, 1 - density, density / 2])
            weights = (codes * signs).astype(np.float32) * np.float32(0.03 / levels)
            weight = encode(weights, step=float(np.float32(0.03 / levels)), bits=bits)
            nodes[i] = replace(node, layer=replace(node.layer, weight=weight))
    return replace(graph, nodes=tuple(nodes))


def write(graph: Graph, place: Path, target: str, **options: str) -> Path:
    given = calibration(graph)
    return write_c(graph, place, arithmetic="int", calibration=given, target=target, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_oracle(tmp_path: Path, name: str) -> None:
    """Every network compiles without a warning, and its self-test allows no difference."""
    directory = write(GRAPHS[name](), tmp_path / "net", "avx2")
    assert "largest difference 0," in check(build(directory, "gcc", ["-O1"]))


@pytest.mark.parametrize("bits", [3, 4, 6])
@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("target", ["avx2", "avx512"])
def test_pairs_of_bytes_give_the_same_integers(
    tmp_path: Path, target: str, command: str, bits: int
) -> None:
    """With the machine's own instructions where it has them; inputs with and without sign."""
    graph = with_bits(GRAPHS["whole_vectors"](), bits)
    directory = write(graph, tmp_path / "net", target)
    assert "_maddubs_" in (directory / "net.c").read_text()
    for flags in (["-O2"], SANITIZED):
        program = build(directory, command, [*flags, "-march=native"])
        assert "largest difference 0," in check(program)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "target"), [("gcc", "avx512"), ("clang", "scalar")])
@pytest.mark.parametrize("name", GRAPHS)
def test_sanitizers_find_nothing(tmp_path: Path, name: str, command: str, target: str) -> None:
    """No sum overflows, and nothing outside the memory is touched."""
    directory = write(GRAPHS[name](), tmp_path / "net", target)
    assert "largest difference 0," in check(build(directory, command, SANITIZED))


@pytest.mark.slow
@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_any_bits(tmp_path: Path, bits: int) -> None:
    """Sums of int16, in parts, and of int32 are the same sums."""
    for name, target, command in (("plain", "avx512", "gcc"), ("odd", "sse", "clang")):
        directory = write(with_bits(NETWORKS[name](), bits), tmp_path / name, target)
        assert "largest difference 0," in check(build(directory, command, SANITIZED))


@pytest.mark.slow
@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_runs_everywhere(tmp_path: Path, target: str, optimize: str) -> None:
    """A target sizes blocks and assumes nothing of the machine."""
    for name in ("residual", "wide_image"):
        directory = write(GRAPHS[name](), tmp_path / name, target, optimize=optimize)
        assert "largest difference 0," in check(build(directory, "gcc", ["-O1"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_every_layer_equals_the_oracle(tmp_path: Path, name: str) -> None:
    """A network cut after any of its layers too."""
    graph = GRAPHS[name]()
    for nodes in range(1, len(graph.nodes)):
        directory = write(shortened(graph, nodes), tmp_path / f"{nodes}", "sse")
        assert "largest difference 0," in check(build(directory, "gcc", ["-O1"]))


def multiplied(graph: Graph, place: Path, target: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a network all of whose convolutions multiply all weights, whatever that costs."""
    monkeypatch.setattr(IntegerCosts, "sparse", lambda *_: np.inf)
    return write(graph, place, target)


@pytest.mark.parametrize("name", ["residual", "odd", "strided_chains"])
def test_patches_equal_the_oracle(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strides, groups, dilations and maxima, where zeros are multiplied too."""
    directory = multiplied(GRAPHS[name](), tmp_path / "net", "avx512", monkeypatch)
    assert "patches, " in (directory / "net.c").read_text()
    assert "sparse" not in re.sub("linear.*sparse", "", (directory / "net.c").read_text())
    assert "largest difference 0," in check(build(directory, "gcc", ["-O1"]))


@pytest.mark.slow
@pytest.mark.parametrize(("target", "command"), [("avx2", "gcc"), ("scalar", "clang")])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("name", GRAPHS)
def test_sanitizers_find_nothing_in_patches(
    tmp_path: Path,
    name: str,
    bits: int,
    target: str,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Bytes and int16, whole vectors or none: nothing outside the memory is touched."""
    graph = with_bits(GRAPHS[name](), bits)
    directory = multiplied(graph, tmp_path / "net", target, monkeypatch)
    assert "largest difference 0," in check(build(directory, command, SANITIZED))


@pytest.mark.parametrize(("density", "how"), [(0.05, "sparse"), (1.0, "patches")])
def test_the_faster_way_is_taken(tmp_path: Path, density: float, how: str) -> None:
    """Few weights are skipped to, all are multiplied."""
    b = Builder(64, 12, 12, seed=1)
    b.conv(64, (3, 3), padding=1, density=density)
    b.activation("relu")
    b.conv(64, (3, 3), padding=1, density=density)
    text = (
        write(with_bits(b.graph(), 8, density), tmp_path / "net", "avx512") / "net.c"
    ).read_text()
    assert ("layer3: patches" in text) == (how == "patches")


def sums_at_their_end(sign: int) -> Graph:
    """A filter whose sum reaches int16's last value but a few, where its inputs are largest."""
    b = Builder(1, 8, 40, seed=3)
    b.conv(2, (3, 3), padding=1)
    node = b.nodes[0]
    codes = np.ones((2, 1, 3, 3), np.float32) * sign * 128
    codes[:, 0, 0, 0] = sign * 33  # 6 bits below 0 too: (8 * 128 + 33) * 31 = 32767
    weight = encode(codes, step=1.0, bits=8)
    shift = np.zeros(2, np.float32)
    layer = replace(node.layer, weight=weight, shift=shift, scale=shift + 1)
    return replace(b.graph(), nodes=(replace(node, layer=layer),))


@pytest.mark.parametrize("sign", [-1, 1])
def test_the_largest_sum_of_int16(tmp_path: Path, sign: int) -> None:
    """An input that drives sums to the very end of int16 gives what the oracle gives."""
    graph = sums_at_their_end(sign)
    given = np.random.default_rng(0).choice([-1.0, 1.0], (4, 1, 8, 40)).astype(np.float32)
    plan = plan_integers(graph, given)
    assert plan.grids["input"].high == 31
    step = plan.steps["layer1"]
    assert step.bounds.tolist() == [32767, 32767]
    directory = write_c(
        graph, tmp_path / "net", arithmetic="int", calibration=given, target="avx512"
    )
    assert "int16" in (directory / "net.c").read_text()
    ones = np.ones((1, 1, 8, 40), np.float32)
    expected = run_integer(plan, ones)
    text = (directory / "net_test.c").read_text()
    integers = plan.grids["input"].quantize(ones)
    for name, values in (("input", ones), ("integers", integers), ("expected", expected)):
        numbers = ", ".join(values.reshape(-1).astype(str))
        pattern = rf"(static const \w+ {name}\[\d+\] = \{{)[^}}]*\}};"
        text, found = re.subn(pattern, rf"\g<1>{numbers}}};", text)
        assert found == 1
    (directory / "net_test.c").write_text(text)
    assert "largest difference 0," in check(build(directory, "gcc", SANITIZED))


def test_memory_is_a_quarter(tmp_path: Path) -> None:
    """Activations take a byte each."""
    graph = GRAPHS["wide_image"]()
    sizes = [
        int(re.findall(r"ARENA_BYTES (\d+)", (directory / "net.h").read_text())[0])
        for directory in (
            write_c(graph, tmp_path / "float", target="scalar"),
            write(graph, tmp_path / "int", "scalar"),
        )
    ]
    assert sizes[1] < 0.3 * sizes[0]


MAIN = """
#include "net.h"
#include <stdio.h>
#include <string.h>
int main(void)
{
    static net_input wild[NET_INPUT_SIZE], held[NET_INPUT_SIZE];
    float a[NET_OUTPUT_SIZE], b[NET_OUTPUT_SIZE];
    for (int i = 0; i < NET_INPUT_SIZE; i++) {
        wild[i] = (net_input)(i % 2 ? 127 : -128);
        held[i] = (net_input)(i % 2 ? NET_INPUT_HIGH : NET_INPUT_LOW);
    }
    if (net_run_integers(NULL, a, a) != 1 || net_run_integers_static(wild, a) != 0)
        return 1;
    return net_run_integers_static(held, b) != 0 || memcmp(a, b, sizeof a) != 0;
}
"""


def test_integers_beyond_the_grid_are_held(tmp_path: Path) -> None:
    """A caller's integers can't drive sums further than they were proven for."""
    directory = write(GRAPHS["plain"](), tmp_path / "net", "scalar")
    assert "typedef int8_t net_input;" in (directory / "net.h").read_text()
    (directory / "net_test.c").write_text(MAIN)
    check(build(directory, "gcc", SANITIZED))


def test_layers_off_the_grid_are_named(tmp_path: Path) -> None:
    """The header says which weights were rounded again."""
    graph = GRAPHS["plain"]()
    assert "rounded again" not in (write(graph, tmp_path / "a", "scalar") / "net.h").read_text()
    last = graph.nodes[-1]
    weight = encode(np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32), step=0.0)
    layer = replace(last.layer, weight=weight)
    graph = replace(graph, nodes=(*graph.nodes[:-1], replace(last, layer=layer)))
    header = (write(graph, tmp_path / "b", "scalar") / "net.h").read_text()
    assert re.search(rf"rounded again, to 8 bits, off a trained grid: {last.name} ", header)


def test_calibration_that_is_missing_or_wrong(tmp_path: Path) -> None:
    """Nothing is written, and the error says what to give."""
    graph = GRAPHS["plain"]()
    with pytest.raises(ConfigError, match=r"give calibration, an array \(samples, \*input shape\)"):
        write_c(graph, tmp_path / "net", arithmetic="int")
    with pytest.raises(ConfigError, match="calibration is for arithmetic='int', not 'float'"):
        write_c(graph, tmp_path / "net", calibration=calibration(graph))
    with pytest.raises(DataError, match=r"calibration has shape \(2, 3\); the network takes"):
        write_c(graph, tmp_path / "net", arithmetic="int", calibration=np.zeros((2, 3), np.float32))
    assert not list(tmp_path.iterdir())
