"""What a writer refuses, and that it writes whole or not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espalier import artifact
from espalier.encoded import Encoded, Raw, Table, Uniform
from espalier.errors import (
    ArtifactError,
    ArtifactLimitError,
    ArtifactMetadataError,
    StorageError,
)

MASK = np.array([True, False])
UNWRITABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "NaN": (lambda: np.float32([np.nan]), "values that are not finite\\."),
    "half": (lambda: np.float32([1e6]), "not finite in 16 bits; store it in 32"),
    "complex": (lambda: np.array([1j]), "of type complex128; the format holds"),
    "level": (lambda: Encoded(MASK, np.array([1]), Table((1.0,)), 3, 1), "do not fit a table"),
    "zero level": (lambda: Encoded(MASK, np.array([0]), Table((0.0,)), 3, 1), "do not fit a table"),
    "zero code": (lambda: Encoded(MASK, np.array([0]), Uniform(1.0), 3, 1), "codes that are 0"),
    "zero": (lambda: Encoded(MASK, np.float32([0]), Raw(), 3, 1), "nonzeros that are 0"),
    "many codes": (
        lambda: Encoded(np.ones(70_000, bool), np.arange(1, 70_001), Uniform(1.0), 32, 70_000),
        "more than 65536 different codes",
    ),
}


@pytest.mark.parametrize("case", UNWRITABLE)
def test_what_the_format_does_not_hold(case: str) -> None:
    """A writer refuses what a reader would, and says which tensor it is."""
    make, message = UNWRITABLE[case]
    half = ["w"] if case == "half" else []
    with pytest.raises(ArtifactError, match=f"tensor 'w'.*{message}"):
        artifact.pack({"w": make()}, coder="static", half=half)


def test_names_that_can_not_be_written() -> None:
    """Names have 1 to 512 bytes of UTF-8; what is asked to be halved must be there."""
    array = np.zeros(1, np.float32)
    with pytest.raises(ArtifactError, match="takes 0 bytes; expected 1 to 512"):
        artifact.pack({"": array})
    with pytest.raises(ArtifactError, match="takes 513 bytes"):
        artifact.pack({"n" * 513: array})
    with pytest.raises(ArtifactError, match="can't be written as UTF-8"):
        artifact.pack({"\ud800": array})
    with pytest.raises(ArtifactError, match="store 'v' in 16 bits, which is not among them"):
        artifact.pack({"w": array}, half=["v"])


def test_metadata_that_can_not_be_written() -> None:
    """Metadata are checked when they are made and when they are written."""
    with pytest.raises(ArtifactMetadataError, match="classes is 3; expected a list of texts"):
        artifact.Metadata(classes=3)  # type: ignore[arg-type]
    with pytest.raises(ArtifactMetadataError, match="can't be JSON"):
        artifact.Metadata(metrics={"a": float("nan")}).to_bytes()
    with pytest.raises(ArtifactMetadataError, match="at most 65536 fit"):
        artifact.Metadata(writer="x" * 70_000).to_bytes()


def test_too_many_tensors() -> None:
    """The number of tensors and the header's length are bounded."""
    array = np.zeros(0, np.float32)
    with pytest.raises(ArtifactLimitError, match="65536 tensors; the format holds 65535"):
        artifact.pack({str(i): array for i in range(65_536)})
    with pytest.raises(ArtifactLimitError, match="at most 1048576 are allowed"):
        artifact.pack({f"{i:0200d}"[::-1]: array for i in range(6_000)})


def test_writing_is_whole_or_not_at_all(tmp_path: Path) -> None:
    """A failed write leaves what was there."""
    path = tmp_path / "n.espalier"
    artifact.write(path, {"w": np.zeros(1, np.float32)})
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match="not finite"):
        artifact.write(path, {"w": np.float32([np.inf])})
    assert path.read_bytes() == before
    with pytest.raises(StorageError, match="can't write"):
        artifact.write(tmp_path / "none" / "n.espalier", {})
    assert [p.name for p in tmp_path.iterdir()] == ["n.espalier"]
