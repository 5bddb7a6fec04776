"""Checks of the parts of an operator: which quantizer, which threshold, and what goes with them."""

from typing import TYPE_CHECKING

from espalier.errors import ConfigError
from espalier.records.checks import at_least, integer, number

if TYPE_CHECKING:
    from espalier.records.spec import RunSpec

__all__ = ["QUANTIZERS", "check_parts"]

QUANTIZERS = ("uniform", "lsq", "rdoq")
FEW_BITS = {"lsq": 16, "rdoq": 8}
"""Most bits of the quantizers of few; 2 is the least of both."""


def check_parts(spec: "RunSpec") -> None:
    """Check the settings of quantizer, filters, learned thresholds and the least of a layer.

    Raises:
        ConfigError: one is out of its bounds, or doesn't go with another one.
    """
    _check_filters(spec)
    for name in ("bit_price", "operator_lr"):
        object.__setattr__(spec, name, number(name, getattr(spec, name)))
        at_least(name, getattr(spec, name), 0.0, "0 leaves it out")
    integer("layer_least", spec.layer_least, 0, note="0 protects no layer")
    if spec.layer_least and (spec.budget != "lamp" or not _has_budget(spec)):
        raise ConfigError(
            f"layer_least={spec.layer_least} is a floor under each layer's share of a budget that "
            "LAMP divides; give budget=lamp and a target_density or max_bytes."
        )
    object.__setattr__(spec, "spare_operations", number("spare_operations", spec.spare_operations))
    if not 0 <= spec.spare_operations <= 1:
        raise ConfigError(
            f"spare_operations={spec.spare_operations}: expected a share in [0, 1]; 0 counts "
            "weights alone."
        )
    if spec.spare_operations and (spec.budget != "lamp" or not _has_budget(spec)):
        raise ConfigError(
            f"spare_operations={spec.spare_operations} says what a weight costs a budget that LAMP "
            "divides; give budget=lamp and a target_density or max_bytes."
        )
    if spec.mean_bits is not None:
        object.__setattr__(spec, "mean_bits", number("mean_bits", spec.mean_bits))
        if spec.layer_bits is None:
            raise ConfigError(
                f"mean_bits={spec.mean_bits} is what layer_bits were found for, and there are none;"
                " `espalier compress --mean-bits` finds them, for a network that is trained."
            )
    if spec.quantizer != "uniform":
        _check_quantizer(spec)
    if spec.pressure is not None:
        object.__setattr__(spec, "pressure", number("pressure", spec.pressure))
        _check_pressure(spec)


def _has_budget(spec: "RunSpec") -> bool:
    return spec.target_density is not None or spec.max_bytes is not None


def _check_filters(spec: "RunSpec") -> None:
    if spec.filter_density is None:
        return
    object.__setattr__(spec, "filter_density", number("filter_density", spec.filter_density))
    if not 0 < spec.filter_density <= 1:
        raise ConfigError(
            f"filter_density={spec.filter_density}: expected a fraction in (0, 1]; 1 keeps "
            "every filter."
        )
    if spec.jointly:
        raise ConfigError(
            "jointly takes each layer by itself, and filter_density is of all layers; give one "
            "of them."
        )


def _check_quantizer(spec: "RunSpec") -> None:
    kind = spec.quantizer
    integer(f"bits, with quantizer={kind},", spec.bits, 2, FEW_BITS[kind], "2 bits are ternary")
    if spec.rounding != "nearest":
        raise ConfigError(
            f"quantizer={kind} with rounding={spec.rounding}: it chooses codes itself; leave "
            "rounding out, or take quantizer=uniform."
        )
    for name, given in (("jointly", spec.jointly), ("layer_bits", spec.layer_bits is not None)):
        if given:
            raise ConfigError(
                f"quantizer={kind} with {name}: what it carries from step to step is of each "
                f"parameter, all with the same bits; leave {name} out, or take quantizer=uniform."
            )
    if kind == "lsq":
        _require_learning(spec, "quantizer=lsq")
        if spec.update == "inplace":
            raise ConfigError(
                "quantizer=lsq with update=inplace: weights that are on the grid already say "
                "nothing about its step; give update=latent or hybrid."
            )
        if spec.grid_quantile < 1:
            raise ConfigError(
                f"quantizer=lsq with grid_quantile={spec.grid_quantile}: where the grid ends is "
                "learned; give one of them."
            )


def _check_pressure(spec: "RunSpec") -> None:
    pressure = spec.pressure or 0.0
    if pressure <= 0:
        raise ConfigError(f"pressure={spec.pressure}: expected a number > 0, or null.")
    if spec.gamma > 0 or _has_budget(spec):
        raise ConfigError(
            f"pressure={pressure}, gamma={spec.gamma}, target_density={spec.target_density} and "
            f"max_bytes={spec.max_bytes}: each says what to prune; give one of them."
        )
    _require_learning(spec, f"pressure={pressure}")
    if spec.update != "latent":
        raise ConfigError(
            f"pressure={pressure} with update={spec.update}: thresholds are learned against the "
            "deviation of dense weights; give update=latent."
        )
    if spec.jointly:
        raise ConfigError(
            "jointly takes a layer as one, and pressure learns a gamma for each "
            "parameter; give one of them."
        )


def _require_learning(spec: "RunSpec", what: str) -> None:
    """Refuse what leaves a learned part without a gradient of its own at every step."""
    if spec.cadence != "every_step":
        raise ConfigError(
            f"{what} with cadence={spec.cadence}: it learns from the gradient at the compressed "
            "weights of each step; give cadence=every_step."
        )
    if spec.order != "pq":
        raise ConfigError(
            f"{what} with order={spec.order}: it learns from weights that are pruned, then "
            "quantized; give order=pq."
        )
