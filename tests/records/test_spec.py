"""A run's spec: bounds, JSON, identity."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.errors import ConfigError, RecordError
from espalier.records import (
    CADENCES,
    LR_SCHEDULES,
    OPTIMIZERS,
    ORDERS,
    ROUNDINGS,
    SCHEDULES,
    UPDATES,
    RunSpec,
    run_id,
)

POSITIVE = st.floats(1e-6, 1e3)

PRUNING = st.fixed_dictionaries({"gamma": st.floats(0, 10) | st.integers(0, 3)}) | (
    st.fixed_dictionaries({"gamma": st.just(0.0), "target_density": st.floats(1e-6, 1.0)})
)

SPECS = st.builds(
    lambda pruning, **rest: RunSpec(**pruning, **rest),
    pruning=PRUNING,
    data=st.sampled_from(["cifar10", "modulation"]),
    model=st.text(min_size=1, max_size=8),
    model_options=st.dictionaries(
        st.text(max_size=4), st.integers() | st.booleans() | st.lists(st.integers(), max_size=2)
    ),
    bits=st.integers(1, 32),
    lr=POSITIVE,
    epochs=st.integers(1, 1000),
    patience=st.integers(0, 1000),
    optimizer=st.sampled_from(OPTIMIZERS),
    momentum=st.floats(0, 0.999),
    weight_decay=st.floats(0, 1),
    batch_size=st.integers(1, 4096),
    update=st.sampled_from(UPDATES),
    rounding=st.sampled_from(ROUNDINGS),
    cadence=st.sampled_from(CADENCES),
    schedule=st.sampled_from(SCHEDULES),
    augment=st.booleans(),
    precision=st.sampled_from(["fp32", "bf16"]),
    seed=st.integers(0, 2**63 - 1),
    limit_train=st.none() | st.integers(1, 50_000),
    lr_schedule=st.sampled_from(LR_SCHEDULES),
    biases=st.booleans(),
    std_zeros=st.booleans(),
    std_correction=st.integers(0, 1),
    order=st.sampled_from(ORDERS),
)


@given(SPECS)
def test_json_round_trip_keeps_everything(spec: RunSpec) -> None:
    """What is written and read again is the same spec with the same identity."""
    again = RunSpec.from_json(json.loads(json.dumps(spec.to_json(), allow_nan=False)))

    assert spec == again
    assert run_id(spec) == run_id(again)


@given(SPECS, SPECS)
def test_identity_tells_specs_apart(one: RunSpec, other: RunSpec) -> None:
    """Equal specs have equal ids, different ones different ids."""
    assert (run_id(one) == run_id(other)) == (one == other)
    assert bool(one.differences(other)) == (one != other)


def test_identity_is_stable() -> None:
    """The identity of the defaults never changes within a version of the records."""
    assert run_id(RunSpec()) == "50e30e6c444d96c5"


def test_later_settings_leave_earlier_records_as_they_were() -> None:
    """A setting that came later is written where it is in use, and may be missing."""
    assert not {"target_density", "lr_schedule", "biases", "order"} & set(RunSpec().to_json())
    assert RunSpec(biases=False).to_json()["biases"] is False
    assert RunSpec(gamma=0, target_density=0.5).to_json()["target_density"] == 0.5


@pytest.mark.parametrize(("one", "other"), [(0, 0.0), (0.0, -0.0), (1, 1.0)])
def test_equal_numbers_are_one_run(one: float, other: float) -> None:
    """However a number is written, it is the same run."""
    assert run_id(RunSpec(gamma=one)) == run_id(RunSpec(gamma=other))


def test_order_and_kind_of_options_do_not_matter() -> None:
    """Tuples are JSON's lists, and names have no order."""
    one = RunSpec(model_options={"widths": (1, 2), "dropout": 0.1})
    other = RunSpec(model_options={"dropout": 0.1, "widths": [1, 2]})

    assert one == other
    assert run_id(one) == run_id(other)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"gamma": -0.1}, r"gamma=-0.1: expected a number >= 0 \(0 prunes nothing\)"),
    ({"gamma": math.nan}, "gamma=nan: expected a finite number"),
    ({"gamma": math.inf}, "gamma=inf: expected a finite number"),
    ({"gamma": "x"}, "gamma='x': expected a finite number"),
    ({"bits": 0}, r"bits=0: expected an integer from 1 to 32 \(32 leaves values as they are\)"),
    ({"bits": 33}, "bits=33: expected an integer from 1 to 32"),
    ({"bits": 8.0}, r"bits=8\.0: expected an integer"),
    ({"bits": True}, "bits=True: expected an integer"),
    ({"lr": 0}, r"lr=0.0: expected a learning rate > 0"),
    ({"lr": math.inf}, "lr=inf: expected a finite number"),
    ({"epochs": 0}, "epochs=0: expected an integer >= 1"),
    ({"patience": -1}, r"patience=-1: expected an integer >= 0 \(0 never stops early\)"),
    ({"momentum": 1.0}, r"momentum=1.0: expected a number in \[0, 1\)"),
    ({"weight_decay": -1e-9}, "weight_decay=-1e-09: expected a number >= 0"),
    ({"batch_size": 0}, "batch_size=0: expected an integer >= 1"),
    ({"seed": -1}, "seed=-1: expected an integer from 0"),
    ({"seed": 2**63}, "expected an integer from 0 to 9223372036854775807"),
    ({"limit_train": 0}, "limit_train=0: expected an integer >= 1"),
    ({"optimizer": "sdg"}, "optimizer='sdg': expected one of sgd, adam, adamw. Did you mean 'sgd'"),
    ({"update": "hybird"}, "Did you mean 'hybrid'"),
    ({"rounding": "near"}, "Did you mean 'nearest'"),
    ({"cadence": "every_stp"}, "Did you mean 'every_step'"),
    ({"schedule": "cubik"}, "Did you mean 'cubic'"),
    ({"precision": "auto"}, "precision='auto': expected one of fp32, bf16"),
    ({"data": ""}, "data='': expected a name"),
    ({"model": 3}, "model=3: expected a name"),
    ({"augment": 1}, "augment=1: expected true or false"),
    ({"target_density": 0.0}, r"target_density=0.0: expected a fraction in \(0, 1\]"),
    ({"target_density": 1.5}, r"target_density=1.5: expected a fraction in \(0, 1\]"),
    ({"target_density": 0.5, "gamma": 0.1}, "gamma=0.1 and target_density=0.5: both say what to"),
    ({"lr_schedule": "cosin"}, "Did you mean 'cosine'"),
    ({"biases": 1}, "biases=1: expected true or false"),
    ({"std_zeros": "no"}, "std_zeros='no': expected true or false"),
    ({"std_correction": 2}, "std_correction=2: expected an integer from 0 to 1"),
    ({"order": "pp"}, "order='pp': expected one of pq, qp"),
    ({"dense_epochs": 200}, "dense_epochs=200 of epochs=200: nothing would be compressed"),
    (
        {"jointly": True, "target_density": 0.5, "gamma": 0},
        "jointly takes kernel and bias of a layer as one, and a target density",
    ),
    ({"model_options": [1]}, r"model_options=\[1\]: expected names with their values"),
    ({"model_options": {"f": len}}, "expected JSON values"),
    ({"model_options": {"f": math.nan}}, "expected JSON values"),
]


