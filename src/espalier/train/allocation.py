"""Bits for each parameter of a network that is trained already, before its run begins."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from espalier.compressor import allocate_bits
from espalier.data import Split, load_dataset
from espalier.data.batches import Batches
from espalier.errors import ConfigError
from espalier.ops import Operator
from espalier.records import RunSpec
from espalier.train.compression import quantizer_of
from espalier.train.evaluate import evaluate
from espalier.train.initial import fill, read_initial
from espalier.train.resolve import build_network

__all__ = ["CHOICES", "with_mean_bits"]

CHOICES = (2, 3, 4, 8)
"""Bits to choose from."""
SAMPLES = 1000
"""Validation samples, at most, that say what fewer bits cost."""
BATCH = 250


def with_mean_bits(
    spec: RunSpec,
    mean_bits: float,
    initial: Path | None,
    *,
    recorded: RunSpec | None = None,
    data_dir: Path | None = None,
    device: torch.device,
) -> RunSpec:
    """Return the spec with bits for each parameter, so many in the mean over all weights.

    What fewer bits of a parameter cost is measured at the weights that the run starts from,
    quantized and not pruned, as the loss on the first 1,000 validation samples at most; see
    :func:`espalier.allocate_bits`. The bits stand in the spec, and a run that goes on keeps them.

    Args:
        spec: of the run, without ``layer_bits``.
        mean_bits: at most, 2 or more.
        initial: file of the weights that the run starts from.
        recorded: spec of the run that goes on; its bits are taken where as many were asked.
        data_dir: where the data set's files are.
        device: where the loss is computed.

    Raises:
        ConfigError: there are bits by hand too, no weights to start from, or too few bits.
        NonFiniteError: the loss is NaN or infinite.
    """
    if spec.layer_bits is not None:
        raise ConfigError(
            "mean_bits finds bits for each parameter, and layer_bits says them; give one of them."
        )
    if spec.initial is None:
        raise ConfigError(
            f"mean_bits={mean_bits} looks at what bits cost a trained network, and this run starts "
            "at random; train it first, then compress it."
        )
    if recorded is not None and recorded.mean_bits == mean_bits:
        return replace(spec, layer_bits=recorded.layer_bits, mean_bits=mean_bits)
    weights = read_initial(initial, spec)
    dataset = load_dataset(spec.data, data_dir=data_dir)
    with torch.random.fork_rng(devices=[]):
        model = build_network(spec, dataset)
    fill(model, weights or {})
    split = dataset.validation
    few = Split(split.inputs[:SAMPLES], split.labels[:SAMPLES])
    batches = Batches(few, dataset, batch_size=BATCH, seed=0, shuffle=False, device=device)

    def loss(network: nn.Module) -> float:
        return evaluate(network, batches, device, spec.precision)[0]

    def operator(bits: int) -> Operator:
        return quantizer_of(replace(spec, bits=bits))

    bits = allocate_bits(
        model.to(device),
        mean_bits=mean_bits,
        choices=CHOICES,
        loss=loss,
        operator=operator,
        biases=spec.biases,
    )
    return replace(spec, layer_bits=bits, mean_bits=mean_bits)
