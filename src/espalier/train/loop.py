"""A whole run: from its spec to its records, through any number of interruptions."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from espalier.data import Dataset, limit, load_dataset
from espalier.errors import BusyError, ConfigError, NonFiniteError, StoppedError
from espalier.files import append_line, exclusive, make_directory, write_atomically
from espalier.records import RunResult, RunSpec, read_epochs
from espalier.train.checkpoint import (
    Checkpoint,
    load_weights,
    read_checkpoint,
    restore,
    save_checkpoint,
    save_weights,
)
from espalier.train.directory import RunDirectory
from espalier.train.environment import environment, reproducible, resolve_device
from espalier.train.initial import read_initial
from espalier.train.outcome import (
    Baseline,
    best_by_validation,
    chosen,
    counting,
    make_result,
    pretty,
    stopped_by,
    with_baseline,
)
from espalier.train.packing import packed_run, strict_ratio_of
from espalier.train.progress import Progress, Silent
from espalier.train.run import Run
from espalier.train.signals import StopRequest, stop_on_signals
from espalier.train.teacher import read_teacher
from espalier.wording import counted

__all__ = ["train"]


def train(
    spec: RunSpec,
    out: Path,
    *,
    data_dir: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    baseline: Baseline | None = None,
    progress: Progress | None = None,
    initial: Path | None = None,
    teacher: Path | None = None,
) -> RunResult:
    """Train a run to its end and write its records; the same spec gives the same weights.

    The directory gets ``spec.json``, ``metrics.jsonl`` (a line an epoch),
    ``checkpoint.safetensors`` (after each epoch), ``best.safetensors`` and
    ``best_by_validation.safetensors`` (weights) and, last of all, ``result.json``. Killed at any
    moment and called again with ``resume``, a run ends with the bits of one never killed, given the
    same threads, device and versions.

    Args:
        spec: what to train, see :func:`resolve_spec`.
        out: the run's directory; made if need be, once data and network are found fit.
        data_dir: where the data set's files are.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the CPU; None means those that the run began with, or torch's own number.
        resume: go on with an unfinished run, or return the result of a finished one.
        baseline: what PE compares with.
        progress: who is told.
        initial: safetensors file of the weights that the spec says it starts from.
        teacher: the same of the network that the spec says it learns from.

    Raises:
        ConfigError: a setting doesn't fit, a size can't be met, or the directory holds another run.
        DataError: the data are missing or damaged.
        CheckpointError: the checkpoint is damaged or of another run.
        NonFiniteError: a loss isn't finite; the last checkpoint is kept.
        StoppedError: SIGINT or SIGTERM came; the run is saved and can go on.
        StorageError: a file can't be written; the last checkpoint is kept.
    """
    directory, progress = RunDirectory(out), progress or Silent()
    target = resolve_device(device)
    finished = directory.admit(spec, resume=resume)
    if finished is not None:
        return _again(finished, directory, baseline)
    saved = None
    if resume and directory.checkpoint.exists():
        saved = read_checkpoint(directory.checkpoint, spec)
    threads = _threads(threads, saved)
    weights = read_initial(initial, spec)
    dataset = _load(spec, data_dir)
    with reproducible(spec.seed, threads, target):
        knowing = read_teacher(teacher, spec, dataset, target)
        run = Run.build(spec, dataset, target, weights, knowing)
        make_directory(directory.path)
        with exclusive(directory.path):
            if directory.admit(spec, resume=resume) is not None:
                raise BusyError(f"another process has just finished {out}; run again to see it.")
            _begin(run, directory, saved)
            with _pointing_to(directory, run):
                with stop_on_signals() as request:
                    _train_to_end(run, directory, threads, request, progress)
                result = make_result(
                    run.spec,
                    run.epochs,
                    baseline=baseline,
                    parameters=run.parameters,
                    compressed_parameters=run.compressed_parameters,
                    data_source=run.data_source,
                    device=str(target),
                    threads=threads,
                    environment=environment(target),
                    size_bytes=len(packed_run(directory.best)),
                    ratio_strict=strict_ratio_of(directory.best, run.parameters),
                )
                write_atomically(directory.result, pretty(result.to_json()))
    progress.end(result)
    return result


def _again(result: RunResult, directory: RunDirectory, baseline: Baseline | None) -> RunResult:
    """Return a finished run's result; a baseline is written into it."""
    if baseline is None:
        return result
    result = with_baseline(result, baseline)
    write_atomically(directory.result, pretty(result.to_json()))
    return result


