"""Generated C: right on every network, compiler and target; whole on disk or not there."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from espalier.errors import ConfigError, NonFiniteError, StorageError
from espalier.export.c import TARGETS, write_c
from espalier.export.graph import Concat, Convolution, Graph, Linear
from espalier.export.reference import run_all

from ..networks import NETWORKS, Builder  # noqa: TID252

STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
SANITIZED = ["-g", "-O0", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def strided_chains() -> Graph:
    """Strides with dilations and groups, an input with two users' margins, a branch unused."""
    b = Builder(4, 13, 12, seed=5)
    left = b.conv(4, (3, 3), padding=1, density=0.9)
    b.conv(6, (3, 3), padding=((3, 2), (2, 3)), dilation=2, groups=2, of=b.input)
    b.pool("max", 3, 3)
    b.activation("relu")
    b.conv(8, (3, 3), stride=3, padding=2, dilation=2, groups=4, of=left)
    b.activation("hardswish")
    b.pool("max", 2, 2)
    b.pool("max", 2, 2)
    b.flatten()
    b.linear(5, density=1.0)
    return b.graph()


def long_signal() -> Graph:
    """Rows longer than a block of sums, with a maximum inside blocks; layers on every row."""
    b = Builder(2, 3000, seed=6)
    b.conv(5, (7,), padding=3)
    b.pool("max", 3, 3)
    b.activation("leaky_relu", 0.5)
    b.conv(3, (1,), density=1.0)
    b.linear(9)
    b.conv(4, (3,), padding=1)
    return b.graph()


def wide_image() -> Graph:
    """Rows that no block holds whole; negative scales before a maximum."""
    b = Builder(2, 7, 300, seed=7)
    b.conv(4, (3, 3), padding=1)
    b.activation("relu")
    b.pool("max", 2, 2)
    b.conv(3, (3, 3))
    b.pool("max", 5, 5) if b.last.shape[1] >= 5 else b.activation("relu6")
    graph = b.graph()
    first = graph.nodes[0]
    flipped = replace(first.layer, scale=-first.layer.scale)
    return replace(graph, nodes=(replace(first, layer=flipped), *graph.nodes[1:]))


def whole_vectors() -> Graph:
    """Rows that whole vectors fill, with nothing beside an image; a stride; wide windows."""
    b = Builder(3, 12, 32, seed=9)
    b.conv(6, (3, 3), padding=1, density=0.8)
    b.conv(6, (1, 5), padding=((0, 0), (4, 4)), dilation=2)
    b.activation("relu")
    b.conv(8, (3, 3), padding=1, groups=2)
    b.pool("max", 2, 2)
    b.conv(5, (2, 2), padding=((1, 0), (0, 1)))
    b.conv(8, (3, 3), stride=2, padding=1)
    b.conv(4, (3, 3), padding=1)
    return b.graph()


def two_uses() -> Graph:
    """A flattened image that a convolution reads too, vectors one after the other."""
    b = Builder(3, 6, 6, seed=8)
    image = b.conv(4, (3, 3), padding=1)
    flat = b.flatten()
    other = b.conv(2, (3, 3), padding=1, of=image)
    other = b.flatten()
    b.add(Concat(), (flat.shape[0] + other.shape[0],), other, of=flat)
    b.linear(4)
    return b.graph()


GRAPHS = {
    **NETWORKS,
    **{f.__name__: f for f in (strided_chains, long_signal, wide_image, whole_vectors, two_uses)},
}


def compiler(name: str) -> str:
    if shutil.which(name) is None:
        pytest.skip(f"{name} not found: install {name}")
    return name


