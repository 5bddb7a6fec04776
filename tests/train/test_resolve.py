"""A spec says everything that was left to defaults."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.errors import ConfigError
from espalier.models import MODELS
from espalier.records import RunSpec
from espalier.train.compression import operator_of
from espalier.train.environment import reproducible, resolve_device, resolve_precision
from espalier.train.resolve import build_network, resolve_spec

from .tiny import tiny_dataset, tiny_spec

CPU = torch.device("cpu")


def test_defaults_of_the_network_are_written_out() -> None:
    """The same identity whether a default was given or not."""
    spec = resolve_spec({"precision": "fp32"}, device=CPU)
    given = resolve_spec({"precision": "fp32", "dropout": 0.3}, device=CPU)

    assert spec == given
    assert spec.model_options == {
        "widths": [32, 64, 64, 128, 128],
        "hidden": [512, 256, 128],
        "dropout": 0.3,
        "normalize_hidden": False,
        "initialization": "default",
    }


def test_auto_precision_is_resolved() -> None:
    """The spec never says auto."""
    assert resolve_spec({}, device=CPU).precision == resolve_precision("auto", CPU)
    assert resolve_precision("auto", CPU) in ("fp32", "bf16")
    assert resolve_precision("bf16", CPU) == "bf16"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gama": 1}, r"there is no setting 'gama'. Did you mean 'gamma'"),
        ({"precision": "fp16"}, r"precision='fp16': expected one of auto, fp32, bf16"),
        ({"data": "cifar"}, r"no data set 'cifar'.* Did you mean 'cifar10'"),
        ({"model": "papercnn"}, r"unknown model 'papercnn'.* Did you mean 'paper_cnn'"),
        ({"model": "resnet20", "dropout": 0.1}, r"has no option 'dropout'; its options: classes"),
        ({"model_options": {"drop": 0.1}}, r"has no option 'drop'.* Did you mean 'dropout'"),
        ({"model": "nowhere:net"}, r"no module 'nowhere'"),
    ],
)
def test_what_is_unknown_is_refused(settings: dict[str, Any], message: str) -> None:
    """With the nearest known name."""
    with pytest.raises(ConfigError, match=message):
        resolve_spec(settings, device=CPU)


def test_a_network_that_takes_anything_may_get_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with ``**options`` decides by itself."""
    monkeypatch.setitem(MODELS, "any", lambda **options: torch.nn.Linear(1, 1))

    assert resolve_spec({"model": "any", "dropout": 0.5}, device=CPU).model_options == {
        "dropout": 0.5
    }


def test_a_default_that_json_cannot_hold_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the user's code, not to the spec."""

    def network(*, activation: type = torch.nn.ReLU, width: int = 3) -> torch.nn.Module:
        return activation()

    monkeypatch.setitem(MODELS, "own", network)

    assert resolve_spec({"model": "own"}, device=CPU).model_options == {"width": 3}


def test_a_network_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by module:function; it gets from the data what it asks for."""
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n"
        "def small(classes, dropout=0.25):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Dropout(dropout), nn.Linear(192, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    spec = tiny_spec(model="own_nets:small", dropout=0.5)
    model = build_network(spec, tiny_dataset(images=True))
    sys.modules.pop("own_nets")

    assert spec.model_options == {"dropout": 0.5}
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 3)


def test_a_network_that_does_not_fit_the_samples_is_refused() -> None:
    """Before anything is written."""
    spec = tiny_spec("images", model="tiny_signals_cnn")

    with pytest.raises(ConfigError, match=r"'tiny_signals_cnn' doesn't fit data set 'tiny_images'"):
        build_network(spec, tiny_dataset(images=True))


def test_a_network_with_another_number_of_classes_is_refused() -> None:
    """Labels would point past its outputs, or some outputs would mean nothing."""
    spec = tiny_spec(model_options={"classes": 4})

    with pytest.raises(ConfigError, match=r"output of shape \(1, 4\); expected \(1, 3\)"):
        build_network(spec, tiny_dataset(images=True))


def test_a_last_batch_of_one_sample_that_no_network_can_normalize_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Normalized vectors need two samples in training; maps don't, nor do whole batches."""
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n"
        "def vectors(classes):\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(192, classes), nn.BatchNorm1d(classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    data = tiny_dataset(images=True)  # 44 samples
    spec = tiny_spec(model="own_nets:vectors", batch_size=43)
    with pytest.raises(ConfigError, match=r"44 samples in batches of 43 .* one alone.*batch_size"):
        build_network(spec, data)
    model = build_network(replace(spec, batch_size=42), data)
    sys.modules.pop("own_nets")

    assert int(model[2].num_batches_tracked) == 0
    assert build_network(tiny_spec(batch_size=43), data)


