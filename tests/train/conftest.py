"""What the tests of training share."""

import pytest

from espalier.data import DATASETS
from espalier.models import MODELS

from .tiny import tiny_dataset, tiny_images_cnn, tiny_signals_cnn


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tiny ones be called by name."""
    monkeypatch.setitem(DATASETS, "tiny_images", lambda **_: tiny_dataset(images=True))
    monkeypatch.setitem(DATASETS, "tiny_signals", lambda **_: tiny_dataset(images=False))
    monkeypatch.setitem(MODELS, "tiny_images_cnn", tiny_images_cnn)
    monkeypatch.setitem(MODELS, "tiny_signals_cnn", tiny_signals_cnn)