def build(directory: Path, command: str, flags: list[str]) -> Path:
    """Compile and return the self-test's program."""
    program = directory / "run"
    sources = [str(directory / "net.c"), str(directory / "net_test.c")]
    done = subprocess.run(
        [compiler(command), *STRICT, *flags, *sources, "-o", str(program), "-lm"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return program


def check(program: Path) -> str:
    done = subprocess.run([program], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shortened(graph: Graph, nodes: int) -> Graph:
    """Return the network's first layers, so that what comes later can't hide a mistake."""
    kept = graph.nodes[:nodes]
    return replace(graph, nodes=kept, output=kept[-1].output)


@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("name", GRAPHS)
def test_networks_pass_their_self_test(tmp_path: Path, name: str, command: str) -> None:
    """Every network is right and compiles without a warning."""
    directory = write_c(GRAPHS[name](), tmp_path / "net", target="scalar")
    assert "ok" in check(build(directory, command, ["-O1"]))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("name", GRAPHS)
def test_sanitizers_find_nothing(tmp_path: Path, name: str, command: str) -> None:
    """No network reads or writes outside its memory, at the largest sizes of blocks."""
    directory = write_c(GRAPHS[name](), tmp_path / "net", target="avx512")
    assert "ok" in check(build(directory, command, SANITIZED))


@pytest.mark.parametrize("flags", [["-O3", "-march=native"], [*SANITIZED, "-march=native"]])
@pytest.mark.parametrize("command", ["gcc", "clang"])
@pytest.mark.parametrize("target", ["avx2", "avx512"])
def test_sums_that_are_moved_are_those_of_their_outputs(
    tmp_path: Path, target: str, command: str, flags: list[str]
) -> None:
    """Also where nothing lies beside an image, with the machine's own vectors."""
    directory = write_c(whole_vectors(), tmp_path / "net", target=target)
    assert re.search(r"for \(int m = 0; m < \d; m\+\+\)", (directory / "net.c").read_text())
    assert "ok" in check(build(directory, command, flags))


@pytest.mark.slow
@pytest.mark.parametrize("optimize", ["speed", "size"])
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_runs_everywhere(tmp_path: Path, target: str, optimize: str) -> None:
    """A target sizes blocks and assumes nothing of the machine."""
    for name in ("residual", "wide_image"):
        place = tmp_path / name
        directory = write_c(GRAPHS[name](), place, target=target, optimize=optimize)
        assert "ok" in check(build(directory, "gcc", ["-O1"]))


@pytest.mark.slow
@pytest.mark.parametrize("name", GRAPHS)
def test_every_layer_is_right(tmp_path: Path, name: str) -> None:
    """A network cut after any of its layers is right too."""
    graph = GRAPHS[name]()
    for nodes in range(1, len(graph.nodes)):
        directory = write_c(shortened(graph, nodes), tmp_path / f"{nodes}")
        assert "ok" in check(build(directory, "gcc", ["-O1"]))


@pytest.mark.slow
def test_valgrind_finds_nothing(tmp_path: Path) -> None:
    """No branch depends on memory that nothing was written to."""
    valgrind = compiler("valgrind")
    directory = write_c(GRAPHS["strided_chains"](), tmp_path / "net")
    program = build(directory, "gcc", ["-O1", "-g"])
    command = [valgrind, "-q", "--error-exitcode=1", str(program)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_makefile_builds_and_tests(tmp_path: Path) -> None:
    """`make test` is all that a stranger needs."""
    compiler("make")
    compiler("cc")
    directory = write_c(GRAPHS["plain"](), tmp_path / "net", name="plain")
    done = subprocess.run(["make", "-C", directory, "test"], capture_output=True, text=True)
    assert "plain: ok" in done.stdout, done.stderr


def test_gcc_and_clang_agree_bit_for_bit(tmp_path: Path) -> None:
    """Without contraction, outputs are the same whatever the compiler and the vector width."""
    directory = write_c(GRAPHS["plain"](), tmp_path / "net")
    program = directory / "net_test.c"
    text = program.read_text()
    lines = [
        '#include "net.h"',
        "#include <stdio.h>",
        text[text.index("static const float input") : text.index("/* Computed")],
        "int main(void)",
        "{",
        "    float y[NET_OUTPUT_SIZE];",
        "    net_run_static(input, y);",
        "    for (int i = 0; i < NET_OUTPUT_SIZE; i++)",
        '        printf("%a\\n", (double)y[i]);',
        "    return 0;",
        "}",
    ]
    program.write_text("\n".join([*lines, ""]))
    variants = [("gcc", "-O0"), ("gcc", "-O2"), ("clang", "-O2")]
    flags = ["-ffp-contract=off"]
    outputs = {check(build(directory, c, [o, *flags])) for c, o in variants}
    assert len(outputs) == 1


def test_arena_stands_at_the_top(tmp_path: Path) -> None:
    """The header begins with the working memory, and it is less than all values together."""
    graph = GRAPHS["residual"]()
    header = (write_c(graph, tmp_path / "net", target="scalar") / "net.h").read_text()
    found = re.match(r"/\* Generated by Espalier\. Working memory: (\d+) bytes\. \*/\n", header)
    assert found is not None
    inputs = np.zeros((1, *graph.input.shape))
    total = sum(4 * value.size for value in run_all(graph, inputs).values())
    assert 0 < int(found[1]) < total * 2 / 3


def test_size_takes_fewer_bytes_than_speed(tmp_path: Path) -> None:
    """Codes of a byte stand for float32 values where the grid has them."""
    sizes = {}
    for optimize in ("speed", "size"):
        directory = write_c(GRAPHS["plain"](), tmp_path / optimize, optimize=optimize)
        command = [compiler("gcc"), "-std=c99", "-O1", "-c", "net.c"]
        subprocess.run(command, cwd=directory, check=True)
        sizes[optimize] = (directory / "net.o").stat().st_size
    assert sizes["size"] < sizes["speed"]


def test_names_of_layers_cannot_break_comments(tmp_path: Path) -> None:
    """A user's module may be called anything."""
    graph = GRAPHS["plain"]()
    first = replace(graph.nodes[0], name='a*/ int x; /* "??/ é')
    directory = write_c(replace(graph, nodes=(first, *graph.nodes[1:])), tmp_path / "net")
    assert "ok" in check(build(directory, "gcc", []))


def test_the_header_has_preparation_and_classes(tmp_path: Path) -> None:
    """As constants that code can take, whatever the classes are called."""
    classes = ("cat", 'a "dog"', "\\ ??/ é")
    graph = replace(GRAPHS["plain"](), mean=(0.5, 0.25, 1e-9), std=(0.125, 2.0, 3.0))
    directory = write_c(replace(graph, classes=classes), tmp_path / "net")
    (directory / "net_test.c").write_text(
        """#include "net.h"
#include <stdio.h>
static const float mean[] = NET_MEAN, std[] = NET_STD;
static const char *const classes[] = NET_CLASSES;
int main(void)
{
    for (int i = 0; i < 3; i++)
        printf("%g %g %s\\n", (double)mean[i], (double)std[i], classes[i]);
    return 0;
}
"""
    )
    for name in ("gcc", "clang"):
        said = check(build(directory, name, []))
        assert said.splitlines() == ["0.5 0.125 cat", '0.25 2 a "dog"', "1e-09 3 \\ ??/ é"]


def test_values_beyond_float32_are_refused(tmp_path: Path) -> None:
    """A self-test would expect infinities; the layer is named and nothing is written."""
    b = Builder(1, 6, 6, seed=3)
    b.conv(2, (3, 3), density=1.0)
    b.flatten()
    b.linear(3, density=1.0)
    graph = b.graph()
    nodes = list(graph.nodes)
    for i in (0, 2):
        layer = nodes[i].layer
        assert isinstance(layer, Convolution | Linear)
        nodes[i] = replace(nodes[i], layer=replace(layer, scale=np.full_like(layer.scale, 1e30)))
    huge = replace(graph, nodes=tuple(nodes))
    with pytest.raises(NonFiniteError, match=rf"{nodes[2].name}: .* exceed float32"):
        write_c(huge, tmp_path / "net")
    assert not (tmp_path / "net").exists()


def test_a_second_export_replaces_the_first(tmp_path: Path) -> None:
    """What the last export made is all that is there."""
    write_c(GRAPHS["plain"](), tmp_path / "net", name="old")
    write_c(GRAPHS["signals"](), tmp_path / "net")
    names = sorted(path.name for path in (tmp_path / "net").iterdir())
    assert names == ["Makefile", "net.c", "net.h", "net_test.c"]
    assert [path.name for path in tmp_path.iterdir()] == ["net"]


def test_foreign_files_stay(tmp_path: Path) -> None:
    """A directory that no export made is left alone."""
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ConfigError, match=r"holds thesis\.tex, which no export has made"):
        write_c(GRAPHS["plain"](), tmp_path)
    with pytest.raises(ConfigError, match="is a file; C code takes a directory"):
        write_c(GRAPHS["plain"](), tmp_path / "thesis.tex")


def test_places_that_cannot_be_written_to(tmp_path: Path) -> None:
    """The error names the place."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"can't write .*file/net"):
        write_c(GRAPHS["plain"](), tmp_path / "file" / "net")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arithmetic": "flot"}, r"arithmetic='flot' is unknown.*Did you mean 'float'\?"),
        ({"optimize": "sped"}, r"optimize='sped' is unknown.*Did you mean 'speed'\?"),
        ({"target": "avx"}, r"target='avx' is unknown; known: scalar.*Did you mean 'avx"),
        ({"name": "my-net"}, "name='my-net' is no identifier of C"),
    ],
)
def test_options_that_are_unknown(tmp_path: Path, options: dict[str, str], message: str) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigError, match=message):
        write_c(GRAPHS["plain"](), tmp_path / "net", **options)
    assert not list(tmp_path.iterdir())
