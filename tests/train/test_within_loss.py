"""The smallest network within a loss: which rungs are run, what is kept."""

from pathlib import Path
from typing import Any

import pytest
import torch

from espalier.errors import ConfigError
from espalier.records import RunResult, RunSpec, read_json
from espalier.train import Baseline, RunDirectory, packed_run, within_loss
from espalier.train.within_loss import LOWEST, _climb_down, _dense

from .test_train import same_run
from .tiny import run_tiny

SETTINGS: dict[str, Any] = {
    "data": "tiny_images",
    "model": "tiny_images_cnn",
    "budget": "lamp",
    "bits": 4,
    "epochs": 2,
    "batch_size": 8,
    "lr": 0.05,
    "precision": "fp32",
}


def train(spec: RunSpec, out: Path, against: Baseline | None, initial: Path | None) -> RunResult:
    return run_tiny(spec, out, baseline=against, initial=initial, resume=True)


def climb(out: Path, max_loss: float = 20, baseline: Path | None = None, **changes: Any) -> Any:
    return within_loss(
        SETTINGS | changes,
        out,
        train,
        max_loss=max_loss,
        baseline=baseline,
        device=torch.device("cpu"),
    )


@pytest.mark.filterwarnings("ignore::espalier.errors.DeadLayerWarning")
def test_the_smallest_within_is_kept(tmp_path: Path) -> None:
    """Its records are the directory's own, as of any run; the ladder lies beside them."""
    result, ladder = climb(tmp_path / "out")
    directory = RunDirectory(tmp_path / "out")

    kept = ladder.smallest
    assert kept is not None
    assert kept.size_bytes == len(packed_run(directory.best)) == result.size_bytes
    for rung in ladder.rungs:
        assert rung.within == (rung.lost <= 20)
        assert not rung.within or (rung.size_bytes or 0) >= kept.size_bytes
    assert result.baseline is not None
    assert read_json(tmp_path / "out" / "ladder.json")["kept"] == kept.run
    assert (tmp_path / "out" / "baseline" / "result.json").exists()


@pytest.mark.filterwarnings("ignore::espalier.errors.DeadLayerWarning")
def test_a_ladder_in_pieces_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut off after its second run, it goes on; a given baseline is not trained again."""
    whole, _ = climb(tmp_path / "whole")
    calls: list[Path] = []

    def cut(spec: RunSpec, out: Path, *rest: Any) -> RunResult:
        calls.append(out)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train(spec, out, *rest)

    with monkeypatch.context() as patch:
        patch.setitem(globals(), "train", cut)
        with pytest.raises(KeyboardInterrupt):
            within_loss(
                SETTINGS,
                tmp_path / "pieces",
                cut,
                max_loss=20,
                baseline=None,
                device=torch.device("cpu"),
            )
    pieces, _ = climb(tmp_path / "pieces")
    given, _ = climb(tmp_path / "given", baseline=tmp_path / "whole" / "baseline")

    assert whole.comparable() == pieces.comparable() == given.comparable()
    assert not (tmp_path / "given" / "baseline").exists()
    kept = read_json(tmp_path / "whole" / "ladder.json")["kept"]
    same_run(tmp_path / "whole" / kept, tmp_path / "pieces" / kept)


@pytest.mark.parametrize("border", [0.7, 0.3, 0.25, 0.1, 0.01, 0.0])
def test_the_border_is_found_to_a_fourth_of_an_octave(border: float) -> None:
    """By few rungs, and none below the lowest."""
    seen: list[float] = []

    def within(density: float) -> bool:
        seen.append(density)
        return density >= border

    _climb_down(within)
    good = min(density for density in seen if density >= border)
    assert len(set(seen)) == len(seen) <= 12
    assert min(seen) >= LOWEST
    assert good == LOWEST or good <= border * 2**0.25 + 1e-12


def test_the_dense_run_has_none_of_what_compresses() -> None:
    """Whatever the rungs are asked for besides their density."""
    parts: dict[str, Any] = {
        "quantizer": "lsq",
        "layer_least": 2,
        "spare_operations": 0.5,
        "layer_bits": {"0.*": 8},
        "filter_density": 0.5,
        "teacher": "0" * 64,
    }
    for settings in (SETTINGS | parts, {"recipe": "strong", "model": "resnet20"} | parts):
        spec = _dense(settings, torch.device("cpu"))
        assert not spec.compresses
        assert spec.teacher is None


def test_a_loss_that_nothing_keeps_is_refused_with_the_nearest(tmp_path: Path) -> None:
    """At one bit and one epoch not even the whole network does."""

    def worse(spec: RunSpec, out: Path, *rest: Any) -> RunResult:
        result = train(spec, out, *rest)
        if spec.initial is None:
            return result
        from dataclasses import replace

        return replace(result, by_validation=replace(result.by_validation, val_accuracy=1.0))

    with pytest.raises(ConfigError, match=r"even the whole network at 4 bits loses .* at least"):
        within_loss(
            SETTINGS,
            tmp_path / "out",
            worse,
            max_loss=0.1,
            baseline=None,
            device=torch.device("cpu"),
        )


def test_bad_questions_are_refused_before_any_run(tmp_path: Path) -> None:
    """Each with what to do; nothing is trained."""
    with pytest.raises(ConfigError, match="expected points >= 0"):
        climb(tmp_path / "a", max_loss=-1)
    with pytest.raises(ConfigError, match="expected the directory of a finished run"):
        climb(tmp_path / "b", baseline=tmp_path / "none")
    with pytest.raises(ConfigError, match="judges by validation"):
        climb(tmp_path / "c", choose="test")
    run_tiny(
        RunSpec(
            **{
                **SETTINGS,
                "data": "tiny_signals",
                "model": "tiny_signals_cnn",
                "gamma": 0,
                "bits": 32,
                "epochs": 1,
            }
        ),
        tmp_path / "other",
    )
    with pytest.raises(ConfigError, match="is a run with data tiny_signals, not tiny_images"):
        climb(tmp_path / "d", baseline=tmp_path / "other")
