"""The report's files: the same bytes, nothing half-written, plain refusals."""

import csv
import json
from pathlib import Path

import pytest

from espalier import report
from espalier.cli import main
from espalier.errors import ConfigError, RecordError, StorageError
from espalier.report import write, write_report

from .builder import give_up, plan, published_study, spec


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave pictures out, which take seconds."""
    monkeypatch.setattr(write, "draw", lambda *_: (b"<svg/>", b""))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_records_give_the_same_bytes(tmp_path: Path) -> None:
    """Two reports of two copies of a study are equal, byte for byte."""
    for name in "ab":
        published_study(tmp_path / name)
        write_report(tmp_path / name, tmp_path / f"out-{name}")
    first, second = contents(tmp_path / "out-a"), contents(tmp_path / "out-b")

    assert first == second
    assert {f"figures/figure{n}.{kind}" for n in range(2, 8) for kind in ("svg", "png")} <= set(
        first
    )
    assert {f"tables/table{n}.{kind}" for n in (1, 2, 3) for kind in ("csv", "md", "tex")} <= set(
        first
    )
    assert b"http://" not in first["index.html"].replace(b"http://www.w3.org/2000/svg", b"")
    assert str(tmp_path).encode() not in first["index.html"]


@pytest.mark.usefixtures("undrawn")
def test_tables_as_files(tmp_path: Path) -> None:
    """CSV has the full numbers, Markdown and TeX the bold ones."""
    published_study(tmp_path / "study")
    write_report(tmp_path / "study", tmp_path / "out")
    tables = tmp_path / "out" / "tables"

    rows = list(csv.DictReader((tables / "table1.csv").read_text().splitlines()))
    assert len(rows) == 35
    assert (rows[0]["gamma"], rows[0]["bits"], rows[0]["test_accuracy"]) == ("0.0", "32", "87.21")
    assert "| **84.78** (84.78) |" in (tables / "table1.md").read_text()
    assert r"\textbf{95.2" in (tables / "table2.tex").read_text()
    assert r"\%" in (tables / "table1.tex").read_text()
    page = (tmp_path / "out" / "index.html").read_text()
    assert "cpu, 1 thread<" in page
    assert " points against the dense network" in page


def test_an_unfinished_study_has_a_report(tmp_path: Path) -> None:
    """Nothing finished, one given up: a page with gaps, and no picture made of nothing."""
    runs = [spec(gamma=0.5, bits=bits) for bits in (4, 8)]
    plan(tmp_path / "study", runs, "gamma", "bits")
    give_up(tmp_path / "study", runs[0], f"{tmp_path / 'study'}/runs/x: diverged <b>")
    write_report(tmp_path / "study", tmp_path / "out", lang="pt")
    page = (tmp_path / "out" / "index.html").read_text()

    assert "0 de 2 treinos concluídos" in page
    assert "runs/x: diverged &lt;b&gt;" in page
    assert not (tmp_path / "out" / "figures").exists()


def test_both_languages_have_the_same_words() -> None:
    """Each text has its translation, with the same braces."""
    from string import Formatter

    from espalier.report.texts import LANGUAGES

    english, portuguese = LANGUAGES["en"], LANGUAGES["pt"]
    assert english.keys() == portuguese.keys()
    for key in english:
        fields = [
            sorted(str(f[1]) for f in Formatter().parse(t[key])) for t in (english, portuguese)
        ]
        assert fields[0] == fields[1]


def test_an_older_report_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    """A report gives way to a new one; a folder of anything else does not."""
    published_study(tmp_path / "study", keep=lambda _: False)
    write_report(tmp_path / "study", tmp_path / "out")
    (tmp_path / "out" / "old").touch()
    write_report(tmp_path / "study", tmp_path / "out")
    assert not (tmp_path / "out" / "old").exists()

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").touch()
    with pytest.raises(ConfigError, match=r"holds other files than a report. Choose another"):
        write_report(tmp_path / "study", tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"is a file; expected a folder"):
        write_report(tmp_path / "study", tmp_path / "mine" / "precious")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious"]


def test_a_full_disk_leaves_the_old_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be written whole is not written at all."""
    published_study(tmp_path / "study", keep=lambda _: False)
    write_report(tmp_path / "study", tmp_path / "out")
    before = contents(tmp_path / "out")

    def full(*_: object) -> object:
        yield "index.html", b"half"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "report_files", full)
    with pytest.raises(StorageError, match=r"can't write the report to .*: No space left"):
        write_report(tmp_path / "study", tmp_path / "out")
    assert contents(tmp_path / "out") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "study"]


def test_words_that_are_unknown(tmp_path: Path) -> None:
    """An unknown rule or language names the nearest one."""
    with pytest.raises(ConfigError, match=r"rule='papr': expected .* Did you mean 'paper'\?"):
        write_report(tmp_path, tmp_path / "out", rule="papr")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"lang='xx': expected one of en, pt"):
        write_report(tmp_path, tmp_path / "out", lang="xx")


@pytest.mark.usefixtures("undrawn")
def test_newer_records(tmp_path: Path) -> None:
    """A plan of a newer version is refused; a newer result is a failed cell."""
    published_study(tmp_path / "study")
    result = next((tmp_path / "study" / "runs").iterdir()) / "result.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "version": 99}))
    book = write_report(tmp_path / "study", tmp_path / "out")
    assert book.counts["failed"] == 1
    assert "has version 99" in book.problems[0]

    (tmp_path / "study" / "plan.json").write_text('{"version": 99}')
    with pytest.raises(RecordError, match=r"has version 99; this Espalier reads"):
        write_report(tmp_path / "study", tmp_path / "out")


@pytest.mark.usefixtures("undrawn")
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit codes 0, 1 and 2; JSON alone on standard output."""
    published_study(tmp_path / "study")
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "study"), "--out", out, "--json"])
    assert ended.value.code == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["counts"]["done"] == 35
    assert summary["highlights"][0]["dense"] == 87.21

    for arguments, code, words in (
        ([str(tmp_path / "none")], 1, "holds no study"),
        ([str(tmp_path / "study"), "--rule", "best"], 2, "rule='best'"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["report", *arguments, "--out", out])
        assert ended.value.code == code
        assert words in capsys.readouterr().err


def test_names_of_the_room() -> None:
    """What the room exports exists."""
    assert all(hasattr(report, name) for name in report.__all__)
