"""How long a network takes in each engine, and the least that its loads and additions take.

    python benchmarks/latency.py [FILE.espalier ..] [--batch 1 64] [--data cifar10 --data-dir DIR]
        [--engines torch,ort-fp32,..] [--seconds 5] [--layers] [--json]

Takes the files given; without any, all of benchmarks/networks/. One thread; engines take turns in
one run, as `espalier bench` has them. The floor is of this core, measured in the same run: see
floors.py. Integer engines are calibrated on training data where the file names them and they are
found, which is said; other grids may take another time. `--random` takes the paper's network with
random weights instead, of `--density` and `--bits`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from drawn import write_random
from espalier.artifact import Metadata
from espalier.errors import EspalierError
from espalier.runtime.bench import Row, bench
from espalier.runtime.engines import ENGINES, Subject, check_engines, open_subject
from espalier.runtime.samples import Samples, from_data, from_nothing
from floors import Rates, Work, float_work, floor_ms, int_work, measure_rates
from measuring import machine

NETWORKS = Path(__file__).parent / "networks"
AIMS = (("espalier-float", "ort-fp32"), ("espalier-int", "ort-int8"))
"""Ours, and what it is held against."""


def say(text: str) -> None:
    """Tell people what is going on."""
    print(f"  {text}", file=sys.stderr, flush=True)


def finder(asked: argparse.Namespace) -> Callable[[Metadata, tuple[int, ...]], Samples]:
    """Return what finds samples; no accuracy is measured here, so that labels are left out."""
    if asked.data is None:
        return from_nothing
    return lambda metadata, shape: replace(
        from_data(asked.data, asked.data_dir, metadata, shape), labels=None
    )


def works_of(subject: Subject, engines: list[str], rates: Rates) -> dict[str, list[Work]]:
    """Return the work of a sample for ours of the engines, where they know the network."""
    found: dict[str, list[Work]] = {}
    try:
        if "espalier-float" in engines:
            found["espalier-float"] = float_work(subject.graph, rates)
        if "espalier-int" in engines:
            calibration = subject.samples.calibration
            found["espalier-int"] = int_work(subject.graph, calibration, rates)
    except EspalierError as error:  # the engine's row says it too
        say(f"no floor: {error}")
    return found


def measure(path: Path, folder: Path, asked: argparse.Namespace, rates: Rates) -> Iterator[Any]:
    """Yield the rows of a network as they are measured: JSON values, with the floor."""
    say(f"opening {path}")
    shape = None if asked.input_shape is None else tuple(map(int, asked.input_shape.split(",")))
    subject = open_subject(path, folder, samples=finder(asked), input_shape=shape)
    works = works_of(subject, asked.engines, rates)
    print(f"\n{path.stem}: timed on {subject.samples.source}, integers calibrated on ", end="")
    print(subject.samples.calibration_source)
    if asked.layers:
        show_layers(works)
    for batch in asked.batch:
        rows = bench(subject, engines=asked.engines, batch=batch, seconds=asked.seconds, say=say)
        floors = {name: batch * floor_ms(work) for name, work in works.items()}
        show(rows, floors)
        for row in rows:
            yield row.to_json() | {"floor_ms": floors.get(row.engine)}


def show(rows: list[Row], floors: dict[str, float]) -> None:
    """Print a batch's rows as a table, and how ours stand against what they are held against."""
    print(f"\n{'batch ' + str(rows[0].batch):16}{'median ms':>10}{'10 %':>10}{'90 %':>10}", end="")
    print(f"{'floor':>10}{'of floor':>10}")
    median = {row.engine: row.median_ms for row in rows if row.median_ms is not None}
    for row in rows:
        if row.median_ms is None:
            print(f"{row.engine:16}{row.missing}")
            continue
        line = f"{row.engine:16}{row.median_ms:10.3f}{row.low_ms:10.3f}{row.high_ms:10.3f}"
        if floors.get(row.engine):
            floor = floors[row.engine]
            line += f"{floor:10.3f}{row.median_ms / floor:9.2f}x"
        print(line)
    for ours, other in AIMS:
        if ours in median and other in median:
            print(f"{ours} is {median[other] / median[ours]:.2f} x as fast as {other}")


def show_layers(works: dict[str, list[Work]]) -> None:
    """Print what each layer must do."""
    for name, layers in works.items():
        print(f"\n{name:24}{'how':>8}{'operations':>12}{'loads':>12}{'straddle':>10}", end="")
        print(f"{'made':>8}{'floor us':>10}")
        for work in layers:
            print(
                f"{work.node[:23]:24}{work.how:>8}{work.operations:12,}{work.loads:12,.0f}"
                f"{100 * work.straddling:9.0f}%{work.made:7.2f}x{1e-3 * work.floor_ns:10.2f}"
            )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--batch", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--engines", default=",".join(ENGINES))
    parser.add_argument("--seconds", type=float, default=5.0, help="of calls, an engine and batch")
    parser.add_argument("--data")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--input-shape", help="C,H,W, where a file does not say it")
    parser.add_argument("--layers", action="store_true", help="what each layer must do")
    parser.add_argument("--random", action="store_true")
    parser.add_argument("--density", type=float, default=0.07)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.engines = asked.engines.split(",")
    try:
        check_engines(asked.engines)
    except EspalierError as error:
        parser.error(str(error))
    asked.files = asked.files or ([] if asked.random else sorted(NETWORKS.glob("*.espalier")))
    if not asked.files and not asked.random:
        parser.error(f"{NETWORKS} holds no network yet; name FILEs, or take --random.")
    return asked


def main() -> None:
    """Measure what the command line names."""
    asked = arguments()
    try:
        runtime = f"onnxruntime {version('onnxruntime')}"
    except PackageNotFoundError:
        runtime = "no onnxruntime"
    print(machine(1), runtime, sep="; ")
    rates = measure_rates()
    print("nanoseconds: " + ", ".join(f"{name} {ns}" for name, ns in asdict(rates).items()))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files: list[Path] = list(asked.files)
        if asked.random:
            files.append(folder / f"random {asked.density} {asked.bits} bits.espalier")
            write_random(files[-1], asked.density, asked.bits)
        for number, path in enumerate(files):
            place = folder / str(number)
            place.mkdir()
            try:
                found += measure(path, place, asked, rates)
            except EspalierError as error:
                sys.exit(f"latency.py: {path}: {error}")
    if asked.json:
        print(json.dumps({"rows": found}))


if __name__ == "__main__":
    main()