def _threads(asked: int | None, saved: Checkpoint | None) -> int:
    if asked is not None and asked < 1:
        raise ConfigError(f"threads={asked}: expected an integer >= 1.")
    if asked is None and saved is not None:
        return int(saved[1]["threads"])
    return asked or torch.get_num_threads()


def _load(spec: RunSpec, data_dir: Path | None) -> Dataset:
    dataset = load_dataset(spec.data, data_dir=data_dir)
    return dataset if spec.limit_train is None else limit(dataset, spec.limit_train)


def _begin(run: Run, directory: RunDirectory, saved: Checkpoint | None) -> None:
    """Bring run and directory to the same point: a checkpoint's, or the very beginning."""
    directory.write_spec(run.spec)
    if saved is not None:
        restore(run, saved, read_epochs(directory.metrics), directory.checkpoint)
        if run.epochs:
            load_weights(directory.best)
            load_weights(directory.best_by_validation)
    lines = "".join(record.to_line() for record in run.epochs)
    write_atomically(directory.metrics, lines.encode())


def _train_to_end(
    run: Run, directory: RunDirectory, threads: int, request: StopRequest, progress: Progress
) -> None:
    """Train epoch after epoch, saving at each one's end, or in its midst when asked to stop."""
    progress.begin(run.spec, list(run.epochs), _note(run, threads))
    while stopped_by(run.spec, run.epochs) is None:
        whole = run.train_epoch(lambda: request.by is not None, progress.step)
        if whole:
            record, report = run.finish_epoch()
            if chosen(run.spec, run.epochs) is record:
                save_weights(directory.best, run, report, record)
            if best_by_validation(counting(run.spec, run.epochs)) is record:
                save_weights(directory.best_by_validation, run, report, record)
            append_line(directory.metrics, record.to_line())
        save_checkpoint(directory.checkpoint, run, threads=threads)
        if whole:
            progress.epoch(record)
        if request.by is not None and stopped_by(run.spec, run.epochs) is None:
            raise StoppedError(
                f"{request.by}: stopped in {run.position()}; saved to {directory.checkpoint}. "
                "Run the same command with --resume to go on."
            )


@contextlib.contextmanager
def _pointing_to(directory: RunDirectory, run: Run) -> Iterator[None]:
    """Say what is left of a run that diverged, or that a second signal has ended at once."""
    try:
        yield
    except NonFiniteError as error:
        kept = (
            f"The checkpoint after epoch {len(run.epochs)} is kept: {directory.checkpoint}."
            if directory.checkpoint.exists()
            else "No epoch was finished, so there is no checkpoint."
        )
        raise NonFiniteError(f"{error} {kept}") from error
    except KeyboardInterrupt as error:
        raise StoppedError(
            f"stopped at once; what was saved before is in {directory.path}. Run the same command "
            "with --resume to go on."
        ) from error


def _note(run: Run, threads: int) -> str:
    where = counted(threads, "thread") if run.device.type == "cpu" else f"{run.device}, {_how(run)}"
    return (
        f"{run.data_source}, {run.samples:,} training samples; {run.spec.model}, "
        f"{run.parameters:,} parameters; {where}, {run.spec.precision}"
    )


def _how(run: Run) -> str:
    """Say whether a GPU's steps are replays of one, and why not."""
    refused = "" if run.captured is None else run.captured.refused
    return f"kernel by kernel ({refused})" if refused else "steps as one CUDA graph"
