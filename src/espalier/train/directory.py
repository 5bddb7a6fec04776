"""A run's directory: which files it holds, and whether a run may use it."""

from pathlib import Path

from espalier.errors import ConfigError
from espalier.files import write_atomically
from espalier.records import RunResult, RunSpec, read_json
from espalier.train.outcome import RESULT, pretty

__all__ = ["RunDirectory"]


class RunDirectory:
    """Paths of a run's files; ``result.json`` is written last."""

    def __init__(self, path: Path) -> None:
        """Name the files; nothing is read or made."""
        self.path = path
        self.spec = path / "spec.json"
        self.metrics = path / "metrics.jsonl"
        """A line an epoch."""
        self.checkpoint = path / "checkpoint.safetensors"
        """All that a run needs to go on."""
        self.best = path / "best.safetensors"
        """Weights of the epoch of the highest test accuracy."""
        self.best_by_validation = path / "best_by_validation.safetensors"
        """Weights of the epoch of the highest validation accuracy."""
        self.result = path / RESULT

    def recorded_spec(self) -> RunSpec | None:
        """Return the spec of the run that the directory holds, if any.

        Raises:
            RecordError: the spec is damaged or of a newer version.
        """
        if not self.spec.exists():
            return None
        return RunSpec.from_json(read_json(self.spec), what=str(self.spec))

    def admit(self, spec: RunSpec, *, resume: bool) -> RunResult | None:
        """Return the result if this run is finished here, None if it may start or go on.

        Raises:
            ConfigError: the directory holds another run, or this one and ``resume`` is not asked.
            RecordError: a record in it is damaged or of a newer version.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ConfigError(f"--out {self.path} is a file; give a directory.")
        recorded = self.recorded_spec()
        if recorded is None:
            self._refuse_foreign()
            return None
        differences = recorded.differences(spec)
        if differences:
            raise ConfigError(
                f"{self.path} holds another run, with {'; '.join(differences)}. "
                "Choose another --out, or give the settings of that run."
            )
        if self.result.exists():
            result = RunResult.from_json(read_json(self.result), what=str(self.result))
            if resume:
                return result
            raise ConfigError(
                f"{self.path} holds this run, finished, with test accuracy "
                f"{result.best.test_accuracy:.2f} %. Add --resume to print its result again, or "
                "choose another --out."
            )
        if self.checkpoint.exists() and not resume:
            raise ConfigError(
                f"{self.path} holds this run, unfinished. Add --resume to go on with it, or "
                "choose another --out."
            )
        return None

    def write_spec(self, spec: RunSpec) -> None:
        """Write ``spec.json``.

        Raises:
            StorageError: it can't be written.
        """
        write_atomically(self.spec, pretty(spec.to_json()))

    def _refuse_foreign(self) -> None:
        for path in (self.metrics, self.checkpoint, self.result):
            if path.exists():
                raise ConfigError(
                    f"{self.path} holds {path.name} but no {self.spec.name}, so it is not known "
                    "whose it is. Choose another --out."
                )
