"""Quantizers and thresholds of the ladder in whole runs: operator, size, resumption."""

from pathlib import Path
from typing import Any

import pytest

from espalier import ops
from espalier.errors import ConfigError, StoppedError
from espalier.models import MODELS
from espalier.records import read_epochs
from espalier.train import RunDirectory, packed_run, with_mean_bits
from espalier.train.compression import operator_of

from .test_budget import LOWEST, budget_spec, wide_cnn
from .test_train import interrupt_at, same_run
from .tiny import CPU, run_tiny, tiny_spec


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a network with enough weights for budgets be called by name."""
    monkeypatch.setitem(MODELS, "wide_cnn", wide_cnn)


DENSITY: dict[str, Any] = {"gamma": 0.0, "target_density": 0.3, "budget": "lamp"}
PARTS = [
    ({"quantizer": "lsq", "bits": 3, "update": "latent"}, DENSITY),
    ({"quantizer": "rdoq", "bits": 3, "update": "latent", "bit_price": 0.2}, DENSITY),
    ({"pressure": 2.0, "operator_lr": 0.02, "update": "latent"}, {"gamma": 0.0}),
    ({"layer_least": 4, "update": "latent"}, DENSITY),
    ({"spare_operations": 0.75, "update": "latent"}, DENSITY),
]


def test_the_operator_is_what_the_settings_say() -> None:
    """Each setting has its place in it, and schedules reach learned thresholds too."""
    of = {name: operator_of(tiny_spec(**a, **b), 100) for name, (a, b) in enumerate(PARTS)}
    lamp = ops.Lamp(density=0.3)
    assert of[0] == ops.Chain(prune=lamp, quantize=ops.LearnedStep(bits=3, rate=0.01))
    assert of[1] == ops.Chain(
        prune=lamp, quantize=ops.EntropyQuantizer(bits=3, price=0.2, quantile=1.0)
    )
    assert of[2] == ops.Chain(
        prune=ops.LearnedThreshold(pressure=2.0, rate=0.02), quantize=ops.UniformQuantizer(bits=4)
    )
    assert of[3] == ops.Chain(
        prune=ops.Lamp(density=0.3, least=4), quantize=ops.UniformQuantizer(bits=4)
    )
    prices = (2.0, 1.0)
    assert operator_of(tiny_spec(**PARTS[4][0], **DENSITY), 100, prices=prices) == ops.Chain(
        prune=ops.Lamp(density=0.3, prices=prices), quantize=ops.UniformQuantizer(bits=4)
    )
    ramp = operator_of(tiny_spec(gamma=0.0, pressure=2.0, schedule="linear", ramp_end=1.0), 100)
    assert isinstance(ramp, ops.Chain)
    assert ramp.prune == ops.LearnedThreshold(
        pressure=ops.Linear(start=0.0, end=2.0, start_step=0, end_step=100)
    )


@pytest.mark.parametrize(("part", "beside"), PARTS, ids=str)
def test_a_run_goes_on_with_the_same_bits(
    tmp_path: Path,
    part: dict[str, Any],
    beside: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stopped in the second epoch and resumed, it ends as one that never stopped."""
    spec = tiny_spec(**part, **beside)
    run_tiny(spec, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, step=9)
        with pytest.raises(StoppedError):
            run_tiny(spec, tmp_path / "cut")
    run_tiny(spec, tmp_path / "cut", resume=True)
    same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_threshold_is_learned(tmp_path: Path) -> None:
    """It prunes more from epoch to epoch, under pressure."""
    run_tiny(tiny_spec(**{"gamma": 0.0} | PARTS[2][0]), tmp_path / "run")
    densities = [e.density_mask for e in read_epochs(tmp_path / "run" / "metrics.jsonl")]
    assert 1 > densities[0] > densities[1] > densities[2] > 0


@pytest.mark.parametrize("part", [PARTS[0][0], PARTS[1][0], PARTS[3][0], PARTS[4][0]], ids=str)
def test_a_size_is_met_with_the_codes_that_are_written(
    tmp_path: Path, part: dict[str, Any]
) -> None:
    """At most the budget and at least 97 % of it, though codes are learned, or chosen by bits."""
    run_tiny(budget_spec(2500, **part), tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    for weights in (directory.best, directory.best_by_validation):
        assert LOWEST * 2500 <= len(packed_run(weights)) <= 2500


def test_what_costs_operations_goes_first(tmp_path: Path) -> None:
    """As many weights of all stay; of the convolution, which uses each at 36 positions, fewer."""
    found = {}
    for share in (0.0, 0.75):
        spec = tiny_spec(**DENSITY, update="latent", model="wide_cnn", spare_operations=share)
        run_tiny(spec, tmp_path / str(share))
        found[share] = read_epochs(tmp_path / str(share) / "metrics.jsonl")[-1]
    assert found[0.75].density_mask == found[0.0].density_mask
    assert found[0.75].layers["0.weight"][0] < 0.8 * found[0.0].layers["0.weight"][0]


def test_bits_in_the_mean_need_a_trained_network() -> None:
    """From random weights nothing can be learned of what bits cost."""
    with pytest.raises(ConfigError, match=r"mean_bits=3.0 .* starts at random; train it first"):
        with_mean_bits(tiny_spec(), 3.0, None, device=CPU)


def test_bits_that_cost_leave_room_for_weights(tmp_path: Path) -> None:
    """In as many bytes, RDOQ keeps more weights than the nearest code does."""
    kept = {}
    for kind in ("uniform", "rdoq"):
        spec = budget_spec(2500, quantizer=kind, bit_price=0.3 if kind == "rdoq" else 0.1)
        kept[kind] = run_tiny(spec, tmp_path / kind).last.density_mask
    assert kept["rdoq"] > kept["uniform"]
