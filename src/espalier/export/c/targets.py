"""What the generated code may assume of a machine: vector width, registers for sums."""

from dataclasses import dataclass
from typing import Literal

from espalier.errors import ConfigError, nearest

__all__ = ["TARGETS", "Target", "TargetName", "find_target"]

TargetName = Literal["scalar", "portable", "sse", "neon", "avx2", "avx512"]


@dataclass(frozen=True, slots=True)
class Target:
    """Sizes of the inner loops; any target's code compiles and runs everywhere, as plain C99."""

    name: str
    lanes: int
    """float32 a vector; what a row of sums is rounded up to."""
    vectors: int
    """Vectors of sums that stay in registers while one filter's nonzeros go by."""
    aligned: bool = False
    """Whether vectors that straddle two lines of the cache cost much: long ones do."""

    @property
    def block(self) -> int:
        """Sums a block holds at most."""
        return self.lanes * self.vectors


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("scalar", lanes=1, vectors=24),
        Target("portable", lanes=4, vectors=12),
        Target("sse", lanes=4, vectors=12),
        Target("neon", lanes=4, vectors=24),
        Target("avx2", lanes=8, vectors=12, aligned=True),
        Target("avx512", lanes=16, vectors=10, aligned=True),
    )
}
"""``scalar`` is for microcontrollers: no lane is wasted. ``portable`` is for any other machine."""


def find_target(name: str) -> Target:
    """Return a target by its name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in TARGETS:
        raise ConfigError(
            f"target={name!r} is unknown; known: {', '.join(TARGETS)}.{nearest(name, TARGETS)}"
        )
    return TARGETS[name]
