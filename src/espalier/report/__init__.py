"""The report: from a study's records to rows, and from rows to tables, figures and one page."""

from espalier.report.book import Book, Part, make_book
from espalier.report.runs import RULES, Rule
from espalier.report.write import refuse_foreign, write_report

__all__ = ["RULES", "Book", "Part", "Rule", "make_book", "refuse_foreign", "write_report"]
