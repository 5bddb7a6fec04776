"""What a file's bytes went to: a row a tensor, and the honest score."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from espalier.artifact import DEFAULT_MAX_BYTES, Metadata, TensorInfo, open_artifact
from espalier.artifact.tensor import CODERS
from espalier.encoded import DENSE_BITS, Encoded, Raw, Table
from espalier.errors import ConfigError
from espalier.metrics import Score, efficiency, entropy_bytes, score_of, total_score

__all__ = ["Inspection", "TensorRow", "inspect"]

RHOS = (1, 2, 3)
"""Weights of the accuracy in PE that the paper reports (eq. 5)."""
DENSE_BYTES = DENSE_BITS // 8
DENSE_NAMES = ("float32", "float16", "int64", "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """One tensor's bytes."""

    name: str
    shape: tuple[int, ...]
    grid: str
    """``uniform``, ``table`` or ``raw``; the type of dense tensors."""
    coder: str | None
    bits: int | None
    """As the operator was asked; None for dense tensors."""
    parameters: int
    kept: int | None
    nonzero: int | None
    dense_bytes: int
    stored_bytes: int
    """The payload's; names and shapes are the header's."""
    entropy_bytes: float | None
    """Order-0 bound of mask and codes; None for dense tensors."""

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of a weight, zeros included."""
        return 8 * self.stored_bytes / self.parameters if self.parameters else 0.0

    @property
    def density(self) -> float | None:
        """Nonzeros of all; None for dense tensors."""
        return None if self.nonzero is None else self.nonzero / max(self.parameters, 1)

    @property
    def distance(self) -> float | None:
        """Stored bytes over the entropy bound; None where there is none."""
        return self.stored_bytes / self.entropy_bytes if self.entropy_bytes else None

    def to_json(self) -> dict[str, Any]:
        """Return the row as JSON values."""
        derived = ("bits_per_weight", "density", "distance")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A file, counted."""

    path: Path
    size_bytes: int
    header_bytes: int
    metadata: Metadata
    rows: tuple[TensorRow, ...]
    score: Score | None
    """Counts of the compressed tensors together; None where there are none."""

    @property
    def parameters(self) -> int:
        """Values that the file gives."""
        return sum(row.parameters for row in self.rows)

    @property
    def dense_bytes(self) -> int:
        """What they take as float32."""
        return DENSE_BYTES * self.parameters

    @property
    def entropy_bytes(self) -> float:
        """Order-0 bound of the compressed tensors together."""
        return sum(row.entropy_bytes or 0.0 for row in self.rows)

    @property
    def compressed_bytes(self) -> int:
        """Payloads of the compressed tensors."""
        return sum(row.stored_bytes for row in self.rows if row.entropy_bytes is not None)

    @property
    def ratio(self) -> float | None:
        """RC as the paper has it (eq. 6), of the compressed tensors."""
        return None if self.score is None else self.score.ratio

    @property
    def ratio_file(self) -> float:
        """RC of the file: its bytes over those of all values as float32."""
        return self.size_bytes / self.dense_bytes if self.dense_bytes else 1.0

    def efficiencies(self, baseline: float) -> dict[str, dict[str, float]]:
        """Return PE (eq. 5) by the paper's ratio and by the file's bytes, for each rho.

        Args:
            baseline: test accuracy of the uncompressed network in percent.

        Raises:
            ConfigError: the file names no test accuracy.
        """
        accuracy = self.metadata.metrics.get("test_accuracy")
        if isinstance(accuracy, bool) or not isinstance(accuracy, int | float):
            raise ConfigError(f"{self.path} names no test accuracy, so that it has no PE.")
        ratios = {"paper": self.ratio or 0.0, "file": self.ratio_file}
        return {
            name: {str(rho): efficiency(accuracy, baseline, ratio, rho) for rho in RHOS}
            for name, ratio in ratios.items()
            if ratio > 0
        }

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        total = {
            name: getattr(self, name)
            for name in (
                *("parameters", "dense_bytes", "compressed_bytes", "entropy_bytes"),
                *("ratio", "ratio_file"),
            )
        }
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "header_bytes": self.header_bytes,
            "metadata": asdict(self.metadata),
            "tensors": [row.to_json() for row in self.rows],
            "total": total,
        }


def inspect(path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> Inspection:
    """Read a file and count what its bytes went to, one tensor in memory at a time.

    Raises:
        ArtifactError: the file is damaged or larger than the cap.
    """
    rows: list[TensorRow] = []
    scores: list[Score] = []
    with open_artifact(path, max_bytes=max_bytes) as file:
        for name, tensor in file.tensors():
            rows.append(_row(file.infos[name], tensor))
            if isinstance(tensor, Encoded):
                scores.append(score_of(tensor))
        return Inspection(
            path=path,
            size_bytes=file.size_bytes,
            header_bytes=file.header_bytes,
            metadata=file.metadata,
            rows=tuple(rows),
            score=total_score(scores) if scores else None,
        )


def _row(info: TensorInfo, tensor: Any) -> TensorRow:
    c = info.compression
    return TensorRow(
        name=info.name,
        shape=info.shape,
        grid=DENSE_NAMES[info.kind] if c is None else _grid(c.grid),
        coder=CODERS[c.coder] if c is not None and c.nonzero else None,
        bits=c.bits if c is not None else None,
        parameters=info.size,
        kept=c.kept if c is not None else None,
        nonzero=c.nonzero if c is not None else None,
        dense_bytes=DENSE_BYTES * info.size,
        stored_bytes=info.length,
        entropy_bytes=entropy_bytes(tensor) if c is not None else None,
    )


def _grid(grid: Any) -> str:
    return "raw" if isinstance(grid, Raw) else "table" if isinstance(grid, Table) else "uniform"
