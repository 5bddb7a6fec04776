"""The report as one HTML page that needs nothing beside itself."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from espalier.report.beyond import run_size, size_kind
from espalier.report.book import Book, Part
from espalier.report.cells import score
from espalier.report.charts import Chart, HeatMap, place
from espalier.report.operations import OperationRow
from espalier.report.palette import gamma_colors
from espalier.report.runs import RunRow
from espalier.report.sheets import (
    MARKS,
    Entry,
    Sheet,
    accuracy_sheet,
    efficiency_sheet,
    full_caption,
    highlight_sheet,
    in_words,
    kilobytes,
    ship_sheet,
)
from espalier.report.svg import to_svg
from espalier.report.tables import SHOWN_RHO
from espalier.report.texts import spoken

__all__ = ["page"]


def page(book: Book, words: Mapping[str, str], again: str) -> str:
    """Return the page.

    Args:
        book: the report's rows.
        words: of the language.
        again: the command that makes it again.
    """
    gammas = sorted({run.gamma for run in book.runs})
    title = escape(words["title"].format(book.name))
    counts = words["progress"].format(all=len(book.runs), **book.counts)
    main = [
        f"<header><h1>{title}</h1><p class=progress>{escape(counts)}</p>"
        f"<p class=rule>{escape(words[f'rule.{book.rule}'])}</p></header>",
        *(_part(part, words, gammas) for part in book.parts),
        _runs(book, words),
        _troubles(book, words),
        _origin(book, words, again),
    ]
    return "\n".join(
        [
            f'<!doctype html><html lang="{words["lang"]}"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="generator" content="espalier report">',
            '<link rel="icon" href="data:,">',
            f"<title>{title}</title><style>{_asset('page.css')}{_colors(gammas)}</style></head>",
            f"<body><main>{''.join(main)}</main><div id=tip role=status></div>",
            f"<script>{_asset('page.js')}</script></body></html>",
            "",
        ]
    )


def _asset(name: str) -> str:
    return files("espalier.report").joinpath("assets", name).read_text(encoding="utf-8")


def _colors(gammas: Sequence[float]) -> str:
    """Return the style's rules for each gamma, in light and in dark."""

    def rules(*, dark: bool) -> str:
        colors = gamma_colors(len(gammas), dark=dark)
        return "".join(f".g{i}{{--c:{color}}}" for i, color in enumerate(colors))

    dark = f"@media screen and (prefers-color-scheme:dark){{{rules(dark=True)}}}"
    return rules(dark=False) + dark


def _part(part: Part, words: Mapping[str, str], gammas: Sequence[float]) -> str:
    heading = ""
    if part.variant.label:
        heading = f"<h2 class=variant>{escape(words['variant'].format(part.variant.label))}</h2>"
    published = f"<p class=note>{escape(words['published.note'])}</p>"
    sheets = [
        accuracy_sheet(part.accuracy, words),
        efficiency_sheet(part.efficiency, words),
        highlight_sheet(part.highlights, words),
    ]
    beyond = _charts(part.further, words, gammas) + _operations(part.operations, words)
    blocks = [
        _ship(part, words),
        f"<section><h2>{escape(words['section.tables'])}</h2>"
        + (published if part.variant.published else "")
        + "".join(_sheet(sheet, words) for sheet in sheets)
        + "</section>",
        _section("figures", _charts(part.paper, words, gammas), words),
        _section("differences", _charts(part.differences, words, gammas), words),
        _section("beyond", beyond, words),
    ]
    return heading + "".join(blocks)


def _section(name: str, content: str, words: Mapping[str, str]) -> str:
    if not content:
        return ""
    return f"<section><h2>{escape(words[f'section.{name}'])}</h2><div class=charts>{content}</div></section>"  # noqa: E501


def _ship(part: Part, words: Mapping[str, str]) -> str:
    """Return the headline: what to ship, the best of each kind, and the chooser."""
    cards = []
    for row in part.highlights:
        if f"card.{row.key}" not in words:
            continue
        unit = "" if row.key.startswith("efficiency") else "<small> %</small>"
        number = MARKS["missing"] if row.value is None else spoken(f"{row.value:.2f}", words)
        value = number if row.value is None else f"{number}{unit}"
        where = "–" if row.cell is None else escape(spoken(place(row.cell), words))
        there = ""
        if row.published is not None and row.difference is not None:
            change = spoken(f"{row.published:.2f} ({row.difference:+.2f})", words)
            there = f"{escape(words['published'])} {change}"
        run = "" if row.cell is None else escape(" ".join(row.cell.run_ids))
        cards.append(
            f'<div class=card data-run="{run}"><span>{escape(words[f"card.{row.key}"])}</span>'
            f"<b>{value}</b><span>{where}</span><span class=pub>{there}</span></div>"
        )
    kind = size_kind(part.variant.runs)
    return (
        f"<section class=ship><h2>{escape(words['section.ship'])}</h2>"
        f"<p class=lead>{escape(_lead(part, words))}</p><div class=cards>{''.join(cards)}</div>"
        f"{_chooser(part, words, kind)}{_sheet(ship_sheet(part.ship, words), words)}"
        f"<p class=note>{escape(words[f'ship.{kind}'])}</p></section>"
    )


