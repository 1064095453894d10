"""Plans made by simple rules, and trees of files, for tests of what is done with a plan."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bem_core.config.merge import merge, overlay
from migrate.configs.inputs import Options
from migrate.configs.leaves import flatten, unflatten
from migrate.configs.search import Plan, SearchOptions, Template

Documents = Mapping[str, Mapping[Any, Any]]
Find = Callable[[Documents, SearchOptions], Plan]


def shared(documents: Sequence[Mapping[Any, Any]], least: int, identity: Callable[[Any], bool]) -> dict[Any, Any]:
    """Return the leaves that at least so many documents have, the most common value of each path."""
    counts = Counter((path, str(value)) for document in documents for path, value in flatten(document).items())
    found: dict[Any, Any] = {}
    for document in documents:
        for path, value in flatten(document).items():
            if counts[path, str(value)] >= least and not identity(path):
                found.setdefault(path, value)
    return unflatten({p: v for p, v in found.items() if not any(p[:n] in found for n in range(1, len(p)))})


def one_template(documents: Documents, options: SearchOptions) -> Plan:
    """Put into one template what at least two documents have; nothing where templates exist."""
    plan = Plan([Template(n, (), dict(c), pinned=True) for n, c in enumerate(options.pinned)])
    plan.bases = dict.fromkeys(documents, ())
    values = shared(list(documents.values()), 2, options.identity)
    if options.pinned or not values:
        return plan
    plan.templates.append(Template(0, (), values))
    plan.bases = dict.fromkeys(documents, (0,))
    return plan


def two_levels(documents: Documents, options: SearchOptions) -> Plan:
    """One template for all, and one on top of it for each first letter of a file name."""
    plan = one_template(documents, options)
    if options.pinned or not plan.templates:
        return plan
    letters = Counter(name.split("/")[-1][0].lower() for name in documents)
    for letter in sorted(letter for letter, number in letters.items() if number > 1):
        names = [name for name in documents if name.split("/")[-1][0].lower() == letter]
        whole = merge(plan.templates[0].values, shared([documents[n] for n in names], len(names), options.identity))
        own = overlay(plan.templates[0].values, whole)
        if own:
            plan.templates.append(Template(len(plan.templates), (0,), own))
            plan.bases |= dict.fromkeys(names, (len(plan.templates) - 1,))
    return plan


def pairs(documents: Documents, options: SearchOptions) -> Plan:
    """A template for each two documents that have much in common: those that share most come first."""
    plan = Plan([Template(n, (), dict(c), pinned=True) for n, c in enumerate(options.pinned)])
    plan.bases = dict.fromkeys(documents, ())
    leaves = {name: set(map(str, flatten(document).items())) for name, document in documents.items()}
    couples = [(one, two) for one in documents for two in documents if one < two]
    for one, two in sorted(couples, key=lambda couple: (-len(leaves[couple[0]] & leaves[couple[1]]), couple)):
        values = shared([documents[one], documents[two]], 2, options.identity)
        if not options.pinned and not plan.bases[one] and not plan.bases[two] and len(flatten(values)) > 1:
            plan.bases |= dict.fromkeys((one, two), (len(plan.templates),))
            plan.templates.append(Template(len(plan.templates), (), values))
    return plan


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files under a folder ``experiments`` of a project, and return that folder."""
    root.mkdir(exist_ok=True)
    (root / "pyproject.toml").touch()
    for name, text in files.items():
        path = root / "experiments" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else textwrap.dedent(text).encode())
    return root / "experiments"


def options(folder: Path, **more: Any) -> Options:
    """Return options for a folder that `write` has made."""
    return Options(paths=(str(folder),), root=folder.parent.resolve(), jobs=1, **more)


def tree_of(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
