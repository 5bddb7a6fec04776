"""The progress bar: late, on standard error, for people only."""

import pytest

from espalier.data.progress import Watch


def test_silent_without_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs and pipes get no bar, however long it takes."""
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setattr("espalier.data.progress._QUIET_S", 0.0)
    with Watch("decoding", total=2) as watch:
        watch.at(1)
        watch.update(1)
    assert capfd.readouterr() == ("", "")


def test_shown_on_a_terminal(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets the label on standard error once it takes long."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with Watch("decoding", total=2) as watch:
        watch.at(1)
        assert capfd.readouterr().err == ""
        monkeypatch.setattr("espalier.data.progress._QUIET_S", 0.0)
        watch.reset()
        watch.at(2)
    output = capfd.readouterr()
    assert output.out == ""
    assert "decoding" in output.err
