"""What is written is read back, bit for bit, by every reader there is."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from espalier import artifact
from espalier.artifact import coder as coder_module
from espalier.artifact.coder import read_stream, write_stream
from espalier.artifact.histogram import histogram_of
from espalier.artifact.matrix import Matrix, matrix_shape
from espalier.core import core
from espalier.encoded import Encoded, Raw, Uniform, decode

from . import independent_reader, strategies

CODERS = ("smallest", "contexts", "static")


def same(found: Any, expected: Any) -> bool:
    if isinstance(expected, Encoded):
        return (
            np.array_equal(found.mask, expected.mask)
            and found.codes.tobytes() == expected.codes.tobytes()
            and (found.grid, found.bits, found.kept)
            == (expected.grid, expected.bits, expected.kept)
            and decode(found).tobytes() == decode(expected).tobytes()
        )
    widened = expected.astype(np.float32) if expected.dtype == np.float16 else expected
    return found.dtype == widened.dtype and found.tobytes() == widened.tobytes()


def matrix_of(e: Encoded) -> Matrix:
    rows, columns = matrix_shape(e.shape)
    kernel = e.shape[2:] if len(e.shape) == 4 else (1, 1)
    raw = isinstance(e.grid, Raw)
    return Matrix(
        rows=rows,
        columns=columns,
        kernel=kernel,
        nonzero=e.nonzero,
        offset=0 if raw else int(np.abs(e.codes).min()),
        signed=isinstance(e.grid, Uniform),
    )


@pytest.mark.parametrize("coder", CODERS)
@given(tensors=strategies.networks)
@settings(max_examples=40)
def test_files_come_back(tmp_path_factory: Any, coder: Any, tensors: Any) -> None:
    """A file holds what was written, in order, under every model."""
    path = tmp_path_factory.getbasetemp() / f"{coder}.espalier"
    size = artifact.write(path, tensors, coder=coder)
    assert path.stat().st_size == size
    found = artifact.read(path).tensors
    assert list(found) == list(tensors)
    assert all(same(found[name], tensors[name]) for name in tensors)


@given(tensors=strategies.networks)
@settings(max_examples=40)
def test_the_independent_reader_agrees(tensors: Any) -> None:
    """A reader written from the document alone finds the same values."""
    for coder in ("contexts", "static"):
        _, found = independent_reader.read(artifact.pack(tensors, coder=coder))
        assert list(found) == list(tensors)
        for name, tensor in tensors.items():
            shape, values = found[name]
            assert shape == tensor.shape
            expected = decode(tensor) if isinstance(tensor, Encoded) else tensor
            assert np.array(values, expected.dtype).tobytes() == expected.tobytes()


@pytest.mark.skipif(core is None, reason="the compiled core isn't built")
@given(e=strategies.encoded())
@settings(max_examples=60)
def test_core_and_python_write_the_same_bytes(e: Encoded) -> None:
    """The compiled core and its twin agree on every byte, both ways, under both models."""
    if not e.nonzero:
        return
    matrix, codes = matrix_of(e), None if isinstance(e.grid, Raw) else e.codes
    for histogram in (None, histogram_of(e.mask, codes, matrix)):
        streams = []
        for which in (core, None):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(coder_module, "core", which)
                streams.append(write_stream(e.mask, codes, matrix, histogram))
                mask = np.zeros(e.shape, np.bool_)
                found = None if codes is None else np.zeros_like(codes)
                read_stream(streams[0], mask, found, matrix, histogram)
            assert np.array_equal(mask, e.mask)
            assert codes is None or np.array_equal(found, codes)
        assert streams[0] == streams[1]


def test_tensors_are_read_one_by_one(tmp_path: Path) -> None:
    """An open file gives one tensor at a time, in any order, and closes with its statement."""
    tensors = {"a": np.arange(5.0, dtype=np.float32), "b": np.arange(3)}
    artifact.write(tmp_path / "n.espalier", tensors)
    with artifact.open_artifact(tmp_path / "n.espalier") as file:
        assert file.tensor("b").tolist() == [0, 1, 2]
        assert file.tensor("a").tolist() == [0, 1, 2, 3, 4]
        assert file.infos["a"].shape == (5,)
        with pytest.raises(KeyError):
            file.tensor("c")
    with pytest.raises(ValueError, match="closed"):
        file.tensor("a")


def test_dense_tensors_in_half_precision(tmp_path: Path) -> None:
    """Asked tensors take two bytes an element and come back as float32."""
    tensors = {"bias": np.float32([0.5, 0.1]), "mean": np.float32([0.1])}
    artifact.write(tmp_path / "n.espalier", tensors, half=["bias"])
    found = artifact.read(tmp_path / "n.espalier").tensors
    assert found["bias"].dtype == np.float32
    assert found["bias"].tolist() == np.float32(np.float16([0.5, 0.1])).tolist()
    assert same(found["mean"], tensors["mean"])


def test_non_contiguous_arrays() -> None:
    """Memory layout doesn't matter."""
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    assert artifact.pack({"w": array.T}) == artifact.pack({"w": array.T.copy()})
