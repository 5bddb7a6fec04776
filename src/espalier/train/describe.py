"""What the file of a run's network says about it."""

from collections.abc import Mapping
from typing import Any

from espalier.artifact import Metadata
from espalier.bridge import writer
from espalier.records import RunSpec

__all__ = ["LONGEST_METRICS", "metadata_of", "network_of"]

LONGEST_METRICS: Mapping[str, Any] = {
    "test_accuracy": 100 / 3,
    "val_accuracy": 100 / 3,
    "density_mask": 1.2345678901234567e-05,
    "ratio": 1.2345678901234567e-05,
}
"""Metrics whose text is as long as it gets, to know a file's size before it is measured."""


def metadata_of(meta: Mapping[str, Any], spec: RunSpec, folded: tuple[str, ...] = ()) -> Metadata:
    """Return a file's metadata.

    Args:
        meta: of saved weights: ``description``, ``operator``, ``metrics`` and ``epoch``.
        spec: of the run.
        folded: normalizations whose statistics are folded.
    """
    description = meta.get("description", {})
    metrics = meta["metrics"] if "metrics" in meta else {"epoch": meta["epoch"]}
    return Metadata(
        network=network_of(meta, spec),
        folded=folded,
        operator=meta.get("operator"),
        metrics={**metrics, "data": spec.data},
        input=description.get("input"),
        classes=tuple(description.get("classes", ())),
        writer=writer(),
    )


def network_of(meta: Mapping[str, Any], spec: RunSpec) -> dict[str, Any]:
    """Return name and options of the function that builds the network."""
    described = meta.get("description", {}).get("network")
    return described or {"name": spec.model, "options": dict(spec.model_options)}
