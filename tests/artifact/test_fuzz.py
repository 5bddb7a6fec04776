"""Structured fuzzing: whatever is done to a file, only an ``ArtifactError`` comes out."""

import io
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier import artifact
from espalier.artifact import coder as coder_module
from espalier.artifact.matrix import Matrix
from espalier.artifact.status import StreamFault
from espalier.core import core
from espalier.errors import ArtifactError

from .strategies import networks

MAX_BYTES = 2**16


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a file with bytes changed, cut or added, its checksums repaired or not."""
    coder = draw(st.sampled_from(("contexts", "static")))
    content = bytearray(artifact.pack(draw(networks), coder=coder))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content) - 1)) if content else 0
        match draw(st.sampled_from(("flip", "set", "insert", "cut", "repeat"))):
            case "flip" if content:
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "set" if content:
                content[at] = draw(st.sampled_from((0, 1, 127, 128, 255)))
            case "insert":
                content[at:at] = draw(st.binary(max_size=6))
            case "cut":
                del content[at : at + draw(st.integers(1, 9))]
            case _:
                content[at:at] = content[at : at + 12]
    return _resealed(content) if draw(st.booleans()) else bytes(content)


def _resealed(content: bytearray) -> bytes:
    """Make length and checksum of the header right again, so that deeper checks are reached."""
    if len(content) >= 28:
        content[16:24] = len(content).to_bytes(8, "little")
        length = int.from_bytes(content[12:16], "little")
        header = bytes(content[28 : 28 + length])
        content[24:28] = zlib.crc32(bytes(content[8:24]) + header).to_bytes(4, "little")
    return bytes(content)


def attack(content: bytes) -> None:
    try:
        with artifact.ArtifactFile(io.BytesIO(content), max_bytes=MAX_BYTES) as file:
            for _ in file.tensors():
                pass
    except ArtifactError as error:
        inside = error.offset is not None and 0 <= error.offset <= len(content)
        assert inside, error  # noqa: PT017 - success is fine as well


@given(content=damaged())
@settings(max_examples=300)
def test_damaged_files(content: bytes) -> None:
    """The reader with the compiled core, where there is one."""
    attack(content)


@given(content=damaged())
@settings(max_examples=60)
def test_damaged_files_in_python(content: bytes) -> None:
    """The reader with the coder in Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coder_module, "core", None)
        attack(content)


@given(data=st.data())
@settings(max_examples=300)
def test_damaged_streams(data: Any) -> None:
    """Any bytes as a stream of any matrix: the same answer in C and in Python."""
    if core is None:
        pytest.skip("the compiled core isn't built")
    kernel = data.draw(st.sampled_from(((1, 1), (3, 3), (1, 3))))
    rows, kernels = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    columns = kernels * kernel[0] * kernel[1]
    matrix = Matrix(
        rows=rows,
        columns=columns,
        kernel=kernel,
        nonzero=data.draw(st.integers(1, rows * columns)),
        offset=data.draw(st.sampled_from((1, 2, 2**62))),
        signed=data.draw(st.booleans()),
    )
    stream = data.draw(st.binary(max_size=120))
    answers = []
    for which in (core, None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(coder_module, "core", which)
            answers.append(_answer(stream, matrix))
    assert answers[0] == answers[1]


def _answer(stream: bytes, matrix: Matrix) -> Any:

    mask = np.zeros((matrix.rows, matrix.columns), np.bool_)
    codes = np.zeros(matrix.nonzero, np.int64)
    try:
        coder_module.read_stream(stream, mask, codes, matrix)
    except StreamFault as error:
        return error.args
    return mask.tolist(), codes.tolist()
