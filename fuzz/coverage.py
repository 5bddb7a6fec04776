"""A coverage-guided campaign with atheris: any bytes, with checksums mended and without.

Arguments go to atheris: ``-max_total_time=600 CORPUS``, say. The campaign starts from the seeds of
``campaign.py``, which it adds to the corpus.
"""

import random
import sys
import tempfile
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["espalier.artifact"]):
    import campaign
    from espalier.artifact import coder as coder_module


def one(content: bytes) -> None:
    """Read one file as it is and one with its checksums mended."""
    campaign.attack(content)
    campaign.attack(campaign.mended(bytearray(content), random.Random(len(content))))


if __name__ == "__main__":
    coder_module.core = None  # Python's coverage guides; decoder.sh attacks the C
    with tempfile.TemporaryDirectory() as seeds:
        for i, content in enumerate(campaign.seeds(np.random.default_rng(0))):
            (Path(seeds) / str(i)).write_bytes(content)
        atheris.Setup([*sys.argv, seeds], one)
        atheris.Fuzz()
