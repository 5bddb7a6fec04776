"""Files of version 1 stay as they are: what was frozen is read, and written, byte for byte."""

from pathlib import Path

import pytest

from espalier import artifact
from espalier.errors import ArtifactError

from . import independent_reader
from .golden_networks import GOLDEN
from .test_round_trip import same

FOLDER = Path(__file__).parent / "golden"
REGRESSIONS = sorted((Path(__file__).parent / "regressions").glob("*.hex"))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_files(name: str, tmp_path: Path) -> None:
    """Each golden file is what the writer writes and gives what was put in."""
    tensors, metadata, coder = GOLDEN[name]
    frozen = bytes.fromhex((FOLDER / f"{name}.hex").read_text())
    assert artifact.pack(tensors, metadata, coder=coder) == frozen
    path = tmp_path / "n.espalier"
    path.write_bytes(frozen)
    found = artifact.read(path)
    assert found.metadata == metadata
    assert list(found.tensors) == list(tensors)
    assert all(same(found.tensors[key], tensors[key]) for key in tensors)
    assert list(independent_reader.read(frozen)[1]) == list(tensors)


def test_each_golden_file_is_tested() -> None:
    """No file lies unused."""
    assert sorted(path.stem for path in FOLDER.iterdir()) == sorted(GOLDEN)


@pytest.mark.parametrize("case", REGRESSIONS, ids=lambda path: path.stem)
def test_found_cases(case: Path, tmp_path: Path) -> None:
    """Inputs that a fuzzer has found harmful once are refused, or read."""
    path = tmp_path / "n.espalier"
    path.write_bytes(bytes.fromhex(case.read_text()))
    try:
        artifact.read(path, max_bytes=2**20)
    except ArtifactError as error:
        assert error.offset is not None  # noqa: PT017 - success is fine as well
