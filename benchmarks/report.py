"""Results as text, as a page and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.rows import REMOTE_ROWS, REMOTE_TIMES, ROWS, TIMES, Time

__all__ = ["LOCAL", "Page", "absolute_table", "facts", "missed", "picture", "table", "write"]

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """What is different about the page of each suite.

    Attributes:
        name: of the files, without their suffixes.
        title: of the page.
        command: that measures.
        alt: what the picture shows.
        note: about what is measured.
    """

    name: str
    title: str
    command: str
    alt: str
    note: str = ""


LOCAL = Page(
    "benchmarks",
    "Benchmarks",
    "./run bench    # or python benchmarks/bench.py",
    "Times of one call and of one process, by path and by peer",
)


def facts(values: Mapping[str, str]) -> str:
    """The machine, one fact per line."""
    return "\n".join(f"{name}: {value}" for name, value in values.items())


def _columns(lines: Sequence[Sequence[str]], numeric: Sequence[int]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _row_cells(results: Results) -> list[list[str]]:
    cells = []
    for row in (*ROWS, *REMOTE_ROWS):
        result = results["rows"].get(row.name)
        if result is None:
            continue
        value = result["value"]
        verdict = "failed" if result.get("failed") else "skipped"
        if value is not None:
            verdict = row.verdict(value)
        cells.append(
            [
                row.name,
                row.measure,
                "" if value is None else f"{value:.2f}{' ' + row.unit if row.unit else ''}",
                row.show(row.gate),
                row.show(row.aim),
                verdict,
                result["detail"],
            ]
        )
    return cells


def missed(results: Results) -> list[str]:
    """Names of the rows that miss their gate."""
    return [cells[0] for cells in _row_cells(results) if cells[5] == "MISSED"]


_HEADINGS = ["row", "measure", "value", "gate", "aim", "reached", "from"]


def table(results: Results) -> str:
    """The measures, for a terminal."""
    cells = [[cell.replace("`", "") for cell in line] for line in _row_cells(results)]
    return "\n" + _columns([_HEADINGS, *cells], (2, 3, 4))


def _sections(results: Results) -> dict[str, list[tuple[Time, dict[str, float]]]]:
    sections: dict[str, list[tuple[Time, dict[str, float]]]] = {}
    for shown in (*TIMES, *REMOTE_TIMES):
        if shown.side in results["times"]:
            sections.setdefault(shown.section, []).append((shown, results["times"][shown.side]))
    return sections


def _number(us: float) -> str:
    return f"{us:.2f}" if us < 10 else f"{us:.1f}" if us < 100 else f"{us:.0f}"


def absolute_table(results: Results) -> str:
    """The times behind the measures, for a terminal."""
    parts = []
    for section, entries in _sections(results).items():
        lines = [[section + ", in us", "min", "p25", "median"]]
        for shown, summary in entries:
            numbers = [_number(summary[name]) for name in ("min", "p25", "median")]
            lines.append([("  " if shown.ours else "  (peer) ") + shown.label, *numbers])
        parts.append(_columns(lines, (1, 2, 3)))
    return "\n" + "\n\n".join(parts) if parts else ""


def _reasons(results: Results) -> list[str]:
    """Why the aims that were missed were missed, as a section of the page."""
    missed_aims = {cells[1] for cells in _row_cells(results) if cells[5] in ("gate", "MISSED")}
    reasons = [
        f"* {row.measure}: {row.why}"
        for row in (*ROWS, *REMOTE_ROWS)
        if row.measure in missed_aims and row.why
    ]
    return ["## Aims that are missed", "", *reasons, ""] if reasons else []


def page(results: Results, about: Page) -> str:
    """The page for people: both tables, as Markdown."""
    lines = [
        f"# {about.title}",
        "",
        "Measure on your machine, and fail if a gate is missed:",
        "",
        "```sh",
        about.command,
        "```",
        "",
        f"This writes this page and the picture; do not edit them. {about.note}".rstrip(),
        "",
        "A value is the ratio of two things that one run measures alternately, in short slices: the ratio of",
        "their minima over the slices, or, for ways to make a process, of their 25th percentiles. *Gate* is",
        "the limit that must hold, *aim* the value that we want.",
        "",
        f"![{about.alt}]({about.name}.svg)",
        "",
        "| measure | value | gate | aim | reached | from |",
        "|---|--:|--:|--:|---|---|",
    ]
    lines += [f"| {' | '.join(cells[1:])} |" for cells in _row_cells(results)]
    lines += ["", *_reasons(results)]
    lines += [
        "## Absolute times",
        "",
        "In microseconds. Bold lines are rsyscall; the others are the alternatives.",
        "",
    ]
    for section, entries in _sections(results).items():
        lines += [f"| {section} | min | p25 | median |", "|---|--:|--:|--:|"]
        for shown, summary in entries:
            label = f"**{shown.label}**" if shown.ours else shown.label
            lines.append(
                f"| {label} | {' | '.join(_number(summary[name]) for name in ('min', 'p25', 'median'))} |"
            )
        lines.append("")
    lines += ["## The machine", "", "| fact | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in results["facts"].items()]
    return "\n".join(lines) + "\n"


# ---- the picture ----

_WIDTH, _LEFT, _RIGHT = 860, 330, 80
_BAR, _GAP = 18, 7
# Values that are further apart than this cannot be compared by the lengths of their bars.
_MOST_ON_ONE_LINEAR_AXIS = 30
_STYLE = """
  text { font: 13px system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #24292f }
  .heading { font-size: 15px; font-weight: 600 }
  .tick, .note { font-size: 11px; fill: #6e7781 }
  .grid { stroke: #d0d7de; stroke-width: 1 }
  .ours { fill: #2f6feb }
  .peer { fill: #aab2bd }
  .background { fill: #ffffff }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .tick, .note { fill: #8d96a0 }
    .grid { stroke: #30363d }
    .ours { fill: #4c8dff }
    .peer { fill: #6e7681 }
    .background { fill: #0d1117 }
  }
"""


def picture(results: Results, about: Page) -> str:
    """The absolute times, by path and by peer, as SVG."""
    parts: list[str] = []
    top = 16.0
    sections = [entries for name, entries in _sections(results).items() if name.startswith("one ")]
    for entries in sections:
        top = _panel(parts, top, entries) + 26
    parts.append(f'<rect class="ours" x="16" y="{top - 6:.0f}" width="12" height="12" rx="2"/>')
    parts.append(f'<text class="note" x="34" y="{top + 4:.0f}">rsyscall</text>')
    parts.append(f'<rect class="peer" x="100" y="{top - 6:.0f}" width="12" height="12" rx="2"/>')
    parts.append(f'<text class="note" x="118" y="{top + 4:.0f}">others</text>')
    machine = results["facts"]
    note = f"{machine['processor']}, {machine['processors']}, Linux {machine['kernel']}, {machine['Python']}"
    parts.append(
        f'<text class="note" x="{_WIDTH - 16}" y="{top + 4:.0f}" text-anchor="end">{escape(note)}</text>'
    )
    height = top + 20
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height:.0f}" '
        f'viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(about.alt)}">'
    )
    background = f'<rect class="background" width="{_WIDTH}" height="{height:.0f}" rx="6"/>'
    return "\n".join([head, f"<style>{_STYLE}</style>", background, *parts, "</svg>"]) + "\n"


class _Axis:
    """A horizontal axis from the left edge of a panel to its right.

    The length of a bar stands for its value, so bars need an axis that begins at zero. Where the values are
    too far apart for that, the axis is logarithmic, and a value is the position of a dot.
    """

    def __init__(self, low: float, high: float) -> None:
        self.logarithmic = high > _MOST_ON_ONE_LINEAR_AXIS * low
        width = _WIDTH - _LEFT - _RIGHT
        if self.logarithmic:
            self._low = math.log10(low) - 0.1
            self._scale = width / (math.log10(high) - self._low)
            exponents = range(math.ceil(self._low), math.floor(math.log10(high)) + 1)
            self.ticks = [10.0**exponent for exponent in exponents]
        else:
            self._low = 0.0
            self._scale = width / high
            step = 10.0 ** math.floor(math.log10(high))
            while high / step < 4:
                step /= 2
            self.ticks = [step * number for number in range(math.floor(high / step) + 1)]

    def __call__(self, us: float) -> float:
        return _LEFT + ((math.log10(us) if self.logarithmic else us) - self._low) * self._scale


def _panel(parts: list[str], top: float, entries: list[tuple[Time, dict[str, float]]]) -> float:
    """Draw one section; returns where it ends."""
    statistic = "min" if entries[0][1]["min"] < 10 else "p25"
    bars = sorted(((summary[statistic], shown) for shown, summary in entries), key=lambda bar: bar[0])
    axis = _Axis(bars[0][0], bars[-1][0])
    heading = f"{entries[0][0].section[0].upper()}{entries[0][0].section[1:]}: microseconds"
    if axis.logarithmic:
        heading += ", logarithmic"
    parts.append(f'<text class="heading" x="16" y="{top + 12:.0f}">{escape(heading)}</text>')
    first = top + 28
    bottom = first + len(bars) * (_BAR + _GAP)
    for value in axis.ticks:
        at = axis(value)
        parts.append(
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{first - 4:.0f}" y2="{bottom:.0f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{at:.1f}" y="{bottom + 13:.0f}" text-anchor="middle">{value:g}</text>'
        )
    for index, (us, shown) in enumerate(bars):
        y = first + index * (_BAR + _GAP)
        end = axis(us)
        kind = "ours" if shown.ours else "peer"
        if axis.logarithmic:
            mark = f'<circle class="{kind}" cx="{end:.1f}" cy="{y + _BAR / 2:.1f}" r="6"/>'
        else:
            place = f'x="{_LEFT}" y="{y:.0f}" width="{end - _LEFT:.1f}" height="{_BAR}"'
            mark = f'<rect class="{kind}" {place} rx="3"/>'
        parts.append(
            f'<text x="{_LEFT - 8}" y="{y + 13:.0f}" text-anchor="end">{escape(shown.label)}</text>{mark}'
            f'<text x="{end + 10:.1f}" y="{y + 13:.0f}">{_number(us)}</text>'
        )
    return bottom + 16


def write(results: Results, directory: Path, about: Page) -> None:
    """Write the page and the picture."""
    (directory / f"{about.name}.md").write_text(page(results, about))
    (directory / f"{about.name}.svg").write_text(picture(results, about))
