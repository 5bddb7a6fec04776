"""``espalier compress``: from a trained network's weights to a small file."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from espalier.cli.parts import (
    BitPrice,
    FilterDensity,
    LayerBits,
    LayerLeast,
    OperatorLr,
    QuantizerKind,
    SpareOperations,
)
from espalier.cli.settings import bits_of_layers, given_settings, one_of, size_setting
from espalier.cli.sizes import size_text
from espalier.cli.training import Machine, train_run
from espalier.errors import ConfigError

__all__ = ["compress"]

NETWORK = "network.espalier"
DEFAULTS: dict[str, Any] = {"recipe": "strong", "epochs": 10, "lr": 0.05}
"""Where the options say nothing: the strong recipe, shorter and with less of a learning rate."""


def compress(  # noqa: PLR0913, PLR0917 - the command line is flat
    context: typer.Context,
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="Weights of the trained network: a safetensors file of its state_dict.",
            metavar="CHECKPOINT",
        ),
    ],
    model: Annotated[
        str, typer.Option(help="paper_cnn, resnet20, ..., or your own as module:function.")
    ],
    data: Annotated[str, typer.Option(help="cifar10, modulation, or your own as module:function.")],
    out: Annotated[Path, typer.Option(help="The run's directory; the file is written into it.")],
    data_dir: Annotated[
        Path | None, typer.Option(help="Where the data set's files are. ESPALIER_DATA says it too.")
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(help="Most bytes of the packed file, for instance 48kB.", metavar="SIZE"),
    ] = None,
    target_density: Annotated[
        float | None, typer.Option(help="Keep this fraction of the weights.")
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Prune below gamma times the layer's deviation.")
    ] = None,
    epochs: Annotated[
        int, typer.Option(help="Epochs of training through compression; 0 compresses once.", min=0)
    ] = 10,
    recipe: Annotated[
        str, typer.Option(help="Settings that are not given: strong or paper.")
    ] = "strong",
    bits: Annotated[int, typer.Option(help="Bits of a kept weight.")] = 3,
    mean_bits: Annotated[
        float | None,
        typer.Option(
            help="Bits of a weight in the mean instead: each parameter gets 2, 3, 4 or 8, by what "
            "fewer cost the checkpoint's network on validation samples. They stand in the record."
        ),
    ] = None,
    layer_bits: LayerBits = None,
    filter_density: FilterDensity = None,
    layer_least: LayerLeast = 0,
    spare_operations: SpareOperations = 0.0,
    quantizer: QuantizerKind = "uniform",
    bit_price: BitPrice = 0.1,
    operator_lr: OperatorLr = 0.01,
    lr: Annotated[float, typer.Option(help="Learning rate.")] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = 128,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Flip and shift training images.")
    ] = False,
    recalibrate: Annotated[
        int, typer.Option(help="Training samples for normalization's statistics; 0 keeps them.")
    ] = 5000,
    distill: Annotated[
        bool,
        typer.Option("--distill", help="Learn from the outputs of the checkpoint's network too."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of order, augmentation and dropout.")] = 0,
    precision: Annotated[str, typer.Option(help="fp32, bf16 or auto.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Of the CPU.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or start it.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(help="What PE compares with: percent, or a run.", metavar="RUN_OR_PERCENT"),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON, alone on standard output.")
    ] = False,
) -> None:
    """Make a trained network small: train it through compression, or compress it once.

    Names and shapes in the checkpoint are those of the network's state_dict. With --epochs 0
    nothing is trained: the control that shows what training through compression is worth.
    """
    from espalier.cli.summary import summary
    from espalier.train import digest_of, pack_run

    one_of({"--max-bytes": max_bytes, "--target-density": target_density, "--gamma": gamma})
    options = {
        "epochs": epochs,
        "recipe": recipe,
        "bits": bits,
        "lr": lr,
        "batch_size": batch_size,
        "augment": augment,
        "recalibrate": recalibrate,
        "seed": seed,
        "precision": precision,
        "target_density": target_density,
        "gamma": gamma,
        "layer_bits": dict(bits_of_layers(given) for given in layer_bits or ()),
        "filter_density": filter_density,
        "layer_least": layer_least,
        "spare_operations": spare_operations,
        "quantizer": quantizer,
        "bit_price": bit_price,
        "operator_lr": operator_lr,
    }
    settings = DEFAULTS | given_settings(context, options) | size_setting(max_bytes)
    if mean_bits is not None and "bits" in settings:
        raise ConfigError("--bits and --mean-bits both say the bits; give one of them.")
    settings |= {"model": model, "data": data, "initial": digest_of(checkpoint)}
    machine = Machine(
        data_dir=data_dir,
        device=device,
        threads=threads,
        resume=resume,
        baseline=baseline,
        teacher=checkpoint if distill else None,
    )
    result, out = train_run(settings, out, machine, initial=checkpoint, mean_bits=mean_bits)
    size = pack_run(out, out / NETWORK)
    if as_json:
        packed = {"file": str(out / NETWORK), "size_bytes": size}
        typer.echo(json.dumps(result.to_json() | packed))
        return
    typer.echo(summary(result, out))
    typer.echo(f"{'file':<14} {out / NETWORK}, {size_text(size)}")
