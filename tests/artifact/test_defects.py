"""Whatever is wrong with a file has an error of its own, with its place."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from espalier import artifact
from espalier.artifact import coder as coder_module
from espalier.artifact.cursor import varint
from espalier.core import core
from espalier.encoded import encode
from espalier.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactHeaderError,
    ArtifactLengthError,
    ArtifactLimitError,
    ArtifactMagicError,
    ArtifactMetadataError,
    ArtifactStreamError,
    ArtifactVersionError,
)

from .crafting import EMPTY, assembled, section, tensor, uniform

META = section(1, EMPTY)
END = 28 + len(META)
"""Where the header ends that has metadata only."""
WEIGHTS = np.float32([0, 0.5, 0, 0, -1, 0, 0, 0])
GOOD = artifact.pack({"w": encode(WEIGHTS, step=0.5, bits=3)}, coder="contexts")
STATIC = artifact.pack({"w": encode(WEIGHTS, step=0.5, bits=3)}, coder="static")
STREAM = GOOD[-artifact.ArtifactFile(io.BytesIO(GOOD)).infos["w"].length :]


@pytest.fixture(params=["core", "python"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read with the compiled core, then with its twin."""
    if request.param == "python":
        monkeypatch.setattr(coder_module, "core", None)
    elif core is None:
        pytest.skip("the compiled core isn't built")


def read(tmp_path: Path, content: bytes, **options: Any) -> artifact.Artifact:
    path = tmp_path / "n.espalier"
    path.write_bytes(content)
    return artifact.read(path, **options)


def dense(fields: bytes, payload: bytes) -> bytes:
    return assembled([META, tensor(fields, payload)], [payload])


def streamed(stream: bytes, **fields: Any) -> bytes:
    return assembled([META, tensor(uniform(**fields), stream)], [stream])


def table(*pairs: tuple[int, int], stream: bytes = b"", offset: int = 1) -> bytes:
    """Return a file with a static payload, zigzagged first symbol and steps as given."""
    out = varint(len(pairs))
    for symbol, frequency in pairs:
        out += varint(symbol) + varint(frequency)
    return streamed(out + stream, coder=(0, 1, 1), offset=offset)


def raw(stream: bytes, *, value: float = 1.0, count: int = 2) -> bytes:
    """Return a file with raw values: 2 nonzeros of 30 promised, so many values given."""
    fields = bytes([18, 1, 30, 3, 2, 2, 1, 1, 1])
    payload = struct.pack(f"<{count}f", *[value] * count) + stream
    return assembled([META, tensor(fields, payload)], [payload])


def table_of_one_level(first: int = 4) -> bytes:
    """Return a file with a table of one level and one weight whose static symbol is as given."""
    fields = bytes([17, 1, 1, 3, 1, 1, 1]) + struct.pack("<f", 0.5) + bytes([0, 1, 1, 0])
    payload = varint(1) + varint(first) + varint(65_536) + bytes(4)
    return assembled([META, tensor(fields, payload)], [payload])


