"""Networks compiled for the host: right, from any thread, and never a crash."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from espalier import runtime
from espalier.errors import CompilerError, ConfigError, StorageError
from espalier.export.graph import Flatten, Graph, Node, Value
from espalier.export.reference import run
from espalier.runtime import CompiledNetwork, cache, compiler

from ..export.networks import NETWORKS, Builder, inputs_for  # noqa: TID252

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests of this file share."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler found: install gcc")
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def network(directory: Path) -> CompiledNetwork:
    return runtime.compile(NETWORKS["signals"](), cache_dir=directory, threads=2)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_oracle(directory: Path, name: str) -> None:
    """Within 1e-5 of the largest output in float64."""
    graph = NETWORKS[name]()
    inputs = inputs_for(graph, 5)
    outputs = runtime.compile(graph, cache_dir=directory, threads=2)(inputs)
    expected = run(graph, inputs)
    assert outputs.dtype == np.float32
    assert outputs.shape == expected.shape
    assert np.abs(outputs - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_rows_are_those_of_single_samples(network: CompiledNetwork) -> None:
    """Neither the batch nor the threads change a bit."""
    inputs = inputs_for(NETWORKS["signals"](), 7)
    whole = network(inputs)
    for i in range(len(inputs)):
        np.testing.assert_array_equal(network(inputs[i : i + 1])[0], whole[i])


def test_empty_batches_and_strided_inputs(network: CompiledNetwork) -> None:
    """An empty batch gives an empty one; memory order does not matter."""
    inputs = inputs_for(NETWORKS["signals"](), 6)
    assert network(inputs[:0]).shape == (0, 3)
    np.testing.assert_array_equal(network(inputs[::-2]), network(inputs)[::-2])
    turned = np.asfortranarray(inputs)
    np.testing.assert_array_equal(network(turned), network(inputs))


def test_threads_do_not_disturb_each_other(network: CompiledNetwork) -> None:
    """Calls from several threads have working memory of their own."""
    graph = NETWORKS["signals"]()
    batches = [inputs_for(graph, 40, seed=i) for i in range(4)]
    expected = [network(batch) for batch in batches]
    wrong: list[int] = []

    def work(i: int) -> None:
        wrong.extend(i for _ in range(20) if not np.array_equal(network(batches[i]), expected[i]))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (np.zeros((2, 40), np.float32), r"shape \(2, 40\); the network takes \(batch, 2, 40\)"),
        (np.zeros((1, 2, 41), np.float32), r"shape \(1, 2, 41\)"),
        (np.zeros((1, 1, 2, 40), np.float32), r"shape \(1, 1, 2, 40\)"),
        (np.float32(1), "inputs are a float32; the network takes a numpy array"),
        (np.zeros((1, 2, 40), np.uint8), "inputs are uint8; the network takes normalized float32"),
        (np.zeros((1, 2, 40)), "inputs are float64"),
        (np.zeros((1, 2, 40), ">f4"), "inputs are >f4"),
        ([[0.0]], "inputs are a list"),
        (None, "inputs are a NoneType"),
    ],
)
def test_inputs_of_another_kind(network: CompiledNetwork, inputs: object, message: str) -> None:
    """A clear error before anything runs."""
    with pytest.raises(ConfigError, match=message):
        network(inputs)  # type: ignore[arg-type]


def test_the_second_time_nothing_is_compiled(
    directory: Path, network: CompiledNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library is found by its content, and only there."""
    before = sorted(directory.iterdir())
    monkeypatch.setattr(compiler.Compiler, "build_library", None)
    again = runtime.compile(NETWORKS["signals"](), cache_dir=directory)
    assert again.library == network.library
    assert sorted(directory.iterdir()) == before


def test_working_memory_is_reported(network: CompiledNetwork) -> None:
    """The arena's size is that of the header."""
    assert 0 < network.arena_bytes < 100_000


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(compiler, "find_spec", lambda name: None)
    with pytest.raises(CompilerError, match=r"tried cc, gcc, clang .*apt install gcc"):
        runtime.compile(NETWORKS["signals"](), cache_dir=tmp_path)


def test_a_compiler_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$CC is taken at its word."""
    monkeypatch.setenv("CC", "no-such-compiler --fast")
    with pytest.raises(CompilerError, match="CC='no-such-compiler --fast' does not work"):
        runtime.compile(NETWORKS["signals"](), cache_dir=tmp_path)


def test_code_that_does_not_compile(directory: Path, tmp_path: Path) -> None:
    """The compiler's own words are shown, and nothing is left in the cache."""
    found = compiler.find_compiler()
    with pytest.raises(CompilerError, match=r"can't compile .*net\.c:\n(.*\n)*.*error"):
        cache.build({"net.c": "not C", "net.h": ""}, found, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_cache_that_cannot_be_written_to(directory: Path, tmp_path: Path) -> None:
    """The error names the place."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"can't write .*file/cache"):
        runtime.compile(NETWORKS["signals"](), cache_dir=tmp_path / "file" / "cache")


def test_a_cache_without_permission(
    directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says how to name another directory."""

    def refuse(*args: object, **options: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(cache.tempfile, "TemporaryDirectory", refuse)
    with pytest.raises(StorageError, match=r"can't write to the cache .*ESPALIER_CACHE"):
        runtime.compile(NETWORKS["signals"](), cache_dir=tmp_path)


def test_the_cache_is_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ESPALIER_CACHE comes first, then the platform's place."""
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "mine"))
    assert cache.default_directory() == tmp_path / "mine"
    monkeypatch.delenv("ESPALIER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.default_directory() == tmp_path / "espalier"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.default_directory() == Path.home() / ".cache" / "espalier"


def test_settings_out_of_bounds(directory: Path) -> None:
    """At least one thread, at least one number in and out."""
    with pytest.raises(ConfigError, match="threads=0 is less than 1"):
        runtime.compile(NETWORKS["signals"](), threads=0)
    nothing = Value("x", (0,))
    graph = Graph(
        input=nothing, nodes=(Node("f", Flatten(), ("x",), Value("y", (0,))),), output=nothing
    )
    with pytest.raises(ConfigError, match="nothing to run"):
        runtime.compile(graph, cache_dir=directory)


def test_a_network_of_one_layer_and_of_none(directory: Path) -> None:
    """The smallest networks run."""
    b = Builder(4, seed=9)
    same = Graph(input=b.input, nodes=(), output=b.input)
    inputs = inputs_for(same)
    np.testing.assert_array_equal(runtime.compile(same, cache_dir=directory)(inputs), inputs)
