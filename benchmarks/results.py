"""Figures as a table on the terminal, as benchmarks/results.md, and as a chart."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from rich.console import Console
from rich.table import Table

mpl.use("svg")

from matplotlib import pyplot as plt  # the backend is chosen before

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Seconds of one case; `steady` and `ceiling` are the parts in which rows stream."""

    name: str
    rows: int
    megabytes: float
    ours: float
    script: float
    steady: float
    ceiling: float
    start: float
    at_most: float
    same: bool


@dataclass(frozen=True, slots=True)
class Cost:
    """A figure without rival, and what it is to reach."""

    name: str
    value: str
    target: str
    met: bool | None


def rows_of(results: list[CaseResult]) -> list[tuple[str, ...]]:
    """The cells of the table, the header first."""
    header = ("case", "rows", "MB", "service s", "script s", "ratio", "to reach", "server start s")
    cells: list[tuple[str, ...]] = [
        (
            r.name,
            f"{r.rows:,}",
            f"{r.megabytes:.0f}",
            f"{r.ours:.2f}",
            f"{r.script:.2f}",
            f"{r.ours / r.script:.2f}",
            f"{r.at_most:.1f} {_mark(r.ours / r.script <= r.at_most)}",
            f"{r.start:.2f}",
            f"{r.rows / r.steady:,.0f}",
            f"{r.ceiling / r.steady:.2f}",
            "yes" if r.same else "NO",
        )
        for r in results
    ]
    return [(*header, "rows/s", "of the ceiling", "same predictions"), *cells]


def print_tables(results: list[CaseResult], costs: list[Cost], title: str) -> None:
    console = Console(width=160)
    console.print(title)
    if results:
        header, *cells = rows_of(results)
        table = Table(*header)
        for row in cells:
            table.add_row(*row)
        console.print(table)
    table = Table("cost", "measured", "to reach")
    for cost in costs:
        table.add_row(cost.name, cost.value, f"{cost.target} {_mark(cost.met)}")
    console.print(table)


def write_results(results: list[CaseResult], costs: list[Cost], title: str) -> None:
    """benchmarks/results.md between its marks, and the chart; what people wrote there stays."""
    header, *cells = rows_of(results)
    lines = [f"*{title}*", "", "![chart](results.svg)", "", *_markdown(header, cells), ""]
    lines += _markdown(
        ("cost", "measured", "to reach"),
        [(cost.name, cost.value, f"{cost.target} {_mark(cost.met)}") for cost in costs],
    )
    file = FOLDER / "results.md"
    before, mark, rest = file.read_text().partition("<!-- measured -->\n")
    after = rest.partition("<!-- end -->\n")[2]
    measured = "\n".join(lines)
    file.write_text(f"{before}{mark}\n{measured}\n\n<!-- end -->\n{after}")
    _chart(results)


def _markdown(header: tuple[str, ...], cells: list[tuple[str, ...]]) -> list[str]:
    return [" | ".join(("", *row, "")).strip() for row in (header, ("---",) * len(header), *cells)]


def _mark(met: bool | None) -> str:  # noqa: FBT001  # a yes, a no, or neither
    return {True: "✓", False: "✗ missed", None: ""}[met]


def _chart(results: list[CaseResult]) -> None:
    mpl.rcParams["svg.hashsalt"] = "embedded-tf"
    figure, axes = plt.subplots(figsize=(8, 0.55 * len(results) + 1.2))
    for index, result in enumerate(reversed(results)):
        axes.barh(index + 0.2, result.script, 0.36, color="#c9ccd1")
        axes.barh(index - 0.2, result.start, 0.36, color="#9db8d9")
        rest = max(result.ours - result.start, 0)
        axes.barh(index - 0.2, rest, 0.36, left=result.start, color="#2f6db5")
    axes.set_yticks(range(len(results)), [result.name for result in reversed(results)])
    axes.set_xlabel(
        "seconds for the whole job: script with TensorFlow (grey),"
        " service (blue; light: its server's start)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FOLDER / "results.svg", metadata={"Date": None})
