"""Networks of a study, each with all its seeds, against the dense one that was trained alike."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from espalier.metrics import efficiency
from espalier.metrics.strict import TERNARY_BITS
from espalier.records import CellRecords, Figures, RunResult, RunSpec, StudyRecords
from espalier.report.cells import mean_and_spread
from espalier.report.runs import DENSE_BYTES, by_settings

__all__ = ["RHO", "NetworkRow", "network_rows"]

RHO = 2
"""Weight of the accuracy in PE (eq. 5)."""
DENSE_BITS = 8 * DENSE_BYTES
ALIKE = ("data", "model", "limit_train", "epochs", "augment", "precision")
"""Settings that a dense network shares with those that are compared with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRow:
    """A choice of settings with all its seeds; numbers are None until there is a run.

    Accuracies are those of the test images, in percent, at the epoch that validation chose. Numbers
    are means over the seeds that have finished, spreads their sample standard deviations (None for
    less than two). What compares with the dense network takes the same seeds of both.
    """

    spec: RunSpec
    """Of one of its seeds."""
    planned: int
    """Seeds."""
    finished: int
    accuracy: float | None
    spread: float | None
    dense: float | None
    """Accuracy of the dense network with the same data, epochs, augmentation and precision; of
    several such the one of the highest validation accuracy."""
    lost: float | None
    """Points below the dense network."""
    lost_spread: float | None
    pairs: int
    """Seeds that both have finished."""
    parameters: int | None
    density: float | None
    """Share of weights that aren't zero, of the compressed ones, 0 to 1."""
    size_bytes: float | None
    """Of the packed file; None where a run weighed the network of another epoch, or none."""
    largest_bytes: int | None
    """Of any seed's file."""
    efficiency: float | None
    """PE (rho 2) by the strict count (:func:`espalier.metrics.strict_ratio`)."""
    efficiency_spread: float | None
    efficiency_paper: float | None
    """PE (rho 2) as the paper counts: density of the mask, compressed parameters alone."""
    ratio: float | None
    """RC by the strict count."""
    ratio_paper: float | None

    @property
    def shrinks(self) -> float | None:
        """How many times smaller the largest file is than all parameters in float32."""
        if not self.largest_bytes or not self.parameters:
            return None
        return DENSE_BYTES * self.parameters / self.largest_bytes

    def score(self, baseline: float, *, paper: bool = False) -> float | None:
        """Return PE (rho 2) against a given accuracy in percent."""
        ratio = self.ratio_paper if paper else self.ratio
        if self.accuracy is None or not ratio:
            return None
        return efficiency(self.accuracy, baseline, ratio, RHO)


def network_rows(studies: Sequence[StudyRecords]) -> tuple[NetworkRow, ...]:
    """Return a row for each choice of settings but the seed, in the order of the studies.

    Args:
        studies: taken together; a run that is in two of them counts once.
    """
    groups = by_settings(studies)
    dense: dict[tuple[object, ...], list[Mapping[int, RunResult]]] = {}
    for cells in groups:
        spec = next(iter(cells.values())).spec
        if not spec.compresses and (done := _done(cells)):
            dense.setdefault(_alike(spec), []).append(done)
    best = {key: max(found, key=_validation) for key, found in dense.items()}
    return tuple(_row(cells, best) for cells in groups)


def strict_ratio_of(spec: RunSpec, result: RunResult, figures: Figures) -> float | None:
    """Return RC by the strict count at an epoch of a run.

    It is the record's, counted from the codes, where that is of this epoch. Otherwise weights are
    counted with the bits that were asked; None where those differ by layer.
    """
    if result.ratio_strict is not None and figures.epoch == result.best.epoch:
        return result.ratio_strict
    if spec.layer_bits is not None:
        return None
    if not spec.compresses:
        return 1.0
    dense = result.parameters - result.compressed_parameters
    bits = figures.density_nonzero * result.compressed_parameters * max(spec.bits, TERNARY_BITS)
    return (bits + dense * DENSE_BITS) / (result.parameters * DENSE_BITS)


def _alike(spec: RunSpec) -> tuple[object, ...]:
    return tuple(getattr(spec, name) for name in ALIKE)


def _done(cells: Mapping[int, CellRecords]) -> dict[int, RunResult]:
    return {
        seed: cell.result
        for seed, cell in cells.items()
        if cell.state == "done" and cell.result is not None
    }


def _validation(found: Mapping[int, RunResult]) -> float:
    return fmean(result.by_validation.val_accuracy for result in found.values())


def _row(
    cells: Mapping[int, CellRecords], dense: Mapping[tuple[object, ...], Mapping[int, RunResult]]
) -> NetworkRow:
    spec, done = next(iter(cells.values())).spec, _done(cells)
    theirs = dense.get(_alike(spec), {})
    tested = {seed: result.by_validation.test_accuracy for seed, result in done.items()}
    against = {seed: result.by_validation.test_accuracy for seed, result in theirs.items()}
    both = [seed for seed in done if seed in against]
    strict = {s: strict_ratio_of(spec, r, r.by_validation) for s, r in done.items()}
    scores = [_score(tested[s], against[s], strict[s]) for s in both]
    papers = [_score(tested[s], against[s], done[s].by_validation.ratio) for s in both]
    sizes = [
        r.size_bytes
        for r in done.values()
        if r.size_bytes is not None and r.best.epoch == r.by_validation.epoch
    ]
    weighed = bool(sizes) and len(sizes) == len(done)
    accuracy, spread = mean_and_spread(list(tested.values()))
    lost, lost_spread = mean_and_spread([against[s] - tested[s] for s in both])
    score, score_spread = _all_of(scores)
    return NetworkRow(
        spec=spec,
        planned=len(cells),
        finished=len(done),
        accuracy=accuracy,
        spread=spread,
        dense=mean_and_spread([against[s] for s in both])[0],
        lost=lost,
        lost_spread=lost_spread,
        pairs=len(both),
        parameters=next((result.parameters for result in done.values()), None),
        density=mean_and_spread([r.by_validation.density_nonzero for r in done.values()])[0],
        size_bytes=fmean(sizes) if weighed else None,
        largest_bytes=max(sizes) if weighed else None,
        efficiency=score,
        efficiency_spread=score_spread,
        efficiency_paper=_all_of(papers)[0],
        ratio=_all_of(list(strict.values()))[0],
        ratio_paper=mean_and_spread([r.by_validation.ratio for r in done.values()])[0],
    )


def _score(accuracy: float, baseline: float, ratio: float | None) -> float | None:
    return efficiency(accuracy, baseline, ratio, RHO) if ratio and baseline else None


def _all_of(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return mean and spread; None where any is missing."""
    known = [value for value in values if value is not None]
    return mean_and_spread(known) if len(known) == len(values) else (None, None)
