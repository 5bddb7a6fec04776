"""Short runs of the campaigns in fuzz/, which attack the file for as long as one wants."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[2] / "fuzz"


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a campaign from its folder; its output is one text."""
    return subprocess.run(
        command,
        cwd=FUZZ,
        env={**os.environ, **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--files", "40000"], ["--files", "2000", "--no-core"]])
def test_structured(options: list[str]) -> None:
    """Files with mended checksums: some are read, some refused, nothing else happens."""
    done = run([sys.executable, "campaign.py", *options])
    assert done.returncode == 0, done.stdout
    assert "read" in done.stdout
    assert "Error" in done.stdout


@pytest.mark.slow
def test_coverage_guided() -> None:
    """Atheris finds its way through the reader in Python, and no error but a refusal."""
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: pip install atheris")
    done = run([sys.executable, "coverage.py", "-runs=4000"])
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Done 4000 runs" in done.stdout


@pytest.mark.slow
def test_decoder_under_sanitizers(tmp_path: Path) -> None:
    """LibFuzzer on the decoder in C, addresses and undefined behaviour watched."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed: make ci-deps")
    done = run(["bash", "decoder.sh", "-runs=8000"], FUZZ_OUT=str(tmp_path))
    assert done.returncode == 0, done.stdout[-4000:]
    assert "Done 8000 runs" in done.stdout
