"""The example in docs/: its report follows from the records that lie beside it."""

import tarfile
from pathlib import Path

from espalier.report import write_report

EXAMPLE = Path(__file__).parents[2] / "docs" / "studies" / "paper-quick"


def test_tables_follow_from_the_records(tmp_path: Path) -> None:
    """Every table in docs/ is what these records give today, bit for bit."""
    with tarfile.open(EXAMPLE / "records.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    write_report(tmp_path / "paper-quick", tmp_path / "report")
    made = sorted((tmp_path / "report" / "tables").iterdir())
    kept = sorted((EXAMPLE / "report" / "tables").iterdir())
    assert [path.name for path in made] == [path.name for path in kept]
    for mine, theirs in zip(made, kept, strict=True):
        assert mine.read_bytes() == theirs.read_bytes(), mine.name