PRELUDE: dict[str, tuple[bytes, type[ArtifactError], str, int]] = {
    "empty": (b"", ArtifactMagicError, "no Espalier file", 0),
    "other": (b"PK\x03\x04" * 20, ArtifactMagicError, "no Espalier file", 0),
    "sent as text": (GOOD.replace(b"\r\n", b"\n"), ArtifactMagicError, "sent as text", 0),
    "short": (GOOD[:20], ArtifactLengthError, "ends early", 16),
    "magic only": (GOOD[:5], ArtifactLengthError, "ends early", 0),
    "version": (assembled([META], version=2), ArtifactVersionError, "version 2; this", 8),
    "version 0": (assembled([META], version=0), ArtifactVersionError, "has version 0", 8),
    "reserved": (assembled([META], reserved=7), ArtifactHeaderError, "hold 7; expected 0", 10),
    "cut": (GOOD[:-1], ArtifactLengthError, "it was cut off", len(GOOD) - 1),
    "continued": (GOOD + b"\0", ArtifactLengthError, "it was continued", len(GOOD)),
    "header": (assembled([META], header_length=2**20 + 1), ArtifactLengthError, "a header of", 12),
    "header out": (assembled([META], header_length=999), ArtifactLengthError, "are left", 12),
    "flipped": (
        GOOD[:40] + bytes([GOOD[40] ^ 1]) + GOOD[41:],
        ArtifactChecksumError,
        "the header has changed",
        8,
    ),
    "payload flipped": (
        GOOD[:-1] + bytes([GOOD[-1] ^ 1]),
        ArtifactChecksumError,
        "the payload has changed",
        len(GOOD) - len(STREAM),
    ),
    "hole": (assembled([META], [b"1234"]), ArtifactLengthError, "header and payloads take", END),
    "no metadata": (assembled([]), ArtifactHeaderError, "no metadata", 28),
    "metadata late": (
        assembled([tensor(bytes([0, 1, 0])), META]),
        ArtifactHeaderError,
        "once, and first",
        28,
    ),
    "metadata twice": (assembled([META, META]), ArtifactHeaderError, "once, and first", END),
    "section": (assembled([META, section(9, b"")]), ArtifactVersionError, "type 9", END),
    "section out": (
        assembled([META, b"\x02\x7f"]),
        ArtifactLengthError,
        "ends early: 127",
        END + 2,
    ),
    "number": (assembled([META, b"\x02\x80\x00"]), ArtifactHeaderError, "shortest form", END + 1),
    "large number": (
        assembled([META, b"\x02" + b"\xff" * 9]),
        ArtifactHeaderError,
        "is 2\\^63 or more",
        END + 1,
    ),
}

TENSOR: dict[str, tuple[bytes, type[ArtifactError], str]] = {
    "kind": (dense(bytes([4, 0]), b""), ArtifactHeaderError, "unknown kind 4"),
    "rank": (dense(bytes([0, 9, *[1] * 9]), b""), ArtifactHeaderError, "rank is 9; expected 0 to"),
    "size": (
        dense(bytes([0, 2]) + varint(2**20) * 2, b""),
        ArtifactLimitError,
        "more than 2\\^31 - 1",
    ),
    "side": (dense(bytes([0, 2]) + varint(2**40) + b"\0", b""), ArtifactLimitError, "more than 2"),
    "length": (dense(bytes([0, 1, 3]), b"1234"), ArtifactLengthError, "4 bytes; expected 12"),
    "NaN": (
        dense(bytes([0, 1, 1]), struct.pack("<f", float("nan"))),
        ArtifactStreamError,
        "not finite",
    ),
    "no name": (assembled([META, tensor(bytes([0, 1, 0]), name=b"")]), ArtifactHeaderError, "no n"),
    "bad name": (
        assembled([META, tensor(bytes([0, 1, 0]), name=b"\xff")]),
        ArtifactHeaderError,
        "not UTF-8",
    ),
    "long name": (
        assembled([META, tensor(bytes([0, 1, 0]), name=b"n" * 513)]),
        ArtifactHeaderError,
        "length of the name is 513; expected 0 to 512",
    ),
    "shared": (
        assembled([META, tensor(bytes([0, 1, 0]), shared=1)]),
        ArtifactHeaderError,
        "shared is 1; expected 0 to 0",
    ),
    "twice": (
        assembled([META, tensor(bytes([0, 1, 0])), tensor(bytes([0, 1, 0]))]),
        ArtifactHeaderError,
        "two tensors are named 'w'",
    ),
    "too long": (
        assembled([META, tensor(bytes([0, 1, 0]), tail=b"!")]),
        ArtifactLengthError,
        "1 bytes too many in its section",
    ),
    "too short": (
        assembled([META, section(2, b"\0\1w\0")]),
        ArtifactLengthError,
        "tensor 'w' ends early",
    ),
    "bits": (streamed(STREAM, bits=0), ArtifactHeaderError, "bits is 0; expected 1 to 32"),
    "more bits": (streamed(STREAM, bits=33), ArtifactHeaderError, "bits is 33"),
    "kept": (streamed(STREAM, kept=9), ArtifactHeaderError, "kept is 9; expected 0 to 8"),
    "nonzero": (streamed(STREAM, nonzero=3), ArtifactHeaderError, "nonzero is 3; expected 0 to 2"),
    "step": (streamed(STREAM, step=0.0), ArtifactHeaderError, "step is 0.0; expected > 0"),
    "step inf": (streamed(STREAM, step=float("inf")), ArtifactHeaderError, "step is inf"),
    "step NaN": (streamed(STREAM, step=float("nan")), ArtifactHeaderError, "step is nan"),
    "coder": (streamed(STREAM, coder=(2, 1, 1)), ArtifactHeaderError, "coder is 2"),
    "kernel": (streamed(STREAM, coder=(1, 0, 1)), ArtifactHeaderError, "kernel height is 0"),
    "kernels": (streamed(STREAM, coder=(1, 3, 1)), ArtifactHeaderError, "3 x 1 do not divide 8"),
    "offset": (streamed(STREAM, offset=0), ArtifactHeaderError, "offset of the codes is 0"),
    "far offset": (streamed(STREAM, offset=2**62 + 1), ArtifactHeaderError, "offset of the codes"),
    "payload of nothing": (streamed(b"1", nonzero=0), ArtifactLengthError, "1 bytes; expected 0"),
    "infinite weight": (
        streamed(STREAM, offset=2**61, step=3e38),
        ArtifactStreamError,
        "code times the step is not finite",
    ),
}

