"""``espalier train``: one run, from its settings to its records."""

import json
from pathlib import Path
from typing import Annotated

import typer

from espalier.cli.parts import (
    COMPRESSION,
    BitPrice,
    FilterDensity,
    LayerBits,
    LayerLeast,
    OperatorLr,
    Pressure,
    QuantizerKind,
    SpareOperations,
)
from espalier.cli.settings import (
    bits_of_layers,
    given_settings,
    named_option,
    one_of,
    run_settings,
    size_setting,
)
from espalier.cli.training import Machine, ladder_lines, train_run

__all__ = ["train"]

DATA, NETWORK, READING, TRAINING, MACHINE, OUTPUT = (
    "Data",
    "Network",
    "How the paper is read",
    "Training",
    "Machine",
    "Output",
)


def train(  # noqa: PLR0913, PLR0917 - the command line is flat
    context: typer.Context,
    recipe: Annotated[
        str,
        typer.Option(
            help="Defaults of the options below: paper, as they are shown, or strong, for the "
            "smallest networks: docs/recipe.md. What you give counts instead.",
            rich_help_panel=COMPRESSION,
        ),
    ] = "paper",
    data: Annotated[
        str,
        typer.Option(
            help="Data set: cifar10, modulation, or your own as module:function.",
            rich_help_panel=DATA,
        ),
    ] = "cifar10",
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Where the data set's files are: an official archive, an image folder or a "
            ".tar.xz of one. ESPALIER_DATA says it too.",
            rich_help_panel=DATA,
        ),
    ] = None,
    limit_train: Annotated[
        int | None,
        typer.Option(help="Train on so many images, all classes alike.", rich_help_panel=DATA),
    ] = None,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment/--no-augment",
            help="Flip and shift training images at random.",
            rich_help_panel=DATA,
        ),
    ] = False,
    model: Annotated[
        str,
        typer.Option(
            help="paper_cnn, resnet20, modulation_cnn, or your own as module:function.",
            rich_help_panel=NETWORK,
        ),
    ] = "paper_cnn",
    dropout: Annotated[
        float | None,
        typer.Option(
            help="Probability; the network's own where not given (paper_cnn: 0.3).",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            help="An option of the network, as often as needed: initialization=xavier.",
            metavar="NAME=VALUE",
            rich_help_panel=NETWORK,
        ),
    ] = None,
    gamma: Annotated[
        float | None,
        typer.Option(
            help="Prune below gamma times the layer's standard deviation; 0 prunes nothing; 0.375 "
            "where neither this nor --target-density is given.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    target_density: Annotated[
        float | None,
        typer.Option(
            help="Keep this fraction of the weights instead, the largest of all layers together.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    max_bytes: Annotated[
        str | None,
        typer.Option(
            help="Most bytes of the packed file, for instance 48kB; the density follows.",
            metavar="SIZE",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    max_loss: Annotated[
        float | None,
        typer.Option(
            help="Points of validation accuracy that may be lost against --baseline RUN, else "
            "against a dense run trained first: the smallest network within. Several runs.",
            rich_help_panel=COMPRESSION,
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            help="How layers share a density or a size: global (largest weights) or lamp (scores "
            "within each layer).",
            rich_help_panel=COMPRESSION,
        ),
    ] = "global",
    layer_least: LayerLeast = 0,
    spare_operations: SpareOperations = 0.0,
    pressure: Pressure = None,
    bits: Annotated[
        int,
        typer.Option(
            help="Bits of a kept weight, 1 to 32; 32 quantizes nothing. Gamma 0 at 32 bits is "
            "the dense baseline.",
            rich_help_panel=COMPRESSION,
        ),
    ] = 8,
    filter_density: FilterDensity = None,
    layer_bits: LayerBits = None,
    quantizer: QuantizerKind = "uniform",
    bit_price: BitPrice = 0.1,
    operator_lr: OperatorLr = 0.01,
    grid_quantile: Annotated[
        float,
        typer.Option(
            help="The grid ends at this quantile of the kept magnitudes; 1 at the largest.",
            rich_help_panel=COMPRESSION,
        ),
    ] = 1.0,
    update: Annotated[
        str,
        typer.Option(
            help="What the next update starts from: hybrid (pruned weights; the grid is written at "
            "each epoch's end), inplace (compressed weights) or latent (a dense copy).",
            rich_help_panel=COMPRESSION,
        ),
    ] = "hybrid",
    rounding: Annotated[
        str, typer.Option(help="nearest, floor or stochastic.", rich_help_panel=COMPRESSION)
    ] = "nearest",
    cadence: Annotated[
        str,
        typer.Option(
            help="Compress every_step, or every_epoch as conventional schemes do.",
            rich_help_panel=COMPRESSION,
        ),
    ] = "every_step",
    schedule: Annotated[
        str,
        typer.Option(
            help="Gamma is constant, or grows from 0, linear or cubic, over a part of the planned "
            "steps (--epochs); a density comes down from 1 likewise.",
            rich_help_panel=COMPRESSION,
        ),
    ] = "constant",
    ramp_start: Annotated[
        float,
        typer.Option(help="Share of the steps at which it begins.", rich_help_panel=COMPRESSION),
    ] = 0.0,
    ramp_end: Annotated[
        float,
        typer.Option(help="Share of the steps at which it ends.", rich_help_panel=COMPRESSION),
    ] = 0.5,
    recalibrate: Annotated[
        int,
        typer.Option(
            help="Training samples from which normalization's statistics are taken anew at each "
            "epoch's end; 0 keeps those of training.",
            rich_help_panel=COMPRESSION,
        ),
    ] = 0,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict/--no-strict",
            help="Keep only what is above the threshold, not what is equal to it.",
            rich_help_panel=READING,
        ),
    ] = False,
    biases: Annotated[
        bool,
        typer.Option("--biases/--no-biases", help="Compress biases too.", rich_help_panel=READING),
    ] = True,
    jointly: Annotated[
        bool,
        typer.Option(
            "--jointly/--apart",
            help="One threshold and grid for a layer's kernel and bias, or one for each.",
            rich_help_panel=READING,
        ),
    ] = False,
    std_zeros: Annotated[
        bool,
        typer.Option(
            "--std-zeros/--no-std-zeros",
            help="Count zeros in the standard deviation.",
            rich_help_panel=READING,
        ),
    ] = True,
    std_correction: Annotated[
        int,
        typer.Option(help="The variance is over n minus this, 0 or 1.", rich_help_panel=READING),
    ] = 0,
    order: Annotated[
        str,
        typer.Option(help="pq prunes, then quantizes; qp the other way.", rich_help_panel=READING),
    ] = "pq",
    dense_epochs: Annotated[
        int,
        typer.Option(
            help="First epochs that train densely. With --cadence every_epoch and all epochs but "
            "one, the network is compressed once, after its training.",
            rich_help_panel=READING,
        ),
    ] = 0,
    lr: Annotated[float, typer.Option(help="Learning rate.", rich_help_panel=TRAINING)] = 0.01,
    lr_schedule: Annotated[
        str,
        typer.Option(
            help="The learning rate is constant, or falls to 0 as a cosine over --epochs.",
            rich_help_panel=TRAINING,
        ),
    ] = "constant",
    warmup_epochs: Annotated[
        int,
        typer.Option(help="Epochs in which it grows to --lr.", rich_help_panel=TRAINING),
    ] = 0,
    epochs: Annotated[int, typer.Option(help="Most epochs.", rich_help_panel=TRAINING)] = 200,
    patience: Annotated[
        int,
        typer.Option(
            help="Stop after so many epochs without a better validation accuracy; 0 never does.",
            rich_help_panel=TRAINING,
        ),
    ] = 15,
    optimizer: Annotated[
        str, typer.Option(help="sgd, adam or adamw.", rich_help_panel=TRAINING)
    ] = "sgd",
    momentum: Annotated[
        float, typer.Option(help="Of sgd; adam and adamw have their own.", rich_help_panel=TRAINING)
    ] = 0.9,
    nesterov: Annotated[
        bool,
        typer.Option(
            "--nesterov/--no-nesterov", help="Nesterov's momentum.", rich_help_panel=TRAINING
        ),
    ] = False,
    weight_decay: Annotated[
        float, typer.Option(help="0 decays nothing.", rich_help_panel=TRAINING)
    ] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Samples a step.", rich_help_panel=TRAINING)] = 64,
    seed: Annotated[
        int,
        typer.Option(
            help="Of initialization, order, augmentation and dropout.", rich_help_panel=TRAINING
        ),
    ] = 0,
    teacher: Annotated[
        Path | None,
        typer.Option(
            help="Learn from the outputs of this run's network too (distillation).",
            metavar="RUN",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    choose: Annotated[
        str,
        typer.Option(
            help="Which accuracy chooses the epoch to keep: test, as the paper, or validation.",
            rich_help_panel=TRAINING,
        ),
    ] = "test",
    precision: Annotated[
        str,
        typer.Option(
            help="fp32, bf16, or auto: bf16 where the processor or GPU has it.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=MACHINE)
    ] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(
            help="Of the CPU; all cores where not given, or those that the run began with.",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The run's directory; under runs/ and named by its settings where not given.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out, or start it; print its result if it is finished.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="What PE compares with: an accuracy in percent, or a finished run's directory.",
            metavar="RUN_OR_PERCENT",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard",
            help="Write curves for TensorBoard too, into tensorboard/ in the run's directory.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json",
            help="Print the result as one line of JSON, alone on standard output.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
) -> None:
    """Train a network that grows up small, and record the run.

    The defaults are the paper's network and data with the settings of its authors' code; --recipe
    strong has others. One of --max-bytes, --target-density, --max-loss, --pressure and --gamma says
    how small. A run can be killed at any moment: the same command with --resume goes on, and ends
    with the same bits.
    """
    from espalier.cli.summary import summary
    from espalier.train.packing import weights_file

    one_of(
        {
            "--gamma": gamma,
            "--target-density": target_density,
            "--max-bytes": max_bytes,
            "--max-loss": max_loss,
            "--pressure": pressure,
        }
    )
    settings = run_settings(context) | {
        "model_options": dict(named_option(given) for given in option or ()),
        "layer_bits": dict(bits_of_layers(given) for given in layer_bits or ()),
    }
    settings = given_settings(context, settings) | size_setting(max_bytes)
    machine = Machine(
        data_dir=data_dir,
        device=device,
        threads=threads,
        resume=resume,
        baseline=baseline,
        tensorboard=tensorboard,
        teacher=None if teacher is None else weights_file(teacher, by_validation=True),
    )
    result, out = train_run(settings, out, machine, max_loss=max_loss)
    typer.echo(json.dumps(result.to_json()) if as_json else summary(result, out))
    for line in ladder_lines(out) if max_loss is not None and not as_json else ():
        typer.echo(line)
