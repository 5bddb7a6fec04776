"""What a stream can be found to lack; the same numbers as in the compiled core."""

from enum import IntEnum

from espalier.errors import ArtifactStreamError

__all__ = ["Status", "StreamFault", "stream_error"]


class Status(IntEnum):
    """The compiled core's answers."""

    DONE = 0
    ENDS_EARLY = 2
    ENDS_LATE = 3
    STATE = 4
    TOO_MANY = 5
    TOO_FEW = 6
    TOO_LARGE = 7


_MEANING = {
    Status.ENDS_EARLY: "the stream ends before the tensor does",
    Status.ENDS_LATE: "bytes are left after the tensor's end",
    Status.STATE: "the coder does not end in the state that a writer leaves",
    Status.TOO_MANY: "there are more nonzeros than the header says",
    Status.TOO_FEW: "there are fewer nonzeros than the header says",
    Status.TOO_LARGE: "a code is beyond 2^62",
}


class StreamFault(Exception):  # noqa: N818 - becomes an error once its place is known
    """A fault at some byte of a stream."""

    def __init__(self, status: Status) -> None:
        """Say which."""
        super().__init__(status)
        self.status = status


def stream_error(status: Status, name: str, offset: int) -> ArtifactStreamError:
    """Return the error of a fault in a tensor's stream at a byte of the file."""
    return ArtifactStreamError(f"tensor {name!r}: {_MEANING[status]}", offset=offset)
