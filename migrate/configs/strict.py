"""Plans for files whose keys must come out in their order.

Merging puts the keys of a base first. So a template holds a place for each key that its files have between the shared
ones, with the value ``???``, which each file replaces; what would still come out of place stays in its file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bem_core.config.merge import overlay
from migrate.configs import figures
from migrate.configs.search import Plan, Template

PLACE = repr("???")
_SHARE = 0.5
_TRIES = 3
Bases = tuple[int, ...]
Clusters = dict[Bases, dict[str, Any]]


def strict(plan: Plan, documents: Mapping[str, Mapping[str, Any]]) -> Plan:
    """Return a plan of one level for the same documents, with only those templates that pay.

    Args:
        plan: Any plan; its templates are tried one by one, and those that files extend together as one.
        documents: Coded data of the files, keys in their order.
    """
    contents = figures.resolve(plan)
    single: Clusters = {(template.id,): contents[template.id] for template in plan.templates}
    joint: Clusters = {bases: figures.join(contents[base] for base in bases) for bases in plan.bases.values() if bases}
    plans = [_flat(plan, clusters, documents) for clusters in (single, {**_pinned(plan, single), **joint})]
    return min(plans, key=lambda found: figures.measure(found, documents).cost)


def _pinned(plan: Plan, single: Clusters) -> Clusters:
    return {(template.id,): single[template.id,] for template in plan.templates if template.pinned}


def _flat(plan: Plan, clusters: Clusters, documents: Mapping[str, Mapping[str, Any]]) -> Plan:
    pinned = [template for template in plan.templates if template.pinned]
    result = Plan(list(pinned), dict.fromkeys(documents, ()))
    for bases, content in clusters.items():
        fixed = len(bases) == 1 and bases[0] < len(pinned)
        names = sorted(
            name for name, found in plan.bases.items() if set(bases) <= set(found) and not result.bases[name]
        )
        tries = [dict(content)] if fixed else _ordered(content, [documents[name] for name in names])
        values, users = max(
            ((values, _users(values, {name: documents[name] for name in names})) for values in tries),
            key=lambda found: sum(found[1].values()) - figures.count(found[0]),
        )
        if fixed:
            result.bases |= dict.fromkeys(users, bases)
        elif len(users) > 1 and sum(users.values()) > figures.count(values):
            number = len(result.templates)
            result.templates.append(Template(number, (), values))
            result.bases |= dict.fromkeys(users, (number,))
    return result


def _users(values: Mapping[str, Any], documents: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Return the documents for which a template pays, with the number of leaves it saves."""
    saved = {name: _saved(values, document) for name, document in documents.items()}
    return {name: number for name, number in saved.items() if number > 0}


def _ordered(values: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return values with places, in the order that suits all documents, and in those of the most common orders."""
    groups: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for document in documents:
        groups.setdefault(tuple(key for key in document if key in values), []).append(document)
    common = sorted(groups.values(), key=len, reverse=True)[:_TRIES]
    return [with_places(values, group) for group in (documents, *common)]


def _saved(values: Mapping[str, Any], document: Mapping[str, Any]) -> int:
    return figures.count(document) - figures.count(overlay(values, document, order=True)) - 1


def with_places(values: Mapping[str, Any], documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return values in the order that most documents use, with places for the keys that most have among them."""
    counts = Counter(key for document in documents for key in document)
    wanted = {key for key, number in counts.items() if number >= _SHARE * len(documents)} | set(values)
    ranks: dict[str, list[float]] = {}
    for document in documents:
        keys = [key for key in document if key in wanted]
        for number, key in enumerate(keys):
            ranks.setdefault(key, []).append(number / len(keys))
    order = sorted(wanted, key=lambda key: (sum(ranks.get(key, [1.0])) / len(ranks.get(key, [1.0])), key))
    last = max(order.index(key) for key in values) if values else -1
    result: dict[str, Any] = {}
    for key in order[: last + 1]:
        value = values.get(key, PLACE)
        below = [document[key] for document in documents if isinstance(document.get(key), dict)]
        result[key] = with_places(value, below) if isinstance(value, dict) and value else value
    return result
