"""C99 from a graph: no heap, no dependency, zeros skipped."""

from espalier.export.c.targets import TARGETS, Target, TargetName, find_target
from espalier.export.c.weights import Optimize
from espalier.export.c.write import Arithmetic, code_of, write_c

__all__ = [
    "TARGETS",
    "Arithmetic",
    "Optimize",
    "Target",
    "TargetName",
    "code_of",
    "find_target",
    "write_c",
]
