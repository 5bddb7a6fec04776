"""The latency benchmark runs and ends with its rows; its floors count what must be done."""

import json
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from espalier.export.c.layout import image_of
from espalier.export.c.steps import ConvolutionStep
from espalier.export.graph import Convolution, Pool

from ..export.networks import NETWORKS, inputs_for  # noqa: TID252
from ..small_file import save_small  # noqa: TID252

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
KINDS = ("aligned", "straddling", "registers", "single", "byte_aligned", "byte_straddling")
RATES = dict.fromkeys(KINDS, 1.0)


@pytest.fixture
def floors(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler found: install gcc")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import floors  # type: ignore[import-not-found]

    module: ModuleType = floors
    return module


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, BENCHMARKS / "latency.py", *arguments]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_ends_with_a_row_an_engine_and_batch(tmp_path: Path) -> None:
    """Ours have a floor; stock runtimes have none."""
    file = save_small(tmp_path / "net.espalier")
    done = run(file, "--engines", "ort-fp32,espalier-float", "--seconds", "0.01", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout.splitlines()[-1])["rows"]
    assert [(row["engine"], row["batch"]) for row in rows] == [
        *(("ort-fp32", 1), ("espalier-float", 1), ("ort-fp32", 64), ("espalier-float", 64)),
    ]
    assert {row["network"] for row in rows} == {"net"}
    assert all(row["low_ms"] <= row["median_ms"] <= row["high_ms"] for row in rows)
    assert rows[0]["floor_ms"] is None
    assert rows[3]["floor_ms"] == pytest.approx(64 * rows[1]["floor_ms"])


@pytest.mark.slow
def test_wrong_usage(tmp_path: Path) -> None:
    """An unknown engine, and a file that is none, end in one line."""
    done = run("--engines", "ort-int")
    assert done.returncode == 2
    assert "Did you mean 'ort-int8'" in done.stderr
    (tmp_path / "x.espalier").write_text("no artifact")
    done = run(tmp_path / "x.espalier", "--engines", "torch")
    assert done.returncode == 1
    assert "x.espalier" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", NETWORKS)
def test_convolutions_count_nonzeros_times_positions(floors: ModuleType, name: str) -> None:
    """By the graph alone: each kept weight goes into each position of its filter."""
    graph = NETWORKS[name]()
    works = {w.node: w for w in floors.float_work(graph, floors.Rates(lanes=16, **RATES))}
    for node, layer in graph.weighted():
        if not isinstance(layer, Convolution):
            continue
        _, height, width = image_of(node.output.shape)
        kernels = [(1, 1), *(n.layer.kernel for n in graph.nodes if isinstance(n.layer, Pool))]
        covered = {(height // k[0] * k[0]) * (width // k[-1] * k[-1]) for k in kernels}
        assert works[node.name].operations in {layer.weight.nonzero * n for n in covered}
        assert works[node.name].made >= 1.0


@pytest.mark.parametrize("name", ["plain", "residual", "odd"])
def test_straddling_is_that_of_every_address(floors: ModuleType, name: str) -> None:
    """Counted by going over all vectors of all weights."""
    from espalier.export.c import find_target
    from espalier.export.c.float_numbers import FloatNumbers
    from espalier.export.c.lower import lower

    line, lanes = 16, 8
    numbers = FloatNumbers(find_target("avx2"))
    steps = [s for s in lower(NETWORKS[name](), numbers).steps if isinstance(s, ConvolutionStep)]
    assert steps
    for step in steps:
        row, count, split = step.source.layout.row, 0, 0
        for tile in step.tiles:
            places = product(range(tile.row_count), range(tile.column_count), range(tile.vectors))
            for down, across, vector in places:
                begin = (tile.row + down * tile.rows) * row + vector * lanes
                begin += tile.column + across * tile.columns + step.base + step.source.offset
                for offset in step.weights.offsets.tolist():
                    count += 1
                    split += (begin + offset) % line + lanes > line
        assert floors.straddling(step, lanes, line) == pytest.approx(split / max(count, 1))


def test_integers_need_fewer_vectors(floors: ModuleType) -> None:
    """Four bytes take the place of a float; the operations are those of the codes."""
    graph = NETWORKS["signals"]()
    rates = floors.Rates(lanes=16, **RATES)
    calibration = inputs_for(graph, 8)
    floats = {w.node: w for w in floors.float_work(graph, rates)}
    for work in floors.int_work(graph, calibration, rates):
        if work.how == floats[work.node].how == "sparse":
            assert work.operations == floats[work.node].operations
            assert work.loads == pytest.approx(floats[work.node].loads / 4)


def test_what_the_core_can_do_is_measured(floors: ModuleType) -> None:
    """Each rate is some time above nothing, and below what any core takes."""
    rates = floors.measure_rates()
    found = [getattr(rates, name) for name in RATES]
    assert all(0 < ns < 1000 for ns in found)
    assert np.isfinite(found).all()
