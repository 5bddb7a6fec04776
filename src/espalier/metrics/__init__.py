"""Metrics: density, compression ratio (eq. 6), efficiency score (eq. 5); the published numbers."""

from espalier.metrics.entropy import entropy_bytes
from espalier.metrics.formulas import density, efficiency, ratio
from espalier.metrics.published import (
    PublishedEfficiency,
    PublishedRun,
    published_table1,
    published_table2,
)
from espalier.metrics.score import Score, score_of, scores_by_layer, total_score
from espalier.metrics.strict import strict_bits, strict_ratio

__all__ = [
    "PublishedEfficiency",
    "PublishedRun",
    "Score",
    "density",
    "efficiency",
    "entropy_bytes",
    "published_table1",
    "published_table2",
    "ratio",
    "score_of",
    "scores_by_layer",
    "strict_bits",
    "strict_ratio",
    "total_score",
]
