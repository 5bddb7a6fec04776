"""What a network takes on small machines: flash, RAM, stack, and instructions a run.

    python benchmarks/embedded.py [FILE.espalier ..] [--density 0.07] [--bits 4] [--json]

Takes the files given, or those in benchmarks/networks; without any, the paper's network with random
weights of that density on a grid of that many bits, each magnitude equally likely, which is the
hardest to code. Integers are calibrated on random inputs. Each network stands beside its dense
twin: the same layers with no zero among their weights, in codes of 8 bits (as float32, weights
of the paper's network would not fit any of these machines).

Compiled by Debian's cross compilers with -O2, counted in qemu by a plugin that counts instructions
(emulators don't tell time). Flash is code and constants of the network alone; RAM is its arena and
whatever else it keeps; stack is its deepest chain of calls, from the compiler's call graph.
"""

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from drawn import write_random
from espalier import artifact
from espalier.encoded import encode
from espalier.export.c import Arithmetic, Optimize, write_c
from espalier.export.graph import Convolution, Graph, Linear
from espalier.export.trace import graph_of

HERE = Path(__file__).parent
BOARD = HERE.parent / "examples" / "cortex-m"
ARM = ("arm-none-eabi-gcc", "-mthumb", "-mfloat-abi=hard")
COMMON = ("-O2", "-std=gnu99", "-ffp-contract=off")
LINK = (
    f"-T{BOARD}/board.ld",
    "--specs=rdimon.specs",
    "-nostartfiles",
    "-Wl,--gc-sections,--no-warn-rwx-segments",
    "-Wl,--defsym=FLASH_BYTES=4194304,--defsym=RAM_BYTES=4194304",
    str(BOARD / "startup.c"),
)
QEMU = ("qemu-system-arm", "-nographic", "-monitor", "none", "-serial", "none")
SEMIHOSTING = ("-semihosting-config", "enable=on,target=native")


@dataclass(frozen=True)
class Machine:
    """How to build for a machine and how to run what was built."""

    name: str
    compiler: tuple[str, ...]
    link: tuple[str, ...]
    run: tuple[str, ...]
    size: str


MACHINES = (
    Machine(
        "cortex-m4",
        (*ARM, "-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16"),
        LINK,
        (*QEMU, *SEMIHOSTING, "-machine", "mps2-an386", "-kernel"),
        "arm-none-eabi-size",
    ),
    Machine(
        "cortex-m7",
        (*ARM, "-mcpu=cortex-m7", "-mfpu=fpv5-d16"),
        LINK,
        (*QEMU, *SEMIHOSTING, "-machine", "mps2-an500", "-kernel"),
        "arm-none-eabi-size",
    ),
    Machine(
        "aarch64",
        ("aarch64-linux-gnu-gcc",),
        ("-static",),
        ("qemu-aarch64",),
        "aarch64-linux-gnu-size",
    ),
)
FORMS: tuple[tuple[str, Arithmetic, Optimize], ...] = (
    ("sparse", "int", "size"),
    ("sparse", "int", "speed"),
    ("dense", "int", "speed"),
    ("sparse", "float", "size"),
    ("sparse", "float", "speed"),
    ("dense", "float", "size"),
)