@pytest.mark.parametrize(("settings", "message"), BAD, ids=[str(bad[0]) for bad in BAD])
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, Any], message: str) -> None:
    """Each bound has its message, also where the spec is read from a file."""
    with pytest.raises(ConfigError, match=message):
        RunSpec(**settings)
    if "model_options" not in settings:
        with pytest.raises(RecordError, match=f"a/spec.json: .*{message}"):
            RunSpec.from_json(RunSpec().to_json() | settings, what="a/spec.json")


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    """A typing error in a file is named, not dropped."""
    with pytest.raises(RecordError, match=r"unknown key 'gama'\. Did you mean 'gamma'"):
        RunSpec.from_json(RunSpec().to_json() | {"gama": 1})


def test_a_missing_key_is_refused() -> None:
    """A spec says everything; what it leaves out isn't guessed."""
    data = RunSpec().to_json()
    del data["seed"]

    with pytest.raises(RecordError, match="spec lacks 'seed'"):
        RunSpec.from_json(data)


@pytest.mark.parametrize(
    ("version", "message"),
    [(2, "has version 2; this Espalier reads versions up to 1. Update"), (None, "has no version")],
)
def test_another_version_is_refused(version: object, message: str) -> None:
    """Records of the future are not misread."""
    with pytest.raises(RecordError, match=message):
        RunSpec.from_json(RunSpec().to_json() | {"version": version})


def test_only_an_object_is_a_record() -> None:
    """A list is named as what it is."""
    with pytest.raises(RecordError, match="spec is list; expected a JSON object"):
        RunSpec.from_json([1])


def test_the_dense_baseline_compresses_nothing() -> None:
    """Gamma 0 at 32 bits is the only spec without compression."""
    assert not RunSpec(gamma=0, bits=32).compresses
    assert RunSpec(gamma=0, bits=31).compresses
    assert RunSpec(gamma=0.1, bits=32).compresses
