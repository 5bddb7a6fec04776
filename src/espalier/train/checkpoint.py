"""What a run needs to go on, in one file; and the weights of its best epochs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from espalier.bridge import operator_data
from espalier.compressor import Report
from espalier.encoded import Encoded, encode
from espalier.errors import CheckpointError, RecordError
from espalier.records import EpochRecord, RunSpec, run_id
from espalier.train.container import read_container, write_container
from espalier.train.environment import random_state, restore_random_state
from espalier.train.optimizers import optimizer_state, restore_optimizer
from espalier.train.outcome import first_counting
from espalier.train.run import Run

__all__ = [
    "Checkpoint",
    "encoded_of",
    "load_weights",
    "read_checkpoint",
    "restore",
    "save_checkpoint",
    "save_weights",
    "weights_as_encoded",
]

VERSION = 1
Checkpoint = tuple[dict[str, Tensor], dict[str, Any]]
"""Named tensors and JSON values."""


def save_checkpoint(path: Path, run: Run, *, threads: int) -> None:
    """Save all that changes while a run trains; the epochs' records are in ``metrics.jsonl``.

    Raises:
        StorageError: the file can't be written; the checkpoint before stays.
    """
    optimizer_tensors, optimizer_values = optimizer_state(run.optimizer)
    parts: dict[str, Mapping[str, Tensor]] = {
        "model": run.model.state_dict(),
        "optimizer": optimizer_tensors,
        "random": random_state(run.device),
        "tally": {"loss": run.tally.loss, "hits": run.tally.hits},
    }
    meta = {
        "version": VERSION,
        "spec": run.spec.to_json(),
        "data_source": run.data_source,
        "threads": threads,
        "device": str(run.device),
        "epochs": len(run.epochs),
        "batch": run.batch,
        "samples": run.tally.samples,
        "train_s": run.train_s,
        "wall_s": run.wall_s,
        "optimizer": optimizer_values,
        "compressor": None,
    }
    if run.budget is not None:
        meta["density"] = run.budget.density
    if run.compressor is not None:
        state = run.compressor.state_dict()
        parts["compressor"] = state["tensors"]
        meta["compressor"] = {"version": state["version"], "config": state["config"]}
    tensors = {f"{part}/{name}": t for part, group in parts.items() for name, t in group.items()}
    write_container(path, tensors, meta)


def read_checkpoint(path: Path, spec: RunSpec) -> Checkpoint:
    """Read a checkpoint of the spec's run.

    Raises:
        CheckpointError: damaged, of a newer version, or of another run.
    """
    tensors, meta = read_container(path)
    _check_owner(path, meta, spec)
    return tensors, meta


def restore(run: Run, checkpoint: Checkpoint, epochs: list[EpochRecord], path: Path) -> None:
    """Bring a freshly built run to where the checkpoint was saved, bit for bit.

    Args:
        run: just built from the same spec.
        checkpoint: from :func:`read_checkpoint`.
        epochs: the records of ``metrics.jsonl``; those after the checkpoint are run again.
        path: of the checkpoint, for messages.

    Raises:
        CheckpointError: records or tensors are missing, or the data are others.
    """
    tensors, meta = checkpoint
    if meta["data_source"] != run.data_source:
        raise CheckpointError(
            f"{path} was trained on {meta['data_source']} and the data here are "
            f"{run.data_source}. Give the same data, or choose another --out."
        )
    if len(epochs) < meta["epochs"]:
        raise CheckpointError(
            f"{path} is of epoch {meta['epochs']} and metrics.jsonl holds {len(epochs)} epochs. "
            "Restore that file from a copy, or remove the run's directory and run again."
        )
    part = _Parts(tensors)
    _copy_into(run.model.state_dict(), part["model"], path)
    restore_optimizer(run.optimizer, _on_device(part["optimizer"], run), meta["optimizer"])
    if run.budget is not None:
        counted = meta["epochs"] >= first_counting(run.spec)
        run.budget.resume(meta["density"], counted=counted)
    if run.compressor is not None:
        run.compressor.load_state_dict({**meta["compressor"], "tensors": part["compressor"]})
    restore_random_state(part["random"], run.device)
    run.tally.loss.copy_(part["tally"]["loss"])
    run.tally.hits.copy_(part["tally"]["hits"])
    run.tally.samples = meta["samples"]
    run.epochs = epochs[: meta["epochs"]]
    run.batch, run.train_s, run.wall_s = meta["batch"], meta["train_s"], meta["wall_s"]


def save_weights(path: Path, run: Run, report: Report, record: EpochRecord) -> None:
    """Save the network's weights at an epoch's end, with the grids that they lie on.

    Raises:
        StorageError: the file can't be written; what was there before stays.
    """
    layers = {
        layer.name: {"step": layer.step or 0.0, "bits": layer.bits, "kept": layer.kept}
        for layer in report.compressed
        if run.compressor is not None
    }
    meta = {
        "version": VERSION,
        "run_id": run_id(run.spec),
        "spec": run.spec.to_json(),
        "epoch": record.epoch,
        "layers": layers,
        "description": run.description,
        "operator": operator_data(run.compressor.operators) if run.compressor else None,
        "metrics": {
            "epoch": record.epoch,
            "test_accuracy": record.test_accuracy,
            "val_accuracy": record.val_accuracy,
            "density_mask": record.density_mask,
            "ratio": record.ratio,
        },
    }
    state = run.model.state_dict()
    write_container(path, state, meta | {"order": list(state)})


def load_weights(path: Path) -> Checkpoint:
    """Return the weights by their names in the model's ``state_dict``, and what they are of.

    They come in the model's order, which safetensors does not keep.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    tensors, meta = read_container(path)
    return {name: tensors[name] for name in meta.get("order", sorted(tensors))}, meta


