"""A size in bytes is met by the file itself, the first time."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from espalier.errors import BudgetWarning, ConfigError, StoppedError
from espalier.models import MODELS
from espalier.records import RunSpec, read_epochs
from espalier.train import RunDirectory, packed_run, verify_run
from espalier.train.fit import fit_kept

from .test_train import interrupt_at, same_run
from .tiny import run_tiny, tiny_spec

LOWEST = 0.97
"""Share of the budget that a file takes at least."""


def wide_cnn(*, classes: int, channels: int) -> nn.Module:
    """A network with enough weights for budgets that differ."""
    return nn.Sequential(
        nn.Conv2d(channels, 24, 3),
        nn.BatchNorm2d(24),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24 * 9, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be called by name."""
    monkeypatch.setitem(MODELS, "wide_cnn", wide_cnn)


def budget_spec(max_bytes: int, **settings: Any) -> RunSpec:
    base: dict[str, Any] = {
        "model": "wide_cnn",
        "gamma": 0,
        "max_bytes": max_bytes,
        "budget": "lamp",
        "update": "latent",
        "schedule": "cubic",
        "bits": 3,
        "epochs": 4,
        "lr": 0.02,
    }
    return tiny_spec("images", **(base | settings))


@pytest.mark.parametrize("max_bytes", [2500, 4321])
@pytest.mark.parametrize(
    "settings", [{}, {"choose": "validation", "recalibrate": 20, "grid_quantile": 0.99}]
)
def test_every_file_of_the_run_has_the_size(
    tmp_path: Path, max_bytes: int, settings: dict[str, Any]
) -> None:
    """At most the budget and at least 97 % of it, whichever choice of epoch is packed."""
    result = run_tiny(budget_spec(max_bytes, **settings), tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")

    for weights in (directory.best, directory.best_by_validation):
        size = len(packed_run(weights))
        assert LOWEST * max_bytes <= size <= max_bytes
    assert result.size_bytes == len(packed_run(directory.best))
    assert result.best.epoch >= 3
    packed = tmp_path / "net.espalier"
    packed.write_bytes(packed_run(directory.best))
    assert verify_run(packed, directory.path)[0] > 0


def test_layers_with_bits_of_their_own_share_the_size(tmp_path: Path) -> None:
    """Bits per layer, one budget in bytes."""
    spec = budget_spec(3000, layer_bits={"0.*": 6, "7.*": 4}, bits=2)
    size = run_tiny(spec, tmp_path / "run").size_bytes
    assert size is not None
    assert LOWEST * 3000 <= size <= 3000


def test_more_bytes_are_more_weights(tmp_path: Path) -> None:
    """The density follows the budget."""
    small, large = (
        run_tiny(budget_spec(size), tmp_path / str(size)).last.density_mask for size in (2500, 5000)
    )
    assert small < large


def test_the_epochs_before_the_budget_are_none_to_choose_from(tmp_path: Path) -> None:
    """A larger network is more accurate and not what was asked."""
    result = run_tiny(budget_spec(2600, epochs=5, ramp_end=0.6), tmp_path / "run")
    records = read_epochs(tmp_path / "run" / "metrics.jsonl")

    assert records[0].density_mask > 1.5 * records[-1].density_mask
    assert min(result.best.epoch, result.by_validation.epoch) >= 4


@pytest.mark.parametrize("steps", [(2, 9), (6, 12), (13, 3)])
def test_a_run_in_pieces_is_the_run_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, int]
) -> None:
    """On the way down as well as at the size."""
    spec = budget_spec(3000, recalibrate=30, nesterov=True, warmup_epochs=1, lr_schedule="cosine")
    run_tiny(spec, tmp_path / "whole")
    for number, step in enumerate(steps):
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(StoppedError):
                run_tiny(spec, tmp_path / "pieces", resume=number > 0)
    run_tiny(spec, tmp_path / "pieces", resume=True)

    same_run(tmp_path / "whole", tmp_path / "pieces")


@pytest.mark.parametrize(
    ("max_bytes", "message"),
    [
        (900, r"max_bytes=900: with one weight a tensor the file still takes \d+ bytes.*at least"),
        (90_000, r"max_bytes=90000: the whole network at 3 bits takes \d+ bytes.*at most \d+"),
    ],
)
def test_what_can_not_be_met_is_refused_before_training(
    tmp_path: Path, max_bytes: int, message: str
) -> None:
    """With the nearest size that can be met, which then can; nothing is written."""
    with pytest.raises(ConfigError, match=message) as caught:
        run_tiny(budget_spec(max_bytes), tmp_path / "run")
    assert not (tmp_path / "run").exists()

    nearest = int(str(caught.value).rpartition("Give at ")[2].split()[1].rstrip(".,"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BudgetWarning)  # trained, the whole network takes less
        size = run_tiny(budget_spec(nearest, epochs=1), tmp_path / "run").size_bytes
    assert size is not None
    assert size <= nearest


def test_a_budget_that_the_trained_network_does_not_fill_is_said(tmp_path: Path) -> None:
    """Fresh weights are spread evenly and take more: once, with the bits that would fill it."""
    spec = budget_spec(5800, lr=0.05, weight_decay=0.1)
    with pytest.warns(
        BudgetWarning, match=r"whole network at 3 bits takes \d+ bytes by now"
    ) as said:
        result = run_tiny(spec, tmp_path / "run")

    assert len(said) == 1
    assert "more bits" in str(said[0].message)
    assert result.best.density_mask == 1
    assert (result.size_bytes or 0) < LOWEST * 5800


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"update": "hybrid"}, "met from dense weights; give update=latent"),
        ({"target_density": 0.1}, "each says what to prune; give one of them"),
        ({"gamma": 0.1}, "each says what to prune; give one of them"),
        ({"max_bytes": 0}, "max_bytes=0: expected an integer >= 1"),
        ({"ramp_start": 0.7}, "0 <= ramp_start < ramp_end <= 1"),
        ({"grid_quantile": 0.9, "rounding": "floor"}, "rounds to nearest; leave one of them out"),
        ({"grid_quantile": 0.0}, r"grid_quantile=0.0: expected a number in \(0, 1\]"),
        ({"optimizer": "adam", "nesterov": True}, "nesterov looks ahead along the momentum of sgd"),
        ({"epochs": 0}, "epochs=0: expected an integer >= 1"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], message: str) -> None:
    """Each with what to do."""
    with pytest.raises(ConfigError, match=message):
        budget_spec(**({"max_bytes": 3000} | settings))


@given(
    most=st.integers(1, 20_000),
    overhead=st.integers(1, 5000),
    share=st.floats(0.01, 12),
    guess=st.integers(0, 30_000),
    data=st.data(),
)
def test_the_count_that_fits(
    most: int, overhead: int, share: float, guess: int, data: st.DataObject
) -> None:
    """Against all counts: it fits, and takes all that a size in steps lets it take."""
    eighths = data.draw(st.integers(1, 60))
    least = data.draw(st.integers(1, most))

    def size_of(kept: int) -> int:
        assert least <= kept <= most
        return overhead + kept * eighths // 8

    budget = max(1, int(size_of(least) * share))
    found = fit_kept(size_of, budget, least=least, most=most, guess=guess)
    if size_of(least) > budget:
        assert found is None
        return
    assert found is not None
    assert size_of(found) <= budget
    assert found == most or size_of(found) >= 0.99 * budget or size_of(found + 1) > budget