def _lead(part: Part, words: Mapping[str, str]) -> str:
    best = next(row for row in part.highlights if row.key == "efficiency")
    dense = next(row for row in part.highlights if row.key == "dense")
    cell = best.cell
    if dense.value is None:
        return words["lead.no_baseline"]
    if cell is None or not cell.ratio or cell.density is None or cell.test_accuracy is None:
        return words["lead.nothing"]
    text = words["lead.efficiency"].format(
        place=place(cell),
        density=f"{100 * cell.density:.2f} %",
        times=f"{1 / cell.ratio:.0f}",
        ratio=f"{cell.ratio:.4f}",
        accuracy=f"{cell.test_accuracy:.2f} %",
        lost=f"{cell.test_accuracy - dense.value:+.2f}",
    )
    by_file = score(cell, dense.cell, SHOWN_RHO, by="file")
    if by_file is not None and cell.file_ratio:
        text += words["lead.file"].format(
            size=kilobytes(cell.size_bytes),
            times=f"{1 / cell.file_ratio:.0f}",
            file=f"{by_file:.2f}",
            paper=f"{best.value or 0.0:.2f}",
        )
    return spoken(text, words)


def _chooser(part: Part, words: Mapping[str, str], kind: str) -> str:
    """Return the two fields that ask for a floor and a budget; the page's script answers."""
    sized = [(run, run_size(run, kind)) for run in part.variant.runs if run.done]
    rows = [
        [run.test_accuracy, size / 1000, spoken(place(run), words), run.run_id, run.judge]
        for run, size in sized
        if size
    ]
    if not rows:
        return ""
    labels = json.dumps({"none": words["ship.none"], "ship": words["ship.chosen"]})
    return (
        f"<form class=chooser data-runs='{escape(json.dumps(rows))}' data-words='{escape(labels)}'>"
        f"<label>{escape(words['ship.floor'])} <input name=floor type=number step=any></label>"
        f"<label>{escape(words['ship.budget'])} <input name=budget type=number step=any></label>"
        "<output></output></form>"
    )


def _sheet(sheet: Sheet, words: Mapping[str, str]) -> str:
    head = "".join(f"<th scope=col>{escape(column)}</th>" for column in sheet.columns)
    body = "".join(f"<tr>{''.join(_entry(entry) for entry in row)}</tr>" for row in sheet.rows)
    return (
        f'<figure class=sheet id="{sheet.key}"><h3>{escape(words[f"{sheet.key}.title"])}</h3>'
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"  # noqa: E501
        f"<figcaption>{escape(full_caption(sheet, words))}</figcaption></figure>"
    )


def _entry(entry: Entry) -> str:
    run = f' data-run="{escape(" ".join(entry.run_ids))}"' if entry.run_ids else ""
    text = f"<b>{escape(entry.text)}</b>" if entry.bold else escape(entry.text)
    small = f"<small class=aside>{escape(entry.aside)}</small>" if entry.aside else ""
    if entry.published:
        small += f"<small>{escape(entry.published)} <i>{escape(entry.difference)}</i></small>"
    return f'<td class="{entry.state}"{run}>{text}{small}</td>'


def _charts(charts: Sequence[Chart], words: Mapping[str, str], gammas: Sequence[float]) -> str:
    return "".join(_chart(chart, words, gammas) for chart in charts)


