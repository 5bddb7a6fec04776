"""What was compiled before is found again, without torch; what is damaged is built anew."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from espalier import runtime
from espalier.errors import ArtifactError, ConfigError
from espalier.export.graph import Graph
from espalier.runtime import cache, compiler, network
from espalier.runtime.cache import Kept

from ..export.networks import NETWORKS, inputs_for  # noqa: TID252
from ..small_file import SHAPE, save_small  # noqa: TID252


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests of this file share."""
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler found: install gcc")
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def file(directory: Path) -> Path:
    return save_small(directory / "net.espalier")


@pytest.fixture
def none_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing be compiled."""
    monkeypatch.setattr(compiler.Compiler, "build_library", None)


def traced(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Note every graph that a library is made of."""
    graphs: list[Graph] = []
    of_graph = network._of_graph
    monkeypatch.setattr(
        network, "_of_graph", lambda graph, *rest: (graphs.append(graph), of_graph(graph, *rest))[1]
    )
    return graphs


SECOND = """
import sys, numpy
from espalier import runtime
network = runtime.compile(sys.argv[1], cache_dir=sys.argv[2])
outputs = network(numpy.ones((2, *network.input_shape), numpy.float32))
assert "torch" not in sys.modules, "torch was imported"
print(outputs.tobytes().hex(), network.classes, network.head)
"""


def test_the_second_time_torch_is_not_imported(directory: Path, file: Path) -> None:
    """Another process takes the library by the file's content alone, with equal outputs."""
    first = runtime.compile(file, cache_dir=directory)
    command = [sys.executable, "-c", SECOND, str(file), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = first(np.ones((2, *SHAPE), np.float32)).tobytes().hex()
    assert done.stdout.strip() == f"{expected} ('ant', 'bee', 'cat') logits"


def test_a_copy_is_the_same_network(
    directory: Path, file: Path, tmp_path: Path, none_built: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Content counts, not the path; nothing is traced."""
    first = runtime.compile(file, cache_dir=directory)
    graphs = traced(monkeypatch)
    copy = Path(shutil.copy(file, tmp_path / "copy.espalier"))
    assert runtime.compile(copy, cache_dir=directory).library == first.library
    assert not graphs


def test_other_options_compilers_and_generators_are_other_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of them changes the key."""
    one = compiler.Compiler(command=("cc",), flags=("-O3",), identity="1", target="sse")
    others = [
        compiler.Compiler(command=("gcc",), flags=("-O3",), identity="1", target="sse"),
        compiler.Compiler(command=("cc",), flags=("-O2",), identity="1", target="sse"),
        compiler.Compiler(command=("cc",), flags=("-O3",), identity="2", target="sse"),
    ]
    keys = [cache.file_key(b"x", c, {"input_shape": None}) for c in (one, *others)]
    keys.append(cache.file_key(b"x", one, {"input_shape": [3, 8, 8]}))
    keys.append(cache.file_key(b"y", one, {"input_shape": None}))
    with monkeypatch.context() as patch:
        patch.setattr(cache, "_generator", lambda: "another")
        keys.append(cache.file_key(b"x", one, {"input_shape": None}))
    assert len(set(keys)) == len(keys)
    assert cache.file_key(b"x", one, {"input_shape": None}) == keys[0]


def damage(path: Path, how: str) -> None:
    """Change a file of the cache as a crash or a careless hand would."""
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])


@pytest.mark.parametrize("how", ["gone", "cut", "emptied", "changed"])
@pytest.mark.parametrize("which", ["*.so", "*.json"])
def test_what_is_damaged_is_built_anew(
    directory: Path, tmp_path: Path, which: str, how: str
) -> None:
    """A library or an entry that is not what it was is never loaded."""
    graph = NETWORKS["signals"]()
    inputs = inputs_for(graph, 2)
    expected = runtime.compile(graph, cache_dir=tmp_path)(inputs)
    (kept,) = tmp_path.glob(which)
    content = kept.read_bytes()
    copy = tmp_path / "elsewhere"  # loaded under another name than the one above
    copy.mkdir()
    for path in (*tmp_path.glob("*.so"), *tmp_path.glob("*.json")):
        shutil.copy(path, copy)
    damage(copy / kept.name, how)
    np.testing.assert_array_equal(runtime.compile(graph, cache_dir=copy)(inputs), expected)
    assert (copy / kept.name).read_bytes() == content


def test_an_entry_with_other_shapes_is_refused(tmp_path: Path) -> None:
    """Shapes decide how much memory a library touches; a wish is not enough."""
    library = tmp_path / cache._library_name(b"x")
    library.write_bytes(b"x")
    kept = Kept(library=library, input_shape=(3,), output_shape=(1,), head="logits", classes=())
    cache.remember(tmp_path, "key", kept)
    assert cache.find(tmp_path, "key") == kept
    (entry,) = tmp_path.glob("*.json")
    checksum, body = entry.read_text().splitlines()
    entry.write_text(f"{checksum}\n{json.dumps({**json.loads(body), 'input_shape': [4]})}")
    assert cache.find(tmp_path, "key") is None


def test_a_damaged_artifact_is_not_in_the_cache(
    directory: Path, file: Path, tmp_path: Path
) -> None:
    """One bit makes another key, and the reader finds what is wrong."""
    runtime.compile(file, cache_dir=directory)
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    (tmp_path / "damaged.espalier").write_bytes(content)
    with pytest.raises(ArtifactError, match="changed since"):
        runtime.compile(tmp_path / "damaged.espalier", cache_dir=directory)
    with pytest.raises(ArtifactError, match=r"can't read .*nowhere"):
        runtime.compile(tmp_path / "nowhere.espalier", cache_dir=directory)


def test_the_shape_where_the_file_does_not_say_it(directory: Path, tmp_path: Path) -> None:
    """It is asked for, and belongs to the key."""
    path = save_small(tmp_path / "old.espalier", input=None)
    with pytest.raises(ConfigError, match="does not say the shape"):
        runtime.compile(path, cache_dir=directory)
    assert runtime.compile(path, cache_dir=directory, input_shape=SHAPE).input_shape == SHAPE
    other = (3, 16, 16)
    assert runtime.compile(path, cache_dir=directory, input_shape=other).input_shape == other