def called(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command and return all it says."""
    done = subprocess.run(
        [str(word) for word in command], cwd=folder, capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def dense_twin(graph: Graph) -> Graph:
    """Return the same layers without zeros, in 8 bits."""
    rng = np.random.default_rng(2)
    nodes = []
    for node in graph.nodes:
        layer = node.layer
        if isinstance(layer, Convolution | Linear):
            shape = layer.weight.shape
            codes = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
            step = float(np.float32(1 / 128 / np.sqrt(np.prod(shape[1:]))))
            values = codes.astype(np.float32) * np.float32(step)
            layer = replace(layer, weight=encode(values, step=step))
        nodes.append(replace(node, layer=layer))
    return replace(graph, nodes=tuple(nodes))


def stack_bytes(callgraph: Path) -> int:
    """Return the deepest chain of calls that begins at ``net_run_static``."""
    text = callgraph.read_text()
    sizes = {
        title: int(size)
        for title, size in re.findall(r'node: \{ title: "([^"]+)"[^}]*?(\d+) bytes \(', text)
    }
    calls: dict[str, set[str]] = {}
    for caller, callee in re.findall(r'sourcename: "([^"]+)" targetname: "([^"]+)"', text):
        calls.setdefault(caller, set()).add(callee)

    def deepest(title: str) -> int:
        return sizes.get(title, 0) + max(map(deepest, calls.get(title, ())), default=0)

    return deepest(next(title for title in sizes if title.endswith("net_run_static")))


def measure(machine: Machine, net: Path, plugin: Path, folder: Path) -> dict[str, int]:
    """Build a network for a machine, and count."""
    compiler = (*machine.compiler, *COMMON, f"-I{net}")
    called(*compiler, "-fcallgraph-info=su", "-c", net / "net.c", "-o", folder / "net.o")
    sections: dict[str, int] = {}
    listing = called(machine.size, "-A", folder / "net.o")
    for name, size in re.findall(r"^\.(text|rodata|data|bss)\S*\s+(\d+)", listing, re.MULTILINE):
        sections[name] = sections.get(name, 0) + int(size)
    counts = []
    for runs in (1, 2):
        program = folder / f"run{runs}"
        main = (f"-DRUNS={runs}", HERE / "embedded_main.c", folder / "net.o")
        called(*compiler, *main, *machine.link, "-lm", "-o", program)
        plugged = (machine.run[0], "-plugin", plugin, "-d", "plugin", *machine.run[1:])
        said = called(*plugged, program)
        counts.append(int(re.findall(r"instructions: (\d+)", said)[0]))
    header = (net / "net.h").read_text()
    return {
        "flash_bytes": sections["text"] + sections.get("rodata", 0) + sections.get("data", 0),
        "code_bytes": sections["text"],
        "ram_bytes": sections.get("data", 0) + sections.get("bss", 0),
        "arena_bytes": int(re.findall(r"NET_ARENA_BYTES (\d+)", header)[0]),
        "stack_bytes": stack_bytes(folder / "net.ci"),
        "instructions": counts[1] - counts[0],
    }


def measured(name: str, graph: Graph, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield a row for each form and machine."""
    plugin = folder / "count.so"
    called("gcc", "-shared", "-fPIC", "-O2", HERE / "qemu_count.c", "-o", plugin)
    rng = np.random.default_rng(1)
    inputs = rng.standard_normal((64, *graph.input.shape), np.float32)
    twin = dense_twin(graph)
    for form, arithmetic, optimize in FORMS:
        net = write_c(
            graph if form == "sparse" else twin,
            folder / "net",
            arithmetic=arithmetic,
            calibration=inputs if arithmetic == "int" else None,
            optimize=optimize,
            target="scalar",
        )
        for machine in MACHINES:
            yield {
                "network": name,
                "machine": machine.name,
                "form": form,
                "arithmetic": arithmetic,
                "optimize": optimize,
                **measure(machine, net, plugin, folder),
            }


def main() -> None:
    """Read the command line, measure, show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--density", type=float, default=0.07, help="of random weights (0.07)")
    parser.add_argument("--bits", type=int, default=4, help="of random weights (4)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    asked = parser.parse_args()
    compilers = {machine.compiler[0] for machine in MACHINES}
    versions = [called(compiler, "--version").splitlines()[0] for compiler in sorted(compilers)]
    print("; ".join([*versions, called("qemu-aarch64", "--version").splitlines()[0]]))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = asked.files or sorted((HERE / "networks").glob("*.espalier"))
        if not files:
            random = f"paper_cnn, random, density {asked.density}, {asked.bits} bits"
            files = [folder / random]
            write_random(files[0], asked.density, asked.bits)
        columns = ("flash", "code", "RAM", "stack", "instructions")
        for file in files:
            known = artifact.read(file).metadata.input
            graph = graph_of(file, input_shape=None if known else (3, 32, 32))
            print(
                f"\n{file.name}\n{'machine':10} {'form':20}" + "".join(f"{c:>13}" for c in columns)
            )
            for row in measured(file.name, graph, folder):
                rows.append(row)
                form = f"{row['form']} {row['arithmetic']} {row['optimize']}"
                figures = [row[f"{c.lower()}_bytes"] for c in columns[:-1]] + [row["instructions"]]
                shown = "".join(f"{figure:13,}" for figure in figures)
                print(f"{row['machine']:10} {form:20}{shown}", flush=True)
    if asked.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