def _chart(chart: Chart, words: Mapping[str, str], gammas: Sequence[float]) -> str:
    suffix = chart.suffix if isinstance(chart, HeatMap) else ""
    title = words[f"{chart.key}.title"] + (f", {suffix}" if suffix else "")
    notes = "".join(
        f" <em>{escape(spoken(words[f'note.{key}'].format(about), words))}</em>"
        for key, about in chart.notes
    )
    if chart.empty:
        body = f"<p class=empty>{escape(words['empty'])}</p>"
    else:
        drawing, spots = to_svg(chart, words, gammas)
        data = json.dumps(spots, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        body = f'{drawing}<script type="application/json">{data}</script>'
    return (
        f'<figure class=chart data-key="{chart.key}"><h3>{escape(title)}</h3>{body}'
        f"<figcaption>{escape(words[f'{chart.key}.caption'])}{notes}</figcaption></figure>"
    )


def _operations(rows: Sequence[OperationRow], words: Mapping[str, str]) -> str:
    if not rows:
        return ""
    macs, left = sum(row.macs for row in rows), sum(row.macs_nonzero for row in rows)
    bits = sum(row.bit_operations for row in rows)
    lines = [
        *(
            (r.layer, r.macs, 100 * r.density_nonzero, r.macs_nonzero, r.bit_operations)
            for r in rows
        ),
        (words["total"], macs, 100 * left / macs, left, bits),
    ]
    sheet = Sheet(
        key="operations",
        columns=(
            words["layer"],
            words["macs_dense"],
            f"{words['density_nonzero']}, %",
            words["macs_nonzero"],
            words["bit_operations"],
        ),
        rows=in_words(
            (
                (
                    Entry(text=name),
                    Entry(text=f"{dense:,}"),
                    Entry(text=f"{density:.2f}"),
                    Entry(text=f"{some:,.0f}"),
                    Entry(text=f"{operations:,.0f}"),
                )
                for name, dense, density, some, operations in lines
            ),
            words,
        ),
        records=(),
    )
    return _sheet(sheet, words)


def _runs(book: Book, words: Mapping[str, str]) -> str:
    names = ["gamma", "bits", "lr", "seed", "state", "epochs", "test_accuracy", "val_accuracy",
             "density_percent", "efficiency", "efficiency_file", "size"]  # fmt: skip
    heads = ["γ", *(words[name] for name in names[1:]), ""]
    head = "".join(
        f"<th scope=col><button type=button>{escape(text)}</button></th>" if text else "<th></th>"
        for text in heads
    )
    scores = book.scores
    body = "".join(_run(run, scores[run.run_id], words) for run in book.runs)
    selects = "".join(
        f"<select data-column={names.index(name)} aria-label='{escape(words[name])}'>"
        f"<option value=''>{escape(words[name])}: {escape(words['all'])}</option></select>"
        for name in ("gamma", "bits", "lr", "state")
    )
    return (
        f"<section id=runs><h2>{escape(words['section.runs'])}</h2><div class=filters>"
        f"<input type=search data-lr='{escape(words['short.lr'])}' placeholder='{escape(words['filter'])}' aria-label='{escape(words['filter'])}'>"  # noqa: E501
        f"{selects}<span class=shown data-words='{escape(words['shown'])}'></span></div>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"  # noqa: E501
        f"<p class=note>{escape(words['sort'])}</p></section>"
    )


def _run(run: RunRow, scores: tuple[float | None, float | None], words: Mapping[str, str]) -> str:
    def number(value: float | None, form: str = "{:.2f}") -> tuple[str, str]:
        return ("", "–") if value is None else (f"{value!r}", spoken(form.format(value), words))

    epochs = str(run.epochs_run) if run.epoch is None else f"{run.epoch} / {run.epochs_run}"
    size = run.size_bytes if run.size_bytes is not None else run.asked_bytes
    cells = [
        number(run.gamma, "{:g}"),
        number(run.bits, "{:g}"),
        number(run.lr, "{:g}"),
        number(run.seed, "{:g}"),
        ("", words[f"state.{run.state}"]),
        (str(run.epochs_run), epochs),
        number(run.test_accuracy),
        number(run.val_accuracy),
        number(None if run.density is None else 100 * run.density),
        *(number(score) for score in scores),
        (number(size)[0], spoken(kilobytes(size), words)),
    ]
    fields = "".join(
        f'<td data-value="{value}">{escape(text)}</td>' if value else f"<td>{escape(text)}</td>"
        for value, text in cells
    )
    link = f"<td><button type=button class=go>{escape(words['to_figures'])}</button></td>"
    return (
        f'<tr id="run-{run.run_id}" class="{run.state}" data-run="{run.run_id}">{fields}{link}</tr>'
    )


def _troubles(book: Book, words: Mapping[str, str]) -> str:
    failed = [f"{spoken(place(run), words)}: {run.reason}" for run in book.runs if run.reason]
    parts = []
    for key, lines in (("failures", failed), ("problems", book.problems)):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines)
            parts.append(f"<section><h2>{escape(words[key])}</h2><ul>{items}</ul></section>")
    return "".join(parts)


def _origin(book: Book, words: Mapping[str, str], again: str) -> str:
    lines = [
        (words[f"origin.{key}"], ", ".join(found)) for key, found in book.origin.items() if found
    ]
    lines.append((words["origin.again"], again))
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in lines)
    return f"<section class=origin><h2>{escape(words['section.origin'])}</h2><dl>{items}</dl></section>"  # noqa: E501
