"""From a run's spec to its operator, and from the compressor's report to an epoch's densities."""

import math
from typing import Any, Literal, cast

from torch import Tensor, nn
from torch.optim import Optimizer

from espalier.compressor import (
    Compressor,
    LayerReport,
    Report,
    Rule,
    attach,
    bits_of,
    operation_prices,
)
from espalier.compressor.select import select
from espalier.encoded import DENSE_BITS
from espalier.metrics import density
from espalier.ops import (
    Chain,
    ClippedQuantizer,
    Cubic,
    EntropyQuantizer,
    FilterMagnitude,
    GlobalMagnitude,
    Lamp,
    LearnedStep,
    LearnedThreshold,
    Linear,
    MixedBits,
    Operator,
    Pruner,
    Quantizer,
    Schedule,
    StdThreshold,
    Then,
    UniformQuantizer,
    value_at,
)
from espalier.records import RunSpec

__all__ = [
    "compress_by",
    "densities",
    "density_ramp",
    "gamma_at",
    "operator_of",
    "prices_of",
    "quantizer_of",
    "report_of",
]

RAMPS: dict[str, type[Linear] | type[Cubic]] = {"linear": Linear, "cubic": Cubic}


def operator_of(
    spec: RunSpec,
    planned_steps: int,
    *,
    density: float | Schedule | None = None,
    model: nn.Module | None = None,
    prices: tuple[float, ...] = (),
) -> Operator:
    """Return what the spec does to weights: prune by deviation, then quantize (eq. 1 to 4).

    With a density the best weights of all layers together stay instead, by the spec's budget. Whole
    filters go first where the spec asks for it, but for those of the last layer.

    Args:
        spec: of the run.
        planned_steps: over which a schedule runs its course.
        density: that shall stay; None leaves it to the spec, which must not ask for a size then.
        model: the network, where the spec gives some of its layers bits of their own.
        prices: what a weight of each parameter costs; see :func:`prices_of`.
    """
    chain = Chain(
        prune=_pruner(spec, planned_steps, density, prices),
        quantize=quantizer_of(spec) if model is None else _mixed(spec, model),
        quantize_first=spec.order == "qp",
        jointly=spec.jointly,
    )
    if spec.filter_density is None:
        return chain
    ramp = _ramp(spec, 1.0, spec.filter_density, planned_steps)
    return Then(first=FilterMagnitude(density=ramp, keep_last=True), second=chain)


def quantizer_of(
    spec: RunSpec,
) -> ClippedQuantizer | EntropyQuantizer | LearnedStep | UniformQuantizer:
    """Return how the spec quantizes, all parameters with the same bits."""
    if spec.quantizer == "lsq":
        return LearnedStep(bits=spec.bits, rate=spec.operator_lr)
    if spec.quantizer == "rdoq":
        return EntropyQuantizer(bits=spec.bits, price=spec.bit_price, quantile=spec.grid_quantile)
    if spec.grid_quantile < 1 and spec.bits < DENSE_BITS:
        return ClippedQuantizer(bits=spec.bits, quantile=spec.grid_quantile)
    return UniformQuantizer(
        bits=spec.bits,
        rounding=cast(Literal["nearest", "floor", "stochastic"], spec.rounding),
        random_seed=spec.seed,
    )


def _mixed(spec: RunSpec, model: nn.Module) -> Quantizer:
    """Return the quantizer with the bits that the spec gives to some layers."""
    quantize = quantizer_of(spec)
    if spec.layer_bits is None:
        return quantize
    rules = [_rule(spec, StdThreshold(gamma=0.0))]
    names = [name for _, members in select(model, rules).groups for name in members]
    return MixedBits(quantize=quantize, each=tuple(bits_of(names, spec.layer_bits, spec.bits)))


def density_ramp(spec: RunSpec, density: float, planned_steps: int) -> float | Schedule:
    """Return the spec's way from a whole network down to a density."""
    return _ramp(spec, 1.0, density, planned_steps)


