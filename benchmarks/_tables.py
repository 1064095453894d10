"""Tables of what was measured, and whether the goals are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import _peers as peers
from _measure import Result
from rich.table import Table

NO_GOAL = "no goal"
_NUMBERS = ("runs", "wall s\nmin", "wall s\nmedian", "CPU s\nmin", "peak MB", "files\nchanged", "files\nleft")


@dataclass(frozen=True, slots=True)
class Goal:
    """A ratio that was asked for, or a number of megabytes.

    Attributes:
        text: The goal in words.
        by_min: Ratio of the wall times of the best runs.
        by_pair: Median of the ratios within each round: what decides.
        by_cpu: Ratio of the least CPU times, which other work on the machine disturbs less.
        met: Whether the goal is reached.
        note: How it was measured.
    """

    text: str
    by_min: float
    by_pair: float
    by_cpu: float | None
    met: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Point:
    """What the tool took in its best run for one set of moves in one part of a tree, and what it changed."""

    name: str
    files: int
    mb: float
    wall_s: float
    cpu_s: float

    def per_mb(self, floor_s: float) -> float:
        """Return CPU seconds above ``floor_s`` for each megabyte that changed."""
        return (self.cpu_s - floor_s) / self.mb


def results_table(title: str, results: Sequence[Result]) -> Table:
    """Return one row a tool, with its wall time as a multiple of the tool's own."""
    table = Table(title=title, title_justify="left", caption_justify="left")
    table.add_column("tool", no_wrap=True)
    for heading in _NUMBERS:
        table.add_column(heading, justify="right")
    table.add_column("wall : ours", justify="right")
    table.add_column("note", overflow="fold")
    ours = next(result for result in results if result.tool.name == peers.OURS)
    for result in results:
        table.add_row(*_row(result, ours))
    return table


def _row(result: Result, ours: Result) -> list[str]:
    counts = [str(number) if result.tool.verify else "-" for number in (result.changed, result.left)]
    seconds = [result.best("wall_s"), result.middle("wall_s"), result.best("cpu_s")]
    ratio = result.best("wall_s") / ours.best("wall_s")
    return [
        result.tool.name,
        str(len(result.samples)),
        *(f"{value:.3f}" for value in seconds),
        f"{result.most('peak_mb'):.0f}",
        *counts,
        f"{ratio:.3g}",
        result.tool.note,
    ]


def goals(key: str, results: Sequence[Result]) -> list[Goal]:
    """Return the goals of the scenario called ``key``."""
    by_name = {result.tool.name: result for result in results}
    ours = by_name[peers.OURS]
    found = _SPEED[key](by_name)
    peak = ours.most("peak_mb")
    return [*found, Goal("largest process of bem-migrate < 200 MB", peak, peak, None, peak < 200)]


def _libcst_goal(by_name: Mapping[str, Result]) -> list[Goal]:
    if peers.LIBCST not in by_name:
        return []
    ours, one = by_name[peers.OURS], by_name[peers.LIBCST]
    five = by_name.get(peers.LIBCST_FIVE)
    factor, result, note = (1, five, "measured") if five else (5, one, "five times one measured move")
    least, pair, cpu = (factor * ratio for ratio in _ratios(result, ours))
    single = Goal("(libcst rename, a single move : bem-migrate)", *_ratios(one, ours), True, NO_GOAL)
    return [Goal("libcst rename, five moves : bem-migrate >= 300", least, pair, cpu, pair >= 300, note), single]


def _few_goal(by_name: Mapping[str, Result]) -> list[Goal]:
    least, pair, cpu = _ratios(by_name[peers.AST_GREP], by_name[peers.OURS])
    return [Goal("ast-grep : bem-migrate > 1", least, pair, cpu, pair > 1)]


def _many_goal(by_name: Mapping[str, Result]) -> list[Goal]:
    least, pair, cpu = _ratios(by_name[peers.OURS], by_name[peers.AST_GREP])
    return [Goal("bem-migrate : ast-grep <= 3", least, pair, cpu, pair <= 3)]


def _none_goal(by_name: Mapping[str, Result]) -> list[Goal]:
    ours, grep, start = (by_name[name] for name in (peers.OURS, peers.GREP, peers.START_UP))
    least, cpu = (ours.best(key) / (grep.best(key) + start.best(key)) for key in ("wall_s", "cpu_s"))
    floor = {number: grep.samples[number].wall_s + start.samples[number].wall_s for number in ours.samples}
    pair = median(sample.wall_s / floor[number] for number, sample in ours.samples.items())
    return [Goal("bem-migrate : (grep -rlE + start-up) <= 3", least, pair, cpu, pair <= 3)]


_SPEED = {"i": _libcst_goal, "ii": _few_goal, "iii": _many_goal, "iv": _none_goal}


def _ratios(upper: Result, lower: Result) -> tuple[float, float, float]:
    """Return the ratios of the best wall times, of the wall times within rounds (median), and of the least CPU times.

    Where one of the two ran in fewer rounds, the second is the ratio of the medians.
    """
    least, cpu = (upper.best(key) / lower.best(key) for key in ("wall_s", "cpu_s"))
    pair = upper.middle("wall_s") / lower.middle("wall_s")
    if upper.samples.keys() == lower.samples.keys():
        pair = median(upper.samples[n].wall_s / lower.samples[n].wall_s for n in upper.samples)
    return least, pair, cpu


def goals_table(found: Sequence[tuple[str, Goal]]) -> Table:
    """Return every goal with what was reached; ``found`` has the key of the scenario with each."""
    table = Table(title="Goals", title_justify="left")
    for heading in ("scenario", "goal", "best runs", "median of rounds", "CPU", "met", "note"):
        table.add_column(heading, justify="right" if heading in ("best runs", "median of rounds", "CPU") else "left")
    for key, goal in found:
        met = "-" if goal.note == NO_GOAL else "yes" if goal.met else "NO"
        cpu = "-" if goal.by_cpu is None else f"{goal.by_cpu:.3g}"
        table.add_row(key, goal.text, f"{goal.by_min:.3g}", f"{goal.by_pair:.3g}", cpu, met, goal.note)
    return table


def linearity_table(points: Sequence[Point]) -> Table:
    """Return seconds for each file and megabyte that changed, above what the first point took to find none."""
    table = Table(title="v: bem-migrate alone, by what there is to change", title_justify="left")
    for heading in ("moves", "changed files", "MB of these", "wall s", "CPU s", "CPU ms / file", "CPU s / MB"):
        table.add_column(heading, justify="left" if heading == "moves" else "right")
    floor_s = points[0].cpu_s
    for point in points:
        each = ["-", "-"]
        if point.files:
            each = [f"{1000 * (point.cpu_s - floor_s) / point.files:.2f}", f"{point.per_mb(floor_s):.3f}"]
        values = (f"{point.mb:.2f}", f"{point.wall_s:.3f}", f"{point.cpu_s:.3f}")
        table.add_row(point.name, str(point.files), *values, *each)
    return table


def linearity_goal(points: Sequence[Point]) -> Goal:
    """Compare the cost of a megabyte between the last point and the third: the whole tree and a quarter of it.

    The floor is that of the whole tree for both, which makes the quarter look cheaper than it is.
    """
    floor_s = points[0].cpu_s
    ratio = points[-1].per_mb(floor_s) / points[2].per_mb(floor_s)
    return Goal("CPU s / MB in the whole tree : in a quarter <= 1.2", ratio, ratio, ratio, ratio <= 1.2, "best runs")
