"""The command line in this process: what it prints, how it exits."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from espalier.cli import main
from espalier.data import DATASETS, Dataset
from espalier.data.modulation import modulation


@dataclass(frozen=True)
class Exit:
    """What a command left behind."""

    code: int
    out: str
    err: str


Command = Callable[..., Exit]


@pytest.fixture(scope="session")
def few_signals() -> Dataset:
    """The modulation data, of a size for tests."""
    return modulation(per_class=20, length=32)


@pytest.fixture
def espalier(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, few_signals: Dataset
) -> Iterator[Command]:
    """Run a command, on few signals, outside of a terminal."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setitem(DATASETS, "modulation", lambda **_: few_signals)

    def run(*arguments: str) -> Exit:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        code = caught.value.code
        return Exit(code if isinstance(code, int) else 0, printed.out, printed.err)

    yield run
    signal.signal(signal.SIGTERM, before)
