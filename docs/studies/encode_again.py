"""CIFAR-10 encoded once more: ``python docs/studies/encode_again.py IN OUT --quality 50``.

For E4 of docs/fidelity.md, what a lossy copy costs. IN and OUT are archives (.tar.xz) of the same
image folder; each image is decoded and encoded again, and the error that it adds is printed.
"""

import argparse
import io
import tarfile
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from espalier.data.archive import members


def encoded(data: bytes, quality: int) -> tuple[bytes, float]:
    """Encode an image again; return it and the mean squared error of its pixels (0 to 255)."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    copy = io.BytesIO()
    image.save(copy, "JPEG", quality=quality)
    before, after = np.asarray(image, np.float64), np.asarray(Image.open(copy), np.float64)
    return copy.getvalue(), float(np.mean((before - after) ** 2))


def encode_all(source: Path, target: Path, quality: int) -> float:
    """Write the archive to a temporary name, then rename it; return the mean squared error."""
    unfinished, errors = target.with_name(f".{target.name}.part"), []
    with tarfile.open(unfinished, "w:xz", preset=1) as archive:
        for member in members(source):
            if member.data is None or PurePosixPath(member.name).suffix != ".jpg":
                continue
            data, error = encoded(member.data, quality)
            errors.append(error)
            entry = tarfile.TarInfo(member.name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    unfinished.replace(target)
    return float(np.mean(errors))


def main() -> None:
    """Read the command line, encode, say what it cost."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="image folder in a .tar.xz")
    parser.add_argument("out", type=Path, help="the archive to write, .tar.xz")
    parser.add_argument("--quality", type=int, required=True, help="of JPEG, 1 to 95")
    asked = parser.parse_args()
    error = encode_all(asked.archive, asked.out, asked.quality)
    print(f"{asked.out}: quality {asked.quality}, mean squared error {error:.2f}")


if __name__ == "__main__":
    main()
