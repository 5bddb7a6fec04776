"""Tensors and JSON in one file: exact, and every flipped byte is found."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from espalier.errors import CheckpointError
from espalier.train.container import read_container, write_container

TENSORS = {
    "kernel": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
    "half": torch.randn(3).to(torch.bfloat16),
    "double": torch.tensor(0.1, dtype=torch.float64),
    "state": torch.arange(7, dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "empty": torch.zeros(0, 2),
    "special": torch.tensor([float("nan"), float("inf"), -0.0]),
}
META = {"epoch": 3, "name": "weißes 'Rauschen'", "nested": {"a": [1, None, 2.5]}}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("container") / "checkpoint.safetensors"
    write_container(path, TENSORS, META)
    return path


def test_all_comes_back(written: Path) -> None:
    """Bits, types, shapes, layouts and values."""
    tensors, meta = read_container(written)

    assert meta == META
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        found = tensors[name]
        assert (found.dtype, found.shape) == (tensor.dtype, tensor.shape)
        assert found.stride() == tensor.stride()
        assert torch.equal(
            found.contiguous().view(torch.uint8).flatten() if found.ndim else found,
            tensor.contiguous().view(torch.uint8).flatten() if tensor.ndim else tensor,
        )


def test_any_reader_of_safetensors_opens_it(written: Path) -> None:
    """The file is plain safetensors."""
    assert torch.equal(load_file(written)["kernel"], TENSORS["kernel"])


def test_the_same_content_gives_the_same_bytes(written: Path, tmp_path: Path) -> None:
    """Nothing in the file depends on time, memory or order of hashing."""
    write_container(tmp_path / "again", dict(reversed(TENSORS.items())), META)

    assert (tmp_path / "again").read_bytes() == written.read_bytes()


def test_tied_tensors_are_written_twice(tmp_path: Path) -> None:
    """Tensors that share memory are no reason to refuse."""
    shared = torch.ones(3)
    write_container(tmp_path / "tied", {"a": shared, "b": shared, "c": shared[1:]}, {})

    assert torch.equal(read_container(tmp_path / "tied")[0]["b"], shared)


@given(st.data())
def test_a_flipped_bit_is_found(written: Path, data: st.DataObject) -> None:
    """Whichever bit of the file it is."""
    content = bytearray(written.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= 1 << data.draw(st.integers(0, 7))
    damaged = written.with_name("flipped")
    damaged.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"flipped is damaged .* run again"):
        read_container(damaged)


@given(st.data())
def test_a_cut_off_file_is_found(written: Path, data: st.DataObject) -> None:
    """Wherever it was cut off, and when something follows it."""
    content = written.read_bytes()
    damaged = written.with_name("cut")
    damaged.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CheckpointError, match="cut is damaged"):
        read_container(damaged)

    damaged.write_bytes(content + b"\0")
    with pytest.raises(CheckpointError, match="cut is damaged"):
        read_container(damaged)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    """Another program's safetensors hold nothing that says what they are."""
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "foreign")
    with pytest.raises(CheckpointError, match="foreign is damaged"):
        read_container(tmp_path / "foreign")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which."""
    with pytest.raises(CheckpointError, match=r"can't read .*none: No such file"):
        read_container(tmp_path / "none")
