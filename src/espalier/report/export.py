"""Sheets as files: CSV with full precision, Markdown and TeX as they are read."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from espalier.report.sheets import Entry, Sheet

__all__ = ["to_csv", "to_markdown", "to_tex"]

TEX = {
    "&": r"\&", "%": r"\%", "#": r"\#", "_": r"\_", "$": r"\$", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}",
    "γ": r"$\gamma$", "ρ": r"$\rho$", "–": "--", "…": r"\ldots{}", "·": r"$\cdot$", "±": r"$\pm$",
    "×": r"$\times$", "−": "$-$", "Δ": r"$\Delta$",
}  # fmt: skip
"""What TeX reads otherwise, or its fonts lack."""


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Return records as CSV, header first; None is an empty field.

    Example:
        >>> print(to_csv([{"gamma": 0.5, "bits": 4, "run": None}]), end="")
        gamma,bits,run
        0.5,4,
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if records:
        writer.writerow(records[0])
        writer.writerows(record.values() for record in records)
    return text.getvalue()


def to_markdown(sheet: Sheet, title: str, caption: str) -> str:
    """Return a sheet as a Markdown table: ours, what is beside it, in brackets the published."""
    lines = [f"# {title}", "", _markdown_line(sheet.columns)]
    lines.append(_markdown_line("---" for _ in sheet.columns))
    lines += [_markdown_line(_markdown(entry) for entry in row) for row in sheet.rows]
    return "\n".join([*lines, "", caption, ""])


def to_tex(sheet: Sheet, title: str, caption: str) -> str:
    """Return a sheet as a TeX table that needs no package."""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(f'{title}. {caption}')}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(sheet.columns) - 1)}}}",
        r"\hline",
        _tex_line(_tex(column) for column in sheet.columns),
        r"\hline",
        *(_tex_line(_tex_entry(entry) for entry in row) for row in sheet.rows),
        r"\hline",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _markdown_line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _markdown(entry: Entry) -> str:
    text = entry.text.replace("|", r"\|").replace("*", r"\*")
    text = f"**{text}**" if entry.bold else text
    text = f"{text}; {entry.aside}" if entry.aside else text
    return f"{text} ({entry.published})" if entry.published else text


def _tex_line(fields: Iterable[str]) -> str:
    return rf"{' & '.join(fields)} \\"


def _tex_entry(entry: Entry) -> str:
    text = _tex(entry.text)
    text = rf"\textbf{{{text}}}" if entry.bold else text
    text = rf"{text} {{\scriptsize {_tex(entry.aside)}}}" if entry.aside else text
    return rf"{text} {{\scriptsize ({_tex(entry.published)})}}" if entry.published else text


def _tex(text: str) -> str:
    return "".join(TEX.get(character, character) for character in text)
