"""Structure: dead filters and neurons really removed from a network and from its file."""

from espalier.structure.files import Shrunk, shrink_file
from espalier.structure.shrink import shrink

__all__ = ["Shrunk", "shrink", "shrink_file"]
