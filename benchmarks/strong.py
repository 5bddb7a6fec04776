"""How far the strong recipe gets: each aim against what a study's runs have reached.

    python benchmarks/strong.py STUDY .. [--json]

Reads the records of studies, for instance of docs/studies/strong.toml, as directories or as
.tar.xz; trains nothing. Prints the networks with all their seeds, then a row for each aim.
Accuracy is that of the test images at the epoch that validation chose. A dense network has the same
epochs, augmentation and precision. PE (rho 2) is counted over all parameters: 32 N / sum(nonzeros x
their bits), uncompressed ones at 32 bits, ternary ones at 2; the paper's own count stands beside.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from espalier.records import read_study
from espalier.report.networks import NetworkRow, network_rows
from espalier.report.reading_sheets import markdown_table, network_records, network_table

PAPER_ACCURACY = 87.21
"""Percent, of the paper's dense network."""
PAPER_DENSITY, PAPER_BITS = 0.0693, 4
"""Of the network of its best score."""
MISSING = "…"
Rows = Sequence[NetworkRow]


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was reached of an aim: a value to judge by and its words; no value, not met."""

    value: float | None = None
    words: str = MISSING
    row: NetworkRow | None = None


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is aimed at: at least so much, or as little where less is better."""

    name: str
    least: float
    beyond: float
    form: str
    find: Callable[[Rows], Found]
    smaller: bool = False

    def verdict(self, found: Found) -> str:
        """Say how far the value goes."""
        if found.value is None:
            return MISSING if found.words == MISSING else "no"
        sign = -1 if self.smaller else 1
        if sign * found.value >= sign * self.beyond:
            return "beyond"
        return "yes" if sign * found.value >= sign * self.least else "no"


def within(rows: Rows, model: str, points: float, value: Callable[[NetworkRow], float]) -> Found:
    """Return the best network that loses at most so many points; or how much the closest loses."""
    known = [row for row in compressed(rows, model) if row.lost is not None and row.largest_bytes]
    able = [row for row in known if (row.lost or 0) <= points]
    if able:
        row = max(able, key=value)
        return Found(value=value(row), words=said(row), row=row)
    if not known:
        return Found()
    row = min(known, key=lambda row: row.lost or 0)
    return Found(words=f"none; the closest: {said(row)}", row=row)


def compressed(rows: Rows, model: str) -> list[NetworkRow]:
    """Return the networks of a kind that have a run and are small."""
    return [r for r in rows if r.spec.model == model and r.spec.compresses and r.finished]


def scored(rows: Rows) -> Found:
    """Return the best score within half a point."""
    return within(rows, "paper_cnn", 0.5, lambda row: row.efficiency or 0.0)


def smallest(rows: Rows) -> Found:
    """Return the smallest file within half a point, in kB."""
    found = within(rows, "paper_cnn", 0.5, lambda row: -(row.largest_bytes or 0))
    return found if found.value is None else Found(**vars(found) | {"value": -found.value / 1000})


def lean(rows: Rows) -> Found:
    """Return how much smaller resnet20 gets within a point."""
    return within(rows, "resnet20", 1.0, lambda row: row.shrinks or 0.0)


def at_the_papers_size(rows: Rows) -> Found:
    """Return what is won over the dense network at the size of the paper's best score."""
    for row in compressed(rows, "paper_cnn"):
        asked = (row.spec.target_density, row.spec.bits)
        if asked == (PAPER_DENSITY, PAPER_BITS) and row.lost is not None:
            return Found(value=-row.lost, words=said(row), row=row)
    return Found()


def against_the_paper(rows: Rows) -> Found:
    """Return the best score against the paper's dense network, of those as accurate."""
    known = [row for row in compressed(rows, "paper_cnn") if row.score(PAPER_ACCURACY)]
    able = [row for row in known if (row.accuracy or 0) >= PAPER_ACCURACY]
    if not known:
        return Found()
    if not able:
        row = max(known, key=lambda row: row.accuracy or 0)
        return Found(words=f"none; the most accurate: {said(row, PAPER_ACCURACY)}", row=row)
    row = max(able, key=lambda row: row.score(PAPER_ACCURACY) or 0)
    return Found(value=row.score(PAPER_ACCURACY), words=said(row, PAPER_ACCURACY), row=row)


def said(row: NetworkRow, baseline: float | None = None) -> str:
    """Return a network's numbers, its PE against its own dense network or the given accuracy."""
    strict = row.efficiency if baseline is None else row.score(baseline)
    paper = row.efficiency_paper if baseline is None else row.score(baseline, paper=True)
    spread = "" if row.spread is None else f" ± {row.spread:.2f}"
    parts = [f"{row.accuracy:.2f}{spread} %"]
    if row.dense is not None:
        parts.append(f"dense {row.dense:.2f} %")
    if strict is not None and paper is not None:
        parts.append(f"PE {strict:.0f} ({paper:.0f} as the paper counts)")
    if row.largest_bytes is not None and row.shrinks is not None:
        parts.append(f"{row.largest_bytes:,} bytes, {row.shrinks:.1f} x smaller")
    if row.finished < row.planned:
        parts.append(f"only {row.finished} of {row.planned} seeds")
    return ", ".join(parts)


AIMS = (
    Aim(
        name="PE (rho 2) within 0.5 points of the dense network",
        least=476, beyond=953, form="{:g}", find=scored,
    ),
    Aim(
        name="real file within 0.5 points",
        least=60, beyond=30, form="{:g} kB", find=smallest, smaller=True,
    ),
    Aim(
        name="accuracy at the size of the paper's best score (6.93 %, 4 bits), against dense",
        least=0, beyond=1e-9, form="{:+g}", find=at_the_papers_size,
    ),
    Aim(
        name="`resnet20`: file within 1 point",
        least=12, beyond=20, form="{:g} x smaller", find=lean,
    ),
    Aim(
        name="PE (rho 2) with no loss against the paper's 87.21 %",
        least=476, beyond=953, form="{:g}", find=against_the_paper,
    ),
)  # fmt: skip


def main() -> None:
    """Read studies and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("studies", type=Path, nargs="+", help="directories, or .tar.xz of them")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    rows = network_rows([read_study(path) for path in options.studies])
    judged = [(aim, aim.find(rows)) for aim in AIMS]
    print(network_table(rows))
    columns = ("aim", "at least", "beyond", "met", "reached")
    print(markdown_table("Aims", columns, [line(aim, found) for aim, found in judged]), end="")
    if options.json:
        aims = [
            {"aim": a.name, "value": f.value, "words": f.words, "met": a.verdict(f)}
            for a, f in judged
        ]
        print(json.dumps({"networks": network_records(rows), "aims": aims}))


def line(aim: Aim, found: Found) -> tuple[str, ...]:
    """Return an aim's row."""
    beyond = "above it" if aim.find is at_the_papers_size else aim.form.format(aim.beyond)
    least = "the same" if aim.find is at_the_papers_size else aim.form.format(aim.least)
    return aim.name, least, beyond, aim.verdict(found), found.words


if __name__ == "__main__":
    main()
