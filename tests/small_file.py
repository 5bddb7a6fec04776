"""A small residual network as a file, for tests of what opens files."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from espalier.artifact import Metadata, write
from espalier.encoded import encode
from espalier.models import build_model

__all__ = ["INPUT", "OPTIONS", "SHAPE", "save_small"]

OPTIONS = {"classes": 3, "width": 2}
SHAPE = (3, 8, 8)
INPUT = {"shape": SHAPE, "type": "uint8", "scale": 255, "mean": [0.5] * 3, "std": [0.25] * 3}


def save_small(path: Path, **metadata: Any) -> Path:
    """Write it, with weights of eighths; ``input=None`` leaves out what it takes."""
    torch.manual_seed(0)
    tensors = {
        name: encode(np.round(t.numpy() * 8) / np.float32(8), step=0.125, bits=5)
        if t.ndim > 1
        else t.numpy()
        for name, t in build_model("resnet20", **OPTIONS).state_dict().items()
    }
    known = {"network": {"name": "resnet20", "options": OPTIONS}, "input": INPUT}
    write(path, tensors, Metadata(**known | {"classes": ("ant", "bee", "cat")} | metadata))
    return path
