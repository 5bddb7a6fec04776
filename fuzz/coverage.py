"""A coverage-guided campaign with atheris: any bytes, with checksums mended and without."""

import random
import sys

import atheris

with atheris.instrument_imports(include=["espalier.artifact"]):
    import campaign
    from espalier.artifact import coder as coder_module


def one(content: bytes) -> None:
    """Read one file as it is and one with its checksums mended."""
    campaign.attack(content)
    campaign.attack(campaign.mended(bytearray(content), random.Random(len(content))))


if __name__ == "__main__":
    coder_module.core = None  # Python's coverage guides; decoder.sh attacks the C
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