STREAMS: dict[str, tuple[bytes, type[ArtifactError], str]] = {
    "empty": (streamed(b""), ArtifactStreamError, "ends before the tensor does"),
    "short": (streamed(STREAM[:-1]), ArtifactStreamError, "ends before the tensor does"),
    "long": (streamed(STREAM + b"\0"), ArtifactStreamError, "bytes are left after"),
    "state": (
        streamed(STREAM[:-1] + bytes([STREAM[-1] ^ 1])),
        ArtifactStreamError,
        "does not end in the state",
    ),
    "outside": (streamed(b"\xff" * 9), ArtifactStreamError, "does not end in the state"),
    "more": (raw(bytes(40)), ArtifactStreamError, "more nonzeros than"),
    "zero value": (raw(b"", value=0.0), ArtifactStreamError, "nonzeros that are 0 or not finite"),
    "no values": (raw(b"", count=1), ArtifactLengthError, "8 more bytes expected, 4 left"),
    "level": (
        table_of_one_level(),
        ArtifactStreamError,
        "code 1 of 1 levels",
    ),
    "negative level": (
        table_of_one_level(first=3),
        ArtifactHeaderError,
        "symbol -2 is out of bounds",
    ),
    "too large": (
        streamed(bytes(40), shape=(1,), kept=1, nonzero=1, offset=2**62),
        ArtifactStreamError,
        "a code is beyond 2\\^62",
    ),
    "static short": (table((0, 65536)), ArtifactStreamError, "ends before the tensor does"),
    "static fewer": (table((0, 65536), stream=bytes(4)), ArtifactStreamError, "fewer nonzeros"),
    "static more": (table((2, 65536), stream=bytes(4)), ArtifactStreamError, "more nonzeros than"),
    "static long": (table((0, 65536), stream=bytes(5)), ArtifactStreamError, "bytes are left"),
    "static state": (
        table((0, 65536), stream=bytes([0, 0, 0, 1])),
        ArtifactStreamError,
        "does not end in the state",
    ),
    "no symbols": (table(), ArtifactHeaderError, "number of symbols is 0"),
    "sum": (table((0, 5)), ArtifactHeaderError, "frequencies sum to 5; expected 65536"),
    "frequency": (table((0, 65536), (1, 0)), ArtifactHeaderError, "frequency is 0"),
    "same symbol": (table((0, 1), (0, 65535)), ArtifactHeaderError, "step to the next symbol is 0"),
    "far symbol": (
        table((2**63 - 1, 65536), offset=2),
        ArtifactHeaderError,
        "symbol .* is out of bounds",
    ),
    "table cut": (table((0, 65536))[:-1], ArtifactLengthError, "it was cut off"),
}


def check(tmp_path: Path, content: bytes, kind: type[ArtifactError], message: str) -> ArtifactError:
    with pytest.raises(ArtifactError, match=message) as caught:
        read(tmp_path, content)
    assert type(caught.value) is kind
    assert caught.value.offset is not None
    assert f"(byte {caught.value.offset})" in str(caught.value)
    assert 0 <= caught.value.offset <= len(content)
    return caught.value


