"""From a run's saved weights to the file of its network, without its data."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from espalier import artifact, bridge
from espalier.artifact import CoderChoice
from espalier.errors import ArtifactError, CheckpointError, ConfigError
from espalier.files import write_atomically
from espalier.metrics import strict_ratio
from espalier.models import build_model
from espalier.records import RunSpec
from espalier.train.checkpoint import encoded_of, load_weights
from espalier.train.describe import metadata_of, network_of
from espalier.train.directory import RunDirectory

__all__ = ["pack_run", "packed_run", "strict_ratio_of", "verify_run"]


def pack_run(
    run: Path,
    out: Path,
    *,
    by_validation: bool = False,
    fold_normalization: bool = False,
    half: bool = False,
    coder: CoderChoice = "smallest",
) -> int:
    """Write the best network of a run to a file.

    Args:
        run: the run's directory, or a file of weights in it.
        out: of the file; what was there is replaced.
        by_validation: the epoch of the highest validation accuracy, instead of test accuracy.
        fold_normalization: see :func:`espalier.save`.
        half: see :func:`espalier.save`.
        coder: see :func:`espalier.save`.

    Returns:
        The file's size in bytes.

    Raises:
        ConfigError: there are no weights of a run.
        CheckpointError: the weights are damaged.
        ArtifactError: a tensor holds what the format does not.
        StorageError: the file can't be written; what was there stays.
    """
    weights = weights_file(run, by_validation=by_validation)
    content = packed_run(weights, fold_normalization=fold_normalization, half=half, coder=coder)
    write_atomically(out, content)
    return len(content)


def packed_run(
    weights: Path,
    *,
    fold_normalization: bool = False,
    half: bool = False,
    coder: CoderChoice = "smallest",
) -> bytes:
    """Return the bytes of the file of a run's saved weights; see :func:`pack_run`."""
    state, meta = load_weights(weights)
    spec = _spec(weights, meta)
    epsilons = bridge.foldable(_built(meta, spec)) if fold_normalization else {}
    tensors = bridge.network_tensors(state, encoded_of(state, meta), epsilons)
    return artifact.pack(
        tensors,
        metadata_of(meta, spec, tuple(epsilons)),
        coder=coder,
        half=bridge.floats_of(tensors) if half else (),
    )


def strict_ratio_of(weights: Path, parameters: int) -> float:
    """Return RC of a run's saved weights over all parameters; see :func:`strict_ratio`.

    Args:
        weights: a file of the run.
        parameters: of the network, all of them.

    Raises:
        CheckpointError: the weights are damaged.
    """
    return strict_ratio(encoded_of(*load_weights(weights)), parameters)


def verify_run(
    file: Path, run: Path, *, max_bytes: int = artifact.DEFAULT_MAX_BYTES
) -> tuple[int, int]:
    """Check that a file holds a run's weights, bit for bit.

    The run's file of the epoch that the file says it is of is compared; what was stored in 16 bits
    is compared in 16 bits, and folded normalizations with the fold of the run's.

    Returns:
        How many tensors and how many values were compared.

    Raises:
        ArtifactError: a tensor is missing, too many, or differs; or the file is damaged.
        ConfigError: there are no weights of a run.
        CheckpointError: the weights are damaged.
    """
    with artifact.open_artifact(file, max_bytes=max_bytes) as opened:
        state, meta = load_weights(_weights_of_epoch(run, opened.metadata.metrics.get("epoch")))
        epsilons: Mapping[str, float] = {}
        if opened.metadata.folded:
            known = bridge.foldable(_built(meta, _spec(run, meta)))
            epsilons = {name: known[name] for name in opened.metadata.folded if name in known}
        expected = bridge.network_tensors(state, encoded_of(state, meta), epsilons)
        missing = sorted(set(expected) ^ set(opened.infos))
        if missing:
            raise ArtifactError(f"{file} and {run} differ: only one of them has {missing[0]!r}.")
        values = 0
        for name, tensor in opened.tensors():
            found, wanted = bridge.weights_of(tensor), bridge.weights_of(expected[name])
            if opened.infos[name].kind == 1:
                wanted = wanted.astype(np.float16).astype(np.float32)
            if found.shape != wanted.shape or found.tobytes() != wanted.tobytes():
                raise ArtifactError(f"{file} and {run} differ in {name!r}.")
            values += found.size
    return len(expected), values


def weights_file(run: Path, *, by_validation: bool = False) -> Path:
    """Return the file of a run's weights.

    Raises:
        ConfigError: there is none.
    """
    if run.is_file():
        return run
    directory = RunDirectory(run)
    path = directory.best_by_validation if by_validation else directory.best
    if not path.is_file():
        raise ConfigError(
            f"there is no {path}; give the directory of a run of `espalier train` that has "
            "finished an epoch."
        )
    return path


def _weights_of_epoch(run: Path, epoch: Any) -> Path:
    """Return the run's weights of an epoch, where it has them; those of the best otherwise."""
    if run.is_file():
        return run
    for by_validation in (False, True):
        path = weights_file(run, by_validation=by_validation)
        if load_weights(path)[1].get("epoch") == epoch:
            return path
    return weights_file(run)


def _spec(path: Path, meta: Mapping[str, Any]) -> RunSpec:
    if "spec" not in meta or "layers" not in meta:
        raise CheckpointError(f"{path} holds no weights of a run; best.safetensors does.")
    return RunSpec.from_json(meta["spec"], what=str(path))


def _built(meta: Mapping[str, Any], spec: RunSpec) -> Any:
    network = network_of(meta, spec)
    return build_model(network["name"], **network["options"])
