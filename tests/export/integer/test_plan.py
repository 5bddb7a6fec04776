"""Networks in integers: near their floats, within int16 where promised, clear in refusal."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.encoded import Encoded, Raw, Table, decode, encode
from espalier.errors import ConfigError, DataError, ExportError, NonFiniteError
from espalier.export.graph import Argmax, Graph, Linear, Softmax
from espalier.export.integer import Grid, IntegerPlan, plan_integers, run_integer, run_integer_all
from espalier.export.integer.codes import INT16, codes_of, sum_bounds
from espalier.export.integer.fixed import fixed_point
from espalier.export.integer.plan import Sums
from espalier.export.ranges import Histogram
from espalier.export.reference import run

from ..networks import NETWORKS, Builder, inputs_for  # noqa: TID252


def planned(graph: Graph, samples: int = 32) -> IntegerPlan:
    return plan_integers(graph, inputs_for(graph, samples, seed=5))


def linear(weight: Encoded, scale: float = 1.0) -> Linear:
    outputs = weight.shape[0]
    ones = np.ones(outputs, np.float32)
    return Linear(weight=weight, scale=np.float32(scale) * ones, shift=0 * ones)


grids = st.builds(
    lambda bits, signed: Grid(
        np.float32(1), -(2 ** (bits - 1)) + 1 if signed else 0, 2 ** (bits - signed) - 1
    ),
    st.integers(4, 8),
    st.booleans(),
)
rows = st.lists(st.integers(-200, 200), min_size=1, max_size=20)


@given(rows, grids)
def test_bounds_are_reached_and_never_passed(row: list[int], grid: Grid) -> None:
    """The worst input gives the bound itself, in magnitude; no order of adding passes it."""
    codes = np.array([row])
    (bound,) = sum_bounds(codes, grid)
    highest = np.where(codes > 0, grid.high, grid.low)
    lowest = np.where(codes > 0, grid.low, grid.high)
    reached = [int((codes * x).sum()) for x in (highest, lowest)]
    assert max(map(abs, reached)) == bound
    for x in (highest, lowest):
        assert np.abs(np.cumsum(codes * x)).max() <= bound


@pytest.mark.parametrize("name", NETWORKS)
def test_sums_stay_within_their_bounds(name: str) -> None:
    """Worst-case inputs of every filter reach the bound that the plan gives, and int16 holds it."""
    plan = planned(NETWORKS[name]())
    steps = {n.name: (n, plan.steps[n.name]) for n, _ in plan.graph.weighted()}
    for node, step in steps.values():
        assert isinstance(step, Sums)
        grid = plan.grids[node.inputs[0]]
        codes = step.codes.by_filter
        worst = np.where(codes > 0, grid.high, grid.low)
        other = np.where(codes > 0, grid.low, grid.high)
        sums = np.maximum(np.abs((codes * worst).sum(1)), np.abs((codes * other).sum(1)))
        np.testing.assert_array_equal(sums, step.bounds)
        assert step.fits_int16 == (step.bounds.max(initial=0) <= INT16)


@pytest.mark.parametrize("name", ["plain", "residual", "signals", "empty_filters"])
def test_networks_stay_near_their_floats(name: str) -> None:
    """Rounding costs less than a tenth of the spread of the outputs, at six bits and more."""
    graph = NETWORKS[name]()
    plan, inputs = planned(graph, 64), inputs_for(graph, 50, seed=9)
    got, expected = run_integer(plan, inputs), run(graph, inputs)
    assert got.dtype == np.float32
    assert np.sqrt(((got - expected) ** 2).mean()) <= 0.1 * expected.std()


def test_trained_weights_are_kept() -> None:
    """Codes times units are the decoded weights; what a filter has in common is divided out."""
    weights = np.array([[0.0, -0.6, 0.9], [0.4, 0.0, -0.4]], np.float32) / np.float32(3)
    layer = linear(encode(weights * 0 + np.rint(weights * 30) * np.float32(0.01), step=0.01), -2.0)
    codes = codes_of(layer)
    assert codes.exact
    assert codes.codes.tolist() == [[0, 2, -3], [-1, 0, 1]]
    expected = -2.0 * decode(layer.weight).astype(np.float64)
    np.testing.assert_allclose(codes.codes * codes.units[:, None], expected, rtol=1e-6)


def test_weights_without_a_grid_are_rounded_and_named() -> None:
    """Floats and tables become 8 bits a filter; the plan says which layers that were."""
    values = np.array([[0.5, 0.0, -1.27]], np.float32)
    raw = Encoded(values != 0, values[values != 0], Raw(), 32, 2)
    codes = codes_of(linear(raw))
    assert codes.codes.tolist() == [[50, 0, -127]]
    assert not codes.exact
    table = Encoded(values != 0, np.array([1, 0]), Table((-1.27, 0.5)), 2, 2)
    assert codes_of(linear(table)).codes.tolist() == [[50, 0, -127]]
    graph = NETWORKS["plain"]()
    last = graph.nodes[-1]
    weight = decode(last.layer.weight)
    mask = weight != 0
    layer = replace(last.layer, weight=Encoded(mask, weight[mask], Raw(), 32, mask.sum()))
    plan = planned(replace(graph, nodes=(*graph.nodes[:-1], replace(last, layer=layer))))
    assert plan.off_grid == (last.name,)


@given(
    st.floats(1e-5, 30.0),
    st.floats(-300, 300),
    st.integers(1, 2**31 - 1),
    st.sampled_from([Grid(np.float32(1), 0, 63), Grid(np.float32(1), -127, 127)]),
    st.lists(st.floats(-1, 1), min_size=1, max_size=5),
)
def test_fixed_point_is_near_the_product(
    factor: float, shift: float, bound: int, grid: Grid, parts: list[float]
) -> None:
    """A multiplication and a shift are within half a level and an eighth of what is exact."""
    fixed = fixed_point(np.array([[factor]]), np.array([shift]), np.array([[bound]]), grid, "here")
    sums = np.array([[round(part * bound)] for part in parts])
    exact = np.clip(sums * factor + shift, grid.low, grid.high)
    assert np.abs(fixed(sums) - exact).max() <= 0.5 + 1 / 8
    limit = 2**31 if not fixed.wide else 2**63
    assert abs(int(fixed.multipliers[0, 0])) * bound + abs(int(fixed.offsets[0])) < limit


def test_inputs_are_rounded_to_the_nearest() -> None:
    """Ties go up, what is beyond the grid is held at its ends, NaN at the lower one."""
    grid = Grid(np.float32(0.5), -7, 7)
    values = np.array([0.25, -0.25, 0.24, 99, -99, np.inf, -np.inf, np.nan], np.float32)
    assert grid.quantize(values).tolist() == [1, 0, 0, 7, -7, 7, -7, -7]


def test_softmax_and_argmax() -> None:
    """Probabilities add up to one within their grid; the largest comes first under ties."""
    b = Builder(6, seed=11)
    b.linear(4)
    b.add(Softmax(), (4,))
    graph = b.graph()
    inputs = inputs_for(graph, 30, seed=2)
    got = run_integer(planned(graph), inputs)
    np.testing.assert_allclose(got.sum(1), 1, atol=4 * 2.0**-15)
    assert np.abs(got - run(graph, inputs)).max() < 0.1
    b = Builder(3)
    b.add(Argmax(), (1,))
    ties = np.array([[1, 2, 2], [3, 3, 1]], np.float32)
    assert run_integer(planned(b.graph()), ties).tolist() == [[1], [0]]


def test_bits_follow_the_weights() -> None:
    """Small codes leave six bits to an activation; sums that no bits make small are widened."""
    small, large = NETWORKS["plain"](), NETWORKS["plain"]()
    nodes = list(large.nodes)
    for i, node in enumerate(nodes):
        if hasattr(node.layer, "weight"):
            weight = node.layer.weight
            wide = replace(weight, codes=weight.codes * 101 + 1)
            nodes[i] = replace(node, layer=replace(node.layer, weight=wide))
    plans = planned(small), planned(replace(large, nodes=tuple(nodes)))
    fits = [[s.fits_int16 for s in p.steps.values() if isinstance(s, Sums)] for p in plans]
    assert all(fits[0])
    assert not all(fits[1])
    assert plans[0].grids["value2"].high == 63


def test_every_value_is_within_its_grid() -> None:
    """Also for inputs far from what calibration has shown."""
    for name in ("residual", "odd"):
        graph = NETWORKS[name]()
        plan = planned(graph)
        for key, values in run_integer_all(plan, 50 * inputs_for(graph, 4)).items():
            assert plan.grids[key].low <= values.min() <= values.max() <= plan.grids[key].high


def test_data_that_cannot_calibrate() -> None:
    """The error says what was given and what the network takes."""
    graph = NETWORKS["signals"]()
    for wrong in (np.zeros((4, 2, 41), np.float32), np.zeros((0, 2, 40), np.float32)):
        with pytest.raises(DataError, match=r"calibration has shape .*takes \(samples, 2, 40\)"):
            plan_integers(graph, wrong)
    with pytest.raises(DataError, match="calibration holds int64"):
        plan_integers(graph, np.zeros((1, 2, 40), np.int64))
    with pytest.raises(DataError, match="NaN or infinity"):
        plan_integers(graph, np.full((1, 2, 40), np.nan, np.float32))


def test_activations_that_overflow() -> None:
    """The layer is named."""
    graph = NETWORKS["signals"]()
    first = graph.nodes[0]
    layer = replace(first.layer, scale=np.full_like(first.layer.scale, 3e38))
    graph = replace(graph, nodes=(replace(first, layer=layer), *graph.nodes[1:]))
    with pytest.raises(NonFiniteError, match="layer1: calibration makes it exceed float32"):
        planned(graph)


def test_sums_that_int32_cannot_hold() -> None:
    """The layer and the filter are named."""
    b = Builder(4000, seed=1)
    b.linear(2, density=1.0)
    node = b.nodes[0]
    weight = replace(node.layer.weight, codes=np.full(node.layer.weight.nonzero, 32749))
    weight.codes[0] -= 2  # so that a filter has nothing in common
    layer = replace(node.layer, weight=weight)
    graph = replace(b.graph(), nodes=(replace(node, layer=layer),))
    with pytest.raises(ExportError, match=r"layer1: the sum of filter 0 may reach .* int32 holds"):
        planned(graph)


def test_a_softmax_inside() -> None:
    """It only stands at the end."""
    b = Builder(4)
    b.add(Softmax(), (4,))
    b.linear(2)
    with pytest.raises(ExportError, match="layer1 is a Softmax that layer2 reads"):
        planned(b.graph())


def test_factors_beyond_integers() -> None:
    """The layer and the channel are named."""
    one = np.ones((1, 1))
    with pytest.raises(ExportError, match="here: channel 0 is 1e"):
        fixed_point(one * 1e10, np.zeros(1), one, Grid(np.float32(1), 0, 63), "here")


def test_inputs_of_another_shape() -> None:
    """As for floats."""
    plan = planned(NETWORKS["signals"]())
    with pytest.raises(ConfigError, match=r"inputs have shape \(1, 3\)"):
        run_integer(plan, np.zeros((1, 3)))


def test_histograms_of_nothing() -> None:
    """A value that is always 0 gets a grid too."""
    graph = NETWORKS["signals"]()
    plan = plan_integers(graph, np.zeros((2, 2, 40), np.float32))
    assert np.isfinite(run_integer(plan, inputs_for(graph))).all()
    assert Histogram(0.0, 0.0, np.zeros(2048, np.int64)).middles.size == 2048
