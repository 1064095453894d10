"""Figures of a plan: what files, templates and leaves there are before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from bem_core.config.merge import DEFAULT, Directives, combine, disagreements, leaves, merge, overlay
from migrate.configs.leaves import Path
from migrate.configs.search_plan import Plan


@dataclass(frozen=True, slots=True)
class Figures:
    """Leaves before and after. A named base and a deleted key count as one leaf each.

    Attributes:
        files: Number of experiments.
        templates: Number of templates, the pinned ones included.
        depth: Most templates on the way from a root to an experiment.
        leaves_before: Leaves of all experiments as they were.
        leaves_experiments: Leaves of all experiments on their templates.
        leaves_templates: Leaves of the templates, without the pinned ones, which were there before.
    """

    files: int
    templates: int
    depth: int
    leaves_before: int
    leaves_experiments: int
    leaves_templates: int

    @property
    def cost(self) -> int:
        """The description length: every leaf that is left."""
        return self.leaves_experiments + self.leaves_templates

    @property
    def experiments_only(self) -> float:
        """Share of the leaves that are gone from the experiments."""
        return _gone(self.leaves_before, self.leaves_experiments)

    @property
    def with_templates(self) -> float:
        """Share of the leaves that are gone when what the templates add is counted too."""
        return _gone(self.leaves_before, self.cost)


def _gone(before: int, after: int) -> float:
    return 1 - after / before if before else 0.0


def count(over: Mapping[Any, Any], directives: Directives = DEFAULT) -> int:
    """Return the leaves of an overlay as written: each base and each deleted key is one."""
    number = 0
    for name, value in over.items():
        if name in (directives.delete, directives.base) and isinstance(value, list):
            number += len(value)
        else:
            number += (count(value, directives) or 1) if isinstance(value, dict) else 1
    return number


def resolve(plan: Plan, directives: Directives = DEFAULT) -> dict[int, dict[Any, Any]]:
    """Return the merged content of every template by id."""
    resolved: dict[int, dict[Any, Any]] = {}
    for template in plan.templates:
        base = join(resolved[parent] for parent in template.parents)
        resolved[template.id] = dict(template.values) if template.pinned else merge(base, template.values, directives)
    return resolved


def join(contents: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    """Merge resolved contents, left to right."""
    return reduce(combine, contents, {})


def overlay_over(bases: Sequence[Mapping[Any, Any]], full: Mapping[Any, Any], directives: Directives = DEFAULT) -> Any:
    """Return the smallest overlay with which ``bases`` become ``full``.

    It sets every leaf on which they disagree, as the loader asks for.
    """
    over = overlay(join(bases), full, directives)
    for number, second in enumerate(bases):
        for path in (path for first in bases[:number] for path in disagreements(first, second)):
            _set(over, full, path, directives)
    return over


def _set(over: dict[Any, Any], full: Mapping[Any, Any], path: Path, directives: Directives) -> None:
    """Let ``over`` set what ``full`` has at ``path``; where ``full`` has no such key, ``over`` deletes it already."""
    part: Any = over
    for number, name in enumerate(path):
        if not isinstance(full, Mapping) or name not in full:
            return
        raw = directives.escape(name, top=not number)
        if number == len(path) - 1:
            part.setdefault(raw, full[name])
        else:
            part, full = part.setdefault(raw, {}), full[name]
            if not isinstance(part, dict):
                return


def overlays(
    plan: Plan, documents: Mapping[str, Mapping[Any, Any]], directives: Directives = DEFAULT
) -> dict[str, dict[Any, Any]]:
    """Return what each document still has to write over its bases, without the line that names them."""
    resolved = resolve(plan, directives)
    return {
        name: overlay_over([resolved[base] for base in plan.bases[name]], document, directives)
        for name, document in documents.items()
    }


def depth(plan: Plan) -> int:
    """Return the most templates on the way from a root to an experiment."""
    levels: dict[int, int] = {}
    for template in plan.templates:
        levels[template.id] = 1 + max((levels[parent] for parent in template.parents), default=0)
    return max((levels[base] for bases in plan.bases.values() for base in bases), default=0)


def measure(plan: Plan, documents: Mapping[str, Mapping[Any, Any]], directives: Directives = DEFAULT) -> Figures:
    """Count the leaves that ``plan`` leaves, by writing every overlay."""
    written = sum(
        len(plan.bases[name]) + count(over, directives) for name, over in overlays(plan, documents, directives).items()
    )
    templates = [template for template in plan.templates if not template.pinned]
    return Figures(
        files=len(documents),
        templates=len(plan.templates),
        depth=depth(plan),
        leaves_before=sum(leaves(document) for document in documents.values()),
        leaves_experiments=written,
        leaves_templates=sum(len(template.parents) + count(template.values, directives) for template in templates),
    )
