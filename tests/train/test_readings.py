"""Settings that read the paper's text one way or another: what they do to a run's weights."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from espalier import ops
from espalier.records import RunSpec, read_epochs
from espalier.train.compression import compress_by, operator_of

from .tiny import run_tiny, tiny_spec

pytestmark = pytest.mark.usefixtures("tiny")

READINGS = [
    ({"biases": False}, {}),
    ({"jointly": True}, {}),
    ({"std_correction": 1}, {}),
    ({"order": "qp"}, {}),
    # an update has just moved nearly every zero, but for those that quantization has made since
    ({"std_zeros": False}, {"order": "qp"}),
    ({"jointly": True, "std_correction": 1, "biases": False}, {"order": "qp", "std_zeros": False}),
]


def test_an_operator_says_every_reading() -> None:
    """Each setting has its place in the operator, and none shows where it isn't used."""
    spec = tiny_spec(order="qp", jointly=True, std_zeros=False, std_correction=1, strict=True)

    assert operator_of(spec, 100) == ops.Chain(
        prune=ops.StdThreshold(gamma=0.2, strict=True, zeros=False, correction=1),
        quantize=ops.UniformQuantizer(bits=4),
        quantize_first=True,
        jointly=True,
    )
    assert repr(operator_of(tiny_spec(), 100)).count("=") == 7  # as in checkpoints of earlier runs


def _attached(spec: RunSpec) -> tuple[torch.nn.Module, object]:
    model = torch.nn.Sequential(torch.nn.Linear(9, 6), torch.nn.ReLU(), torch.nn.Linear(6, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compressor = compress_by(spec, model, optimizer, planned_steps=4)
    assert compressor is not None
    model(torch.ones(2, 9)).sum().backward()
    optimizer.step()
    return model, compressor.report()


def test_biases_can_stay_as_they_are() -> None:
    """Without them, kernels alone are compressed, and the report says why biases aren't."""
    _, report = _attached(tiny_spec(biases=False))

    assert [row.name for row in report.compressed] == ["0.weight", "2.weight"]
    reasons = {row.status for row in report.layers if not row.compressed}
    assert reasons == {"left dense because it is a bias, which the rule leaves out"}


def test_kernel_and_bias_share_a_threshold_and_a_grid() -> None:
    """Jointly, each layer has its own, and its kernel and bias have the same; apart, all differ."""
    for jointly, distinct in ((True, 2), (False, 4)):
        _, report = _attached(tiny_spec(jointly=jointly))
        assert len({row.threshold for row in report.compressed}) == distinct
        assert len({row.step for row in report.compressed}) == distinct
        assert len(report.compressed) == 4


@pytest.mark.parametrize(("reading", "beside"), READINGS, ids=str)
def test_every_reading_trains_saves_and_differs(
    reading: dict[str, object], beside: dict[str, object], tmp_path: Path
) -> None:
    """A run of a reading ends, and its weights are not those of a run without it."""
    spec = tiny_spec(gamma=0.6, **reading, **beside)
    run_tiny(spec, tmp_path / "reading")
    run_tiny(tiny_spec(gamma=0.6, **beside), tmp_path / "default")

    ours, theirs = (
        load_file(tmp_path / name / "best.safetensors") for name in ("reading", "default")
    )
    assert any(not torch.equal(ours[name], theirs[name]) for name in theirs)
    written = RunSpec.from_json(spec.to_json())
    assert written == spec != replace(spec, **{name: getattr(RunSpec(), name) for name in reading})


def test_after_training_the_network_is_compressed_once(tmp_path: Path) -> None:
    """Dense epochs are the dense run's, bit for bit; the last one's end prunes and quantizes."""
    dense = run_tiny(tiny_spec(gamma=0.0, bits=32, patience=0), tmp_path / "dense")
    late = tiny_spec(gamma=0.5, dense_epochs=2, cadence="every_epoch", patience=0)
    result = run_tiny(late, tmp_path / "late")

    before, after = (list(read_epochs(tmp_path / n / "metrics.jsonl")) for n in ("dense", "late"))
    assert [e.train_loss for e in after] == [e.train_loss for e in before]
    assert [e.density_mask for e in after[:2]] == [1.0, 1.0]
    assert result.last.density_mask < 1 == dense.last.density_mask
    assert result.last.ratio < 4 / 32


def test_dense_epochs_come_before_compression_at_every_step(tmp_path: Path) -> None:
    """The network is pruned from the first step after them."""
    run_tiny(tiny_spec(gamma=0.5, dense_epochs=1), tmp_path / "run")

    densities = [e.density_mask for e in read_epochs(tmp_path / "run" / "metrics.jsonl")]
    assert densities[0] == 1.0
    assert max(densities[1:]) < 1.0
