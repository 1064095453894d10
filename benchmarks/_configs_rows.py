"""One measured search a row, and the goals that the rows are held to."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _configs_planted import Planted
from rich.table import Table

from bem_core.config.merge import merge, typed_equal
from bem_core.config.yaml_reader import read
from migrate.configs.ceiling import Ceiling, ceiling
from migrate.configs.figures import Figures, join, measure, overlays, resolve
from migrate.configs.search import Plan, SearchOptions, search

Documents = Mapping[str, Mapping[Any, Any]]


@dataclass(frozen=True, slots=True)
class Run:
    """What one search found, and what it took.

    Attributes:
        different: Documents that their templates and overlays do not give back.
        planted: Cost and number of the templates that the documents were made from.
    """

    name: str
    figures: Figures
    ceiling: Ceiling
    different: int
    wall_s: float
    peak_mb: float
    planted: tuple[int, int] | None

    @property
    def ratio(self) -> float:
        """The figure with templates over its ceiling."""
        return self.figures.with_templates / self.ceiling.with_templates

    def report(self) -> dict[str, Any]:
        """Return everything as plain data."""
        shares = {"experiments_only": self.figures.experiments_only, "with_templates": self.figures.with_templates}
        return asdict(self) | shares | {"ratio_to_ceiling": self.ratio}


@dataclass(frozen=True, slots=True)
class Goal:
    """What was asked for and what was reached."""

    text: str
    figure: str
    met: bool


def load(folder: Path) -> dict[str, dict[Any, Any]]:
    """Read every YAML mapping under ``folder``, without the ``base_config`` lines: none of them names a file."""
    found = {}
    for path in sorted(folder.rglob("*.y*ml")):
        data = dict(read(path).data)
        data.pop("base_config", None)
        found[str(path.relative_to(folder))] = data
    return found


def run(name: str, documents: Documents, most: int | None, planted: Planted | None = None) -> Run:
    """Search in a process of its own, so that its memory can be told."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        plan, wall_s, peak_mb = pool.apply(_search, (documents, SearchOptions(max_templates=most)))
    known = (planted.cost(), planted.templates()) if planted else None
    found = measure(plan, documents)
    return Run(name, found, ceiling(documents), _different(plan, documents), wall_s, peak_mb, known)


def _search(documents: Documents, options: SearchOptions) -> tuple[Plan, float, float]:
    start = time.perf_counter()
    plan = search(documents, options)
    wall_s = time.perf_counter() - start
    return plan, wall_s, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _different(plan: Plan, documents: Documents) -> int:
    resolved = resolve(plan)
    number = 0
    for name, over in overlays(plan, documents).items():
        found = merge(join(resolved[base] for base in plan.bases[name]), over)
        number += not typed_equal(found, documents[name])
    return number


def corpus_goals(runs: Sequence[Run], wanted: Mapping[str, tuple[float, float]], most: Mapping[str, int]) -> list[Goal]:
    """Hold the real configurations to the shares and numbers of templates that were asked for."""
    goals = []
    for one in runs:
        if one.name not in wanted:
            continue
        only, both = wanted[one.name]
        found = one.figures
        goals.append(_share(f"{one.name}: experiments only", found.experiments_only, only))
        goals.append(_share(f"{one.name}: with templates", found.with_templates, both))
        limit = most[one.name]
        goals.append(Goal(f"{one.name}: templates <= {limit}", str(found.templates), found.templates <= limit))
        goals.append(Goal(f"{one.name}: depth <= 4", str(found.depth), found.depth <= 4))
    real = [one.ratio for one in runs if one.name in wanted]
    if real:
        goals.append(_share("real ones: mean of with templates over ceiling", sum(real) / len(real), 0.88))
    goals.append(_share("all: least of with templates over ceiling", min(one.ratio for one in runs), 0.80))
    different = sum(one.different for one in runs)
    goals.append(Goal("all: documents that do not come back", str(different), not different))
    return goals


def _share(text: str, figure: float, least: float) -> Goal:
    return Goal(f"{text} >= {least:.0%}", f"{figure:.1%}", figure >= least)


def planted_goals(runs: Sequence[Run]) -> list[Goal]:
    """Hold the made configurations to the templates they were made from."""
    goals = []
    for one in runs:
        if one.planted is None:
            continue
        if one.name.startswith("groups"):
            number = one.figures.templates
            goals.append(Goal(f"{one.name}: templates <= 30", f"{number} (planted {one.planted[1]})", number <= 30))
            goals.append(_share(f"{one.name}: with templates", one.figures.with_templates, 0.78))
        else:
            over = one.figures.cost / one.planted[0]
            goals.append(Goal(f"{one.name}: cost over planted cost <= 1.02", f"{over:.4f}", over <= 1.02))
    return goals


def speed_goals(runs: Sequence[Run]) -> list[Goal]:
    """Hold the large sets to their limits of time and memory."""
    goals = []
    for one in runs:
        limit = {500: 5, 5000: 60}.get(one.figures.files)
        if limit is not None:
            goals.append(Goal(f"{one.name}: search < {limit} s", f"{one.wall_s:.1f} s", one.wall_s < limit))
            goals.append(Goal(f"{one.name}: peak memory < 1 GB", f"{one.peak_mb:.0f} MB", one.peak_mb < 1000))
    return goals


def table(runs: Sequence[Run]) -> Table:
    """Return the table of what was found."""
    found = Table(title="templates found", title_justify="left")
    found.add_column("configurations", no_wrap=True)
    for heading in ("files", "templates", "depth", "leaves\nbefore", "after", "experiments\nonly", "with\ntemplates"):
        found.add_column(heading, justify="right", no_wrap=True)
    for heading in ("ceiling", "over\nceiling", "wall s", "peak MB"):
        found.add_column(heading, justify="right", no_wrap=True)
    for one in runs:
        shown = one.figures
        numbers = (shown.files, shown.templates, shown.depth, shown.leaves_before, shown.cost)
        shares = f"{shown.experiments_only:.1%}", f"{shown.with_templates:.1%}"
        bound = f"{one.ceiling.experiments_only:.1%} {one.ceiling.with_templates:.1%}"
        took = f"{one.ratio:.3f}", f"{one.wall_s:.1f}", f"{one.peak_mb:.0f}"
        found.add_row(one.name, *map(str, numbers), *shares, bound, *took)
    return found


def goals_table(goals: Sequence[Goal]) -> Table:
    """Return the table of the goals."""
    held = Table(title="goals", title_justify="left")
    for heading in ("goal", "figure", "met"):
        held.add_column(heading)
    for goal in goals:
        held.add_row(goal.text, goal.figure, "yes" if goal.met else "NO")
    return held
