"""Tables as reStructuredText, to be read on a terminal and kept in the README of this folder."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """One table; cells may be numbers, which are rounded to what they are good for."""

    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    #: Sentences below the table.
    notes: list[str] = field(default_factory=list)

    def add(self, *cells: str | float) -> None:
        """Add a row."""
        self.rows.append([cell if isinstance(cell, str) else _rounded(cell) for cell in cells])

    def __str__(self) -> str:
        widths = [max(len(row[place]) for row in [self.columns, *self.rows]) for place in range(len(self.columns))]
        rule = "  ".join("=" * width for width in widths)
        lines = [self.title, "-" * len(self.title), "", rule, _line(self.columns, widths), rule]
        # An empty first cell would join a row to the one above it; the others are made visible.
        lines += [_line([cell or "\\" for cell in row], widths) for row in self.rows]
        lines += [rule, "", *[f"- {note}" for note in self.notes]]
        return "\n".join([*lines, ""] if self.notes else lines)


def ratio(time: float, other: float) -> str:
    """Return how many times the other a time is."""
    return f"{time / other:.2f}"


def _rounded(number: float) -> str:
    return f"{number:.2f}" if abs(number) < 10 else f"{number:.1f}" if abs(number) < 100 else f"{number:.0f}"


def _line(cells: list[str], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
