"""The report as a folder: written beside its place, then put there in one move."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from espalier.errors import ConfigError, StorageError, nearest
from espalier.records import read_study
from espalier.report.book import Book, Part, make_book
from espalier.report.charts import Chart, HeatMap
from espalier.report.draw import draw
from espalier.report.export import to_csv, to_markdown, to_tex
from espalier.report.page import page
from espalier.report.runs import RULES, Rule
from espalier.report.sheets import (
    accuracy_sheet,
    efficiency_sheet,
    full_caption,
    highlight_sheet,
    run_records,
    ship_sheet,
)
from espalier.report.texts import LANGUAGES, texts

__all__ = ["refuse_foreign", "report_files", "write_report"]

MARK = b'content="espalier report"'
"""What an index.html of ours has near its beginning."""


def write_report(study: Path, out: Path, *, rule: Rule = "paper", lang: str = "en") -> Book:
    """Read a study as it stands and write its report.

    Args:
        study: the study's directory; only read.
        out: the report's folder; an older report there is replaced.
        rule: which epoch counts, one of ``RULES``.
        lang: of the captions, ``"en"`` or ``"pt"``.

    Raises:
        ConfigError: no such rule or language, or ``out`` holds something else than a report.
        RecordError: the study's plan is missing, damaged, or of a newer version.
        StorageError: the report can't be written; what was there stays.
    """
    for name, asked, known in (("rule", rule, RULES), ("lang", lang, tuple(LANGUAGES))):
        if asked not in known:
            raise ConfigError(
                f"{name}={asked!r}: expected one of {', '.join(known)}.{nearest(asked, known)}"
            )
    book = make_book(read_study(study), rule)
    refuse_foreign(out)
    again = f"espalier report STUDY --rule {rule} --lang {lang}"
    _replace(out, report_files(book, texts(lang), again))
    return book


def report_files(book: Book, words: Mapping[str, str], again: str) -> Iterator[tuple[str, bytes]]:
    """Return the report's files, each with its path in the folder."""
    yield "index.html", page(book, words, again).encode()
    yield "tables/runs.csv", to_csv(run_records(book.runs, book.scores)).encode()
    gammas = sorted({run.gamma for run in book.runs})
    for i, part in enumerate(book.parts, start=1):
        end = f"-{i}" if part.variant.label else ""
        yield from _tables(part, words, end)
        for chart in part.charts:
            if not chart.empty:
                svg, png = draw(chart, words, gammas)
                yield f"figures/{_name(chart)}{end}.svg", svg
                yield f"figures/{_name(chart)}{end}.png", png


def _tables(part: Part, words: Mapping[str, str], end: str) -> Iterator[tuple[str, bytes]]:
    sheets = (
        accuracy_sheet(part.accuracy, words),
        efficiency_sheet(part.efficiency, words),
        highlight_sheet(part.highlights, words),
        ship_sheet(part.ship, words),
    )
    for sheet in sheets:
        title, caption = words[f"{sheet.key}.title"], full_caption(sheet, words)
        if part.variant.label:
            title = f"{title} ({part.variant.label})"
        yield f"tables/{sheet.key}{end}.csv", to_csv(sheet.records).encode()
        yield f"tables/{sheet.key}{end}.md", to_markdown(sheet, title, caption).encode()
        yield f"tables/{sheet.key}{end}.tex", to_tex(sheet, title, caption).encode()


def _name(chart: Chart) -> str:
    suffix = chart.suffix if isinstance(chart, HeatMap) else ""
    return f"{chart.key}_{suffix.replace(' ', '')}" if suffix else chart.key


def refuse_foreign(out: Path) -> None:
    """Refuse a place that holds something else than a report of ours, or nothing.

    Raises:
        ConfigError: it does.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"--out {out} is a file; expected a folder, or none.")
    index = out / "index.html"
    if not any(out.iterdir()) or (index.is_file() and MARK in index.read_bytes()[:1000]):
        return
    raise ConfigError(f"--out {out} holds other files than a report. Choose another folder.")


def _replace(out: Path, content: Iterator[tuple[str, bytes]]) -> None:
    made: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
        fresh = made / "new"
        for name, data in content:
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        if out.exists():
            out.rename(made / "old")
        fresh.rename(out)
    except OSError as error:
        if made is not None and (made / "old").exists() and not out.exists():
            (made / "old").rename(out)
        raise StorageError(f"can't write the report to {out}: {error.strerror}.") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
