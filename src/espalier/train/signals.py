"""SIGINT and SIGTERM ask a run to save and stop; a second one ends it at once."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType

__all__ = ["StopRequest", "stop_on_signals"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(slots=True)
class StopRequest:
    """Whether somebody asked to stop."""

    by: str | None = None
    """Name of the signal, for instance ``"SIGTERM"``; None as long as nobody asked."""


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first signal into a request; handlers are as before at the end.

    Only a process's main thread can receive signals: in another one nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        request.by = signal.Signals(number).name
        _install(before)

    for number in SIGNALS:
        signal.signal(number, ask)
    try:
        yield request
    finally:
        _install(before)


def _install(handlers: Mapping[signal.Signals, object]) -> None:
    for number, handler in handlers.items():
        # None: the handler was not made by Python and can't be put back; leave the default.
        signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]
