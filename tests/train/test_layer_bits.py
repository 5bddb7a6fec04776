"""Bits by layer in a run: its spec, its weights, its counts, its file."""

from pathlib import Path

import pytest

from espalier import bridge
from espalier.compressor import bits_of
from espalier.errors import ConfigError, RecordError, SelectionError
from espalier.records import RunSpec, run_id
from espalier.train import pack_run

from .tiny import run_tiny, tiny_spec

pytestmark = pytest.mark.usefixtures("tiny")

LAYER_BITS = {"0.*": 8, "*.bias": 8}


def test_earlier_runs_keep_their_names() -> None:
    """The setting is written only where it is in use, and then names another run."""
    assert "layer_bits" not in RunSpec().to_json()
    spec = RunSpec(layer_bits={"fc4.*": 8, "conv1.*": 4})
    assert RunSpec.from_json(spec.to_json()) == spec
    assert run_id(spec) != run_id(RunSpec())
    assert run_id(spec) == run_id(RunSpec(layer_bits={"conv1.*": 4, "fc4.*": 8}))
    assert RunSpec(gamma=0, bits=32, layer_bits={"conv1.*": 4}).compresses


@pytest.mark.parametrize("options", [{"target_density": 0.85, "gamma": 0.0}, {}])
def test_a_run_counts_each_layers_bits(tmp_path: Path, options: dict) -> None:
    """Its RC and its file have each parameter's own bits, under a budget of all together too."""
    spec = tiny_spec(bits=3, layer_bits=LAYER_BITS, update="latent", **options)
    result = run_tiny(spec, tmp_path / "run")
    pack_run(tmp_path / "run", tmp_path / "net.espalier")
    rows = [row for row in bridge.inspect(tmp_path / "net.espalier").rows if row.bits is not None]
    wanted = [8 if r.name.startswith("0.") or r.name.endswith("bias") else 3 for r in rows]
    assert [row.bits for row in rows] == wanted
    assert len(set(wanted)) == 2
    stored = sum(row.kept * row.bits for row in rows)
    assert result.best.ratio == pytest.approx(stored / sum(32 * row.parameters for row in rows))


def test_patterns() -> None:
    """A pattern that matches nothing, or two that disagree, are said."""
    names = ["conv1.weight", "conv1.bias"]
    assert bits_of(names, {"*.bias": 2, "conv1.*": 2}, 8) == [2, 2]
    with pytest.raises(
        SelectionError, match=r"'cnv1.\*' matches no compressed parameter; they are"
    ):
        bits_of(names, {"cnv1.*": 3}, 8)
    with pytest.raises(
        SelectionError, match=r"conv1.bias has bits by several patterns: .* 2, .* 3"
    ):
        bits_of(names, {"conv1.*": 2, "*.bias": 3}, 8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "expected patterns of names with their bits"),
        ({"a": 0}, r"layer_bits\['a'\]=0: expected an integer from 1 to 32"),
        ([3], "layer_bits=.*expected names with their values"),
    ],
)
def test_refused(given: object, message: str) -> None:
    """Bits are whole numbers by pattern."""
    with pytest.raises(ConfigError, match=message):
        RunSpec(layer_bits=given)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="jointly gives kernel and bias of a layer one grid"):
        RunSpec(layer_bits={"a": 3}, jointly=True)
    with pytest.raises(RecordError, match="layer_bits"):
        RunSpec.from_json(RunSpec().to_json() | {"layer_bits": {"a": 99}})
