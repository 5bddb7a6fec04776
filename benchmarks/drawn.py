"""A network with weights drawn at random, where no trained one is at hand."""

from pathlib import Path

import numpy as np

from espalier import artifact
from espalier.encoded import Encoded, encode
from espalier.models import build_model

INPUT = {
    "shape": (3, 32, 32),
    "type": "uint8",
    "scale": 255,
    "mean": (0.5, 0.5, 0.5),
    "std": (0.25, 0.25, 0.25),
}


def write_random(path: Path, density: float, bits: int) -> None:
    """Write the paper's network with random weights of that density on a grid of that many bits."""
    rng = np.random.default_rng(0)
    tensors: dict[str, Encoded | np.ndarray] = {}
    for name, tensor in build_model("paper_cnn").state_dict().items():
        values = tensor.numpy()
        if values.ndim < 2:
            tensors[name] = values
            continue
        first = 2 ** (bits - 1)  # survivors begin at the threshold, some steps from zero
        codes = rng.integers(first, 2 * first, values.shape) * rng.choice((-1, 1), values.shape)
        kept = rng.random(values.shape) < density
        tensors[name] = encode(np.float32(0.01) * np.where(kept, codes, 0), step=0.01, bits=bits)
    tensors = {name: value for name, value in tensors.items() if "num_batches" not in name}
    network = {"name": "paper_cnn", "options": {}}
    artifact.write(path, tensors, artifact.Metadata(network=network, input=INPUT))
