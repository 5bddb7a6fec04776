"""The generated C on other machines: Cortex-M4 and M7 in qemu, aarch64 Linux, under valgrind."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from espalier.export.c import Arithmetic, write_c
from espalier.export.c.packed_functions import LIST
from espalier.export.graph import Graph

from ..networks import Builder  # noqa: TID252
from .test_write_c import GRAPHS, SANITIZED, STRICT

BOARD = Path(__file__).parents[3] / "examples" / "cortex-m" / "Makefile"
ARITHMETICS: list[Arithmetic] = ["float", "int"]
OPTIMIZE = ["speed", "size"]
QUICK = ["plain"]
"""Networks that every machine runs in the quick suite; the others run in the whole one."""
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in GRAPHS]


def needed(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} not found: run `make ci-deps`")


def written(graph: Graph, directory: Path, arithmetic: Arithmetic, optimize: str) -> Path:
    calibration = None
    if arithmetic == "int":
        rng = np.random.default_rng(3)
        calibration = rng.standard_normal((32, *graph.input.shape), np.float32)
    return write_c(
        graph,
        directory,
        arithmetic=arithmetic,
        calibration=calibration,
        optimize=optimize,
        target="scalar",
    )


def output_of(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def on_board(directory: Path, cpu: str, *options: str) -> str:
    """Build the self-test for a board, run it in the emulator and return what it says."""
    needed("make", "arm-none-eabi-gcc", "qemu-system-arm")
    out = directory.parent / f"build-{cpu}"
    command = ["make", "-s", "-f", str(BOARD), f"NET={directory}", f"CPU={cpu}", f"OUT={out}"]
    return output_of([*command, *options, "test"])


@pytest.mark.parametrize("cpu", ["cortex-m4", "cortex-m7"])
@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", NAMES)
def test_cortex_m_passes_the_self_test(
    tmp_path: Path, name: str, arithmetic: Arithmetic, optimize: str, cpu: str
) -> None:
    """Every network is right on a microcontroller, from flash, without a warning."""
    directory = written(GRAPHS[name](), tmp_path / "net", arithmetic, optimize)
    assert "net: ok" in on_board(directory, cpu)


@pytest.mark.parametrize("optimize", OPTIMIZE)
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", NAMES)
def test_aarch64_passes_the_self_test(
    tmp_path: Path, name: str, arithmetic: Arithmetic, optimize: str
) -> None:
    """Every network is right on a 64-bit Arm under Linux."""
    needed("aarch64-linux-gnu-gcc", "qemu-aarch64")
    directory = written(GRAPHS[name](), tmp_path / "net", arithmetic, optimize)
    program = tmp_path / "run"
    sources = [str(directory / "net.c"), str(directory / "net_test.c")]
    flags = [*STRICT, "-O2", "-static", "-ffp-contract=off"]
    output_of(["aarch64-linux-gnu-gcc", *flags, *sources, "-o", str(program), "-lm"])
    assert "net: ok" in output_of(["qemu-aarch64", str(program)])


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", ["residual", "strided_chains", "two_uses"])
def test_valgrind_finds_nothing_in_size_mode(
    tmp_path: Path, name: str, arithmetic: Arithmetic
) -> None:
    """No branch depends on memory that nothing was written to, and nothing is read outside."""
    needed("gcc", "valgrind")
    directory = written(GRAPHS[name](), tmp_path / "net", arithmetic, "size")
    program = tmp_path / "run"
    sources = [str(directory / "net.c"), str(directory / "net_test.c")]
    output_of(["gcc", *STRICT, "-O1", "-g", *sources, "-o", str(program), "-lm"])
    output_of(["valgrind", "-q", "--error-exitcode=1", str(program)])


@pytest.mark.slow
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("name", GRAPHS)
def test_sanitizers_find_nothing_in_size_mode(
    tmp_path: Path, name: str, arithmetic: Arithmetic
) -> None:
    """Packed weights read and write nothing outside their memory."""
    needed("gcc")
    directory = written(GRAPHS[name](), tmp_path / "net", arithmetic, "size")
    program = tmp_path / "run"
    sources = [str(directory / "net.c"), str(directory / "net_test.c")]
    output_of(["gcc", *STRICT, *SANITIZED, *sources, "-o", str(program), "-lm"])
    assert "net: ok" in output_of([str(program)])


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_filters_too_long_for_a_list(tmp_path: Path, arithmetic: Arithmetic) -> None:
    """Filters of more nonzeros than are listed on the stack are unpacked block by block."""
    b = Builder(40, 6, 7, seed=9)
    b.conv(3, (3, 3), padding=1, density=1.0)
    b.activation("relu")
    b.pool("max", 2, 2)
    assert LIST < 40 * 9
    directory = written(b.graph(), tmp_path / "net", arithmetic, "size")
    assert "net: ok" in on_board(directory, "cortex-m4")


def paper_network() -> Graph:
    """The paper's network at 7 % density and 4 bits, weights drawn at random."""
    b = Builder(3, 32, 32, seed=10)
    for filters, padding, pooled in ((32, 0, 0), (64, 0, 1), (64, 1, 0), (128, 0, 0), (128, 0, 1)):
        b.conv(filters, (3, 3), padding=padding, density=0.075)  # a 15th of the codes drawn is zero
        b.activation("relu")
        if pooled:
            b.pool("max", 2, 2)
    b.flatten()
    for outputs in (512, 256, 128):
        b.linear(outputs, density=0.075)
        b.activation("relu")
    b.linear(10, density=0.075)
    return b.graph()


@pytest.mark.slow
@pytest.mark.parametrize(("arithmetic", "ram_kb"), [("int", 64), ("float", 192)])
def test_the_papers_network_fits(tmp_path: Path, arithmetic: Arithmetic, ram_kb: int) -> None:
    """256 kB of flash hold it with its self-test and printf; it is right there."""
    directory = written(paper_network(), tmp_path / "net", arithmetic, "size")
    sizes = ("FLASH_BYTES=262144", f"RAM_BYTES={ram_kb * 1024}")
    assert "net: ok" in on_board(directory, "cortex-m4", *sizes)


def test_a_board_that_is_too_small_is_refused(tmp_path: Path) -> None:
    """What doesn't fit flash or RAM does not link."""
    needed("make", "arm-none-eabi-gcc", "qemu-system-arm")
    directory = written(GRAPHS["plain"](), tmp_path / "net", "float", "size")
    for option in ("FLASH_BYTES=1024", "RAM_BYTES=256"):
        command = ["make", "-s", "-f", str(BOARD), f"NET={directory}", option, "test"]
        done = subprocess.run(
            [*command, f"OUT={tmp_path / option}"], capture_output=True, text=True
        )
        assert done.returncode != 0
        assert "will not fit in region" in done.stderr or "overflowed" in done.stderr
