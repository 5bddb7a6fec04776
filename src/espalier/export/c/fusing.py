"""What a convolution may do too, before its sums are stored."""

from espalier.export.graph import Activation, Pool

__all__ = ["fits_inside", "monotone"]


def monotone(activation: Activation) -> bool:
    """Whether a maximum may be taken before."""
    return activation.kind != "hardswish" and activation.slope >= 0


def fits_inside(pool: Pool) -> bool:
    """Whether windows lie side by side, so that one block holds them whole."""
    return (
        pool.kind == "max"
        and pool.kernel == pool.stride
        and not any(map(any, pool.padding))
        and all(d == 1 for d in pool.dilation)
    )
