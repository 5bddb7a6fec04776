"""A run from its spec to its records, whole or in pieces."""

import errno
import json
import math
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from espalier.compressor import Report
from espalier.encoded import decode
from espalier.errors import (
    CheckpointError,
    ConfigError,
    NonFiniteError,
    RecordError,
    StoppedError,
    StorageError,
)
from espalier.files import exclusive
from espalier.metrics import ratio, strict_ratio
from espalier.records import EpochRecord, RunResult, RunSpec, read_epochs, read_json
from espalier.train import Baseline, Moment, RunDirectory, load_weights, weights_as_encoded
from espalier.train.run import Run

from .tiny import run_tiny, tiny_images_cnn, tiny_spec

STEPS = 6
"""Of an epoch of the tiny data: 44 samples, 8 a batch."""


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send a signal to this process right after a step, counted over all epochs from 1."""
    taken, take = [0], Run.compute

    def counted(run: Run, *batch: Any) -> None:
        take(run, *batch)
        taken[0] += 1
        if taken[0] == step:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Run, "compute", counted)


def same_run(one: Path, other: Path) -> None:
    """Compare two directories bit for bit, times left out."""
    a, b = RunDirectory(one), RunDirectory(other)
    results = [RunResult.from_json(read_json(d.result)).comparable() for d in (a, b)]
    assert results[0] == results[1]
    metrics = [[r.comparable() for r in read_epochs(d.metrics)] for d in (a, b)]
    assert metrics[0] == metrics[1]
    assert a.best.read_bytes() == b.best.read_bytes()
    assert a.best_by_validation.read_bytes() == b.best_by_validation.read_bytes()
    assert a.spec.read_bytes() == b.spec.read_bytes()
    (tensors, meta), (others, other_meta) = (load_weights(d.checkpoint) for d in (a, b))
    assert tensors.keys() == others.keys()
    for name, tensor in tensors.items():
        assert torch.equal(tensor, others[name]), name
        assert tensor.stride() == others[name].stride(), name
    assert meta | {"wall_s": 0} == other_meta | {"wall_s": 0}


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("images", {}),
    ("images", {"augment": True, "precision": "bf16"}),
    ("images", {"optimizer": "adam", "update": "latent", "lr": 0.01, "weight_decay": 0.01}),
    ("images", {"gamma": 0, "bits": 32}),
    ("signals", {"update": "inplace", "rounding": "stochastic", "bits": 8}),
    ("signals", {"cadence": "every_epoch", "schedule": "cubic", "optimizer": "adamw"}),
    ("signals", {"schedule": "linear", "rounding": "floor", "bits": 8}),
    (
        "signals",
        {
            "gamma": 0,
            "target_density": 0.3,
            "schedule": "cubic",
            "update": "latent",
            "lr_schedule": "cosine",
        },
    ),
]


@pytest.mark.parametrize(("kind", "settings"), VARIANTS, ids=[str(v) for v in VARIANTS])
def test_a_run_in_pieces_is_the_run_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, settings: dict[str, Any]
) -> None:
    """Stopped in the midst of an epoch, and at an epoch's last step, for every part of a spec."""
    spec = tiny_spec(kind, **settings)
    whole = run_tiny(spec, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(StoppedError, match=f"SIGTERM: stopped in epoch 1, step 3 of {STEPS}; "):
            run_tiny(spec, tmp_path / "pieces")
    with monkeypatch.context() as patch:
        interrupt_at(patch, STEPS - 2, signal.SIGINT)
        with pytest.raises(StoppedError, match=r"SIGINT: .*epoch 2, step 1 .*with --resume"):
            run_tiny(spec, tmp_path / "pieces", resume=True)
    result = run_tiny(spec, tmp_path / "pieces", resume=True)

    assert result.comparable() == whole.comparable()
    same_run(tmp_path / "whole", tmp_path / "pieces")


def test_a_stop_at_the_last_step_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is finished needs no resuming."""
    interrupt_at(monkeypatch, STEPS)

    assert run_tiny(tiny_spec(epochs=1), tmp_path / "run").epochs_run == 1


def test_a_second_signal_ends_a_run_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can't wait for an evaluation keeps what was saved before it, and is told so."""
    finish = Run.finish_epoch

    def impatient(run: Run) -> tuple[EpochRecord, Report]:
        if run.epoch == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return finish(run)

    whole = run_tiny(tiny_spec(), tmp_path / "whole")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    with monkeypatch.context() as patch:
        patch.setattr(Run, "finish_epoch", impatient)
        with pytest.raises(StoppedError, match=r"at once; what was saved before .*--resume"):
            run_tiny(tiny_spec(), tmp_path / "pieces")
    signal.signal(signal.SIGINT, before)

    assert run_tiny(tiny_spec(), tmp_path / "pieces", resume=True).best == whole.best
    same_run(tmp_path / "whole", tmp_path / "pieces")


def test_the_seed_decides_the_weights(tmp_path: Path) -> None:
    """The same seed, the same bits; another seed, others."""
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        run_tiny(tiny_spec(seed=seed, epochs=1), tmp_path / name)
    same_run(tmp_path / "one", tmp_path / "again")
    tensors = {n: load_weights(tmp_path / n / "best.safetensors")[0] for n in ("one", "other")}

    assert not torch.equal(tensors["one"]["0.weight"], tensors["other"]["0.weight"])


def test_the_records_agree_with_each_other(tmp_path: Path) -> None:
    """Result, metrics and weights tell the same story."""
    spec = tiny_spec()
    result = run_tiny(spec, tmp_path / "run", baseline=Baseline(best=80, by_validation=80, last=80))
    directory = RunDirectory(tmp_path / "run")
    records = read_epochs(directory.metrics)
    best = records[result.best.epoch - 1]

    assert RunResult.from_json(read_json(directory.result)) == result
    assert RunSpec.from_json(read_json(directory.spec)) == spec
    assert len(records) == result.epochs_run == spec.epochs
    assert result.best.test_accuracy == max(r.test_accuracy for r in records)
    assert result.best.ratio == ratio(best.density_mask, spec.bits)
    assert best.density_mask < 1
    assert result.best.efficiency is not None
    assert result.best.efficiency["2"] == pytest.approx(
        (result.best.test_accuracy / 80) ** 2 / result.best.ratio
    )
    assert {p.name for p in directory.path.iterdir()} == {
        ".lock",
        "spec.json",
        "metrics.jsonl",
        "checkpoint.safetensors",
        "best.safetensors",
        "best_by_validation.safetensors",
        "result.json",
    }


def test_the_best_weights_are_their_own_codes(tmp_path: Path) -> None:
    """What is saved as the best epoch lies on its grid and counts as its record says."""
    result = run_tiny(tiny_spec(bits=3), tmp_path / "run")
    directory = RunDirectory(tmp_path / "run")
    tensors, meta = load_weights(directory.best)
    record = read_epochs(directory.metrics)[meta["epoch"] - 1]

    encoded = weights_as_encoded(directory.best)

    assert encoded.keys() == record.layers.keys()
    for name, codes in encoded.items():
        assert torch.equal(torch.from_numpy(decode(codes)), tensors[name])
        assert record.layers[name] == (codes.kept / codes.size, codes.nonzero / codes.size)
    sizes = sum(codes.size for codes in encoded.values())
    assert record.density_mask == sum(codes.kept for codes in encoded.values()) / sizes
    assert record.density_nonzero == sum(codes.nonzero for codes in encoded.values()) / sizes
    assert result.ratio_strict == strict_ratio(encoded, result.parameters)


def test_the_dense_baseline_keeps_everything(tmp_path: Path) -> None:
    """Density 1, RC 1, no codes, the same parameters counted."""
    dense = run_tiny(tiny_spec(gamma=0, bits=32), tmp_path / "dense")
    compressed = run_tiny(tiny_spec(epochs=1), tmp_path / "compressed")

    assert (dense.best.density_mask, dense.best.ratio, dense.best.ratio_all) == (1.0, 1.0, 1.0)
    assert dense.ratio_strict == 1.0
    assert dense.compressed_parameters == compressed.compressed_parameters
    assert dense.parameters - dense.compressed_parameters == 12  # the normalization's
    assert weights_as_encoded(tmp_path / "dense" / "best.safetensors") == {}


def test_patience_stops_a_run(tmp_path: Path) -> None:
    """With a learning rate that moves nothing, no epoch is better than the first."""
    result = run_tiny(
        tiny_spec("signals", gamma=0, bits=32, lr=1e-12, epochs=9, patience=2, dropout=0.0),
        tmp_path / "run",
    )

    assert result.stopped_by == "patience"
    assert result.epochs_run < 9
    assert result.epochs_run - result.by_validation.epoch == 2


def test_a_schedule_ramps_over_half_the_steps(tmp_path: Path) -> None:
    """Gamma reaches its value at half of the planned steps, and the records say how far it was."""
    run_tiny(tiny_spec(schedule="linear", epochs=4, gamma=0.4), tmp_path / "run")
    gammas = [r.gamma for r in read_epochs(tmp_path / "run" / "metrics.jsonl")]

    assert gammas == pytest.approx([0.4 * 5 / 12, 0.4 * 11 / 12, 0.4, 0.4])


def test_a_target_density_is_kept_by_all_layers_together(tmp_path: Path) -> None:
    """The budget comes down from 1 and is met to a weight."""
    spec = tiny_spec(gamma=0, target_density=0.25, bits=32, schedule="cubic", epochs=4)
    run_tiny(spec, tmp_path / "run")
    densities = [r.density_mask for r in read_epochs(tmp_path / "run" / "metrics.jsonl")]
    size = sum(p.numel() for p in tiny_images_cnn(classes=3, channels=3).parameters()) - 2 * 6

    assert densities[0] > densities[1] == densities[3] == pytest.approx(0.25, abs=0.5 / size)


def test_the_learning_rate_falls_as_a_cosine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step gets its own rate, from lr on, over all planned steps."""
    rates: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, closure: None = None) -> None:
        rates.append(self.param_groups[0]["lr"])
        step(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    run_tiny(tiny_spec(gamma=0, bits=32, lr=0.1, lr_schedule="cosine"), tmp_path / "run")

    expected = 0.05 * (1 + np.cos(np.pi * np.arange(18) / 18))
    assert rates == pytest.approx(expected.tolist())


def test_training_learns(tmp_path: Path) -> None:
    """Compressed all the while, the tiny network tells the tiny classes apart."""
    result = run_tiny(tiny_spec("signals", epochs=8, bits=8, dropout=0.0), tmp_path / "run")

    assert result.best.test_accuracy > 70


def test_limited_data_are_part_of_the_run(tmp_path: Path) -> None:
    """Fewer samples, fewer steps, another identity."""
    notes: list[str] = []

    class Notes(Recorder):
        def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
            notes.append(note)

    run_tiny(tiny_spec(limit_train=9, epochs=1), tmp_path / "run", progress=Notes())

    assert "9 training samples" in notes[0]


class Recorder:
    """Remembers what a run told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def begin(self, spec: RunSpec, done: list[EpochRecord], note: str) -> None:
        self.told.append(("begin", len(done)))

    def step(self, moment: Moment) -> None:
        assert moment.loss > 0  # figures are of the moment
        assert 0 <= moment.accuracy <= 100
        self.told.append(("step", moment))

    def epoch(self, record: EpochRecord) -> None:
        self.told.append(("epoch", record.epoch))

    def end(self, result: RunResult) -> None:
        self.told.append(("end", result))


def test_progress_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, steps within epochs, with figures that mean something."""
    monkeypatch.setattr("espalier.train.run.TELL_EVERY_S", 0.0)
    recorder = Recorder()
    result = run_tiny(tiny_spec(epochs=2), tmp_path / "run", progress=recorder)
    kinds = [kind for kind, _ in recorder.told]
    moments = [value for kind, value in recorder.told if kind == "step"]

    epoch = ["step"] * STEPS + ["epoch"]
    assert kinds == ["begin", *epoch, *epoch, "end"]
    assert [(m.epoch, m.step) for m in moments] == [
        (e, s + 1) for e in (1, 2) for s in range(STEPS)
    ]
    assert all(m.steps == STEPS for m in moments)
    assert recorder.told[-1] == ("end", result)


def test_a_resumed_run_keeps_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits depend on them, so they are those that the run began with."""
    spec = tiny_spec(epochs=1)
    with monkeypatch.context() as patch:
        interrupt_at(patch, 2)
        with pytest.raises(StoppedError):
            run_tiny(spec, tmp_path / "run", threads=1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)

    assert run_tiny(spec, tmp_path / "run", threads=None, resume=True).threads == 1


def test_resume_starts_a_run_that_has_not_begun(tmp_path: Path) -> None:
    """Who starts a run again and again needs no other command the first time."""
    assert run_tiny(tiny_spec(epochs=1), tmp_path / "run", resume=True).epochs_run == 1


def test_resume_of_a_finished_run_gives_its_result(tmp_path: Path) -> None:
    """Nothing is trained again, and a baseline may come late."""
    spec, out = tiny_spec(epochs=1), tmp_path / "run"
    first = run_tiny(spec, out)
    before = (out / "checkpoint.safetensors").stat().st_mtime_ns

    assert run_tiny(spec, out, resume=True) == first
    baseline = Baseline(best=90, by_validation=90, last=90)
    assert run_tiny(spec, out, resume=True, baseline=baseline).baseline == 90
    assert run_tiny(spec, out, resume=True).baseline == 90
    assert (out / "checkpoint.safetensors").stat().st_mtime_ns == before


def test_a_finished_run_is_not_overwritten(tmp_path: Path) -> None:
    """Not even by the same run."""
    run_tiny(tiny_spec(epochs=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds this run, finished, .* Add --resume"):
        run_tiny(tiny_spec(epochs=1), tmp_path / "run")


def test_an_unfinished_run_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of training are not lost to a forgotten option."""
    interrupt_at(monkeypatch, 2)
    with pytest.raises(StoppedError):
        run_tiny(tiny_spec(), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"holds this run, unfinished. Add --resume"):
        run_tiny(tiny_spec(), tmp_path / "run")


def test_another_run_is_not_overwritten(tmp_path: Path) -> None:
    """The message says in what they differ."""
    run_tiny(tiny_spec(epochs=1), tmp_path / "run")
    with pytest.raises(ConfigError, match=r"another run, with gamma: 0.2, not 0.3; bits: 4, not 3"):
        run_tiny(tiny_spec(epochs=1, gamma=0.3, bits=3), tmp_path / "run", resume=True)


def test_a_foreign_directory_is_not_overwritten(tmp_path: Path) -> None:
    """Records without a spec are somebody's."""
    (tmp_path / "result.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds result.json but no spec.json"):
        run_tiny(tiny_spec(), tmp_path)


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    """It is a directory, or nothing yet."""
    (tmp_path / "run").write_text("")
    with pytest.raises(ConfigError, match=r"--out .*run is a file; give a directory"):
        run_tiny(tiny_spec(), tmp_path / "run")


def test_a_damaged_spec_is_found(tmp_path: Path) -> None:
    """Nobody guesses whose directory it was."""
    run_tiny(tiny_spec(epochs=1), tmp_path)
    (tmp_path / "spec.json").write_text('{"version": 1,')
    with pytest.raises(RecordError, match=r"spec.json is not JSON"):
        run_tiny(tiny_spec(epochs=1), tmp_path, resume=True)


def stopped_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **settings: Any) -> RunDirectory:
    """Leave a run in the midst of its second epoch."""
    with monkeypatch.context() as patch:
        interrupt_at(patch, STEPS + 2)
        with pytest.raises(StoppedError):
            run_tiny(tiny_spec(**settings), tmp_path / "run")
    return RunDirectory(tmp_path / "run")


@pytest.mark.parametrize("name", ["checkpoint", "best", "best_by_validation"])
def test_a_flipped_byte_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """In whichever file it is, before anything is trained."""
    path: Path = getattr(stopped_run(tmp_path, monkeypatch), name)
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=rf"{name}.safetensors is damaged"):
        run_tiny(tiny_spec(), tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where somebody copied it in."""
    theirs = stopped_run(tmp_path / "theirs", monkeypatch, seed=5)
    mine = stopped_run(tmp_path / "mine", monkeypatch)
    mine.checkpoint.write_bytes(theirs.checkpoint.read_bytes())

    with pytest.raises(CheckpointError, match=r"is of another run, with seed: 5, not 0"):
        run_tiny(tiny_spec(), mine.path, resume=True)


def test_lost_lines_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint whose epochs are not recorded can't give a result."""
    directory = stopped_run(tmp_path, monkeypatch)
    directory.metrics.write_text("")

    with pytest.raises(CheckpointError, match=r"is of epoch 1 and metrics.jsonl holds 0 epochs"):
        run_tiny(tiny_spec(), directory.path, resume=True)


def test_other_data_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same name may stand for another copy of the images."""
    directory = stopped_run(tmp_path, monkeypatch)
    from dataclasses import replace

    from espalier.data import DATASETS

    from .tiny import tiny_dataset

    other = replace(tiny_dataset(images=True), source="another copy")
    monkeypatch.setitem(DATASETS, "tiny_images", lambda **_: other)

    with pytest.raises(CheckpointError, match=r"was trained on tiny images .* are another copy"):
        run_tiny(tiny_spec(), directory.path, resume=True)


def test_a_changed_network_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's code may have changed under the same name."""
    directory = stopped_run(tmp_path, monkeypatch)
    from torch import nn

    from espalier.models import MODELS

    def changed(*, classes: int, dropout: float = 0.3) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(192, classes))

    monkeypatch.setitem(MODELS, "tiny_images_cnn", changed)

    with pytest.raises(CheckpointError, match=r"is of another network: 0.bias, 0.weight"):
        run_tiny(tiny_spec(), directory.path, resume=True)


def test_lines_after_the_checkpoint_are_run_again_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between an epoch's line and its checkpoint leaves a line too much."""
    run_tiny(tiny_spec(), tmp_path / "whole")
    directory = stopped_run(tmp_path, monkeypatch)
    whole = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines(keepends=True)
    directory.metrics.write_text(whole[0] + whole[1] + whole[2][:40])

    run_tiny(tiny_spec(), directory.path, resume=True)

    same_run(tmp_path / "whole", directory.path)


def diverging(loss: float) -> Callable[..., torch.Tensor]:
    calls = [0]
    honest = torch.nn.functional.cross_entropy

    def cross_entropy(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        calls[0] += 1
        value = honest(outputs, labels)
        return value * loss if calls[0] == STEPS + 6 else value  # 4 evaluations come between

    return cross_entropy


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loss: float
) -> None:
    """It names epoch and step, and the checkpoint before it still resumes."""
    run_tiny(tiny_spec(), tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr("espalier.train.run.F.cross_entropy", diverging(loss))
        with pytest.raises(
            NonFiniteError, match=rf"epoch 2, step \d of {STEPS}.* after epoch 1 is"
        ):
            run_tiny(tiny_spec(), tmp_path / "run")

    run_tiny(tiny_spec(), tmp_path / "run", resume=True)
    same_run(tmp_path / "whole", tmp_path / "run")


def test_a_huge_learning_rate_stops_the_run(tmp_path: Path) -> None:
    """Whether loss or weights overflow first, the message says where, and no result is written."""
    with pytest.raises(NonFiniteError, match=r"epoch 1, .* No epoch was finished"):
        run_tiny(tiny_spec(lr=1e30), tmp_path / "run")

    assert not RunDirectory(tmp_path / "run").result.exists()


def test_a_validation_loss_that_is_not_finite_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that train may still be useless."""
    monkeypatch.setattr("espalier.train.run.evaluate", lambda *_: (math.inf, 0.0))
    with pytest.raises(NonFiniteError, match="the validation loss is inf at the end of epoch 1"):
        run_tiny(tiny_spec(), tmp_path / "run")


def test_a_full_disk_keeps_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever file it strikes at whatever moment, the run goes on once there is room."""
    run_tiny(tiny_spec(), tmp_path / "whole")
    sync, left = os.fsync, [0]

    def fsync(handle: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    for room in range(1, 12):  # strikes each write of the first epoch and of the beginning
        left[0] = room
        with pytest.raises(StorageError, match="No space left on device"):
            run_tiny(tiny_spec(), tmp_path / "run", resume=True)
        assert not list((tmp_path / "run").glob("*.tmp"))
    left[0] = 1000
    run_tiny(tiny_spec(), tmp_path / "run", resume=True)

    same_run(tmp_path / "whole", tmp_path / "run")


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    """Two processes never write the same run."""
    (tmp_path / "run").mkdir()
    with (
        exclusive(tmp_path / "run"),
        pytest.raises(ConfigError, match="another process is training in"),
    ):
        run_tiny(tiny_spec(), tmp_path / "run")


def test_threads_are_at_least_one(tmp_path: Path) -> None:
    """Zero would mean torch's own choice, which nobody asked for."""
    with pytest.raises(ConfigError, match="threads=0: expected an integer >= 1"):
        run_tiny(tiny_spec(), tmp_path / "run", threads=0)


def test_nothing_is_written_before_everything_fits(tmp_path: Path) -> None:
    """A refused run leaves no directory."""
    for settings in ({"model": "tiny_signals_cnn"}, {"limit_train": 10_000}, {"dropout": 2.0}):
        with pytest.raises((ConfigError, ValueError)):
            run_tiny(tiny_spec(**settings), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_result_json_is_readable(tmp_path: Path) -> None:
    """Indented, with a newline at its end, as people's tools like it."""
    run_tiny(tiny_spec(epochs=1), tmp_path / "run")
    text = (tmp_path / "run" / "result.json").read_text()

    assert text.endswith("}\n")
    assert json.loads(text)["version"] == 1