def test_the_trial_draws_no_random_number() -> None:
    """The first weights and the first dropout depend on the seed alone."""
    states = []
    for trial in (True, False):
        with reproducible(3, 1, CPU):
            if trial:
                build_network(tiny_spec(), tiny_dataset(images=True))
            else:
                MODELS["tiny_images_cnn"](classes=3, channels=3)
            states.append(torch.get_rng_state())

    assert torch.equal(*states)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("gpu", "device='gpu': expected auto, cpu, cuda or cuda:N"),
        ("meta", "device='meta': Espalier trains on cpu and cuda"),
        ("cuda:99", r"device='cuda:99': PyTorch .* sees \d+ CUDA devices here"),
    ],
)
def test_a_device_that_is_not_there_is_refused(asked: str, message: str) -> None:
    """With what there is."""
    with pytest.raises(ConfigError, match=message):
        resolve_device(asked)


def test_seeds_and_threads_are_put_back() -> None:
    """Training leaves its caller's random numbers alone."""
    torch.manual_seed(5)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    with reproducible(0, 1, CPU):
        torch.rand(3)
        assert torch.get_num_threads() == 1

    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_a_spec_is_a_run_spec() -> None:
    """Nothing but its fields goes in."""
    assert isinstance(tiny_spec(), RunSpec)


def test_a_recipe_is_resolved_into_settings() -> None:
    """Those of the recipe, of the network's own options too, and what is given instead."""
    given = {"recipe": "strong", "bits": 2, "model_options": {"hidden": [64]}, "precision": "fp32"}
    spec = resolve_spec(given, device=torch.device("cpu"))

    assert (spec.bits, spec.target_density, spec.gamma) == (2, 0.02, 0.0)
    assert (spec.update, spec.budget, spec.augment) == ("latent", "lamp", True)
    assert spec.model_options["dropout"] == 0.1
    assert spec.model_options["hidden"] == [64]
    assert resolve_spec(spec_settings(spec), device=torch.device("cpu")) == spec


def spec_settings(spec: RunSpec) -> dict[str, Any]:
    """What a record says, as somebody gives it."""
    return {name: value for name, value in spec.to_json().items() if name != "version"}


def test_a_size_brings_what_it_needs() -> None:
    """Dense weights and a ramp, unless something else was given."""
    spec = resolve_spec({"max_bytes": 5000, "precision": "fp32"}, device=torch.device("cpu"))
    assert (spec.update, spec.schedule, spec.gamma) == ("latent", "cubic", 0.0)
    with pytest.raises(ConfigError, match="give update=latent"):
        resolve_spec({"max_bytes": 5000, "update": "hybrid"}, device=torch.device("cpu"))


def test_a_ramp_runs_between_two_shares_of_the_steps() -> None:
    """Before and after it the density is constant."""
    spec = tiny_spec(gamma=0, target_density=0.1, schedule="cubic", ramp_start=0.2, ramp_end=0.7)
    operator = operator_of(spec, 100)
    found = [operator.asked_density(step) for step in (0, 20, 21, 69, 70, 99)]

    assert found[0] == found[1] == 1.0
    assert found[2] is not None
    assert found[3] is not None
    assert 1.0 > found[2] > found[3] > 0.1
    assert found[4] == found[5] == 0.1
    assert operator_of(spec, 0).asked_density(0) == 0.1