@pytest.mark.parametrize("case", PRELUDE)
def test_damaged_headers(tmp_path: Path, case: str) -> None:
    """Prelude and sections: the class says what, the offset where."""
    content, kind, message, offset = PRELUDE[case]
    assert check(tmp_path, content, kind, message).offset == offset


@pytest.mark.parametrize("case", TENSOR)
def test_damaged_tensors(tmp_path: Path, case: str) -> None:
    """Each field of a tensor has bounds."""
    check(tmp_path, *TENSOR[case])


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("case", STREAMS)
def test_damaged_streams(tmp_path: Path, case: str) -> None:
    """Streams end where they must, with as many nonzeros as were promised; in both coders."""
    check(tmp_path, *STREAMS[case])


METADATA = {
    b"[]": "JSON object is expected",
    b"{": "metadata",
    b'{"a":1,"a":2}': "duplicate key 'a'",
    b'{"a":NaN}': "NaN is not JSON",
    b'{"a":1e999}': "not JSON compliant|Out of range",
    b"[" * 40 + b"]" * 40: "nested deeper than 32",
    b"\xff": "ascii",
    EMPTY.replace(b'"classes":[]', b'"classes": []'): "not in canonical form",
    EMPTY.replace(b'"classes":[]', b'"classes":[3]'): "classes is .*; expected a list of texts",
    EMPTY.replace(b'"classes":[]', b'"classes":["\\ud800"]'): "surrogates",
    EMPTY.replace(b'"classes":[],', b""): "no key 'classes'",
    EMPTY.replace(b'"classes"', b'"classed"'): "unknown key 'classed'.*'classes'",
    EMPTY.replace(b'"network":null', b'"network":{"name":"x"}'): "network is",
    EMPTY.replace(b'"network":null', b'"network":{"name":1,"options":{}}'): "network is",
    EMPTY.replace(b'"input":null', b'"input":{}'): "input is",
    EMPTY.replace(b'"metrics":{}', b'"metrics":[]'): "metrics is",
    EMPTY.replace(b'"operator":null', b'"operator":1'): "operator is",
    EMPTY.replace(b'"writer":""', b'"writer":1'): "writer is",
    b'{"a":"' + b"x" * 70_000 + b'"}': "at most 65536 are allowed",
}


@pytest.mark.parametrize("content", METADATA, ids=range(len(METADATA)))
def test_damaged_metadata(tmp_path: Path, content: bytes) -> None:
    """Metadata are canonical JSON of known keys and types."""
    file = assembled([section(1, content)])
    check(tmp_path, file, ArtifactMetadataError, METADATA[content])


def test_the_cap_comes_before_any_allocation(tmp_path: Path) -> None:
    """A file of 260 bytes that decodes to 8 GB is refused by its header."""
    bomb = streamed(STREAM, shape=(2**31 - 1,))
    with pytest.raises(
        ArtifactLimitError, match=r"take 8589934588 bytes .* max_bytes is 1073741824"
    ):
        read(tmp_path, bomb)
    with pytest.raises(ArtifactLimitError, match="take 32 bytes when decoded and max_bytes is 31"):
        read(tmp_path, GOOD, max_bytes=31)
    assert len(read(tmp_path, GOOD, max_bytes=32).tensors) == 1


def test_missing_files(tmp_path: Path) -> None:
    """A file that can't be read says why."""
    with pytest.raises(ArtifactError, match=r"can't read .*: No such file"):
        artifact.read(tmp_path / "none")
    with pytest.raises(ArtifactError, match=r"can't read .*: Is a directory"):
        artifact.read(tmp_path)


def test_a_file_that_changes_while_it_is_open(tmp_path: Path) -> None:
    """What is cut off after the header was read shows when the tensor is."""
    path = tmp_path / "n.espalier"
    artifact.write(path, {"w": np.zeros(30_000, np.float32)})
    with artifact.open_artifact(path) as file:
        path.write_bytes(path.read_bytes()[:-2])
        with pytest.raises(ArtifactLengthError, match="ends early: the file has changed"):
            file.tensor("w")