def gamma_at(spec: RunSpec, planned_steps: int, step: int) -> float:
    """Return the pruning strength of a step, counted from 0."""
    return value_at(_gamma(spec, planned_steps), step)


def prices_of(spec: RunSpec, model: nn.Module, example: Tensor) -> tuple[float, ...]:
    """Return what a weight of each parameter costs the spec's budget; none where all cost the same.

    Args:
        spec: of the run.
        model: the network.
        example: a sample, with its batch axis.
    """
    if not spec.spare_operations:
        return ()
    rules = [_rule(spec, StdThreshold(gamma=0.0))]
    return operation_prices(model, example, share=spec.spare_operations, rules=rules)


def compress_by(
    spec: RunSpec,
    model: nn.Module,
    optimizer: Optimizer,
    planned_steps: int,
    prices: tuple[float, ...] = (),
) -> Compressor | None:
    """Attach the spec's operator to kernels and biases; None for the dense baseline."""
    if not spec.compresses:
        return None
    return attach(
        model,
        optimizer,
        [_rule(spec, operator_of(spec, planned_steps, model=model, prices=prices))],
        update=cast(Literal["hybrid", "inplace", "latent"], spec.update),
        cadence=cast(Literal["every_step", "every_epoch"], spec.cadence),
        start_step=spec.dense_epochs * planned_steps // max(1, spec.epochs),
    )


def _rule(spec: RunSpec, operator: Operator) -> Rule:
    return Rule(operator=operator, biases=spec.biases, per_layer=spec.jointly)


def report_of(model: nn.Module, optimizer: Optimizer, compressor: Compressor | None) -> Report:
    """Return the state of each parameter; that of a dense model names what would be compressed."""
    if compressor is not None:
        return compressor.report()
    idle = attach(model, optimizer, StdThreshold(gamma=0.0))
    report = idle.report()
    idle.detach()
    return report


def densities(report: Report) -> dict[str, Any]:
    """Return the densities and ratios of an epoch's record, by its fields' names."""
    return {
        "density_mask": report.density_mask,
        "density_nonzero": report.density_nonzero,
        "density_mask_all": _density([layer.kept for layer in report.layers], report.layers),
        "density_nonzero_all": _density([layer.nonzero for layer in report.layers], report.layers),
        "ratio": report.ratio,
        "ratio_all": report.ratio_all,
        "layers": {
            layer.name: (layer.density_mask, layer.density_nonzero) for layer in report.compressed
        },
    }


def _density(counts: list[int], layers: tuple[LayerReport, ...]) -> float:
    return density(sum(counts), sum(layer.parameters for layer in layers))


def _pruner(
    spec: RunSpec,
    planned_steps: int,
    density: float | Schedule | None,
    prices: tuple[float, ...],
) -> Pruner:
    if density is None and spec.target_density is not None:
        density = density_ramp(spec, spec.target_density, planned_steps)
    if density is not None and spec.budget == "lamp":
        return Lamp(density=density, least=spec.layer_least, prices=prices)
    if density is not None:
        return GlobalMagnitude(density=density)
    if spec.pressure is not None:
        pressure = _ramp(spec, 0.0, spec.pressure, planned_steps)
        return LearnedThreshold(pressure=pressure, rate=spec.operator_lr)
    return StdThreshold(
        gamma=_gamma(spec, planned_steps),
        strict=spec.strict,
        zeros=spec.std_zeros,
        correction=spec.std_correction,
    )


def _gamma(spec: RunSpec, planned_steps: int) -> float | Schedule:
    return _ramp(spec, 0.0, spec.gamma, planned_steps)


def _ramp(spec: RunSpec, start: float, end: float, planned_steps: int) -> float | Schedule:
    if spec.schedule == "constant" or planned_steps == 0:
        return end
    start_step = math.floor(planned_steps * spec.ramp_start)
    end_step = max(start_step + 1, math.floor(planned_steps * spec.ramp_end))
    ramp = RAMPS[spec.schedule]
    return ramp(start=start, end=end, start_step=start_step, end_step=end_step)
