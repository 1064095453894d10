"""Configurations made from known templates, so that the cost of a perfect answer is known."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from migrate.configs.figures import measure, overlay_over
from migrate.configs.leaves import unflatten
from migrate.configs.search import Plan, Template

Leaves = dict[tuple[str, ...], Any]
SECTIONS = ("model", "data", "training", "evaluation", "logging", "hardware")


@dataclass(frozen=True, slots=True)
class Planted:
    """Documents, and the plan that they were made from."""

    documents: dict[str, dict[str, Any]]
    plan: Plan

    def cost(self) -> int:
        """Return the leaves of the plan they were made from."""
        return measure(self.plan, self.documents).cost

    def templates(self) -> int:
        """Return the number of templates they were made from."""
        return len(self.plan.templates)


def hierarchy(num_files: int, num_families: int, num_variants: int, noise: float = 0.03, seed: int = 0) -> Planted:
    """Make one root, families under it and variants under those; each level overrides some of what is above.

    Args:
        num_files: Number of documents, dealt to the variants in turn.
        num_families: Children of the root.
        num_variants: Children of each family.
        noise: Share of inherited leaves that a document changes, each to a value of its own.
        seed: Of the generator.
    """
    generator = random.Random(seed)
    root = {_path(f"r{number}"): f"root-{number}" for number in range(40)}
    levels: list[tuple[tuple[int, ...], Leaves]] = [((), root)]
    ends: list[int] = []
    for family in range(num_families):
        content = _child(root, f"f{family}", 15, 5, generator)
        levels.append(((0,), content))
        above = len(levels) - 1
        for variant in range(num_variants):
            levels.append(((above,), _child(content, f"f{family}v{variant}", 8, 4, generator)))
            ends.append(len(levels) - 1)
    plan = Plan(_templates(levels))
    documents = {}
    for number in range(num_files):
        base = ends[number % len(ends)]
        name = f"run_{number:05d}.yaml"
        documents[name] = unflatten(_noisy(levels[base][1], number, 4, noise, generator))
        plan.bases[name] = (base,)
    return Planted(documents, plan)


def orthogonal(num_files: int = 500, num_groups: int = 3, num_variants: int = 8, noise: float = 0.03) -> Planted:
    """Make documents that each pick one variant of every group, such as an optimizer, a data set and a logger."""
    generator = random.Random(1)
    levels: list[tuple[tuple[int, ...], Leaves]] = [
        ((), {_path(f"r{number}"): f"all-{number}" for number in range(12)})
    ]
    for group in range(num_groups):
        for variant in range(num_variants):
            content = {(f"group{group}", f"key{number}"): f"{variant}-{number}" for number in range(12)}
            levels.append(((), content))
    plan = Plan(_templates(levels))
    documents = {}
    for number in range(num_files):
        picks = [1 + group * num_variants + generator.randrange(num_variants) for group in range(num_groups)]
        content = {path: value for base in (0, *picks) for path, value in levels[base][1].items()}
        name = f"run_{number:05d}.yaml"
        documents[name] = unflatten(_noisy(content, number, 4, noise, generator))
        plan.bases[name] = (0, *picks)
    return Planted(documents, plan)


def _path(name: str) -> tuple[str, ...]:
    return (SECTIONS[sum(map(ord, name)) % len(SECTIONS)], name)


def _child(
    above: Mapping[tuple[str, ...], Any], name: str, num_new: int, num_changed: int, generator: random.Random
) -> Leaves:
    content = dict(above)
    for path in generator.sample(sorted(above), num_changed):
        content[path] = f"{name}-changed-{path[-1]}"
    content |= {_path(f"{name}k{number}"): f"{name}-{number}" for number in range(num_new)}
    return content


def _noisy(content: Leaves, number: int, num_own: int, noise: float, generator: random.Random) -> Leaves:
    noisy = {path: f"own-{number}" if generator.random() < noise else value for path, value in content.items()}
    return noisy | {("own", f"own{position}"): f"{number}-{position}" for position in range(num_own)}


def _templates(levels: list[tuple[tuple[int, ...], Leaves]]) -> list[Template]:
    contents = [unflatten(content) for _, content in levels]
    return [
        Template(number, parents, overlay_over([contents[parent] for parent in parents], contents[number]))
        for number, (parents, _) in enumerate(levels)
    ]
