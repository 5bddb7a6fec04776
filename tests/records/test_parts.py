"""Which quantizer, which threshold: settings of runs, and which of them go together."""

from typing import Any

import pytest

from espalier.errors import ConfigError
from espalier.records import RunSpec, run_id
from espalier.records.recipes import with_recipe

BUDGET: dict[str, Any] = {"gamma": 0.0, "target_density": 0.1, "budget": "lamp"}
LEARNS: dict[str, Any] = {"gamma": 0.0, "pressure": 0.3, "update": "latent"}


@pytest.mark.parametrize(
    "settings",
    [
        {"quantizer": "lsq", "operator_lr": 0.1},
        {"quantizer": "rdoq", "bit_price": 0.3, "grid_quantile": 0.99},
        LEARNS,
        {**BUDGET, "layer_least": 8},
        {**BUDGET, "spare_operations": 0.75},
        {"layer_bits": {"a": 3}, "mean_bits": 3.5},
    ],
    ids=str,
)
def test_earlier_runs_keep_their_names(settings: dict[str, Any]) -> None:
    """A setting is written only where it is in use, names another run, and is read again."""
    spec = RunSpec(**settings)
    later = {"quantizer", "bit_price", "operator_lr", "pressure", "layer_least", "mean_bits"}
    later.add("spare_operations")
    assert later.isdisjoint(RunSpec().to_json())
    assert later & spec.to_json().keys() == later & settings.keys()
    assert RunSpec.from_json(spec.to_json()) == spec
    without = {name: value for name, value in settings.items() if name not in later}
    assert run_id(spec) != run_id(RunSpec(**without))


def test_a_learned_threshold_compresses() -> None:
    """Also at 32 bits and gamma 0, which else is the dense baseline."""
    assert RunSpec(**LEARNS, bits=32).compresses
    assert not RunSpec(gamma=0, bits=32).compresses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantizer": "lqs"}, "quantizer='lqs'.*Did you mean 'lsq'"),
        ({"quantizer": "lsq", "bits": 32}, "bits, with quantizer=lsq,=32: .* from 2 to 16"),
        ({"quantizer": "rdoq", "bits": 1}, r"quantizer=rdoq,=1: .* \(2 bits are ternary\)"),
        ({"quantizer": "rdoq", "rounding": "floor"}, "rounding=floor: it chooses codes itself"),
        ({"quantizer": "rdoq", "jointly": True}, "quantizer=rdoq with jointly"),
        ({"quantizer": "lsq", "layer_bits": {"a": 3}}, "quantizer=lsq with layer_bits"),
        ({"quantizer": "lsq", "update": "inplace"}, "already say nothing about its step"),
        ({"quantizer": "lsq", "grid_quantile": 0.9}, "where the grid ends is learned"),
        ({"quantizer": "lsq", "cadence": "every_epoch"}, "quantizer=lsq with cadence=every_epoch"),
        ({"quantizer": "lsq", "order": "qp"}, "quantizer=lsq with order=qp"),
        ({"bit_price": -1.0}, "bit_price=-1.0: expected a number >= 0"),
        ({"operator_lr": -1.0}, "operator_lr=-1.0: expected a number >= 0"),
        ({**LEARNS, "pressure": 0}, "pressure=0.0: expected a number > 0"),
        ({**LEARNS, "gamma": 0.5}, "pressure=0.3, gamma=0.5, .*each says what to prune"),
        ({**LEARNS, "max_bytes": 900}, "max_bytes=900: each says what to prune"),
        ({**LEARNS, "update": "hybrid"}, "pressure=0.3 with update=hybrid"),
        ({**LEARNS, "cadence": "every_epoch"}, "pressure=0.3 with cadence=every_epoch"),
        ({**LEARNS, "order": "qp"}, "pressure=0.3 with order=qp"),
        ({**LEARNS, "jointly": True}, "pressure learns a gamma for each"),
        ({"mean_bits": 3.0}, "mean_bits=3.0 is what layer_bits were found for, and there are none"),
        ({"layer_least": -1}, "layer_least=-1: expected an integer >= 0"),
        (
            {**BUDGET, "spare_operations": 1.5},
            r"spare_operations=1.5: expected a share in \[0, 1\]",
        ),
        ({"spare_operations": 0.5}, "spare_operations=0.5 says what .* give budget=lamp"),
        ({"layer_least": 4}, "layer_least=4 is a floor .* give budget=lamp"),
        ({**BUDGET, "budget": "global", "layer_least": 4}, "layer_least=4 is a floor"),
    ],
    ids=str,
)
def test_refused(settings: dict[str, Any], message: str) -> None:
    """What was asked, why it makes no sense, what to give instead."""
    with pytest.raises(ConfigError, match=message):
        RunSpec(**settings)


def test_a_recipe_gives_way() -> None:
    """The end of a grid to a learned one, the density to a pressure; RDOQ keeps its grid's end."""
    lsq, rdoq, learned = (
        with_recipe({"recipe": "strong", **given}, dropout=True)
        for given in ({"quantizer": "lsq"}, {"quantizer": "rdoq"}, {"pressure": 0.3})
    )
    assert "grid_quantile" not in lsq
    assert rdoq["grid_quantile"] == 0.995
    assert "target_density" not in learned
