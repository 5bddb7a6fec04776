"""CIFAR-10 itself, where its images are found."""

from pathlib import Path

import pytest

from espalier.data import load_dataset
from espalier.data.archive import CLASSES


@pytest.mark.slow
def test_real_images(cifar_dir: Path) -> None:
    """All of CIFAR-10 is there: counts, classes, channel means."""
    dataset = load_dataset("cifar10", data_dir=cifar_dir)
    assert dataset.source in ("CIFAR-10 (official)", "CIFAR-10 (JPEG copy)")
    assert dataset.classes == CLASSES
    for split, a_class in (
        (dataset.train, 4500),
        (dataset.validation, 500),
        (dataset.test, 1000),
    ):
        assert split.inputs.shape == (10 * a_class, 3, 32, 32)
        assert split.labels.bincount().tolist() == [a_class] * 10
    assert dataset.mean == pytest.approx((0.491, 0.482, 0.447), abs=0.003)
    assert dataset.std == pytest.approx((0.247, 0.243, 0.262), abs=0.003)
