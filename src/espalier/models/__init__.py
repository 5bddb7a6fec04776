"""Networks: a plain dict of name -> function, and :func:`build_model` to call one by its name."""

from espalier.models.build import MODELS, build_model, find_model
from espalier.models.modulation_cnn import modulation_cnn
from espalier.models.paper_cnn import paper_cnn
from espalier.models.resnet20 import resnet20
from espalier.models.sizes import sizes_of
from espalier.models.stack import Stack, drop

__all__ = [
    "MODELS",
    "Stack",
    "build_model",
    "drop",
    "find_model",
    "modulation_cnn",
    "paper_cnn",
    "resnet20",
    "sizes_of",
]
