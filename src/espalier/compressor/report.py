"""What a compressor has done, parameter by parameter and in total."""

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

from espalier.encoded import DENSE_BITS

__all__ = ["LayerReport", "Report", "table"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One parameter."""

    name: str
    """Its name in the model, without the prefixes of wrappers."""
    parameters: int
    """Number of weights."""
    kept: int
    """Weights that the threshold kept; all of them where it is dense."""
    nonzero: int
    """Weights that are not zero."""
    asked_density: float | None
    """Density that a budget asks of its whole set at the last pass; None without a budget."""
    bits: int
    """Bits of a kept weight; 32 where it is dense."""
    levels: int | None
    """Distinct values, zero included; None where it is dense."""
    step: float | None
    """Distance of two grid values; None where there is no grid."""
    threshold: float | None
    """Magnitudes below it are pruned; None where it is dense."""
    status: str
    """"compressed by ..." or "left dense because ..."."""

    @property
    def compressed(self) -> bool:
        """Whether an operator compresses it."""
        return self.threshold is not None

    @property
    def density_mask(self) -> float:
        """Kept weights / all weights, as the paper counts; 1 for an empty tensor."""
        return self.kept / self.parameters if self.parameters else 1.0

    @property
    def density_nonzero(self) -> float:
        """Weights that are not zero / all weights; 1 for an empty tensor."""
        return self.nonzero / self.parameters if self.parameters else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All parameters of a model; ``str()`` of it is a table."""

    layers: tuple[LayerReport, ...]
    """Every parameter once: the compressed ones, then those left dense."""
    steps: int
    """Training steps so far."""
    epochs: int
    """Epochs so far."""
    asked_density: float | None
    """The same where there is only one set; None otherwise."""
    notes: tuple[str, ...] = ()
    """What one should know besides."""

    @property
    def compressed(self) -> tuple[LayerReport, ...]:
        """The parameters that an operator compresses."""
        return tuple(layer for layer in self.layers if layer.compressed)

    @property
    def density_mask(self) -> float:
        """Kept / all weights, over the compressed parameters."""
        return _share([layer.kept for layer in self.compressed], self.compressed)

    @property
    def density_nonzero(self) -> float:
        """Nonzero / all weights, over the compressed parameters."""
        return _share([layer.nonzero for layer in self.compressed], self.compressed)

    @property
    def ratio(self) -> float:
        """Compression ratio of the paper (eq. 6), over the compressed parameters."""
        stored = [layer.kept * layer.bits / DENSE_BITS for layer in self.compressed]
        return _share(stored, self.compressed)

    @property
    def ratio_all(self) -> float:
        """The same over all parameters, those left dense at 32 bits."""
        stored = [layer.kept * layer.bits / DENSE_BITS for layer in self.layers]
        return _share(stored, self.layers)

    def __str__(self) -> str:
        """Return the table."""
        total = f"{len(self.compressed)} of {len(self.layers)} parameters compressed"
        size = sum(layer.parameters for layer in self.compressed)
        density = _percent(self.density_mask), _percent(self.density_nonzero)
        head = ("parameter", "weights", "asked", "kept", "nonzero")
        rows = [
            (*head, "bits", "levels", "step", "threshold", "status"),
            *(_cells(layer) for layer in self.layers),
            (total, f"{size:,}", "", *density, "", "", "", "", f"RC {self.ratio:.4f}"),
        ]
        if all(layer.asked_density is None for layer in self.layers):
            rows = [(*row[:2], *row[3:]) for row in rows]
        lines = [table(rows[0], rows[1:])]
        if self.asked_density is not None:
            lines.append(
                f"density asked {_percent(self.asked_density)}, reached "
                f"{_percent(self.density_mask)}"
            )
        return "\n".join([*lines, *self.notes])


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay cells out in columns: the first and the last to the left, numbers to the right.

    Example:
        >>> print(table(("name", "n", ""), [("a", "1", "x"), ("total", "10", "")]))
        name    n
        -----  --  -
        a       1  x
        total  10
    """
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    widths = [max(width, 1) for width in widths]
    last = len(head) - 1
    out = StringIO()
    for number, row in enumerate(cells):
        parts = [
            cell.ljust(width) if i in (0, last) else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        out.write("  ".join(parts).rstrip() + "\n")
        if number == 0:
            out.write("  ".join("-" * width for width in widths) + "\n")
    return out.getvalue().rstrip("\n")


def _cells(layer: LayerReport) -> tuple[str, ...]:
    size = f"{layer.parameters:,}"
    if not layer.compressed:
        nonzero = _percent(layer.density_nonzero)
        return (layer.name, size, "", "", nonzero, "32", "", "", "", layer.status)
    return (
        layer.name,
        size,
        "" if layer.asked_density is None else _percent(layer.asked_density),
        _percent(layer.density_mask),
        _percent(layer.density_nonzero),
        str(layer.bits),
        "" if layer.levels is None else str(layer.levels),
        "" if layer.step is None else f"{layer.step:.3g}",
        f"{layer.threshold:.3g}",
        layer.status,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _share(parts: Sequence[float], layers: Sequence[LayerReport]) -> float:
    size = sum(layer.parameters for layer in layers)
    return sum(parts) / size if size else 1.0