def weights_as_encoded(path: Path) -> dict[str, Encoded]:
    """Return the compressed weights of a file of :func:`save_weights` as their codes, by name.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    return encoded_of(*read_container(path))


def encoded_of(tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> dict[str, Encoded]:
    """Return the compressed weights among those of :func:`load_weights` as their codes."""
    return {
        name: encode(tensors[name].float().numpy(), **grid) for name, grid in meta["layers"].items()
    }


class _Parts(dict[str, dict[str, Tensor]]):
    """Tensors of a checkpoint by the part that they belong to."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__({name: {} for name in ("model", "optimizer", "compressor")})
        for full_name, tensor in tensors.items():
            part, _, name = full_name.partition("/")
            self.setdefault(part, {})[name] = tensor


def _check_owner(path: Path, meta: Mapping[str, Any], spec: RunSpec) -> None:
    if meta.get("version") != VERSION:
        raise CheckpointError(
            f"{path} has version {meta.get('version')}; this Espalier reads version {VERSION}."
        )
    try:
        theirs = RunSpec.from_json(meta["spec"], what=str(path))
    except RecordError as error:
        raise CheckpointError(f"{path} is of another run: {error}") from error
    differences = theirs.differences(spec)
    if differences:
        raise CheckpointError(
            f"{path} is of another run, with {'; '.join(differences)}. "
            "Restore the run's own checkpoint, or remove it to start afresh."
        )


def _copy_into(state: Mapping[str, Tensor], saved: Mapping[str, Tensor], path: Path) -> None:
    """Overwrite the model's tensors where they lie, so that their layout stays."""
    differing = [
        name
        for name in sorted(state.keys() | saved.keys())
        if name not in state or name not in saved or state[name].shape != saved[name].shape
    ]
    if differing:
        raise CheckpointError(
            f"{path} is of another network: {', '.join(differing[:5])} differ. "
            "Has the network's code changed since? Choose another --out to train the new one."
        )
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(saved[name])


def _on_device(tensors: Mapping[str, Tensor], run: Run) -> dict[str, Tensor]:
    """Bring the optimizer's tensors to the run's device, but for counters kept on the CPU."""
    return {
        name: tensor if tensor.ndim == 0 else tensor.to(run.device)
        for name, tensor in tensors.items()
    }
