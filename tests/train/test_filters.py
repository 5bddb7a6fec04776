"""Whole filters pruned in a run, before its weights, and removed from its file."""

from pathlib import Path

import pytest
import torch

from espalier.artifact import read
from espalier.encoded import Encoded, decode
from espalier.errors import ConfigError
from espalier.ops import Chain, Cubic, FilterMagnitude, Then
from espalier.records import RunSpec
from espalier.train import pack_run
from espalier.train.compression import operator_of

from .tiny import run_tiny, tiny_spec

pytestmark = pytest.mark.usefixtures("tiny")


def test_the_operator() -> None:
    """Filters go first, on the run's schedule; the last layer keeps its classes."""
    spec = tiny_spec(filter_density=0.5, schedule="cubic", ramp_start=0.25, ramp_end=0.75)
    op = operator_of(spec, 100)
    assert isinstance(op, Then)
    ramp = Cubic(start=1.0, end=0.5, start_step=25, end_step=75)
    assert op.first == FilterMagnitude(density=ramp, keep_last=True)
    assert isinstance(op.second, Chain)
    assert "filter_density" not in RunSpec().to_json()
    assert RunSpec.from_json(spec.to_json()) == spec
    assert RunSpec(gamma=0, bits=32, filter_density=0.5).compresses


@pytest.mark.parametrize("options", [{}, {"target_density": 0.5}])
def test_filters_of_a_run(tmp_path: Path, options: dict) -> None:
    """The packed network has as many living filters as were asked, and all classes' weights."""
    spec = tiny_spec(filter_density=0.5, gamma=0.0, bits=8, update="latent", **options)
    run_tiny(spec, tmp_path / "run")
    pack_run(tmp_path / "run", tmp_path / "net.espalier")
    tensors = read(tmp_path / "net.espalier").tensors
    kernels = {n: torch.from_numpy(decode(t)) for n, t in tensors.items() if isinstance(t, Encoded)}
    alive = [int(w.flatten(1).any(1).sum()) for w in kernels.values() if w.dim() > 1]
    assert sum(alive[:-1]) == 6  # of 6 and 5; half a filter is a whole one
    assert alive[-1] == 3 or options


def test_refused() -> None:
    """A fraction above 0, of all layers."""
    for density in (0, 1.5):
        with pytest.raises(ConfigError, match=r"filter_density=.*: expected a fraction in"):
            RunSpec(filter_density=density)
    with pytest.raises(ConfigError, match="jointly takes each layer by itself"):
        RunSpec(filter_density=0.5, jointly=True)
